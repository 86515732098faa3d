"""Recognises the layout of a dataset folder and opens the dataset."""

from __future__ import annotations

import os
from pathlib import Path

from ppdet_res2net.data.classification.cifar import CIFARDataSet, is_cifar
from ppdet_res2net.data.classification.imagenet import ImageNetDataSet
from ppdet_res2net.data.classification.labelled import LabelledImages
from ppdet_res2net.data.classification.sources import ClassFolderDataSet, ClassListDataSet
from ppdet_res2net.errors import DatasetError

__all__ = ["open_dataset"]


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
    folder = Path(path)
    label_file = os.path.abspath(label_file) if label_file else None
    dataset: LabelledImages
    if is_cifar(folder):
        dataset = CIFARDataSet(str(folder), split)
    elif not folder.is_dir():
        raise DatasetError(f"There is no dataset '{folder}'. Check the path; nothing is downloaded.")
    elif (folder / split).is_dir() and any(entry.is_dir() for entry in os.scandir(folder / split)):
        dataset = ClassFolderDataSet(str(folder), split, label_file)
    elif (folder / f"{split}_list.txt").is_file():
        dataset = ClassListDataSet(str(folder), f"{split}_list.txt", label_file=label_file)
    elif split == "val" and (folder / "LOC_val_solution.csv").is_file():
        dataset = ImageNetDataSet(str(folder), split, label_file)
    elif any((folder / name).exists() for name in ("train", "val", "train_list.txt", "val_list.txt")):
        raise DatasetError(
            f"'{folder}' has other splits, but neither '{split}/' nor '{split}_list.txt'. Check --split."
        )
    else:
        dataset = ClassFolderDataSet(str(folder), "", label_file)
    dataset.parse_dataset()
    return dataset
