"""Run exported Res2Net detectors and classifiers without training code: see ``docs/deployment.md``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from res2net_runtime._lazy import lazy_names

__version__ = "0.2.0"  # of both packages: pyproject.toml and deploy/python/pyproject.toml read it here

if TYPE_CHECKING:
    from res2net_runtime.draw import draw_detections as draw_detections
    from res2net_runtime.errors import BackendError as BackendError
    from res2net_runtime.errors import HubError as HubError
    from res2net_runtime.errors import ImageError as ImageError
    from res2net_runtime.errors import ModelFolderError as ModelFolderError
    from res2net_runtime.errors import Res2NetError as Res2NetError
    from res2net_runtime.files import find_images as find_images
    from res2net_runtime.masks import masks_to_bitmaps as masks_to_bitmaps
    from res2net_runtime.masks import masks_to_rles as masks_to_rles
    from res2net_runtime.model_folder import ModelFolder as ModelFolder
    from res2net_runtime.model_folder import ModelInfo as ModelInfo
    from res2net_runtime.model_folder import load_model_folder as load_model_folder
    from res2net_runtime.predictor import Prediction as Prediction
    from res2net_runtime.predictor import Predictor as Predictor
    from res2net_runtime.preprocess import Preprocessor as Preprocessor
    from res2net_runtime.preprocess import collate as collate
    from res2net_runtime.preprocess import decode_image as decode_image
    from res2net_runtime.results import Detections as Detections
    from res2net_runtime.session import FailedPrediction as FailedPrediction
    from res2net_runtime.views import Slicing as Slicing
    from res2net_runtime.views import TestTimeAugmentation as TestTimeAugmentation
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "draw": ["draw_detections"],
            "errors": ["BackendError", "HubError", "ImageError", "ModelFolderError", "Res2NetError"],
            "files": ["find_images"],
            "masks": ["masks_to_bitmaps", "masks_to_rles"],
            "model_folder": ["ModelFolder", "ModelInfo", "load_model_folder"],
            "predictor": ["Prediction", "Predictor"],
            "preprocess": ["Preprocessor", "collate", "decode_image"],
            "results": ["Detections"],
            "session": ["FailedPrediction"],
            "views": ["Slicing", "TestTimeAugmentation"],
        },
    )
    __all__ += ["__version__"]
