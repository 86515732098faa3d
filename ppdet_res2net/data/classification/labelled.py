"""The base of datasets of labelled images: files or arrays, their labels, and the names of the classes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ppdet_res2net.data.records import Records
from ppdet_res2net.errors import DatasetError

__all__ = ["Contents", "LabelledImages"]


@dataclass(frozen=True)
class Contents:
    """A dataset that has been read.

    Attributes:
        source: Its name in messages.
        names: The path of each image, or a name for it if it lies in an archive.
        labels: int64 (N,).
        class_names: The name of each label.
        pixels: uint8 (N, H, W, 3) RGB if the images lie in an archive, else None.
    """

    source: str
    names: Sequence[str]
    labels: np.ndarray
    class_names: tuple[str, ...]
    pixels: np.ndarray | None = None


class LabelledImages(ABC):
    """Base of the datasets. Subclasses implement :meth:`_read`, which runs once, on first access."""

    _contents: Contents | None = None

    @abstractmethod
    def _read(self) -> Contents:
        """Return what the dataset holds."""

    def parse_dataset(self) -> None:
        """Read the dataset, unless that has been done. ppdet's datasets have a method of this name.

        Raises:
            DatasetError: It is missing, empty or wrong.
        """
        self._parse()

    def _parse(self) -> Contents:
        if self._contents is None:
            contents = self._read()
            if not len(contents.labels):
                raise DatasetError(f"{contents.source} holds no image. Check the path, and the split if there is one.")
            self._contents = contents
        return self._contents

    @property
    def contents(self) -> Contents:
        """What was read."""
        return self._parse()

    @property
    def class_names(self) -> tuple[str, ...]:
        """The name of each label."""
        return self.contents.class_names

    @property
    def labels(self) -> np.ndarray:
        """int64 (N,)."""
        return self.contents.labels

    @property
    def roidbs(self) -> Records:
        """One dict per image. ppdet's datasets use the same name.

        ``im_id`` (int64 (1,), its position), ``im_file``, ``label`` (int64 ()), and ``image`` (uint8 (H, W, 3) RGB) if the
        images lie in an archive. Dicts are made on access: a million of them would take a gigabyte.
        """
        return _Records(self.contents)

    def __len__(self) -> int:
        return len(self.contents.labels)


class _Records:
    def __init__(self, contents: Contents) -> None:
        self._contents = contents

    def __len__(self) -> int:
        return len(self._contents.labels)

    def __getitem__(self, index: int) -> dict:
        contents = self._contents
        record = {
            "im_id": np.array([range(len(self))[index]], np.int64),
            "im_file": contents.names[index],
            "label": np.array(contents.labels[index], np.int64),
        }
        if contents.pixels is not None:
            record["image"] = contents.pixels[index]
        return record
