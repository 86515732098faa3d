"""Image classifiers: preprocessing, and prediction with an exported one."""

from __future__ import annotations

import importlib

_EXPORTS = {
    "Classification": "classifier",
    "Classifier": "classifier",
    "ClassifierPrediction": "classifier",
    "ClassifierPreprocessor": "preprocess",
    "load_classifier_folder": "folder",
    "open_rgb": "preprocess",
    "probabilities": "classifier",
}

__all__ = list(_EXPORTS)


def __getattr__(name: str):
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_EXPORTS[name]}"), name)
