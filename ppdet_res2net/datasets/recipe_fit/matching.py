"""How well objects overlap the anchors of an RPN: as Paddle's matching sees it, without the network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

__all__ = ["Anchors"]


@dataclass(frozen=True)
class Anchors:
    """The anchors of ppdet's ``AnchorGenerator``.

    Attributes:
        sizes: For each level, the sides of the square anchors, in pixels.
        ratios: For each level, height / width.
        strides: For each level, the pixels between two anchors.
        offset: Where the first anchor of a level is, in strides.
    """

    sizes: tuple[tuple[float, ...], ...]
    ratios: tuple[tuple[float, ...], ...]
    strides: tuple[float, ...]
    offset: float = 0.0

    @classmethod
    def from_settings(cls, generator: Mapping) -> Anchors:
        """Read the arguments of an ``AnchorGenerator``; those that are missing have ppdet's defaults."""
        strides = tuple(map(float, generator.get("strides", (16.0,))))
        sizes, ratios = (
            _per_level(generator.get(name) or default, len(strides))
            for name, default in (("anchor_sizes", (32, 64, 128, 256, 512)), ("aspect_ratios", (0.5, 1.0, 2.0)))
        )
        return cls(sizes, ratios, strides, float(generator.get("offset", 0.0)))

    @property
    def smallest_px(self) -> float:
        """Side of the smallest square anchor."""
        return min(map(min, self.sizes))

    @property
    def largest_px(self) -> float:
        """Side of the largest square anchor."""
        return max(map(max, self.sizes))

    def best_overlaps(self, boxes_xyxy: np.ndarray, image_hw: np.ndarray) -> np.ndarray:
        """Return the largest overlap (IoU) of each box with any anchor of its image.

        Of the anchors of one shape, the one whose centre is nearest overlaps most, so only that one is looked at.

        Args:
            boxes_xyxy: Boxes in pixels of the resized image (N, 4).
            image_hw: Height and width of the resized image of each box (N, 2).

        Returns:
            float64 (N,), from 0 to 1.
        """
        boxes = np.asarray(boxes_xyxy, np.float64).reshape(-1, 4)
        sides, centres = boxes[:, 2:] - boxes[:, :2], (boxes[:, 2:] + boxes[:, :2]) / 2
        best = np.zeros(len(boxes))
        for sizes, ratios, stride in zip(self.sizes, self.ratios, self.strides):
            last = np.maximum(np.ceil(image_hw[:, ::-1] / stride) - 1, 0)  # of the grid, x and y
            nearest = np.clip(np.round(centres / stride - self.offset), 0, last)
            distance = np.abs((nearest + self.offset) * stride - centres)
            for size in sizes:
                for ratio in ratios:
                    anchor = np.array([size / ratio**0.5, size * ratio**0.5])
                    common = np.minimum(np.minimum(sides, anchor), (sides + anchor) / 2 - distance).clip(0)
                    intersection = common.prod(axis=1)
                    union = sides.prod(axis=1) + anchor.prod() - intersection
                    np.maximum(best, intersection / union, out=best)
        return best


def _per_level(values, levels: int) -> tuple[tuple[float, ...], ...]:
    """Return the values of each level; numbers, and a single list, are for all levels."""
    lists = list(values) if isinstance(values[0], (list, tuple)) else [values]
    if len(lists) == 1:
        lists = lists * levels
    return tuple(tuple(map(float, level)) for level in lists)
