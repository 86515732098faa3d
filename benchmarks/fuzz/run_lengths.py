"""Damaged and hostile run-length masks: whatever is accepted must be the pixels that a slow decoder of its own finds.

The runtime's masks are decoded in the same way, and compared with its bitmaps.

python -m benchmarks.fuzz.run_lengths [--seed SEED] [--count COUNT] [--minutes MINUTES]
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as mask_utils

from benchmarks.fuzz.harness import run_main
from ppdet_res2net.data.masks import mask_area, outline_box, rasterize, read_mask
from ppdet_res2net.errors import DatasetError
from res2net_runtime import masks_to_bitmaps, masks_to_rles

__all__ = ["try_one"]

_MOST_DECODED = 300_000  # pixels; of larger images, only the runs are compared
_HOSTILE_RUNS = (-(2**40), -(2**31), -1, 0, 0, 0, 1, 2, 255, 2**29, 2**30, 2**31, 2**32 - 1, 2**32, 2**63, 10**400)
_HOSTILE_VALUES: tuple[Any, ...] = (
    None, True, False, "", "0", " 7 ", "7.0", "seven", 0.0, 0.5, 1e300, float("nan"), float("inf"), [], [[]], {}, "\0",
    "é", "\ud800", "９", "[1, 2]",
)  # fmt: skip
_MOST_RUNS = 100_000  # many more would only take the fuzzer's own time
_CHARACTERS = [*map(chr, range(48, 112)), "\0", "\x01", "/", "p", "\x7f", "\x80", "é", "€", "\ud800", " ", "\n"]


def try_one(generator: random.Random, folder: Path) -> str:
    """Make a mask, damage it, and compare what is read of it with what the slow decoder reads.

    Raises:
        DatasetError: The mask is refused.
        AssertionError: The pixels differ.
    """
    if generator.random() < 0.15:
        return _try_runtime(generator)
    height, width = _size(generator)
    runs = _runs(generator, height * width)
    counts: Any = runs if generator.random() < 0.5 else _write(runs, generator)
    is_sound = generator.random() < 0.2 and len(runs) <= height * width + 1
    segmentation = {"size": [height, width], "counts": counts}
    if not is_sound:
        for _ in range(generator.choice((1, 1, 2, 4))):
            segmentation["counts"] = _damage(segmentation["counts"], generator)
        if generator.random() < 0.1:
            segmentation["size"] = _damage_size(height, width, generator)
    reading = read_mask(_dress(segmentation, generator), height, width)
    if reading.mask is None:
        assert not is_sound, f"refused although it is sound: {reading.complaint}"
        raise DatasetError(reading.complaint)
    expected = _expect(segmentation["counts"])
    assert expected is not None and sum(expected) == height * width, "accepted although the runs are wrong"
    _compare(rasterize(reading.mask, height, width), expected, height, width)
    assert mask_area(reading.mask, height, width) == sum(expected[1::2])
    return "read: a list" if isinstance(segmentation["counts"], list) else "read: compressed"


def _size(generator: random.Random) -> tuple[int, int]:
    if generator.random() < 0.05:
        return generator.choice(((13_000, 13_000), (1, 65_535), (65_535, 2_700), (1, 1)))
    return generator.randrange(1, 40), generator.randrange(1, 40)


def _runs(generator: random.Random, pixels: int) -> list[int]:
    """Return runs that add up to the pixels; some have none."""
    count = generator.choice((1, 2, 3, 10, 60))
    cuts = sorted(generator.randrange(pixels + 1) for _ in range(count - 1))
    return [stop - start for start, stop in zip([0, *cuts], [*cuts, pixels])]


def _write(runs: list[int], generator: random.Random) -> str | bytes:
    """Write runs in COCO's compressed form; a number may have more characters than it needs."""
    text = ""
    for index, run in enumerate(runs):
        number = run - runs[index - 2] if index > 2 else run
        length = generator.choice((1, 1, 1, 2, 5)) if generator.random() < 0.1 else 1
        while not -(1 << 5 * length - 1) <= number < 1 << 5 * length - 1:
            length += 1
        bits = [number >> 5 * place & 31 for place in range(length)]
        text += "".join(chr(48 + one + (32 if place < length - 1 else 0)) for place, one in enumerate(bits))
    return text if generator.random() < 0.7 else text.encode()


def _damage(counts: Any, generator: random.Random) -> Any:
    if isinstance(counts, list):
        return _damage_list(list(counts), generator)
    text = counts.decode("utf-8", "surrogateescape") if isinstance(counts, bytes) else str(counts)
    place = generator.randrange(len(text) + 1)
    action = generator.randrange(6)
    if action == 0:
        text = text[:place] + generator.choice(_CHARACTERS) + text[place:]
    elif action == 1:
        text = text[:place] + generator.choice(_CHARACTERS) + text[place + 1 :]
    elif action == 2:
        text = text[:place] + text[place + generator.randrange(1, 5) :]
    elif action == 3:
        text = text[:place] + text[place : place + 9] * generator.choice((2, 3, 1000)) + text[place:]
    elif action == 4:
        text = (
            text[:place] + "".join(generator.choices(_CHARACTERS[:64], k=generator.choice((1, 7, 30)))) + text[place:]
        )
    else:
        text = text[:place] + generator.choice("PQno_") * generator.choice((1, 5, 6, 7, 8)) + text[place:]
    return text.encode("utf-8", "surrogatepass") if isinstance(counts, bytes) else text


def _damage_list(counts: list[Any], generator: random.Random) -> Any:
    place = generator.randrange(len(counts) + 1)
    action = generator.randrange(7)
    if action == 0:  # the sum stays
        counts[place:place] = [0] * generator.choice((1, 2, 3, 4, 1000))
    elif action == 1:
        counts.insert(place, generator.choice(_HOSTILE_RUNS))
    elif action == 2:
        counts[place : place + 1] = [generator.choice(_HOSTILE_VALUES)]
    elif action == 3 and len(counts) > 1 and all(type(run) is int for run in counts):  # the sum stays
        one, other = generator.sample(range(len(counts)), 2)
        change = generator.choice((1, 5, 2**31, 2**32, 2**64))
        counts[one] += change
        counts[other] -= change
    elif action == 4:
        del counts[place:]
    elif action == 5:
        spell = generator.choice((str, float, bool, lambda run: f" {run}.0 "))
        return [spell(run) if type(run) is int and abs(run) < 2**53 else run for run in counts]
    else:
        return generator.choice((*_HOSTILE_VALUES, (counts * 100)[:_MOST_RUNS], [counts], tuple(counts)))
    return counts


def _damage_size(height: int, width: int, generator: random.Random) -> Any:
    sides = ([width, height], [height, width, 1], [height], [[height, width]], [str(height), width], (height, width))
    others: tuple[Any, ...] = (
        None,
        {},
        height,
        [height, width + 1],
        [0, 0],
        [-height, -width],
        [float(height), float("nan")],
    )
    return generator.choice((*sides, *others, [2**32 + height, width]))


def _dress(segmentation: dict, generator: random.Random) -> Any:
    """Return the mask as it is, in a list, twice in a list, or as text."""
    form = generator.randrange(8)
    if form == 1:
        return [segmentation]
    if form == 2:
        return [segmentation, segmentation]
    if form == 3 and not isinstance(segmentation["counts"], bytes):
        return json.dumps(segmentation)
    return segmentation


def _expect(counts: Any) -> list[int] | None:
    """Return the runs of a mask by the definition of the format; None if there are none."""
    if isinstance(counts, (list, tuple)):
        runs = [_whole(run) for run in counts]
    else:
        runs = list(_numbers(counts.encode("utf-8", "replace") if isinstance(counts, str) else counts))
    if any(run is None or run < 0 for run in runs):
        return None
    return runs  # type: ignore[return-value]


def _whole(run: Any) -> int | None:
    try:
        number = None if isinstance(run, bool) else int(float(run)) if isinstance(run, str) else int(run)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if number is not None and float(number) == float(run) else None


def _numbers(text: bytes) -> Iterator[int | None]:
    """Yield the runs of COCO's compressed form, and None if it is cut off."""
    runs: list[int] = []
    bits = ""
    for byte in text:
        if not 48 <= byte < 112:
            yield None
            return
        bits = f"{byte - 48 & 31:05b}" + bits
        if byte - 48 < 32:
            number = int(bits, 2) - (1 << len(bits) if bits[0] == "1" else 0)
            runs.append(number + runs[-2] if len(runs) > 2 else number)
            yield runs[-1]
            bits = ""
    if bits:
        yield None


def _compare(rle: dict, runs: list[int], height: int, width: int) -> None:
    """Compare a mask with the runs that it should have: its pixels, its box, and what it is merged with itself."""
    again = [run for run in _numbers(rle["counts"]) if run is not None]
    assert sum(again) == height * width and rle["size"] == [height, width]
    assert _spans(again) == _spans(runs), "wrong pixels"
    if height * width > _MOST_DECODED:
        return
    bitmap = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T
    for one in (rle, mask_utils.merge([rle, rle]), mask_utils.merge([rle, rle], intersect=True)):
        assert (mask_utils.decode(one) == bitmap).all(), "pycocotools decodes other pixels"
    if bitmap.any():
        assert mask_utils.iou([rle], [rle], [0]) == 1, "pycocotools finds another mask"
        rows, columns = np.nonzero(bitmap)
        box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert (outline_box(rle) == box).all(), "wrong box"


def _spans(runs: list[int]) -> list[tuple[int, int]]:
    """Return the first pixel and the one behind the last of each part that is set; parts that touch are one."""
    spans: list[tuple[int, int]] = []
    end = 0
    for index, run in enumerate(runs):
        start, end = end, end + run
        if index % 2 and run:
            spans.append((spans.pop()[0] if spans and spans[-1][1] == start else start, end))
    return spans


def _try_runtime(generator: random.Random) -> str:
    """Compare the runs that the runtime writes for a few masks with its bitmaps."""
    count, side = generator.choice((0, 1, 2, 5)), generator.choice((1, 2, 7, 28))
    height, width = generator.randrange(1, 60), generator.randrange(1, 60)
    arrays = np.random.RandomState(generator.randrange(2**32))
    masks = generator.choice((_noise, _blocks))(arrays, (count, side, side))
    boxes = arrays.uniform(-20, 70, (count, 4))
    boxes[:, 2:] = boxes[:, :2] + arrays.uniform(-3, generator.choice((1, 20, 200)), (count, 2))
    for _ in range(generator.choice((0, 0, 1, 3)) if count else 0):
        row, column = generator.randrange(count), generator.randrange(4)
        boxes[row, column] = generator.choice((float("nan"), float("inf"), -float("inf"), 1e9, -1e9, 1e30, 3e38, 0, 5))
    boxes = boxes.astype(np.float32)
    threshold = generator.choice((0.5, 0.5, 1e-3, 1.0))
    rles = masks_to_rles(masks, boxes, (height, width), threshold)
    bitmaps = masks_to_bitmaps(masks, boxes, (height, width), threshold)
    assert len(rles) == count and bitmaps.shape == (count, height, width)
    for rle, bitmap in zip(rles, bitmaps):
        runs = [run for run in _numbers(rle["counts"]) if run is not None]
        assert 0 not in runs[1:], "a run without pixels"
        assert (np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T == bitmap).all()
        _compare(rle, runs, height, width)
    return "written by the runtime"


def _noise(arrays: np.random.RandomState, shape: tuple[int, ...]) -> np.ndarray:
    return arrays.uniform(0, 1, shape).astype(np.float32)


def _blocks(arrays: np.random.RandomState, shape: tuple[int, ...]) -> np.ndarray:
    values: Callable[..., Any] = arrays.choice
    return values(np.array([0, 0.5, 1], np.float32), shape)


if __name__ == "__main__":
    run_main("benchmarks.fuzz.run_lengths", __doc__ or "")
