"""Keeps and joins the objects of samples. All entries of an object stay together: box, class, marks and mask."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["OBJECT_PREFIXES", "join_objects", "keep_objects", "object_keys"]

# How the keys begin that have an entry for each object: arrays of that many rows, and lists.
OBJECT_PREFIXES = ("gt_", "is_crowd", "difficult")


def object_keys(sample: dict) -> list[str]:
    """Return the keys of a sample that have an entry for each object."""
    return [key for key in sample if key.startswith(OBJECT_PREFIXES)]


def keep_objects(sample: dict, kept: Sequence[int] | np.ndarray) -> None:
    """Keep some objects of a sample, which is changed in place.

    Args:
        sample: The sample.
        kept: Indices, or for each object whether it stays.
    """
    kept = np.asarray(kept)
    indices = np.flatnonzero(kept) if kept.dtype == bool else kept.astype(int)
    for key in object_keys(sample):
        values = sample[key]
        sample[key] = values[indices] if isinstance(values, np.ndarray) else [values[index] for index in indices]


def join_objects(samples: Sequence[dict]) -> dict:
    """Return the objects of several samples, one sample after the other.

    Args:
        samples: Samples of one dataset, which have the same keys.
    """
    joined = {}
    for key in object_keys(samples[0]):
        values = [sample[key] for sample in samples]
        is_array = isinstance(values[0], np.ndarray)
        joined[key] = np.concatenate(values) if is_array else [one for part in values for one in part]
    return joined
