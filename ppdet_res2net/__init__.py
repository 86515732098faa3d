"""The Res2Net family for PaddlePaddle object detection and classification.

Importing this package is cheap and changes nothing: names are loaded on first use (PEP 562).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from res2net_runtime import __version__ as __version__
from res2net_runtime._lazy import lazy_names

if TYPE_CHECKING:
    from ppdet_res2net.config import load_config as load_config
    from ppdet_res2net.errors import Res2NetError as Res2NetError
    from ppdet_res2net.modeling import Res2Net as Res2Net
    from ppdet_res2net.modeling import Res2NetClassifier as Res2NetClassifier
    from ppdet_res2net.ppdet_modules.registry import register_modules as register_modules
    from ppdet_res2net.zoo import create_backbone as create_backbone
    from ppdet_res2net.zoo import create_classifier as create_classifier
    from ppdet_res2net.zoo import get_model_spec as get_model_spec
    from ppdet_res2net.zoo import list_models as list_models
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "config": ["load_config"],
            "errors": ["Res2NetError"],
            "modeling": ["Res2Net", "Res2NetClassifier"],
            "ppdet_modules.registry": ["register_modules"],
            "zoo": ["create_backbone", "create_classifier", "get_model_spec", "list_models"],
        },
    )
    __all__ += ["__version__"]
