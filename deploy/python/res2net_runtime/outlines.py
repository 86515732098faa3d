"""Masks as outlines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask

__all__ = ["find_outlines", "join_outlines", "simplify_outline"]

_ENLARGED, _ENLARGED_LESS = 4, 2  # times; outlines are then right to an eighth or a quarter of a pixel
_LARGE_PIXELS = 4_000_000


def find_outlines(rle: Mapping[str, Any]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return the outlines of a mask.

    Args:
        rle: COCO's compressed run lengths.

    Returns:
        The outlines of its parts, and those of its holes: float64 (n, 2) each, x and y in pixels of the image.
    """
    x, y, width, height = (int(value) for value in coco_mask.toBbox(rle))
    bitmap = coco_mask.decode(rle)[y : y + height, x : x + width]
    times = _ENLARGED if bitmap.size <= _LARGE_PIXELS else _ENLARGED_LESS
    large = bitmap.repeat(times, axis=0).repeat(times, axis=1)
    found, hierarchy = cv2.findContours(large, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    parts: list[np.ndarray] = []
    holes: list[np.ndarray] = []
    for outline, (_, _, _, parent) in zip(found, [] if hierarchy is None else hierarchy[0]):
        if len(outline) > 2:
            (parts if parent < 0 else holes).append((outline.reshape(-1, 2) + 0.5) / times + (x, y))
    return parts, holes


def join_outlines(outlines: Sequence[np.ndarray]) -> np.ndarray:
    """Return outlines as one, (n, 2): the others are joined to the largest by lines without width."""
    joined, *others = sorted(outlines, key=lambda outline: -abs(_signed_area(outline)))
    for outline in others:
        distances = np.square(joined[:, None] - outline[None]).sum(axis=2)
        here, there = np.unravel_index(distances.argmin(), distances.shape)
        turned = np.roll(outline, -there, axis=0)
        joined = np.concatenate([joined[: here + 1], turned, turned[:1], joined[here:]])
    return joined


def simplify_outline(outline: np.ndarray, tolerance_px: float) -> np.ndarray:
    """Return an outline of fewer points, (m, 2), nowhere further from the given one than the tolerance."""
    fewer: np.ndarray = cv2.approxPolyDP(outline.astype(np.float32), tolerance_px, closed=True).reshape(-1, 2)
    return fewer.astype(np.float64) if len(fewer) > 2 else outline


def _signed_area(outline: np.ndarray) -> float:
    x, y = outline.T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2
