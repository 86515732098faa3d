"""Chooses the annotations that can be trained on; box, class, crowd flag and mask of each stay together."""

from __future__ import annotations

import logging
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from ppdet_res2net.data.annotations import check_polygons, check_rle, is_number, list_first

__all__ = ["InstanceSelection", "select_instances"]

logger = logging.getLogger(__name__)

MIN_SIDE_PX = 1e-5
# Annotation tools round; a box that reaches this far beyond the image is cut without a word.
TOLERATED_OVERHANG_PX = 1.0

NO_BOX = "without a box of four finite numbers"
NO_SIZE = "with a box of zero or negative size"
OUTSIDE = "with a box outside its image"
NO_MASK = "without a usable mask"


@dataclass
class InstanceSelection:
    """The annotations to train on, as parallel sequences.

    Attributes:
        annotations: The annotations themselves.
        boxes_xyxy: float32 (N, 4), cut at the border of the image.
        segmentations: Per annotation a list of float64 polygons or a compressed RLE; None where no masks were
            asked for.
    """

    annotations: list[dict]
    boxes_xyxy: np.ndarray
    segmentations: list[list[np.ndarray] | dict | None]


def select_instances(
    annotations: list[dict],
    sizes: dict[int, tuple[int, int]],
    with_masks: bool,
    load_crowd: bool,
    source: str,
) -> InstanceSelection:
    """Leave out what cannot be trained on, and log how many annotations that were and which.

    Args:
        annotations: Annotations in COCO's format, with ``iscrowd``; those of unlisted images are passed over.
        sizes: Image id -> (height, width).
        with_masks: Whether an annotation needs a mask.
        load_crowd: Whether crowd regions are kept.
        source: Name of the annotation file, for the log.

    Returns:
        The annotations that are left.
    """
    annotations = [
        annotation
        for annotation in annotations
        if annotation["image_id"] in sizes
        and not annotation.get("ignore", False)
        and (load_crowd or not annotation["iscrowd"])
    ]
    dropped: dict[str, list[int]] = defaultdict(list)
    boxes_xyxy, reasons = _clean_boxes(annotations, sizes, source)
    kept, segmentations = [], []
    for index, (annotation, reason) in enumerate(zip(annotations, reasons)):
        segmentation = None
        if reason is None and with_masks:
            segmentation = _clean_segmentation(annotation.get("segmentation"), *sizes[annotation["image_id"]])
            reason = None if segmentation else NO_MASK
        if reason is None:
            kept.append(index)
            segmentations.append(segmentation)
        else:
            dropped[reason].append(annotation["id"])
    for reason, ids in dropped.items():
        logger.warning(
            "'%s': %d annotations %s are not used: annotation id %s",
            source,
            len(ids),
            reason,
            list_first(ids),
        )
    return InstanceSelection([annotations[index] for index in kept], boxes_xyxy[kept], segmentations)


def _clean_boxes(annotations, sizes, source) -> tuple[np.ndarray, list[str | None]]:
    """Return the boxes as (x0, y0, x1, y1) inside the image, and for each why it cannot be used, or None."""
    boxes_xywh = np.array([_read_box(annotation) for annotation in annotations], np.float64).reshape(-1, 4)
    limits = np.array(
        [sizes[annotation["image_id"]][::-1] * 2 for annotation in annotations], np.float64
    ).reshape(-1, 4)
    whole = np.concatenate([boxes_xywh[:, :2], boxes_xywh[:, :2] + boxes_xywh[:, 2:]], axis=1)
    # PaddleDetection rounds to 3 decimals; the same here, so that both train on the same numbers.
    boxes_xyxy = np.clip(whole.round(3), 0.0, limits)
    reasons = np.full(len(annotations), None, dtype=object)
    is_flat = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2] <= MIN_SIDE_PX).any(axis=1)
    reasons[is_flat] = OUTSIDE
    reasons[(boxes_xywh[:, 2:] <= MIN_SIDE_PX).any(axis=1)] = NO_SIZE
    reasons[~np.isfinite(boxes_xywh).all(axis=1)] = NO_BOX
    overhang_px = np.abs(whole - boxes_xyxy).max(axis=1, initial=0.0)
    cut = [
        annotation["id"]
        for annotation, over, reason in zip(annotations, overhang_px, reasons)
        if reason is None and over > TOLERATED_OVERHANG_PX
    ]
    if cut:
        logger.warning(
            "'%s': %d boxes reach beyond their image and were cut at its border: annotation id %s",
            source,
            len(cut),
            list_first(cut),
        )
    return boxes_xyxy.astype(np.float32), reasons.tolist()


def _read_box(annotation: dict) -> list[float]:
    box = annotation.get("bbox")
    is_box = isinstance(box, list) and len(box) == 4 and all(map(is_number, box))
    return box if is_box else [np.nan] * 4


def _clean_segmentation(segmentation: object, height: int, width: int) -> list[np.ndarray] | dict | None:
    if isinstance(segmentation, dict):
        return check_rle(segmentation, height, width)
    return check_polygons(segmentation)
