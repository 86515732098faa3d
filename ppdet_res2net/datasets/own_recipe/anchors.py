"""Fits the anchors of an RPN to the objects of a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Anchors", "best_overlaps", "fit_free", "fit_octaves"]

USUAL_RATIOS = (0.5, 1.0, 2.0)
_MOST_OBJECTS = 3000
_SMALLEST, _LARGEST = 2.0, 8.0  # size of an anchor, in strides of its level
_STEPS = 24  # sizes that are tried for each level
_PASSES = 4
# Other ratios have to be better by this mean overlap to replace the usual ones.
_WORTH_IT = 0.01
_GOOD_OVERLAP = 0.5
# Multiples of these, without their whole parts, cover a square evenly (the R2 sequence).
_EVEN_STEPS = np.array([0.7548776662466927, 0.5698402909980532])


@dataclass(frozen=True)
class Anchors:
    """Anchors for each level of a pyramid.

    Attributes:
        sizes: The root of the area of the anchors of each level, in pixels of the resized image.
        ratios: Height by width.
        strides: Strides of the levels.
        mean_overlap: The overlap (IoU) of an object with the best anchor near it, mean over the objects.
        covered: The share of objects for which this is at least 0.5.
    """

    sizes: tuple[int, ...]
    ratios: tuple[float, ...]
    strides: tuple[int, ...]
    mean_overlap: float
    covered: float


def best_overlaps(
    sides_px: np.ndarray, sizes: Sequence[float], ratios: Sequence[float], strides: Sequence[int]
) -> np.ndarray:
    """Return the overlap (IoU) of each object with the best of the anchors nearest to it: float (N,).

    The anchors of a level are as far apart as its stride, so an object is beside the nearest one. How far is taken from a fixed
    sequence that covers all positions evenly. So a large stride is only good for large objects.

    Args:
        sides_px: Width and height of the objects (N, 2).
        sizes: The root of the area of the anchors of each level.
        ratios: Height by width of the anchors.
        strides: Strides of the levels.
    """
    pairs = [(size, stride, ratio) for size, stride in zip(sizes, strides, strict=True) for ratio in ratios]
    anchors = np.array([(size / ratio**0.5, size * ratio**0.5) for size, _, ratio in pairs])
    places = (np.arange(1, len(sides_px) + 1)[:, None] * _EVEN_STEPS) % 1.0 - 0.5
    offsets = places[:, None] * np.array([stride for _, stride, _ in pairs], float)[:, None]
    sides = sides_px[:, None]
    common = (np.minimum(sides, anchors + 2 * offsets) + np.minimum(sides, anchors - 2 * offsets)) / 2
    common = np.minimum(common, np.minimum(sides, anchors)).clip(0).prod(axis=2)
    union = sides_px.prod(axis=1)[:, None] + anchors.prod(axis=1) - common
    return (common / union).max(axis=1)


def fit_free(sides_px: np.ndarray, strides: Sequence[int], largest_px: float) -> Anchors:
    """Fit a size for each level: those with the largest mean overlap with the objects, rising from level to level.

    Args:
        sides_px: Width and height of the objects in the resized image (N, 2).
        strides: Strides of the levels.
        largest_px: The longer side of the resized image.
    """
    objects = _sample(sides_px)
    limits = [(_SMALLEST * stride, _LARGEST * stride) for stride in strides]
    limits[-1] = (limits[-1][0], max(limits[-1][1], largest_px))
    sizes = [4.0 * stride for stride in strides]
    for _ in range(_PASSES):
        for level, (low, high) in enumerate(limits):
            low = max(low, sizes[level - 1] if level else 0.0)
            high = min(high, sizes[level + 1] if level + 1 < len(sizes) else np.inf)
            tried = [sizes[level], *np.geomspace(low, high, _STEPS)] if high > low else [sizes[level]]
            options = [[*sizes[:level], size, *sizes[level + 1 :]] for size in tried]
            sizes = max(options, key=lambda option: _mean(objects, option, USUAL_RATIOS, strides, 4))
    return _with_ratios(objects, [round(size) for size in sizes], strides)


def fit_octaves(sides_px: np.ndarray, strides: Sequence[int]) -> Anchors:
    """Fit sizes that double from level to level, as those of published detectors do, so that their weights stay of use.

    Args:
        sides_px: Width and height of the objects in the resized image (N, 2).
        strides: Strides of the levels, which double, too.
    """
    objects = _sample(sides_px)
    usual = [_LARGEST * stride for stride in strides]
    scales = np.geomspace(1.0, 0.5, _STEPS)  # of equally good ones, the first
    scale = max(scales, key=lambda one: _mean(objects, [one * size for size in usual], USUAL_RATIOS, strides, 2))
    return _with_ratios(objects, [round(scale * size) for size in usual], strides)


def _mean(
    objects: np.ndarray, sizes: Sequence[float], ratios: Sequence[float], strides: Sequence[int], digits: int
) -> float:
    return round(float(best_overlaps(objects, sizes, ratios, strides).mean()), digits)


def _sample(sides_px: np.ndarray) -> np.ndarray:
    return sides_px[:: -(-len(sides_px) // _MOST_OBJECTS)]


def _with_ratios(objects: np.ndarray, sizes: list[int], strides: Sequence[int]) -> Anchors:
    """Choose three ratios: the usual ones, or those of the objects if these are clearly better."""
    quantiles = np.quantile(np.log(objects[:, 1] / objects[:, 0]), (0.1, 0.5, 0.9))
    own = tuple(sorted({round(float(ratio), 2) for ratio in np.exp(quantiles).clip(0.05, 20)}))
    usual_mean, own_mean = (_mean(objects, sizes, ratios, strides, 4) for ratios in (USUAL_RATIOS, own))
    ratios = own if len(own) == len(USUAL_RATIOS) and own_mean > usual_mean + _WORTH_IT else USUAL_RATIOS
    overlaps = best_overlaps(objects, sizes, ratios, strides)
    covered = float((overlaps >= _GOOD_OVERLAP).mean())
    return Anchors(tuple(sizes), ratios, tuple(strides), float(overlaps.mean()), covered)
