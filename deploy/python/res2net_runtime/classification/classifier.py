"""Classify images with an exported model."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np

from res2net_runtime.backends import create_backend
from res2net_runtime.classification.folder import OUTPUT, load_classifier_folder
from res2net_runtime.errors import ImageError, Res2NetError
from res2net_runtime.preprocess import DEFAULT_MAX_PIXELS, ImageSource
from res2net_runtime.session import Session

__all__ = ["Classification", "Classifier", "ClassifierPrediction", "probabilities"]


@dataclass(frozen=True, eq=False)
class Classification:
    """The probability of every class.

    Attributes:
        scores: float64 (classes,), adding up to 1.
        label_list: Class names.
    """

    scores: np.ndarray
    label_list: tuple[str, ...]

    def top(self, count: int = 5) -> list[tuple[int, str, float]]:
        """Return label, name and score of the most probable classes, the most probable first."""
        labels = np.argsort(-self.scores, kind="stable")[:count].tolist()
        return [(label, self.label_list[label], float(self.scores[label])) for label in labels]


@dataclass(frozen=True, eq=False)
class ClassifierPrediction:
    """One image of a stream: its classes, or why there are none.

    Attributes:
        source: The image as it was passed in.
        classification: The result, or None if there is an error.
        error: What went wrong with this image, or None.
    """

    source: ImageSource
    classification: Classification | None
    error: Res2NetError | None


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Return the softmax of float32 (N, classes), as float64."""
    exponentials = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


class Classifier(Session):
    """An exported classifier, loaded and ready.

    One instance may be used by several threads. Use it as a context manager, or call :meth:`close`, to free the network
    early.

    Args:
        model_dir: The folder that the export wrote.
        device, cpu_threads, backend, precision, max_pixels: As for :class:`res2net_runtime.Predictor`.
        batch_size: Images that run at once.

    Raises:
        ModelFolderError: The folder is incomplete, or none of a classifier.
        BackendError: The engine is missing or refuses the model.

    Example:
        >>> with Classifier("output/my_classifier") as classifier:
        ...     print(classifier("cat.jpg").top(5))
    """

    def __init__(
        self,
        model_dir: str | os.PathLike[str],
        *,
        device: str = "cpu",
        cpu_threads: int | None = None,
        batch_size: int = 1,
        backend: str = "auto",
        precision: str = "fp32",
        max_pixels: int = DEFAULT_MAX_PIXELS,
    ) -> None:
        for name, value in {"batch_size": batch_size, "max_pixels": max_pixels, "cpu_threads": cpu_threads}.items():
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}.")
        self.info = load_classifier_folder(model_dir)
        self.batch_size = batch_size
        self._max_pixels = max_pixels
        super().__init__(create_backend(self.info, backend, precision, device, cpu_threads))

    def __call__(self, images: ImageSource | Sequence[ImageSource]) -> Classification | list[Classification]:
        """Classify one image, or each of a list.

        Raises:
            ImageError: An image cannot be read. To go on with the others, use :meth:`predict_iter`.
            BackendError: The network fails.
        """
        is_list = isinstance(images, (list, tuple))
        results = []
        for prediction in self.predict_iter(images if is_list else [images]):
            if prediction.error is not None:
                raise prediction.error
            results.append(prediction.classification)
        return results if is_list else results[0]

    def predict_iter(self, images: Iterable[ImageSource], workers: int = 2) -> Iterator[ClassifierPrediction]:
        """Classify a stream of images; the next batch is prepared while the network runs.

        Yields:
            One result per image, in order. An image that fails carries its error, and the others go on.
        """
        sources = iter(images)
        with ThreadPoolExecutor(workers, thread_name_prefix="res2net-prepare") as pool:

            def prepare() -> list[tuple]:
                batch = list(islice(sources, self.batch_size))
                return [(source, pool.submit(self._prepare, source)) for source in batch]

            ready = prepare()
            while ready:
                ahead = prepare()
                yield from self._finish(ready)
                ready = ahead

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Run the network on prepared images, float32 (N, 3, S, S); returns float32 (N, classes)."""
        return self._run({"image": images})[OUTPUT]

    def _prepare(self, source: ImageSource) -> np.ndarray | ImageError:
        preprocessor = self.info.preprocessor
        try:
            return preprocessor(preprocessor.decode(source, self._max_pixels))
        except ImageError as error:
            return error

    def _finish(self, jobs: Sequence[tuple]) -> Iterator[ClassifierPrediction]:
        prepared = [(source, future.result()) for source, future in jobs]
        images = [image for _, image in prepared if isinstance(image, np.ndarray)]
        rows = iter(probabilities(self.logits(np.stack(images))) if images else ())
        for source, image in prepared:
            if isinstance(image, np.ndarray):
                yield ClassifierPrediction(source, Classification(next(rows), self.info.label_list), None)
            else:
                yield ClassifierPrediction(source, None, image)
