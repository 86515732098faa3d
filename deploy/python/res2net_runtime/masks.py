"""Paste the mask head's small probability masks into the image, directly as COCO's run-length encoding.

A mask is sampled bilinearly at the centre of every pixel, with zeros outside of it, and a pixel is set if the value
reaches the threshold. PaddleDetection's ``paste_mask`` does this for whole images. Along a column of pixels, the values
form a line from each mask cell to the next, so it is enough to find where those lines cross the threshold: the work
grows with the width of a box, not with its area, and no array of the image's size is ever allocated.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

__all__ = ["masks_to_bitmaps", "masks_to_rles"]

# Columns processed at once. This limits the memory and keeps the arrays in the cache.
_CHUNK_COLUMNS = 2048


def masks_to_rles(
    masks: np.ndarray, boxes_xyxy: np.ndarray, image_hw: tuple[int, int], threshold: float = 0.5
) -> list[dict[str, Any]]:
    """Return each instance's bitmap in the image as COCO's compressed RLE.

    Args:
        masks: float32 (n, m, m) probabilities in [0, 1].
        boxes_xyxy: float32 (n, 4), pixels of the image; may reach beyond it. A box that has no area, or a
            coordinate that is not finite, gives an empty bitmap.
        image_hw: (height, width) of the image in pixels.
        threshold: A pixel is set if its probability is at least this, in (0, 1].

    Returns:
        One ``{"size": [height, width], "counts": bytes}`` per instance, as ``pycocotools.mask.encode`` would
        give.

    Raises:
        ValueError: A shape or the threshold is wrong.
    """
    height, width = (int(side) for side in image_hw)
    counts = _run_lengths(masks, boxes_xyxy, (height, width), threshold)
    uncompressed = [{"size": [height, width], "counts": one} for one in counts]
    rles: list[dict[str, Any]] = coco_mask.frPyObjects(uncompressed, height, width) if uncompressed else []
    return rles


def masks_to_bitmaps(
    masks: np.ndarray, boxes_xyxy: np.ndarray, image_hw: tuple[int, int], threshold: float = 0.5
) -> np.ndarray:
    """Return bitmaps as bool (n, height, width). Arguments and errors are those of :func:`masks_to_rles`."""
    height, width = (int(side) for side in image_hw)
    bitmaps = np.zeros((len(masks), height, width), dtype=bool)
    for bitmap, counts in zip(bitmaps, _run_lengths(masks, boxes_xyxy, (height, width), threshold)):
        bitmap[:] = np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(width, height).T
    return bitmaps


def _run_lengths(
    masks: np.ndarray, boxes_xyxy: np.ndarray, image_hw: tuple[int, int], threshold: float
) -> list[np.ndarray]:
    """Return COCO's run lengths, background first, of each instance, counting down the image's columns."""
    masks = np.asarray(masks, dtype=np.float32)
    boxes_xyxy = np.asarray(boxes_xyxy, dtype=np.float32)
    if masks.ndim != 3 or masks.shape[1] != masks.shape[2] or boxes_xyxy.shape != (len(masks), 4):
        raise ValueError(f"Expected masks (n, m, m) and boxes (n, 4), got {masks.shape} and {boxes_xyxy.shape}.")
    if not 0 < threshold <= 1:
        raise ValueError(f"The mask threshold must be in (0, 1], got {threshold}.")
    count, total_pixels = len(masks), image_hw[0] * image_hw[1]
    instance, start, stop = _find_runs(masks, boxes_xyxy, image_hw, np.float32(threshold))
    joined = (stop[:-1] == start[1:]) & (instance[:-1] == instance[1:])  # a run that goes on in the next column
    is_start, is_stop = np.ones(len(start), dtype=bool), np.ones(len(stop), dtype=bool)
    is_start[1:], is_stop[:-1] = ~joined, ~joined
    changes = np.stack([start[is_start], stop[is_stop]], axis=1).ravel()
    bounds = 2 * np.searchsorted(instance[is_start], np.arange(count + 1))
    first, last = bounds[:-1], bounds[1:]
    has_runs = last > first
    lengths = np.diff(changes, prepend=0)
    lengths[first[has_runs]] = changes[first[has_runs]]  # counted from the first pixel, not from the instance before
    tail = np.full(count, total_pixels)
    tail[has_runs] -= changes[last[has_runs] - 1]
    lengths = np.insert(lengths, last, tail).astype(np.uint32)
    ends = last + np.arange(1, count + 1)
    begins = np.r_[0, ends[:-1]]
    return [lengths[begin:end] for begin, end in zip(begins, ends - (tail == 0))]


def _find_runs(
    masks: np.ndarray, boxes_xyxy: np.ndarray, image_hw: tuple[int, int], threshold: np.float32
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the instance, first pixel and last pixel + 1 of every run, counting down the image's columns."""
    count, mask_size = masks.shape[:2]
    padded = np.zeros((count, mask_size + 2, mask_size + 2), dtype=np.float32)  # indexed by instance, x, y
    padded[:, 1:-1, 1:-1] = masks.transpose(0, 2, 1)
    has_area = np.isfinite(boxes_xyxy).all(axis=1)
    has_area &= (boxes_xyxy[:, 2:] > boxes_xyxy[:, :2]).all(axis=1)
    boxes_xyxy = np.where(has_area[:, None], boxes_xyxy, np.float32(0))

    x0, x1 = boxes_xyxy[:, 0].astype(np.float64), boxes_xyxy[:, 2].astype(np.float64)
    reach = (x1 - x0) / mask_size / 2  # bilinear sampling sees the outermost cells from half a cell beyond the box
    first = np.ceil(np.clip(x0 - reach - 0.5, 0, image_hw[1])).astype(np.int64)
    last = np.floor(np.clip(x1 + reach - 0.5, -1, image_hw[1] - 1)).astype(np.int64)
    columns = np.where(has_area, np.maximum(last - first + 1, 0), 0)
    instance = np.repeat(np.arange(count), columns)
    column = np.arange(len(instance)) + np.repeat(first - (np.cumsum(columns) - columns), columns)

    found = [(np.zeros(0, np.int64),) * 3]
    for begin in range(0, len(instance), _CHUNK_COLUMNS):
        chunk = slice(begin, begin + _CHUNK_COLUMNS)
        found.append(_runs_in_columns(padded, boxes_xyxy, instance[chunk], column[chunk], image_hw[0], threshold))
    instance, start, stop = (np.concatenate(parts) for parts in zip(*found))
    return instance, start, stop


def _runs_in_columns(
    padded: np.ndarray,
    boxes_xyxy: np.ndarray,
    instance: np.ndarray,
    column: np.ndarray,
    image_height: int,
    threshold: np.float32,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the runs of :func:`_find_runs` in the given columns of the image, one instance per column."""
    mask_size = padded.shape[1] - 2
    x0, y0, x1, y1 = boxes_xyxy.T
    # Across the columns: the float32 arithmetic of paste_mask and of grid_sample with align_corners=False.
    centre = column.astype(np.float32) + np.float32(0.5)
    normalized = (centre - x0.take(instance)) / (x1 - x0).take(instance) * np.float32(2) - np.float32(1)
    position = ((normalized + np.float32(1)) * np.float32(mask_size) - np.float32(1)) / np.float32(2)
    cell = np.floor(position)
    far = (position - cell)[:, None]
    index = np.clip(cell.astype(np.int64) + 1, 0, mask_size)
    lines = padded.reshape(-1, mask_size + 2)
    index += instance * (mask_size + 2)
    values, towards = lines.take(index, axis=0), lines.take(index + 1, axis=0)
    towards -= values
    towards *= far
    values += towards  # (columns, mask_size + 2), zero at both ends

    # Down the columns: every second crossing begins a run, and the next one ends it.
    is_set = values >= threshold
    change = np.flatnonzero(is_set[:, 1:] != is_set[:, :-1])
    row = change // (mask_size + 1)
    cell = change - row * (mask_size + 1)
    values = values.ravel()
    change += row  # now an index into the values, of which every row has one more
    before, after = values.take(change).astype(np.float64), values.take(change + 1).astype(np.float64)
    crossing = cell - 0.5 + (threshold - before) / (after - before)  # in mask cells from the top of the box
    top, bottom = y0.astype(np.float64), y1.astype(np.float64)
    cell_px = (bottom - top) / mask_size
    pixel = top.take(instance).take(row) + crossing * cell_px.take(instance).take(row) - 0.5
    start = np.clip(np.ceil(pixel[0::2]), 0, image_height).astype(np.int64)
    stop = np.clip(np.floor(pixel[1::2]) + 1, 0, image_height).astype(np.int64)
    has_pixels = stop > start
    row = row[0::2][has_pixels]
    offset = column[row] * image_height
    return instance[row], offset + start[has_pixels], offset + stop[has_pixels]
