"""The common part of all predictors: a loaded network that threads share, and batches of images that run through it."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, TypeVar, overload

import cv2
import numpy as np

from res2net_runtime.backends import Backend
from res2net_runtime.errors import BackendError, ImageError, Res2NetError
from res2net_runtime.preprocess import ImageSource, describe_source

__all__ = ["FailedPrediction", "Finished", "ImageSession", "Prepared", "Session", "check_counts", "resizing"]

# Batches prepared ahead of the network: enough to find images of equal size, few enough to fit into memory.
_BATCHES_AHEAD = 4

_Self = TypeVar("_Self", bound="Session")  # typing.Self needs Python 3.11
_Source = TypeVar("_Source", bound=ImageSource)
PreparedT = TypeVar("PreparedT", bound="Prepared")
ResultT = TypeVar("ResultT")
PredictionT = TypeVar("PredictionT")


def check_counts(**counts: int | None) -> None:
    """Check arguments that must be at least 1; None stands for a default.

    Raises:
        ValueError: An argument is smaller; the message names it.
    """
    for name, value in counts.items():
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}.")


class Session:
    """A loaded network that threads may share: it runs for one caller at a time.

    Use it as a context manager, or call :meth:`close`, to free the network early.

    Args:
        backend: The network.
    """

    def __init__(self, backend: Backend) -> None:
        self._lock = threading.Lock()
        self._backend: Backend | None = backend

    @property
    def engine(self) -> str:
        """The engine in use, a key of :data:`~res2net_runtime.backends.BACKENDS`; ``"eager"`` for a network not exported."""
        return self._open_backend().engine

    @property
    def description(self) -> str:
        """The engine in use, for logs: library, version, kernels, precision and device."""
        return self._open_backend().description

    def close(self) -> None:
        """Free the network; it cannot be used afterwards. Closing twice is allowed."""
        with self._lock:
            if self._backend is not None:
                self._backend.close()
                self._backend = None

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _run(self, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        with self._lock:
            return self._open_backend().run(batch)

    def _open_backend(self) -> Backend:
        if self._backend is None:
            raise BackendError(f"This {type(self).__name__} is closed. Create a new one.")
        return self._backend


@dataclass(frozen=True, eq=False)
class Prepared:
    """One image, ready for the network.

    Attributes:
        inputs: The network's inputs for this image, without the axis of the batch.
        image: The decoded image, uint8 (H, W, 3) RGB, or None if the prediction does not include it.
    """

    inputs: dict[str, np.ndarray]
    image: np.ndarray | None

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the inputs; only images of equal shapes share a batch."""
        return tuple(value.shape for value in self.inputs.values())


@dataclass(frozen=True, eq=False)
class FailedPrediction:
    """An image of a stream for which there is no result.

    Attributes:
        source: The image as it was passed in.
        error: What went wrong with it.
        image: The decoded image, uint8 (H, W, 3) RGB, if a detector's network failed on it. None if the image could not be
            read, and for classifiers.
    """

    source: ImageSource
    error: Res2NetError
    image: np.ndarray | None = None


class ImageSession(Session, ABC, Generic[PreparedT, ResultT, PredictionT]):
    """A loaded network that takes images, one by one, in lists or in streams.

    Args:
        backend: The network.
        batch_size: Number of images that run together.

    Raises:
        ValueError: ``batch_size`` is below 1.
    """

    def __init__(self, backend: Backend, batch_size: int) -> None:
        check_counts(batch_size=batch_size)
        super().__init__(backend)
        self.batch_size = batch_size

    @overload
    def __call__(self, images: ImageSource) -> ResultT: ...

    @overload
    def __call__(self, images: list[_Source] | tuple[_Source, ...]) -> list[ResultT]: ...

    def __call__(self, images: ImageSource | list[_Source] | tuple[_Source, ...]) -> ResultT | list[ResultT]:
        """Return the result of one image, or a list with the result of each image of a list.

        Args:
            images: A path, encoded bytes or an RGB array (see :func:`~res2net_runtime.decode_image`), or a list or
                tuple of them.

        Raises:
            ImageError: An image cannot be read. To continue with the others, use :meth:`predict_iter`.
            BackendError: The network fails.
        """
        if not isinstance(images, (list, tuple)):
            return self._result_of(images)
        results = []
        with closing(self._outcomes(images, workers=2)) as outcomes:
            for outcome in outcomes:
                if isinstance(outcome, FailedPrediction):
                    raise outcome.error
                results.append(outcome.result)
        return results

    def predict_iter(self, images: Iterable[ImageSource], workers: int = 2) -> Iterator[PredictionT | FailedPrediction]:
        """Go through a stream of images; the next ones are decoded and prepared while the network runs.

        Args:
            images: Images as :meth:`__call__` takes them, one by one; may be endless. Images of the same prepared size that are
                close to each other run together, up to ``batch_size``.
            workers: Threads that decode and prepare.

        Yields:
            One prediction per image, in order. An image that fails gives a :class:`FailedPrediction`, and the others go
            on. ``prediction.error`` is None for those that worked.
        """
        with closing(self._outcomes(images, workers)) as outcomes:
            for outcome in outcomes:
                yield outcome if isinstance(outcome, FailedPrediction) else outcome.prediction

    def prepare(self, source: ImageSource) -> PreparedT:
        """Do what comes before the network: decode and prepare one image. Any thread may call it, at any time.

        Raises:
            ImageError: The image cannot be read.
        """
        return self._prepare(source)

    def run_prepared(self, prepared: Sequence[PreparedT]) -> list[ResultT]:
        """Run the network on images that :meth:`prepare` has prepared, as one batch.

        Args:
            prepared: Images whose ``shapes`` are equal; at least one.

        Returns:
            The result of each image.

        Raises:
            BackendError: The network fails.
        """
        return self._predict(prepared)

    def _result_of(self, image: ImageSource) -> ResultT:
        return self._predict([self._prepare(image)])[0]

    @abstractmethod
    def _prepare(self, source: ImageSource) -> PreparedT:
        """Decode and prepare one image; called by several threads.

        Raises:
            ImageError: The image cannot be read.
        """

    @abstractmethod
    def _predict(self, prepared: Sequence[PreparedT]) -> list[ResultT]:
        """Run the network on images of equal shapes.

        Raises:
            BackendError: The network fails.
        """

    @abstractmethod
    def _make_prediction(self, source: ImageSource, prepared: PreparedT, result: ResultT) -> PredictionT:
        """Return what :meth:`predict_iter` yields for an image."""

    def _outcomes(
        self, images: Iterable[Any], workers: int
    ) -> Generator[Finished[ResultT, PredictionT] | FailedPrediction, None, None]:
        sources = iter(images)
        queue: deque[_Job[PreparedT, ResultT, PredictionT]] = deque()
        pool = ThreadPoolExecutor(workers, thread_name_prefix="res2net-prepare")
        try:
            while True:
                for source in islice(sources, _BATCHES_AHEAD * self.batch_size - len(queue)):
                    queue.append(_Job(source, pool.submit(self._prepare, source)))
                if not queue:
                    return
                if queue[0].outcome is None:
                    self._run_batch_of_first(queue)
                outcome = queue.popleft().outcome
                if outcome is not None:
                    yield outcome
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _run_batch_of_first(self, queue: deque[_Job[PreparedT, ResultT, PredictionT]]) -> None:
        """Run the network on the first job and on those behind it that fit into its batch."""
        batch: list[tuple[_Job[PreparedT, ResultT, PredictionT], PreparedT]] = []
        for job in queue:
            prepared = job.wait() if job.outcome is None else None
            if prepared is not None and prepared.shapes == (batch or [(job, prepared)])[0][1].shapes:
                batch.append((job, prepared))
            if len(batch) == self.batch_size or queue[0].outcome is not None:
                break
        if not batch:
            return
        try:
            results = self._predict([prepared for _, prepared in batch])
        except BackendError as error:
            for job, prepared in batch:
                job.finish(FailedPrediction(job.source, error, prepared.image))
            return
        for (job, prepared), result in zip(batch, results):
            job.finish(Finished(result, self._make_prediction(job.source, prepared, result)))


@contextmanager
def resizing(source: ImageSource, image: np.ndarray) -> Iterator[None]:
    """Turn OpenCV's exception for an image that it cannot resize into an error that names the image."""
    try:
        yield
    except (cv2.error, MemoryError) as error:
        raise ImageError(f"Cannot resize image '{describe_source(source)}' {image.shape}: {error}.") from error


@dataclass(frozen=True, eq=False)
class Finished(Generic[ResultT, PredictionT]):
    """An image of a stream that worked: its result, and what :meth:`ImageSession.predict_iter` yields for it."""

    result: ResultT
    prediction: PredictionT


class _Job(Generic[PreparedT, ResultT, PredictionT]):
    """One image on its way through a session; ``outcome`` is None until it is finished."""

    def __init__(self, source: ImageSource, future: Future[PreparedT]) -> None:
        self.source = source
        self.outcome: Finished[ResultT, PredictionT] | FailedPrediction | None = None
        self._future: Future[PreparedT] | None = future

    def wait(self) -> PreparedT | None:
        """Return the prepared image once it is ready; if it cannot be read, finish with the error and return None."""
        if self._future is None:
            return None
        try:
            return self._future.result()
        except ImageError as error:
            self.finish(FailedPrediction(self.source, error))
            return None

    def finish(self, outcome: Finished[ResultT, PredictionT] | FailedPrediction) -> None:
        self.outcome = outcome
        self._future = None  # the network's input is large, and no longer needed
