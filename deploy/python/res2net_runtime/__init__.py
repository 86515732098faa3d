"""Run exported Res2Net detectors without training code: see ``docs/deployment.md``."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from res2net_runtime.draw import draw_detections
    from res2net_runtime.errors import BackendError, ImageError, ModelFolderError, Res2NetError
    from res2net_runtime.files import find_images
    from res2net_runtime.masks import masks_to_bitmaps, masks_to_rles
    from res2net_runtime.model_folder import ModelFolder, ModelInfo, load_model_folder
    from res2net_runtime.predictor import Prediction, Predictor
    from res2net_runtime.preprocess import Preprocessor, collate, decode_image
    from res2net_runtime.results import Detections

__version__ = "0.2.0"  # of both packages: pyproject.toml and deploy/python/pyproject.toml read it here

# Public name -> its module; imported on first use, so that importing the package stays cheap.
_MODULES = {
    "BackendError": "errors",
    "Detections": "results",
    "ImageError": "errors",
    "ModelFolder": "model_folder",
    "ModelFolderError": "errors",
    "ModelInfo": "model_folder",
    "Prediction": "predictor",
    "Predictor": "predictor",
    "Preprocessor": "preprocess",
    "Res2NetError": "errors",
    "collate": "preprocess",
    "decode_image": "preprocess",
    "draw_detections": "draw",
    "find_images": "files",
    "load_model_folder": "model_folder",
    "masks_to_bitmaps": "masks",
    "masks_to_rles": "masks",
}

__all__ = [
    "__version__",
    "BackendError",
    "Detections",
    "ImageError",
    "ModelFolder",
    "ModelFolderError",
    "ModelInfo",
    "Prediction",
    "Predictor",
    "Preprocessor",
    "Res2NetError",
    "collate",
    "decode_image",
    "draw_detections",
    "find_images",
    "load_model_folder",
    "masks_to_bitmaps",
    "masks_to_rles",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
