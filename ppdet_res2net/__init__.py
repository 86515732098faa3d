"""The Res2Net family for PaddlePaddle object detection and classification.

Importing this package is cheap and changes nothing: names are loaded on first use (PEP 562).
"""

from __future__ import annotations

import importlib

from res2net_runtime import __version__

_EXPORTS = {
    "Res2Net": "ppdet_res2net.modeling",
    "Res2NetClassifier": "ppdet_res2net.modeling",
    "list_models": "ppdet_res2net.zoo",
    "get_model_spec": "ppdet_res2net.zoo",
    "create_backbone": "ppdet_res2net.zoo",
    "create_classifier": "ppdet_res2net.zoo",
    "register_modules": "ppdet_res2net.ppdet_modules.registry",
    "load_config": "ppdet_res2net.config",
    "Res2NetError": "ppdet_res2net.errors",
}

__all__ = ["__version__", *_EXPORTS]


def __getattr__(name: str):
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_EXPORTS])
