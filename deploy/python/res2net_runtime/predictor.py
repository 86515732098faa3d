"""Detect objects in images with an exported model."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from res2net_runtime.backends import Backend, create_backend
from res2net_runtime.model_folder import ModelInfo, load_model_folder, local_model_dir
from res2net_runtime.photo_views import PhotoView, iterate_views
from res2net_runtime.preprocess import DEFAULT_MAX_PIXELS, ImageSource, Preprocessor, collate, decode_image
from res2net_runtime.results import Detections
from res2net_runtime.session import FailedPrediction, Finished, ImageSession, Prepared, check_counts, resizing
from res2net_runtime.views import Slicing, TestTimeAugmentation

__all__ = ["Prediction", "Predictor"]


@dataclass(frozen=True, eq=False)
class Prediction:
    """One image of a stream, and what was found.

    An image that fails gives a :class:`~res2net_runtime.FailedPrediction` instead, whose ``error`` is not None.

    Attributes:
        source: The image as it was passed in.
        image: The decoded image, uint8 (H, W, 3) RGB.
        detections: The result.
        error: None.
    """

    source: ImageSource
    image: np.ndarray
    detections: Detections
    error: ClassVar[None] = None


@dataclass(frozen=True, eq=False)
class _PreparedPhoto(Prepared):
    image: np.ndarray


class Predictor(ImageSession[_PreparedPhoto, Detections, Prediction]):
    """An exported detector, loaded and ready.

    One instance may be used by several threads: images are decoded and prepared in parallel, and the network
    runs for one caller at a time. Use it as a context manager, or call :meth:`close`, to free the network
    early.

    The rest of the process computes as it would without a predictor. Creating, running and closing one does not change
    these, even if it fails: the numbers of threads of OpenMP, MKL and BLAS, the treatment of denormal numbers, the
    environment, the working directory, random states, the root logger and the warning filters. There is one exception:
    while Paddle runs the network, MKL uses the predictor's number of threads in the whole process. So if training must be
    repeatable bit for bit, do not run a predictor on Paddle in one thread while another thread trains.

    Args:
        model_dir: The folder that ``export_model.py`` wrote; or the address of a repository that has it, ``hf://OWNER/REPO``.
        device: ``"cpu"``, ``"gpu"`` or ``"gpu:<index>"``.
        cpu_threads: Threads of the network on a CPU, or None for one per available core.
        batch_size: Images that run at once; only images of the same padded size share a batch, so that an
            image's result does not depend on its neighbours.
        backend: ``"auto"``, ``"openvino"``, ``"onnxruntime"``, ``"onednn"``, ``"paddle"`` or ``"tensorrt"``.
            ``"auto"`` takes the fastest that is installed and reads a format of the folder, and logs a warning
            when it steps down to a slower one. Any other choice either works or raises.
        precision: ``"fp32"``, ``"bf16"`` (OpenVINO, oneDNN), ``"int8"`` (OpenVINO, ONNX Runtime; after
            ``python -m res2net_runtime.quantize``) or ``"fp16"`` (TensorRT).
        max_pixels: Larger images are refused.
        trust_graph: Pass the graph to the engine unchecked. Otherwise, a graph with operators that could read files or run
            code, or with any that is not known, is refused. Use it for a model with modules of your own, and only for a
            model that you trust as you trust a program.
        winograd: Let OpenVINO compute large convolutions with Winograd's algorithm in float32, which is faster and rounds
            differently. Other engines and precisions ignore it.
        slicing: Search large images slice by slice, too; its ``batch_size`` replaces the one above. This and ``tta`` are for
            calls and streams; :meth:`prepare` takes each image as it is.
        tta: Search images mirrored and at other scales, too.

    Raises:
        ValueError: A count is below 1, or the model does not allow other scales.
        ModelFolderError: The folder is incomplete or was written for a different version.
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
        trust_graph: bool = False,
        winograd: bool = True,
        slicing: Slicing | None = None,
        tta: TestTimeAugmentation | None = None,
    ) -> None:
        check_counts(cpu_threads=cpu_threads, batch_size=batch_size, max_pixels=max_pixels)
        folder = load_model_folder(local_model_dir(model_dir))
        backend_in_use = create_backend(folder, backend, precision, device, cpu_threads, trust_graph, winograd)
        self._set_up(folder, backend_in_use, batch_size, max_pixels, slicing, tta)

    @classmethod
    def over(
        cls,
        info: ModelInfo,
        backend: Backend,
        *,
        batch_size: int = 1,
        max_pixels: int = DEFAULT_MAX_PIXELS,
        slicing: Slicing | None = None,
        tta: TestTimeAugmentation | None = None,
    ) -> Predictor:
        """Return a predictor over any network, for instance one that has not been exported.

        Args:
            info: The network's inputs and outputs.
            backend: The network.
            batch_size: As for the class.
            max_pixels: As for the class.
            slicing: As for the class.
            tta: As for the class.
        """
        predictor = cls.__new__(cls)
        predictor._set_up(info, backend, batch_size, max_pixels, slicing, tta)
        return predictor

    def _set_up(
        self,
        info: ModelInfo,
        backend: Backend,
        batch_size: int,
        max_pixels: int,
        slicing: Slicing | None,
        tta: TestTimeAugmentation | None,
    ) -> None:
        check_counts(max_pixels=max_pixels)
        super().__init__(backend, (slicing and slicing.batch_size) or batch_size)
        self.info = info
        self._max_pixels = max_pixels
        preprocessor = Preprocessor.from_config(info.preprocess)
        self._slicing, self._tta = slicing, tta
        scales = (1.0, *tta.scales) if tta is not None else (1.0,)
        self._preprocessors = {scale: preprocessor.scaled(scale) for scale in scales}

    @property
    def label_list(self) -> tuple[str, ...]:
        """Class names."""
        return self.info.label_list

    def _result_of(self, image: ImageSource) -> Detections:
        if self._slicing is None and self._tta is None:
            return super()._result_of(image)
        return self([image])[0]

    def _outcomes(
        self, images: Iterable[Any], workers: int
    ) -> Generator[Finished[Detections, Prediction] | FailedPrediction, None, None]:
        if self._slicing is None and self._tta is None:
            yield from super()._outcomes(images, workers)
            return
        views = iterate_views(images, lambda one: decode_image(one, self._max_pixels), self._slicing, self._tta)
        with closing(views), closing(super()._outcomes(views, workers)) as outcomes:
            for outcome in outcomes:
                one = outcome if isinstance(outcome, FailedPrediction) else outcome.prediction
                assert isinstance(one.source, PhotoView)
                photo = one.source.photo
                photo.done += 1
                if one.error is not None:
                    photo.error = one.error
                else:
                    photo.found.append(one.detections)
                if photo.is_done and photo.error is not None:
                    yield FailedPrediction(photo.source, photo.error, photo.image)
                elif photo.is_done and photo.image is not None:
                    detections = photo.merged(self._slicing, self._tta)
                    yield Finished(detections, Prediction(photo.source, photo.image, detections))

    def _prepare(self, source: ImageSource | PhotoView) -> _PreparedPhoto:
        if isinstance(source, PhotoView):
            image = source.crop()
            original, preprocessor = source.photo.source, self._preprocessors[source.view.scale]
        else:
            image = decode_image(source, self._max_pixels)
            original, preprocessor = source, self._preprocessors[1.0]
        with resizing(original, image):
            return _PreparedPhoto(preprocessor(image), image)

    def _predict(self, prepared: Sequence[_PreparedPhoto]) -> list[Detections]:
        return Detections.from_outputs(
            self._run(collate([one.inputs for one in prepared])),
            [one.image.shape[:2] for one in prepared],
            label_list=self.info.label_list,
            category_ids=self.info.category_ids,
            mask_threshold=self.info.mask_threshold,
        )

    def _make_prediction(self, source: ImageSource, prepared: _PreparedPhoto, result: Detections) -> Prediction:
        return Prediction(source, prepared.image, result)
