"""Fits the anchors of an RPN to the objects of a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ppdet_res2net.datasets.recipe_fit.matching import Anchors

__all__ = ["FittedAnchors", "fit_free", "fit_octaves"]

USUAL_RATIOS = (0.5, 1.0, 2.0)
_MOST_OBJECTS = 3000
_SMALLEST, _LARGEST = 2.0, 8.0  # size of an anchor, in strides of its level
_STEPS = 24  # sizes that are tried for each level
_PASSES = 4
# Other ratios have to be better by this mean overlap to replace the usual ones.
_WORTH_IT = 0.01
_GOOD_OVERLAP = 0.5


@dataclass(frozen=True)
class FittedAnchors:
    """Anchors for each level of a pyramid.

    Attributes:
        sizes: The root of the area of the anchors of each level, in pixels of the resized image.
        ratios: Height by width.
        strides: Strides of the levels.
        mean_overlap: The overlap (IoU) of an object with the best anchor, mean over the objects.
        covered: The share of objects for which this is at least 0.5.
    """

    sizes: tuple[int, ...]
    ratios: tuple[float, ...]
    strides: tuple[int, ...]
    mean_overlap: float
    covered: float


def fit_free(boxes_xyxy: np.ndarray, image_hw: np.ndarray, strides: Sequence[int], largest_px: float) -> FittedAnchors:
    """Fit a size for each level: those with the largest mean overlap with the objects, rising from level to level.

    Args:
        boxes_xyxy: The objects in the resized images (N, 4).
        image_hw: Height and width of the resized image of each (N, 2).
        strides: Strides of the levels.
        largest_px: The longer side of the resized image.
    """
    objects = _Objects(boxes_xyxy, image_hw, strides)
    limits = [(_SMALLEST * stride, _LARGEST * stride) for stride in strides]
    limits[-1] = (limits[-1][0], max(limits[-1][1], largest_px))
    sizes = [4.0 * stride for stride in strides]
    for _ in range(_PASSES):
        for level, (low, high) in enumerate(limits):
            low = max(low, sizes[level - 1] if level else 0.0)
            high = min(high, sizes[level + 1] if level + 1 < len(sizes) else np.inf)
            tried = [sizes[level], *np.geomspace(low, high, _STEPS)] if high > low else [sizes[level]]
            options = [[*sizes[:level], size, *sizes[level + 1 :]] for size in tried]
            sizes = max(options, key=lambda option: objects.mean(option, USUAL_RATIOS, digits=4))
    return objects.with_ratios([round(size) for size in sizes])


def fit_octaves(boxes_xyxy: np.ndarray, image_hw: np.ndarray, strides: Sequence[int]) -> FittedAnchors:
    """Fit sizes that double from level to level, as those of published detectors do, so that their weights stay of use.

    Args:
        boxes_xyxy: The objects in the resized images (N, 4).
        image_hw: Height and width of the resized image of each (N, 2).
        strides: Strides of the levels, which double, too.
    """
    objects = _Objects(boxes_xyxy, image_hw, strides)
    usual = [_LARGEST * stride for stride in strides]
    scales = np.geomspace(1.0, 0.5, _STEPS)  # of equally good ones, the first
    scale = max(scales, key=lambda one: objects.mean([one * size for size in usual], USUAL_RATIOS, digits=2))
    return objects.with_ratios([round(scale * size) for size in usual])


class _Objects:
    """Objects to fit anchors to, of many an even selection."""

    def __init__(self, boxes_xyxy: np.ndarray, image_hw: np.ndarray, strides: Sequence[int]) -> None:
        step = -(-len(boxes_xyxy) // _MOST_OBJECTS)
        self.boxes_xyxy, self.image_hw, self.strides = boxes_xyxy[::step], image_hw[::step], tuple(strides)

    def overlaps(self, sizes: Sequence[float], ratios: Sequence[float]) -> np.ndarray:
        """Return the overlap of each object with the best anchor: float (N,)."""
        anchors = Anchors(tuple((size,) for size in sizes), (tuple(ratios),) * len(self.strides), self.strides)
        return anchors.best_overlaps(self.boxes_xyxy, self.image_hw)

    def mean(self, sizes: Sequence[float], ratios: Sequence[float], digits: int) -> float:
        """Return the mean overlap, rounded so that small differences do not decide."""
        return round(float(self.overlaps(sizes, ratios).mean()), digits)

    def with_ratios(self, sizes: Sequence[int]) -> FittedAnchors:
        """Choose three ratios for these sizes: the usual ones, or those of the objects if these are clearly better."""
        sides = self.boxes_xyxy[:, 2:] - self.boxes_xyxy[:, :2]
        quantiles = np.quantile(np.log(sides[:, 1] / sides[:, 0]), (0.1, 0.5, 0.9))
        own = tuple(sorted({round(float(ratio), 2) for ratio in np.exp(quantiles).clip(0.05, 20)}))
        is_better = self.mean(sizes, own, 4) > self.mean(sizes, USUAL_RATIOS, 4) + _WORTH_IT
        ratios = own if is_better and len(own) == len(USUAL_RATIOS) else USUAL_RATIOS
        overlaps = self.overlaps(sizes, ratios)
        covered = float((overlaps >= _GOOD_OVERLAP).mean())
        return FittedAnchors(tuple(sizes), ratios, self.strides, float(overlaps.mean()), covered)
