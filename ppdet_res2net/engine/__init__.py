"""Configuration, training, evaluation, prediction, export: one module each; none knows argparse."""

from __future__ import annotations

import importlib

# ``train`` is not here: the module of that name would take the function's place once it is imported.
_EXPORTS = {
    "load_config": "config",
    "evaluate_from_config": "evaluate",
    "predict_files": "predict",
    "export_model": "export",
}

__all__ = list(_EXPORTS)


def __getattr__(name: str):
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_EXPORTS[name]}"), name)
