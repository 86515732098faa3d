"""ImageNet-1k, in the layouts in which it is distributed."""

from __future__ import annotations

import csv
import logging
from pathlib import Path

import numpy as np

from ppdet_res2net.data.classification.labelled import Contents, LabelledImages
from ppdet_res2net.data.classification.names import LABEL_FILES, find_label_file, read_class_names
from ppdet_res2net.data.classification.sources import ClassFolderDataSet, ClassListDataSet
from ppdet_res2net.data.image_names import ImageFolder
from ppdet_res2net.data.text_files import read_lines
from ppdet_res2net.errors import ConfigError, DatasetError
from res2net_runtime.texts import clip

__all__ = ["ImageNetDataSet"]

logger = logging.getLogger(__name__)

_NUM_CLASSES = 1000
_SOLUTION = "LOC_val_solution.csv"


class ImageNetDataSet(LabelledImages):
    """ImageNet-1k.

    Layouts, tried in this order: ``<split>/<WordNet id>/`` (torchvision, timm); ``<split>_list.txt`` (PaddleClas); the
    validation images in one folder with ``LOC_val_solution.csv`` (Kaggle). A subset of the classes is accepted if a file
    of names gives the labels.

    Args:
        dataset_dir: The dataset's folder.
        split: ``train`` or ``val``.
        label_file: Names the classes; see :func:`read_class_names`. Default: one of the usual names in ``dataset_dir``.
    """

    def __init__(self, dataset_dir: str = "", split: str = "train", label_file: str | None = None) -> None:
        if split not in ("train", "val"):
            raise ConfigError(f"ImageNetDataSet: split is {split!r}; choose train or val.")
        self.dir, self.split = Path(dataset_dir), split
        self.label_file = Path(dataset_dir) / label_file if label_file else find_label_file(dataset_dir)

    def _read(self) -> Contents:
        folder = self.dir / self.split
        name = str(self.label_file.resolve()) if self.label_file else None
        if folder.is_dir() and any(entry.is_dir() for entry in folder.iterdir()):
            contents = ClassFolderDataSet(str(self.dir), self.split, name).contents
        elif (self.dir / f"{self.split}_list.txt").is_file():
            contents = ClassListDataSet(str(self.dir), f"{self.split}_list.txt", label_file=name).contents
        elif self.split == "val" and (self.dir / _SOLUTION).is_file():
            contents = self._read_solution()
        else:
            raise DatasetError(
                f"'{self.dir}' does not have ImageNet's layout: there is no '{folder}' with a folder per class, no "
                f"'{self.split}_list.txt', and no '{_SOLUTION}'. Correct dataset_dir; nothing is downloaded."
            )
        if len(contents.class_names) != _NUM_CLASSES:
            raise DatasetError(
                f"{contents.source} has {len(contents.class_names)} classes, but ImageNet-1k has {_NUM_CLASSES}. For a "
                f"subset, the labels come from a file that names all {_NUM_CLASSES}: put one of {', '.join(LABEL_FILES[:3])} "
                f"into '{self.dir}', or pass label_file. For a dataset of your own, use ClassFolderDataSet."
            )
        if self.label_file is None:
            logger.info(
                "classes are named after their folders; put %s into '%s' for readable names", LABEL_FILES[0], self.dir
            )
        return contents

    def _read_solution(self) -> Contents:
        """Read Kaggle's table ``ImageId,PredictionString``. ``PredictionString`` begins with the WordNet id."""
        path = self.dir / _SOLUTION
        if self.label_file is None:
            raise DatasetError(
                f"'{path}' names classes by WordNet ids. Put {LABEL_FILES[0]}, which gives their order, into '{self.dir}'."
            )
        classes = read_class_names(self.label_file)
        label_of = {folder: label for label, folder in enumerate(classes.folders)}
        names, labels = [], []
        folder = ImageFolder(self.dir / self.split)
        for row in _read_table(path):
            image = f"{row.get('ImageId')}.JPEG"
            if not folder.holds(image):
                raise DatasetError(f"'{path}': {folder.explain(image)}.")
            synset = (row.get("PredictionString") or "").split(" ")[0]
            if synset not in label_of:
                raise DatasetError(
                    f"'{path}': '{clip(synset)}' of {clip(image)} is not a class of '{self.label_file}'."
                )
            names.append(str(self.dir / self.split / image))
            labels.append(label_of[synset])
        return Contents(f"'{path}'", names, np.array(labels, np.int64), classes.names)


def _read_table(path: Path) -> list[dict]:
    try:
        return list(csv.DictReader(read_lines(path, "table of labels")))
    except csv.Error as error:
        raise DatasetError(f"The table of labels '{path}' is no CSV: {error}. Download it again.") from error
