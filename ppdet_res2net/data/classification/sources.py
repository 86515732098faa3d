"""Datasets of files: a folder per class, and lists of paths with labels."""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path

import numpy as np

from ppdet_res2net.data.classification.labelled import Contents, LabelledImages
from ppdet_res2net.data.classification.names import ClassNames, find_label_file, read_class_names
from ppdet_res2net.data.image_names import ImageFolder, composed
from ppdet_res2net.data.text_files import read_lines
from ppdet_res2net.errors import DatasetError, did_you_mean
from ppdet_res2net.files import images_below
from res2net_runtime.files import IMAGE_SUFFIXES
from res2net_runtime.texts import printable, storable

__all__ = ["ClassFolderDataSet", "ClassListDataSet"]

_SPLITS = {"train", "val", "valid", "validation", "test"}
# What is left of a line with several labels when the last one is taken away
_SEVERAL_LABELS = re.compile(
    rf"(?:{'|'.join(map(re.escape, IMAGE_SUFFIXES))})[\s,]+[0-9]+(?:[\s,]+[0-9]+)*,?$", re.IGNORECASE
)
_ENDS_OF_LABELS = "0123456789,"
# Without a file of names, there is a class for every number up to the largest label.
_LABEL = re.compile("[0-9]{1,6}")


class ClassFolderDataSet(LabelledImages):
    """One folder per class, with images in it at any depth.

    Args:
        dataset_dir: The dataset's folder.
        image_dir: The folder of the classes, below ``dataset_dir``; usually the split: ``train``, ``val``.
        label_file: Names the classes; see :func:`read_class_names`. Default: one of the usual names in
            ``dataset_dir`` if there is one, else the folders, sorted, are the classes.
        allow_empty: Accept classes without an image.
    """

    def __init__(
        self, dataset_dir: str = "", image_dir: str = "", label_file: str | None = None, allow_empty: bool = False
    ) -> None:
        self.root = Path(dataset_dir) / image_dir
        self.label_file = Path(dataset_dir) / label_file if label_file else find_label_file(dataset_dir)
        self.allow_empty = allow_empty

    def _read(self) -> Contents:
        if not self.root.is_dir():
            raise DatasetError(f"There is no image folder '{self.root}'. Correct dataset_dir and image_dir.")
        folders = sorted(entry.name for entry in os.scandir(self.root) if entry.is_dir() and entry.name[0] != ".")
        strange = next((folder for folder in folders if storable(folder) != folder), None)
        if strange is not None:
            raise DatasetError(
                f"The name of the class folder '{printable(self.root / strange)}' is not UTF-8, so no file of results could "
                "hold it. Rename the folder."
            )
        if not folders:
            raise DatasetError(
                f"'{self.root}' has no folders; expected one per class with the images in it. If the images are listed "
                f"in a file, use ClassListDataSet."
            )
        if len(folders) > 1 and _SPLITS.issuperset(folders):
            raise DatasetError(
                f"The folders in '{self.root}' are {', '.join(folders)}: these are splits, not classes. Set image_dir to one "
                "of them."
            )
        classes = self._classes(folders)
        label_of = {composed(folder): label for label, folder in enumerate(classes.folders)}
        names, labels = [], []
        for folder in folders:
            found = images_below(self.root / folder)
            if not found and not self.allow_empty:
                raise DatasetError(
                    f"The class folder '{self.root / folder}' has no image ({', '.join(IMAGE_SUFFIXES)}). Add some, "
                    f"remove the folder, or set allow_empty: true to keep the class without images."
                )
            names += found
            labels += [label_of[composed(folder)]] * len(found)
        return Contents(f"The folder '{self.root}'", names, np.array(labels, np.int64), classes.names)

    def _classes(self, folders: list[str]) -> ClassNames:
        if self.label_file is None:
            return ClassNames(tuple(folders), tuple(folders))
        classes = read_class_names(self.label_file)
        known = Counter(map(composed, classes.folders))
        repeated = next((name for name, count in known.items() if count > 1), None)
        if repeated is not None:
            raise DatasetError(
                f"'{self.label_file}' names two classes '{repeated}', so the folder of neither is known. Give each class a "
                "name of its own."
            )
        unknown = [folder for folder in folders if composed(folder) not in known]
        if unknown:
            raise DatasetError(
                f"'{self.root}' has a folder '{unknown[0]}', which is not among the {len(classes.folders)} classes that "
                f"'{self.label_file}' names.{did_you_mean(unknown[0], classes.folders)} Rename or remove the folder "
                f"({len(unknown)} of {len(folders)} are unknown), or pass another label_file."
            )
        return classes


class ClassListDataSet(LabelledImages):
    """Images from a text file with one ``path label`` per line, as in PaddleClas' lists.

    Args:
        dataset_dir: The dataset's folder.
        list_file: The list, below ``dataset_dir``.
        image_dir: What the paths are relative to, below ``dataset_dir``. Paths that lead out of it are refused; ``/`` allows
            absolute ones.
        label_file: Names the classes; see :func:`read_class_names`. Default: one of the usual names in
            ``dataset_dir`` if there is one, else the classes are named by their numbers, up to the largest label.
    """

    def __init__(
        self,
        dataset_dir: str = "",
        list_file: str = "train_list.txt",
        image_dir: str = "",
        label_file: str | None = None,
    ) -> None:
        self.root = Path(dataset_dir) / image_dir
        self.list_file = Path(dataset_dir) / list_file
        self.label_file = Path(dataset_dir) / label_file if label_file else find_label_file(dataset_dir)

    def _read(self) -> Contents:
        lines = read_lines(self.list_file, "image list", may_be_empty=True)
        classes = read_class_names(self.label_file) if self.label_file else None
        names, labels, folder = [], [], ImageFolder(self.root)
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            path, _, label = map(str.strip, line.strip().rpartition("\t" if "\t" in line else " "))
            where = f"'{self.list_file}', line {number}"
            if not path or not _LABEL.fullmatch(label):
                raise DatasetError(
                    f"{where}: got '{printable(line.strip()[:200])}', expected 'path label' with a label of 0 or more, of at "
                    "most six digits."
                )
            if path[-1] in _ENDS_OF_LABELS and _SEVERAL_LABELS.search(path):
                raise DatasetError(
                    f"{where}: '{printable(line.strip()[:200])}' has several labels; a classifier learns one for each image. "
                    "Leave one of them."
                )
            if classes and int(label) >= len(classes.names):
                raise DatasetError(
                    f"{where}: the label of '{path}' is {label}, but '{self.label_file}' names {len(classes.names)} classes, "
                    f"so labels go from 0 to {len(classes.names) - 1}. Correct the line, or the file of names."
                )
            # Most names are plain: only those that could lead out of the folder are worth the time.
            if (path[0] == "/" or ".." in path) and not folder.holds(path):
                raise DatasetError(f"{where}: {folder.explain(path)}.")
            names.append(str(self.root / path))
            labels.append(int(label))
        if classes is None:
            numbers = tuple(str(label) for label in range(max(labels, default=-1) + 1))
            classes = ClassNames(numbers, numbers)
        source = f"The list '{self.list_file}'"
        return Contents(source, names, np.array(labels, np.int64), classes.names)
