"""Detect objects in images with an exported model."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import cv2
import numpy as np

from res2net_runtime.backends import Backend, create_backend
from res2net_runtime.errors import BackendError, ImageError, Res2NetError
from res2net_runtime.model_folder import ModelInfo, load_model_folder
from res2net_runtime.preprocess import (
    DEFAULT_MAX_PIXELS,
    ImageSource,
    Preprocessor,
    collate,
    decode_image,
    describe_source,
)
from res2net_runtime.results import Detections
from res2net_runtime.session import Session

__all__ = ["Prediction", "Predictor"]

# Batches prepared ahead of the network: enough to find like-sized images, few enough for the memory.
_BATCHES_AHEAD = 4


@dataclass(frozen=True, eq=False)
class Prediction:
    """One image of a stream: what was found, or why nothing could be.

    Attributes:
        source: The image as it was passed in.
        image: The decoded image, uint8 (H, W, 3) RGB, or None if it cannot be read.
        detections: The result, or None if there is an error.
        error: What went wrong with this image, or None.
    """

    source: ImageSource
    image: np.ndarray | None
    detections: Detections | None
    error: Res2NetError | None


class Predictor(Session):
    """An exported detector, loaded and ready.

    One instance may be used by several threads: images are decoded and prepared in parallel, and the network
    runs for one caller at a time. Use it as a context manager, or call :meth:`close`, to free the network
    early.

    The rest of the process computes as it would without a predictor. Creating, running and closing one, and failing to,
    leave these as they were: the numbers of threads of OpenMP, MKL and BLAS, the treatment of denormal numbers,
    the environment, the working directory, random states, the root logger and the warning filters. There is one limit:
    while Paddle runs the network, MKL has the predictor's number of threads in all threads of the process, so
    do not train in one thread and run a predictor on Paddle in another if the training must be repeatable bit by bit.

    Args:
        model_dir: The folder that ``export_model.py`` wrote.
        device: ``"cpu"``, ``"gpu"`` or ``"gpu:<index>"``.
        cpu_threads: Threads of the network on a CPU, or None for one per available core.
        batch_size: Images that run at once; only images of the same padded size share a batch, so that an
            image's result does not depend on its neighbours.
        backend: ``"auto"``, ``"openvino"``, ``"onnxruntime"``, ``"onednn"``, ``"paddle"`` or ``"tensorrt"``.
            ``"auto"`` takes the fastest that is installed and reads a format of the folder, and logs a warning
            where it has to step down; any other either works or raises.
        precision: ``"fp32"``, ``"bf16"`` (OpenVINO, oneDNN), ``"int8"`` (OpenVINO, ONNX Runtime; after
            ``python -m res2net_runtime.quantize``) or ``"fp16"`` (TensorRT).
        max_pixels: Larger images are refused.

    Raises:
        ModelFolderError: The folder is incomplete or was written for another version.
        BackendError: The engine is missing or refuses the model.

    Example:
        >>> predictor = Predictor("output/my_model")
        >>> detections = predictor("street.jpg").filter(0.5)
        >>> detections.class_names, detections.boxes_xyxy
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
        if cpu_threads is not None and cpu_threads < 1:
            raise ValueError(f"cpu_threads must be at least 1, got {cpu_threads}.")
        folder = load_model_folder(model_dir)
        backend_in_use = create_backend(folder, backend, precision, device, cpu_threads)
        self._set_up(folder, backend_in_use, batch_size, max_pixels)

    @classmethod
    def over(
        cls, info: ModelInfo, backend: Backend, *, batch_size: int = 1, max_pixels: int = DEFAULT_MAX_PIXELS
    ) -> Predictor:
        """Return a predictor over any network, for instance one that has not been exported.

        Args:
            info: What the network takes and gives.
            backend: The network.
            batch_size: As for the class.
            max_pixels: As for the class.
        """
        predictor = cls.__new__(cls)
        predictor._set_up(info, backend, batch_size, max_pixels)
        return predictor

    def _set_up(self, info: ModelInfo, backend: Backend, batch_size: int, max_pixels: int) -> None:
        for name, value in {"batch_size": batch_size, "max_pixels": max_pixels}.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}.")
        super().__init__(backend)
        self.info = info
        self.batch_size = batch_size
        self._max_pixels = max_pixels
        self._preprocessor = Preprocessor.from_config(info.preprocess)

    @property
    def label_list(self) -> tuple[str, ...]:
        """Class names."""
        return self.info.label_list

    def __call__(self, images: ImageSource | Sequence[ImageSource]) -> Detections | list[Detections]:
        """Detect objects in one image, or in each of a list.

        Args:
            images: A path, encoded bytes or an RGB array (see :func:`~res2net_runtime.decode_image`), or a
                list or tuple of them.

        Returns:
            One result for one image, a list of results for a list.

        Raises:
            ImageError: An image cannot be read. To go on with the others, use :meth:`predict_iter`.
            BackendError: The network fails.
        """
        if isinstance(images, (list, tuple)):
            predictions = list(self.predict_iter(images))
            for prediction in predictions:
                if prediction.error is not None:
                    raise prediction.error
            return [prediction.detections for prediction in predictions]
        return self._detect([self._prepare(images)])[0]

    def predict_iter(self, images: Iterable[ImageSource], workers: int = 2) -> Iterator[Prediction]:
        """Detect objects in a stream of images, decoding and preparing the next ones while the network runs.

        Args:
            images: What :meth:`__call__` takes, one by one; may be endless. Images of the same padded size
                that are close to each other run together, up to ``batch_size``.
            workers: Threads that decode and prepare.

        Yields:
            One :class:`Prediction` per image, in order. An image that fails carries its error, and the others
            go on.
        """
        sources = iter(images)
        queue: deque[_Job] = deque()
        pool = ThreadPoolExecutor(workers, thread_name_prefix="res2net-prepare")
        try:
            while True:
                for source in islice(sources, _BATCHES_AHEAD * self.batch_size - len(queue)):
                    queue.append(_Job(source, pool.submit(self._prepare, source)))
                if not queue:
                    return
                if queue[0].prediction is None:
                    self._run_batch_of_first(queue)
                yield queue.popleft().prediction
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _prepare(self, source: ImageSource) -> _Prepared:
        image = decode_image(source, self._max_pixels)
        try:
            return _Prepared(image, self._preprocessor(image))
        except (cv2.error, MemoryError) as error:
            raise ImageError(f"Cannot resize image '{describe_source(source)}' {image.shape}: {error}.") from error

    def _run_batch_of_first(self, queue: deque[_Job]) -> None:
        """Run the network on the first job and on those behind it that fit into its batch."""
        batch: list[_Job] = []
        for job in queue:
            if job.prediction is None and job.wait() and job.input_shape == (batch or [job])[0].input_shape:
                batch.append(job)
            if len(batch) == self.batch_size or queue[0].prediction is not None:
                break
        if not batch:
            return
        try:
            results = self._detect([job.prepared for job in batch])
        except BackendError as error:
            for job in batch:
                job.finish(error=error)
            return
        for job, detections in zip(batch, results):
            job.finish(detections=detections)

    def _detect(self, prepared: Sequence[_Prepared]) -> list[Detections]:
        return Detections.from_outputs(
            self._run(collate([one.inputs for one in prepared])),
            [one.image.shape[:2] for one in prepared],
            label_list=self.info.label_list,
            category_ids=self.info.category_ids,
            mask_threshold=self.info.mask_threshold,
        )


@dataclass(frozen=True, eq=False)
class _Prepared:
    image: np.ndarray
    inputs: dict[str, np.ndarray]


class _Job:
    """One image on its way through :meth:`Predictor.predict_iter`."""

    def __init__(self, source: ImageSource, future: Future[_Prepared]) -> None:
        self.source = source
        self.prediction: Prediction | None = None
        self.prepared: _Prepared | None = None
        self._future: Future[_Prepared] | None = future

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.prepared.inputs["image"].shape

    def wait(self) -> bool:
        """Wait for the prepared image; if it cannot be read, finish with the error and return False."""
        if self.prepared is None:
            try:
                self.prepared = self._future.result()
            except ImageError as error:
                self.finish(error=error)
                return False
        return True

    def finish(self, detections: Detections | None = None, error: Res2NetError | None = None) -> None:
        image = self.prepared.image if self.prepared is not None else None
        self.prediction = Prediction(self.source, image, detections, error)
        self.prepared = self._future = None  # the network's input is large, and no longer needed
