"""The interface of a dataset that a loader can read."""

from __future__ import annotations

from typing import Protocol

__all__ = ["RecordDataset", "Records"]


class Records(Protocol):
    """One record per image: a dict with at least ``im_id`` (int64 (1,)) and ``im_file`` (path)."""

    def __len__(self) -> int:
        """Return the number of images."""

    def __getitem__(self, index: int, /) -> dict:
        """Return the record of an image; callers copy it before they change it."""


class RecordDataset(Protocol):
    """A dataset for detection or classification. Its files are read on first use."""

    @property
    def roidbs(self) -> Records:
        """The records of the images. ppdet's datasets use the same name."""

    def __len__(self) -> int:
        """Return the number of samples of an epoch, which may repeat images."""
