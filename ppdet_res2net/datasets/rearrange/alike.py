"""Groups images that show nearly the same, which belong into one split."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from ppdet_res2net.datasets.check.pictures import SIGNATURE_SIDE, Picture

__all__ = ["group_alike", "group_to_split"]

# Two grey thumbnails show the same if they correlate so strongly. Brightness and contrast do not matter, and copies that were
# mirrored or turned are found, too. All pairs that check-dataset calls alike are among them.
MIN_CORRELATION = 0.98
# For images that hardly differ, as those of a fixed camera: frames that follow each other; then only the same files.
STRICTER = (0.995, 2.0)
# Pictures with less contrast than this, in grey levels, are compared by their content only: noise would decide.
MIN_CONTRAST = 4.0
_COMPARED_AT_ONCE = 1024
_MOST_TURNED = 20_000  # with more images, turned and mirrored copies are not looked for: it would take minutes
# Roboflow writes each augmented copy of a picture as its name, '.rf.' and a hash.
_ROBOFLOW = re.compile(r"\.rf\.[0-9A-Za-z]{16,}$")


def group_to_split(pictures: Sequence[Picture], share: float) -> tuple[dict[int, int], str]:
    """Return a group for each image id, so that a share of the images can be held out without breaking a group.

    If nearly all images look alike, only those that are closer to each other stay together.

    Args:
        pictures: The pictures.
        share: The share of the images to hold out.

    Returns:
        The groups; and what the user should know about them, a sentence, or an empty text.
    """
    groups, correlation = group_alike(pictures), MIN_CORRELATION
    for stricter in STRICTER:
        if max(Counter(groups).values(), default=0) > (1 - share / 2) * len(groups):
            groups, correlation = group_alike(pictures, stricter), stricter
    by_id = {picture.image_id: group for picture, group in zip(pictures, groups, strict=True)}
    if correlation == MIN_CORRELATION:
        return by_id, ""
    closest = "the most similar ones" if correlation <= 1 else "copies of a file"
    note = (
        f"Most images look alike, as those of a fixed camera do, so only {closest} were kept together. The AP may be "
        "better than on images of another day or place."
    )
    return by_id, note


def group_alike(pictures: Sequence[Picture], min_correlation: float = MIN_CORRELATION) -> list[int]:
    """Return the group of each picture: those that look alike, also over others in between, have the same number.

    Args:
        pictures: The pictures. One that could not be read is a group of its own.
        min_correlation: How similar pictures have to be; above 1, only copies of a file and of a picture in Roboflow count.
    """
    groups = _Groups(len(pictures))
    first_of: dict[object, int] = {}
    for index, picture in enumerate(pictures):
        stem = picture.path.stem
        source = (picture.path.parent, _ROBOFLOW.sub("", stem)) if _ROBOFLOW.search(stem) else None
        for key in filter(None, (picture.digest, source)):
            groups.join(index, first_of.setdefault(key, index))
    for index, other in _find_alike(pictures, min_correlation) if min_correlation <= 1 else ():
        groups.join(index, other)
    return [groups.find(index) for index in range(len(pictures))]


class _Groups:
    """Disjoint sets of numbers."""

    def __init__(self, count: int) -> None:
        self._parents = list(range(count))

    def find(self, index: int) -> int:
        while self._parents[index] != index:
            self._parents[index] = index = self._parents[self._parents[index]]
        return index

    def join(self, one: int, other: int) -> None:
        first, later = sorted((self.find(one), self.find(other)))
        self._parents[later] = first


def _find_alike(pictures: Sequence[Picture], min_correlation: float) -> Iterator[tuple[int, int]]:
    """Yield pairs of indices of pictures that look the same."""
    signatures = {
        index: one.signature
        for index, one in enumerate(pictures)
        if one.signature is not None and one.signature.std() >= MIN_CONTRAST
    }
    if not signatures:
        return
    signed, table = list(signatures), np.stack(list(signatures.values()))
    table = (table - table.mean(axis=1, keepdims=True)) / (table.std(axis=1, keepdims=True) * SIGNATURE_SIDE)
    squares = table.reshape(-1, SIGNATURE_SIDE, SIGNATURE_SIDE)
    variants = [squares, squares[:, :, ::-1]]
    if len(table) <= _MOST_TURNED:
        variants = [np.rot90(one, turns, axes=(1, 2)) for one in variants for turns in range(4)]
    flat = [np.ascontiguousarray(one).reshape(len(table), -1) for one in variants]
    for start in range(0, len(table), _COMPARED_AT_ONCE):
        rows = table[start : start + _COMPARED_AT_ONCE]
        alike = np.zeros((len(rows), start + len(rows)), bool)
        for one in flat:
            alike |= rows @ one[: start + len(rows)].T >= min_correlation
        for row, column in np.argwhere(alike):
            yield signed[start + row], signed[column]
