"""The ppdet side: our modules under ppdet's own YAML names, and inference for its R-CNNs."""

from __future__ import annotations

import importlib

_EXPORTS = {
    "register_modules": "registry",
    "create_dataset": "registry",
    "create_from_config": "registry",
    "RCNNInference": "inference",
}

__all__ = list(_EXPORTS)


def __getattr__(name: str):
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_EXPORTS[name]}"), name)
