"""Which detections of different views are one object, and arithmetic on masks of small size.

Boxes are float (n, 4): x0, y0, x1, y1 in pixels of the image. All functions treat the classes separately.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from res2net_runtime.results import Detections

__all__ = ["Matches", "concatenate", "find_matches", "overlaps", "resample_masks", "soft_scores", "suppress"]

_CHUNK_PAIRS = 500_000  # bounds the memory for pairs of boxes


@dataclass(frozen=True)
class Matches:
    """Which boxes match which; every pair is there in both directions.

    Attributes:
        begins: int (n + 1,): the matches of box ``i`` are ``others[begins[i]:begins[i + 1]]``.
        others: int (m,).
    """

    begins: np.ndarray
    others: np.ndarray

    def where(self, condition: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Matches:
        """Return the pairs that meet a condition, which is the same in both directions."""
        first = np.repeat(np.arange(len(self.begins) - 1), np.diff(self.begins))
        is_met = condition(first, self.others)
        return Matches(np.searchsorted(first[is_met], np.arange(len(self.begins))), self.others[is_met])

    def of(self, index: int) -> np.ndarray:
        """Return the boxes that match box ``index``, without itself."""
        found: np.ndarray = self.others[self.begins[index] : self.begins[index + 1]]
        return found


def overlaps(
    a: np.ndarray, b: np.ndarray, limits_a: np.ndarray, limits_b: np.ndarray, metric: str = "iou"
) -> np.ndarray:
    """Return how much boxes overlap, one pair per row, in the part of the image that both of their views show.

    Args:
        a: Boxes (n, 4).
        b: Boxes, of a shape that goes with the first.
        limits_a: (n, 4): how far the object of each box could be seen; infinite on sides where the view does not cut it.
        limits_b: The same for the other boxes.
        metric: ``iou``, or ``ios``: intersection over the area of the smaller box.

    Returns:
        (n,) in [0, 1]; 0 where both are empty.
    """
    shared = _area(np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., 2:], b[..., 2:]))
    # What lies behind the edge that cuts one of them is not compared.
    area_a = _area(np.maximum(a[..., :2], limits_b[..., :2]), np.minimum(a[..., 2:], limits_b[..., 2:]))
    area_b = _area(np.maximum(b[..., :2], limits_a[..., :2]), np.minimum(b[..., 2:], limits_a[..., 2:]))
    whole = area_a + area_b - shared if metric == "iou" else np.minimum(area_a, area_b)
    share: np.ndarray = np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0)
    return share


def find_matches(
    boxes: np.ndarray, labels: np.ndarray, limits: np.ndarray, metric: str = "iou", threshold: float = 0.5
) -> Matches:
    """Return the pairs of boxes of one class that overlap by more than ``threshold``.

    Only boxes that meet along one axis are compared, so the time grows with the number of neighbours, and the memory is
    bounded.

    Args:
        boxes: (n, 4).
        labels: int (n,).
        limits: (n, 4), see :func:`overlaps`.
        metric: See :func:`overlaps`.
        threshold: In (0, 1).
    """
    boxes, limits = boxes.astype(np.float64), limits.astype(np.float64)
    pairs = [np.zeros((0, 2), np.int64)]
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        for first, second in _neighbours(boxes[members]):
            first, second = members[first], members[second]
            share = overlaps(boxes[first], boxes[second], limits[first], limits[second], metric)
            found = share > threshold
            pairs.append(np.stack([first[found], second[found]], axis=1))
    found = np.concatenate(pairs)
    found = np.concatenate([found, found[:, ::-1]])
    found = found[np.lexsort((found[:, 1], found[:, 0]))]
    return Matches(np.searchsorted(found[:, 0], np.arange(len(boxes) + 1)), found[:, 1])


def _neighbours(boxes: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield pairs of boxes, in parts, that include every pair which overlaps; each pair once."""
    best: tuple[int, np.ndarray, np.ndarray] | None = None
    for axis in (0, 1):  # the one along which fewer boxes meet
        order = np.argsort(boxes[:, axis], kind="stable")
        counts = np.searchsorted(boxes[order, axis], boxes[order, axis + 2]) - np.arange(len(boxes)) - 1
        counts = np.maximum(counts, 0)
        if best is None or counts.sum() < best[0]:
            best = int(counts.sum()), order, counts
    assert best is not None
    _, order, counts = best
    ends = np.cumsum(counts)
    begin = 0
    while begin < len(boxes):
        base = ends[begin] - counts[begin]
        end = max(begin + 1, int(np.searchsorted(ends, base + _CHUNK_PAIRS, side="right")))
        part = counts[begin:end]
        first = np.repeat(np.arange(begin, end), part)
        second = first + 1 + np.arange(len(first)) - np.repeat(np.cumsum(part) - part, part)
        yield order[first], order[second]
        begin = end


def suppress(order: Sequence[int] | np.ndarray, matches: Matches) -> np.ndarray:
    """Return for each box the one that it belongs to, int (n,): itself if it is kept (greedy NMS).

    Args:
        order: The boxes, the best first. Those that are not in it belong to themselves.
        matches: What :func:`find_matches` returned.
    """
    owner = np.arange(len(matches.begins) - 1)
    is_free = np.ones(len(owner), bool)
    for index in order:
        if is_free[index]:
            is_free[index] = False
            found = matches.of(index)
            found = found[is_free[found]]
            owner[found] = index
            is_free[found] = False
    return owner


def soft_scores(boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, threshold: float) -> np.ndarray:
    """Return the scores after Soft-NMS, float64 (n,).

    The box with the highest score is taken, and the scores of boxes of its class that overlap it with an IoU above
    ``threshold`` are multiplied with 1 - IoU; then the next one is taken.

    Source: Bodla et al., Soft-NMS, ICCV 2017, the linear rule.
    """
    boxes, scores = boxes.astype(np.float64), scores.astype(np.float64)
    unlimited = np.array([-np.inf, -np.inf, np.inf, np.inf])
    is_left = np.ones(len(boxes), bool)
    for _ in range(len(boxes)):
        left = np.flatnonzero(is_left)
        best = left[np.argmax(scores[left])]
        is_left[best] = False
        others = np.flatnonzero(is_left & (labels == labels[best]))
        share = overlaps(boxes[best], boxes[others], unlimited, unlimited)
        scores[others] *= np.where(share > threshold, 1 - share, 1.0)
    return scores


def resample_masks(masks: np.ndarray, boxes: np.ndarray, new_boxes: np.ndarray) -> np.ndarray:
    """Return what masks look like in other boxes: sampled bilinearly, with zeros outside of the old ones.

    Args:
        masks: float32 (n, m, m) probabilities inside ``boxes``.
        boxes: (n, 4).
        new_boxes: (n, 4).

    Returns:
        float32 (n, m, m).
    """
    side = masks.shape[-1]
    down, across = (_weights(boxes[:, axis::2], new_boxes[:, axis::2], side) for axis in (1, 0))
    sampled: np.ndarray = down @ masks.astype(np.float64) @ across.transpose(0, 2, 1)
    return sampled.astype(np.float32)


def _weights(old: np.ndarray, new: np.ndarray, side: int) -> np.ndarray:
    """Return the weights (n, new cell, old cell) of linear interpolation between the centres of the cells along an axis."""
    old, new = old.astype(np.float64), new.astype(np.float64)
    centres = new[:, :1] + (np.arange(side) + 0.5) / side * (new[:, 1:] - new[:, :1])
    extent = np.maximum(old[:, 1:] - old[:, :1], 1e-9)
    cells = (centres - old[:, :1]) / extent * side - 0.5
    weights: np.ndarray = np.clip(1 - np.abs(cells[:, :, None] - np.arange(side)), 0, None)
    return weights


def concatenate(parts: Sequence[Detections]) -> Detections:
    """Return the detections of several views of one image as one, in their order."""
    masks = [part.masks for part in parts if part.masks is not None]
    return replace(
        parts[0],
        boxes_xyxy=np.concatenate([part.boxes_xyxy for part in parts]),
        scores=np.concatenate([part.scores for part in parts]),
        labels=np.concatenate([part.labels for part in parts]),
        masks=np.concatenate(masks) if masks else None,
    )


def _area(top_left: np.ndarray, bottom_right: np.ndarray) -> np.ndarray:
    area: np.ndarray = np.prod(np.clip(bottom_right - top_left, 0, None), axis=-1)
    return area
