"""Run lengths in COCO's two forms. Everything is checked here, because pycocotools' decoder checks nothing."""

from __future__ import annotations

from pycocotools import mask as mask_utils

from ppdet_res2net.data.values import show, to_whole_number

__all__ = ["read_run_lengths"]

# COCO writes 5 bits of a number per character, from "0" on; the sixth bit says that the number goes on.
FIRST_CHARACTER, BITS, MORE, SIGN, VALUE = ord("0"), 5, 0x20, 0x10, 0x1F
ALPHABET = bytes(range(FIRST_CHARACTER, FIRST_CHARACTER + 64))
# Of one number: 30 bits, which is more than an image may have pixels. pycocotools reads a seventh character wrongly if the
# number is negative.
MAX_CHARACTERS = 6


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
        compressed = counts.encode("utf-8", "surrogatepass") if isinstance(counts, str) else counts
        runs = _decompress(compressed)
        if isinstance(runs, str):
            return runs
        if complaint := _complain(runs, height * width):
            return complaint
        if 0 not in runs[1:]:
            return {"size": [height, width], "counts": compressed}
        return _compress(runs, height, width)
    if not isinstance(counts, list):
        return f"run lengths whose counts are {show(counts)}, neither a list nor text"
    if not set(map(type, counts)) <= {int}:
        whole = [None if isinstance(run, bool) else to_whole_number(run) for run in counts]
        wrong = next((index for index, run in enumerate(whole) if run is None), None)
        if wrong is not None:
            return f"run lengths with {show(counts[wrong])} among the counts"
        counts = [run for run in whole if run is not None]
    return _complain(counts, height * width) or _compress(counts, height, width)


def _compress(runs: list[int], height: int, width: int) -> dict:
    """Return checked runs in COCO's compressed form, without empty ones.

    Of runs without pixels behind the first, pycocotools makes boxes of 4e9 pixels, and merged masks whose last part is
    uninitialised memory.
    """
    if 0 in runs[1:]:
        joined = [0]
        for index, run in enumerate(runs):
            if run and index % 2 == len(joined) % 2:  # not of the same kind as the last one
                joined.append(0)
            joined[-1] += run
        runs = joined
    return mask_utils.frPyObjects({"size": [height, width], "counts": runs}, height, width)


def _complain(runs: list[int], pixels: int) -> str:
    if len(runs) > pixels + 1:
        return f"{len(runs)} run lengths for {pixels} pixels"
    if runs and min(runs) < 0:
        return "run lengths that are negative"
    total = sum(runs)
    if total != pixels:
        return f"run lengths that do not add up to the pixels of the image: {show(total)} instead of {pixels}"
    return ""


def _decompress(counts: bytes) -> list[int] | str:
    """Decode COCO's compressed runs, or say why they cannot be decoded.

    Numbers are signed. From the fourth run on, each is the difference to the run two before.
    """
    if not counts:
        return "run lengths without any count"
    if counts.translate(None, ALPHABET):
        return "run lengths with characters that COCO's compressed form does not use"
    runs: list[int] = []
    value = shift = 0
    for character in counts:
        bits = character - FIRST_CHARACTER
        value |= (bits & VALUE) << shift
        shift += BITS
        if bits & MORE:
            if shift >= BITS * MAX_CHARACTERS:
                return "run lengths with a number of more than 30 bits"
            continue
        if bits & SIGN:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = shift = 0
    return "run lengths that are cut off within a number" if shift else runs
