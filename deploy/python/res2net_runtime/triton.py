"""The Python models of a Triton model repository: what comes before and after the network.

``export --format triton`` writes a repository whose ``model.py`` files name these classes.
"""

from __future__ import annotations

import importlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from res2net_runtime.errors import Res2NetError
from res2net_runtime.model_folder import read_model_config, read_model_info
from res2net_runtime.preprocess import Preprocessor, collate, decode_image
from res2net_runtime.results import Detections
from res2net_runtime.session import resizing

__all__ = ["ENCODED", "FOUND", "SIZE", "FinishModel", "PrepareModel"]


@dataclass(frozen=True)
class _Tensor:
    """A tensor between client and models: name, Triton's name of its type, shape (-1: any), and NumPy's type."""

    name: str
    data_type: str
    dims: tuple[int, ...]
    dtype: Any


ENCODED = _Tensor("IMAGE", "TYPE_UINT8", (-1,), np.uint8)  # the bytes of an image file
SIZE = _Tensor("IMAGE_SIZE", "TYPE_INT32", (1, 2), np.int32)  # height and width of the image
# What a client gets: n detections, best score first.
FOUND = (
    _Tensor("BOXES", "TYPE_FP32", (-1, 4), np.float32),  # x1, y1, x2, y2 in pixels of the image
    _Tensor("SCORES", "TYPE_FP32", (-1,), np.float32),
    _Tensor("LABELS", "TYPE_INT32", (-1,), np.int32),  # from 0
    _Tensor("CATEGORY_IDS", "TYPE_INT64", (-1,), np.int64),
    _Tensor("CLASS_NAMES", "TYPE_STRING", (-1,), np.object_),  # UTF-8
    _Tensor("RLES", "TYPE_STRING", (-1,), np.object_),  # COCO's run-length encoding of each mask, as JSON
)


class _PythonModel(ABC):
    """What Triton expects of a Python model."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Read ``infer_cfg.yml``, which lies beside ``model.py``.

        Args:
            args: Of Triton: among others the model's folder, ``model_repository``, and ``model_version``.

        Raises:
            ModelFolderError: The file is missing or damaged. Triton then does not load the model.
        """
        config, config_path = read_model_config(Path(args["model_repository"], args["model_version"]), "detection")
        self._info = read_model_info(config, config_path)
        self._preprocessor = Preprocessor.from_config(self._info.preprocess)
        # Triton's backend has this module in its own process only.
        self._triton = importlib.import_module("triton_python_backend_utils")

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer requests one by one. One that fails gets an error, and the others go on."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        triton = self._triton

        def read(name: str) -> np.ndarray:
            array: np.ndarray = triton.get_input_tensor_by_name(request, name).as_numpy()
            return array

        try:
            outputs = self._run(read)
        except Res2NetError as error:
            return triton.InferenceResponse(output_tensors=[], error=triton.TritonError(str(error)))
        return triton.InferenceResponse(output_tensors=[triton.Tensor(name, one) for name, one in outputs.items()])

    @abstractmethod
    def _run(self, read: Callable[[str], np.ndarray]) -> dict[str, np.ndarray]:
        """Return the outputs by name; ``read`` returns an input."""


class PrepareModel(_PythonModel):
    """From the bytes of an image file to the network's inputs and the size of the image."""

    def _run(self, read: Callable[[str], np.ndarray]) -> dict[str, np.ndarray]:
        data = read(ENCODED.name).tobytes()
        image = decode_image(data)
        with resizing(data, image):
            inputs = self._preprocessor(image)
        return {**collate([inputs]), SIZE.name: np.array([image.shape[:2]], SIZE.dtype)}


class FinishModel(_PythonModel):
    """From the network's outputs to detections."""

    def _run(self, read: Callable[[str], np.ndarray]) -> dict[str, np.ndarray]:
        info = self._info
        (found,) = Detections.from_outputs(
            {name: read(name) for name in info.outputs},
            [tuple(read(SIZE.name)[0])],
            label_list=info.label_list,
            category_ids=info.category_ids,
            mask_threshold=info.mask_threshold,
        )
        values: list[Any] = [
            found.boxes_xyxy,
            found.scores,
            found.labels,
            [info.category_ids[label] for label in found.labels],
            [name.encode("utf-8", "backslashreplace") for name in found.class_names],
        ]
        if found.masks is not None:
            values.append([_as_json(rle) for rle in found.rles()])
        return {one.name: np.array(value, one.dtype) for one, value in zip(FOUND, values)}


def _as_json(rle: Mapping[str, Any]) -> bytes:
    return json.dumps({"size": list(rle["size"]), "counts": rle["counts"].decode("ascii")}).encode("ascii")
