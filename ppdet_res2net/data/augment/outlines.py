"""Polygons: clipping them, what a window shows of them, and drawing them as run lengths."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from pycocotools import mask as mask_utils

__all__ = ["MIN_SIDE_PX", "clip_polygon", "rasterize", "visible_box"]

# A narrower box counts as empty, as in detectron2's filter_empty_instances.
MIN_SIDE_PX = 1e-5

CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
NUDGE_PX = 1e-6


def rasterize(mask: list | dict, height: int, width: int) -> dict:
    """Return a mask of :func:`read_mask` as compressed run lengths of its image."""
    return mask if isinstance(mask, dict) else mask_utils.merge(mask_utils.frPyObjects(mask, height, width))


def clip_polygon(points: np.ndarray, limits: Iterable[tuple[int, float, float]]) -> np.ndarray:
    """Clip a polygon to a rectangle, with Sutherland and Hodgman's algorithm.

    Parts that fall apart stay connected along the rectangle's sides. Those connections have no area, and pycocotools draws
    none of them.

    Args:
        points: float64 (N, 2), x and y.
        limits: The axis (0: x, 1: y), its smallest and its largest value, for each axis to be clipped.

    Returns:
        float64 (M, 2). M is 0 if nothing is left.
    """
    for axis, low, high in limits:
        for sign, limit in ((1.0, low), (-1.0, high)):
            points = _clip_side(points, axis, sign, limit)
    return points


def visible_box(points: np.ndarray, size_xy: np.ndarray) -> np.ndarray | None:
    """Return the box around the part of a polygon that lies between (0, 0) and ``size_xy``.

    The points of a clipped polygon cannot say this: clipping leaves lines without area along the window's sides. The box
    holds the part of each edge that is inside, and each corner of the window that the polygon covers. Edges that only touch
    the window, or run along its side, do not count.

    Args:
        points: float64 (N, 2).
        size_xy: float64 (2,), width and height of the window.

    Returns:
        float64 (4,), x0 y0 x1 y1; None if nothing with an area is inside.
    """
    corners = CORNERS * size_xy
    slightly_inside = corners + (0.5 - CORNERS) * 2 * NUDGE_PX
    seen = np.concatenate([_clip_edges(points, size_xy), corners[_surrounds(points, slightly_inside)]])
    if not len(seen):
        return None
    box = np.concatenate([seen.min(axis=0), seen.max(axis=0)])
    return box if (box[2:] - box[:2] > MIN_SIDE_PX).all() else None


def _clip_edges(points: np.ndarray, size_xy: np.ndarray) -> np.ndarray:
    """Return both ends of the part of each edge inside the window, with Liang and Barsky's algorithm."""
    steps = np.roll(points, -1, axis=0) - points
    is_parallel = steps == 0
    safe = np.where(is_parallel, 1.0, steps)
    with np.errstate(over="ignore"):  # the edge is nearly parallel
        to_low, to_high = -points / safe, (size_xy - points) / safe
    # A parallel edge never enters or leaves: it is between both lines all the time, or never. Edges last from 0 to 1.
    is_between = (points >= 0) & (points <= size_xy)
    enter = np.where(is_parallel, np.where(is_between, 0.0, 2.0), np.minimum(to_low, to_high))
    leave = np.where(is_parallel, np.where(is_between, 1.0, -1.0), np.maximum(to_low, to_high))
    first, last = enter.max(axis=1).clip(0.0, 2.0), leave.min(axis=1).clip(-1.0, 1.0)
    middles = points + (first + last)[:, None] / 2 * steps
    is_within = (middles > NUDGE_PX) & (middles < size_xy - NUDGE_PX)
    inside = (first <= last) & is_within.all(axis=1)
    start, along = points[inside], steps[inside]
    ends = np.concatenate([start + first[inside, None] * along, start + last[inside, None] * along])
    return np.clip(ends, 0.0, size_xy)


def _surrounds(points: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return for each place (M, 2) whether the polygon surrounds it, counting crossings to the right of it."""
    following = np.roll(points, -1, axis=0)
    y = places[:, 1:]
    crosses = (points[:, 1] > y) != (following[:, 1] > y)
    rise = np.where(following[:, 1] == points[:, 1], 1.0, following[:, 1] - points[:, 1])
    x = points[:, 0] + (y - points[:, 1]) / rise * (following[:, 0] - points[:, 0])
    return (crosses & (places[:, :1] < x)).sum(axis=1) % 2 == 1


def _clip_side(points: np.ndarray, axis: int, sign: float, limit: float) -> np.ndarray:
    """Keep the part of a polygon (N, 2) on one side of a vertical or horizontal line."""
    if not len(points):
        return points
    is_inside = sign * points[:, axis] >= sign * limit
    if is_inside.all():
        return points
    following = np.roll(points, -1, axis=0)
    crosses = is_inside != np.roll(is_inside, -1)
    steps = following - points
    shares = np.divide(limit - points[:, axis], steps[:, axis], out=np.zeros(len(points)), where=crosses)
    crossings = points + shares[:, None] * steps
    crossings[:, axis] = limit
    both = np.stack([points, crossings], axis=1).reshape(-1, 2)
    return both[np.stack([is_inside, crosses], axis=1).reshape(-1)]
