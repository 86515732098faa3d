"""Run lengths in COCO's two forms. Everything is checked here, because pycocotools' decoder checks nothing."""

from __future__ import annotations

import numpy as np
from pycocotools import mask as mask_utils

from ppdet_res2net.data.values import show, to_whole_number

__all__ = ["read_run_lengths"]

# COCO writes 5 bits of a number per character, from "0" on; the sixth bit says that the number goes on.
FIRST_CHARACTER, MORE, SIGN, VALUE = ord("0"), 0x20, 0x10, 0x1F
MAX_CHARACTERS = 7  # of one number: runs have 32 bits


def read_run_lengths(segmentation: dict, height: int, width: int) -> dict | str:
    """Return a mask in COCO's compressed form, or say why it is none.

    Given wrong runs, pycocotools would crash, or make a mask of uninitialised memory.

    Args:
        segmentation: ``size`` and ``counts``, as the file holds them.
        height: Height of the image in pixels.
        width: Width of the image in pixels.

    Returns:
        ``size`` and ``counts`` (bytes), or a phrase.
    """
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if size != [height, width]:
        sides = [to_whole_number(side) for side in size] if isinstance(size, list) else size
        if sides != [height, width]:
            swapped = ", which is [width, height]," if sides == [width, height] else ""
            return f"run lengths of size {show(size)}{swapped} in an image of [height, width] = {[height, width]}"
    if isinstance(counts, (str, bytes)):
        compressed = counts.encode("ascii", "replace") if isinstance(counts, str) else counts
        runs = _decompress(compressed)
        return _complain(runs, height * width) or {"size": [height, width], "counts": compressed}
    if not isinstance(counts, list):
        return f"run lengths whose counts are {show(counts)}, neither a list nor text"
    if not set(map(type, counts)) <= {int}:
        whole = [None if isinstance(run, bool) else to_whole_number(run) for run in counts]
        wrong = next((index for index, run in enumerate(whole) if run is None), None)
        if wrong is not None:
            return f"run lengths with {show(counts[wrong])} among the counts"
        counts = whole
    try:
        runs = np.array(counts, np.int64)
    except OverflowError:
        return "run lengths with a count of more than 64 bits"
    return _complain(runs, height * width) or mask_utils.frPyObjects(
        {"size": [height, width], "counts": counts}, height, width
    )


def _complain(runs: np.ndarray | str, pixels: int) -> str:
    if isinstance(runs, str):
        return runs
    if len(runs) > pixels + 1:
        return f"{len(runs)} run lengths for {pixels} pixels"
    if len(runs) and (runs.min() < 0 or runs.max() > pixels):
        return "run lengths that are negative, or longer than the image"
    total = int(runs.sum())
    if total != pixels:
        return f"run lengths that do not add up to the pixels of the image: {total} instead of {pixels}"
    return ""


def _decompress(counts: bytes) -> np.ndarray | str:
    """Decode COCO's compressed runs, or say why they cannot be decoded.

    Numbers are signed. From the fourth run on, each is the difference to the run two before.
    """
    characters = np.frombuffer(counts, np.uint8).astype(np.int64) - FIRST_CHARACTER
    if not len(characters):
        return "run lengths without any count"
    if characters.min() < 0 or characters.max() > (MORE | SIGN | VALUE):
        return "run lengths with characters that COCO's compressed form does not use"
    ends = np.flatnonzero(characters < MORE)
    if not len(ends) or ends[-1] != len(characters) - 1:
        return "run lengths that are cut off within a number"
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > MAX_CHARACTERS:
        return "run lengths with a number of more than 32 bits"
    places = np.arange(len(characters)) - np.repeat(starts, lengths)
    runs = np.add.reduceat((characters & VALUE) << (5 * places), starts)
    runs -= np.where(characters[ends] & SIGN, 1 << (5 * lengths), 0)
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs
