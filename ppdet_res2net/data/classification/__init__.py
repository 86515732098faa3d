"""Images with one label each: where they come from, how they are augmented and mixed."""

from __future__ import annotations

import importlib

_EXPORTS = {
    "CIFARDataSet": "cifar",
    "ClassFolderDataSet": "sources",
    "ClassListDataSet": "sources",
    "ImageNetDataSet": "imagenet",
    "LabelledImageLoader": "loader",
    "LabelledImages": "labelled",
    "find_bad_images": "check",
    "open_dataset": "layout",
    "read_class_names": "names",
    "write_digits": "small_sets",
    "write_object_crops": "small_sets",
}

# The datasets that a recipe may name.
DATASETS = ("ClassFolderDataSet", "ClassListDataSet", "CIFARDataSet", "ImageNetDataSet")

__all__ = ["DATASETS", *_EXPORTS]


def __getattr__(name: str):
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_EXPORTS[name]}"), name)
