"""Datasets and loading: COCO-format data, the built-in dataset, and batches for training.

Names are loaded on first use (PEP 562), so that importing this package stays cheap.
"""

from __future__ import annotations

import importlib

_EXPORTS = {
    "COCODataSet": "coco",
    "read_annotations": "annotations",
    "read_categories": "annotations",
    "make_demo_data": "demo",
    "TrainLoader": "loader",
    "Decode": "transforms",
    "build_transforms": "transforms",
}

__all__ = list(_EXPORTS)


def __getattr__(name: str):
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_EXPORTS[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_EXPORTS])
