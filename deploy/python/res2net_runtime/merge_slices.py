"""One result of what is found in an image and in its slices.

A box that ends at the edge of a slice is a *part*: the object may go on behind it. All others are *wholes*. Two boxes are one
object if they overlap enough in what both views show, so a part matches the whole that it belongs to, and the part on the
other side of the edge. A whole takes the place of all that it matches, with the highest of their scores; among wholes, the
higher score decides. A whole with less than half of a part's score is no proof of it. Parts without a whole are joined, or the
best one is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from pycocotools import mask as coco_mask

from res2net_runtime.masks import masks_to_rles
from res2net_runtime.merging import Matches, concatenate, find_matches, overlaps, resample_masks, suppress
from res2net_runtime.results import Detections
from res2net_runtime.views import Region, Slicing

__all__ = ["merge_slices"]

# How far from the edge of a slice the box of an object that it cuts may end, as a share of the slice's side.
_EDGE_SHARE = 0.02
# Least score of a whole that takes the place of a part, as a share of the part's score. Without it, boxes in the wrong place
# that a view hardly believes in got the scores of parts.
_LEAST_SHARE_OF_SCORE = 0.5


def merge_slices(
    parts: Sequence[Detections], regions: Sequence[Region], image_hw: tuple[int, int], slicing: Slicing
) -> Detections:
    """Return one result of the detections in several regions of an image, best score first.

    Args:
        parts: One per region, in pixels from its corner.
        regions: The regions.
        image_hw: Height and width of the image.
        slicing: How they are merged.
    """
    found = concatenate([_shift(part, region, image_hw) for part, region in zip(parts, regions)])
    view = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    limits = _limits(found.boxes_xyxy, np.asarray(regions, np.float64).reshape(-1, 4)[view], image_hw)
    return _Merge(found, view, limits, slicing).run()


def _shift(found: Detections, region: Region, image_hw: tuple[int, int]) -> Detections:
    corner = np.array([region[0], region[1], region[0], region[1]], np.float32)
    return replace(found, boxes_xyxy=found.boxes_xyxy + corner, image_hw=image_hw)


def _limits(boxes: np.ndarray, regions: np.ndarray, image_hw: tuple[int, int]) -> np.ndarray:
    """Return the edges (n, 4) of slices at which boxes end; infinite where they end elsewhere or at the image's edge."""
    height, width = image_hw
    sides = regions[:, [2, 3, 2, 3]] - regions[:, [0, 1, 0, 1]]
    is_inside = regions != np.array([0, 0, width, height])
    is_cut = is_inside & (np.abs(boxes - regions) <= _EDGE_SHARE * sides)
    return np.where(is_cut, regions, [-np.inf, -np.inf, np.inf, np.inf])


class _Merge:
    """The detections of all views of one image, on their way to one result."""

    def __init__(self, found: Detections, view: np.ndarray, limits: np.ndarray, slicing: Slicing) -> None:
        self._found = found
        self._view = view
        self._limits = limits
        self._slicing = slicing
        self._is_part = np.isfinite(limits).any(axis=1)
        self._boxes = found.boxes_xyxy.astype(np.float64)
        self._scores = found.scores.copy()
        self._members: dict[int, list[int]] = {}  # of the parts that are joined, by the row that stands for them

    def run(self) -> Detections:
        found, slicing = self._found, self._slicing
        matches = find_matches(self._boxes, found.labels, self._limits, slicing.match_metric, slicing.match_threshold)
        matches = matches.where(self._can_be_one)
        order = np.lexsort((-found.scores, self._is_part))
        joins = slicing.combine == "nmm"
        owner = suppress(order[~self._is_part[order]] if joins else order, matches)
        np.maximum.at(self._scores, owner, found.scores)
        kept = np.flatnonzero(owner == np.arange(len(found)))
        if joins:
            wholes, parts = kept[~self._is_part[kept]], kept[self._is_part[kept]]
            kept = np.r_[wholes, self._join(parts, wholes, matches)]
        kept = kept[np.argsort(-self._scores[kept], kind="stable")]
        masks, joined_rles = self._masks()
        boxes = self._boxes.astype(np.float32)
        merged = replace(found, boxes_xyxy=boxes, scores=self._scores, masks=masks, joined_rles=joined_rles)
        return merged[kept]

    def _join(self, parts: np.ndarray, wholes: np.ndarray, matches: Matches) -> np.ndarray:
        """Join the parts of each object; returns the rows that stand for them."""
        is_left = np.zeros(len(self._found), bool)
        is_left[parts] = True
        parts = parts[np.argsort(-self._scores[parts], kind="stable")]
        joined = []
        for first in parts:
            if not is_left[first]:
                continue
            is_left[first] = False
            if not is_left[matches.of(first)].any():  # as most of them are, so it is worth its line
                joined.append(first)
                continue
            seen_by = {self._view[first]}
            while True:
                near = self._matching(first, parts[is_left[parts]])
                others = [row for row in near if self._view[row] not in seen_by]
                if not others:
                    break
                self._extend(first, others[0])
                seen_by.add(self._view[others[0]])
                is_left[others[0]] = False
            is_left[near] = False  # what the same views have found twice
            whole = self._matching(first, wholes)
            if len(whole):
                self._scores[whole[0]] = max(self._scores[whole[0]], self._scores[first])
            else:
                joined.append(first)
        return np.asarray(joined, int)

    def _matching(self, row: int, others: np.ndarray) -> np.ndarray:
        """Return those of the other rows that are the same object, in their order."""
        rows = others[self._found.labels[others] == self._found.labels[row]]
        metric, threshold = self._slicing.match_metric, self._slicing.match_threshold
        share = overlaps(self._boxes[row], self._boxes[rows], self._limits[row], self._limits[rows], metric)
        rows = rows[share > threshold]
        matching: np.ndarray = rows[self._can_be_one(np.full(len(rows), row), rows)]
        return matching

    def _can_be_one(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Return whether two rows that overlap can be one object, which a part and a whole with a low score are not."""
        first_share = self._found.scores[first] >= _LEAST_SHARE_OF_SCORE * self._found.scores[second]
        second_share = self._found.scores[second] >= _LEAST_SHARE_OF_SCORE * self._found.scores[first]
        is_part, other_is_part = self._is_part[first], self._is_part[second]
        can_be: np.ndarray = (is_part | ~other_is_part | first_share) & (~is_part | other_is_part | second_share)
        return can_be

    def _extend(self, row: int, other: int) -> None:
        """Let a row stand for another part, too."""
        self._members.setdefault(row, [row]).append(other)
        (a, b), (limits_a, limits_b) = self._boxes[[row, other]], self._limits[[row, other]]
        is_further = np.r_[b[:2] < a[:2], b[2:] > a[2:]]
        self._boxes[row] = np.where(is_further, b, a)
        self._limits[row] = np.where(is_further, limits_b, limits_a)

    def _masks(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Return the masks, and those of joined parts as run lengths in the image."""
        found = self._found
        if found.masks is None or not self._members:
            return found.masks, None
        masks, joined = found.masks.copy(), np.full(len(found), None, object)
        for row, members in self._members.items():
            new_boxes = np.repeat(self._boxes[[row]], len(members), axis=0)
            masks[row] = resample_masks(found.masks[members], found.boxes_xyxy[members], new_boxes).max(axis=0)
            rles = masks_to_rles(found.masks[members], found.boxes_xyxy[members], found.image_hw, found.mask_threshold)
            joined[row] = coco_mask.merge(rles)
        return masks, joined
