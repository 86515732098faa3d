"""Recognises the layout of a dataset folder and opens the dataset."""

from __future__ import annotations

import os
from pathlib import Path

from ppdet_res2net.data.classification.cifar import CIFARDataSet, is_cifar
from ppdet_res2net.data.classification.imagenet import ImageNetDataSet
from ppdet_res2net.data.classification.labelled import LabelledImages
from ppdet_res2net.data.classification.sources import ClassFolderDataSet, ClassListDataSet
from ppdet_res2net.errors import DatasetError

__all__ = ["find_held_out", "open_dataset", "recognise"]


# What people call the images to evaluate on, in the order in which they are looked for.
_HELD_OUT = ("val", "validation", "valid", "test")


def open_dataset(path: str | os.PathLike[str], split: str = "val", label_file: str | None = None) -> LabelledImages:
    """Recognise the layout of a dataset folder and open the dataset.

    Args:
        path: A CIFAR archive or its folder; or a folder with ``<split>/<class>/``, with ``<split>_list.txt``, with
            Kaggle's ImageNet files, or directly with a folder per class.
        split: The part to open.
        label_file: Names the classes; see :func:`read_class_names`.

    Raises:
        DatasetError: There is no such dataset, or it is wrong.
    """
    kind, settings = recognise(path, split, label_file)
    dataset = kind(**settings)
    dataset.parse_dataset()
    return dataset


def recognise(
    path: str | os.PathLike[str], split: str, label_file: str | None = None
) -> tuple[type[LabelledImages], dict[str, str]]:
    """Return the class and the arguments of the dataset that :func:`open_dataset` opens; both are valid in a recipe.

    Raises:
        DatasetError: There is no such dataset.
    """
    folder = Path(path)
    common = {"dataset_dir": str(folder)}
    names = {"label_file": os.path.abspath(label_file)} if label_file else {}
    if is_cifar(folder):
        return CIFARDataSet, {**common, "split": split}
    if not folder.is_dir():
        raise DatasetError(f"There is no dataset '{folder}'. Check the path; nothing is downloaded.")
    if _has_class_folders(folder / split):
        return ClassFolderDataSet, {**common, "image_dir": split, **names}
    if (folder / f"{split}_list.txt").is_file():
        return ClassListDataSet, {**common, "list_file": f"{split}_list.txt", **names}
    if split == "val" and (folder / "LOC_val_solution.csv").is_file():
        return ImageNetDataSet, {**common, "split": split, **names}
    if any((folder / name).exists() for name in ("train", "val", "train_list.txt", "val_list.txt")):
        raise DatasetError(
            f"'{folder}' has other splits, but neither '{split}/' nor '{split}_list.txt'. Check --split."
        )
    return ClassFolderDataSet, {**common, "image_dir": "", **names}


def find_held_out(path: str | os.PathLike[str]) -> str | None:
    """Return the name of the split to evaluate on; None if the dataset has one set of images only."""
    folder = Path(path)
    if is_cifar(folder):
        return "test"
    for name in _HELD_OUT:
        if _has_class_folders(folder / name) or (folder / f"{name}_list.txt").is_file():
            return name
    return "val" if (folder / "LOC_val_solution.csv").is_file() else None


def _has_class_folders(folder: Path) -> bool:
    return folder.is_dir() and any(entry.is_dir() for entry in os.scandir(folder))
