"""One result of what is found in an image as it is, mirrored, and at other scales."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from res2net_runtime.merging import concatenate, find_matches, resample_masks, soft_scores, suppress
from res2net_runtime.results import Detections
from res2net_runtime.views import TestTimeAugmentation

__all__ = ["merge_variants", "mirror_back"]


def mirror_back(found: Detections) -> Detections:
    """Return what was found in a mirrored image as it is in the image itself."""
    x0, y0, x1, y1 = found.boxes_xyxy.T
    width = np.float32(found.image_hw[1])
    return replace(
        found,
        boxes_xyxy=np.stack([width - x1, y0, width - x0, y1], axis=1),
        masks=None if found.masks is None else np.ascontiguousarray(found.masks[:, :, ::-1]),
    )


def merge_variants(parts: Sequence[Detections], tta: TestTimeAugmentation) -> Detections:
    """Return one result of the detections in several variants of an image, best score first.

    Args:
        parts: One per variant, in pixels of the image.
        tta: How they are merged.
    """
    if len(parts) == 1:
        return parts[0]
    found = concatenate(parts)
    boxes, scores = found.boxes_xyxy.astype(np.float64), found.scores.astype(np.float64)
    unlimited = np.broadcast_to([-np.inf, -np.inf, np.inf, np.inf], boxes.shape)
    matches = find_matches(boxes, found.labels, unlimited, threshold=tta.match_threshold)
    owner = suppress(np.argsort(-scores, kind="stable"), matches)
    weights = np.maximum(scores, 1e-9)
    totals, counts = np.bincount(owner, weights, len(found)), np.bincount(owner, minlength=len(found))
    if tta.merging == "weighted":
        boxes = _mean(boxes, weights, owner, totals)
        scores = totals / np.maximum(counts, len(parts))
    elif tta.merging == "soft":
        scores = soft_scores(boxes, scores, found.labels, tta.match_threshold)
    masks = found.masks
    if masks is not None:
        in_merged_box = resample_masks(masks, found.boxes_xyxy, boxes[owner].astype(np.float32))
        averaged = _mean(in_merged_box, weights, owner, totals).astype(np.float32)
        masks = np.where((counts > 1)[:, None, None], averaged, masks)  # what nothing else matches stays as it is
    is_kept = counts > 0 if tta.merging != "soft" else np.ones(len(found), bool)
    merged = replace(found, boxes_xyxy=boxes.astype(np.float32), scores=scores.astype(np.float32), masks=masks)
    kept = np.flatnonzero(is_kept)
    return merged[kept[np.argsort(-merged.scores[kept], kind="stable")]]


def _mean(values: np.ndarray, weights: np.ndarray, owner: np.ndarray, totals: np.ndarray) -> np.ndarray:
    """Return the weighted mean of the values that belong to each row; rows to which none belongs are 0."""
    sums = np.zeros(values.shape, np.float64)
    shaped = weights.reshape(-1, *[1] * (values.ndim - 1))
    np.add.at(sums, owner, values * shaped)
    mean: np.ndarray = sums / np.maximum(totals, 1e-9).reshape(shaped.shape)
    return mean
