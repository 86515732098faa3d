"""What a loader asks of a dataset."""

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
    """A dataset, detection's or classification's. It is read when something is asked for."""

    @property
    def roidbs(self) -> Records:
        """The images, under the name that ppdet's datasets have."""

    def __len__(self) -> int:
        """Return the number of samples of an epoch, which may repeat images."""
