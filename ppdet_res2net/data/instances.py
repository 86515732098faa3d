"""Chooses the annotations that can be trained on. Box, class, crowd flag and mask of each stay together."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from ppdet_res2net.data.annotations import read_polygons, read_rle
from ppdet_res2net.data.problems import ERROR, WARNING, Finding, Problem, describe, group_by_problem
from ppdet_res2net.data.structure import is_box

__all__ = ["InstanceSelection", "examine_instances", "has_no_masks", "select_instances"]

logger = logging.getLogger(__name__)

MIN_SIDE_PX = 1e-5
# Annotation tools round. A box that reaches only this far beyond the image is clipped without a message.
TOLERATED_OVERHANG_PX = 1.0
NOT_USED = "are not used"

NO_BOX = Problem(
    "no-box",
    WARNING,
    "annotations without a box of four finite numbers",
    NOT_USED,
    "Write bbox as [x, y, width, height] in pixels.",
)
NO_BOX_SIZE = Problem(
    "empty-box",
    WARNING,
    "annotations with a box of zero or negative size",
    NOT_USED,
    "Often an accidental click, or [x0, y0, x1, y1] instead of [x, y, width, height]. Draw the box again, or remove the "
    "annotation.",
)
OUTSIDE = Problem(
    "box-outside",
    WARNING,
    "annotations with a box outside its image",
    NOT_USED,
    "Often normalized or swapped coordinates, or the annotation of another image. Correct or remove it.",
)
CUT = Problem(
    "box-cut",
    WARNING,
    "boxes that reach beyond their image",
    "are clipped to it",
    "Correct them if this is not the image that was annotated.",
)
NO_MASK = Problem(
    "no-mask",
    WARNING,
    "annotations without a usable mask",
    "are not used where masks are trained",
    "A mask is a list of polygons of at least three points, or run lengths that fill the image exactly.",
)
BAD_PART = Problem(
    "unusable-polygon",
    WARNING,
    "masks with parts that are not polygons",
    "lose these parts",
    "A polygon has at least three points, that is six numbers x, y, x, y, ... Draw it again, or remove the part.",
)
NO_MASKS = Problem(
    "no-masks-at-all",
    ERROR,
    "annotation files without any mask, though masks are to be trained (gt_poly is among the data_fields),",
    "are refused",
    "Use a Faster R-CNN recipe, or annotate masks.",
)
DROPPED = (NO_BOX, NO_BOX_SIZE, OUTSIDE, NO_MASK)


@dataclass
class InstanceSelection:
    """Annotations as parallel sequences, and their problems.

    Attributes:
        annotations: The annotations.
        boxes_xyxy: float32 (N, 4), clipped to the image.
        segmentations: For each annotation a list of float64 polygons or a compressed RLE; None if it has no usable mask, or
            if no masks were requested.
        findings: Problems of the annotations.
    """

    annotations: list[dict]
    boxes_xyxy: np.ndarray
    segmentations: list[list[np.ndarray] | dict | None]
    findings: list[Finding]


def select_instances(
    annotations: list[dict],
    sizes: dict[int, tuple[int, int]],
    with_masks: bool,
    load_crowd: bool,
    source: str,
) -> InstanceSelection:
    """Leave out annotations that cannot be trained on, and log how many and which.

    Args:
        annotations: Annotations in COCO's format, with ``iscrowd``. Those of unlisted images are ignored.
        sizes: Image id -> (height, width).
        with_masks: Whether each annotation needs a mask.
        load_crowd: Whether to keep crowd regions.
        source: Name of the annotation file, for the log.

    Returns:
        The remaining annotations.
    """
    annotations = [
        annotation
        for annotation in annotations
        if annotation["image_id"] in sizes
        and not annotation.get("ignore", False)
        and (load_crowd or not annotation["iscrowd"])
    ]
    examined = examine_instances(annotations, sizes, with_masks)
    for problem, findings in group_by_problem(examined.findings).items():
        logger.warning("'%s': %s", source, describe(problem, findings))
    dropped = {finding.subject_id for finding in examined.findings if finding.problem in DROPPED}
    kept = [index for index, annotation in enumerate(annotations) if annotation["id"] not in dropped]
    return InstanceSelection(
        [annotations[index] for index in kept],
        examined.boxes_xyxy[kept],
        [examined.segmentations[index] for index in kept],
        examined.findings,
    )


def has_no_masks(annotations: list[dict]) -> bool:
    """Return whether there are annotations but no masks, as in data with boxes only."""
    return bool(annotations) and not any(annotation.get("segmentation") for annotation in annotations)


def examine_instances(
    annotations: list[dict], sizes: dict[int, tuple[int, int]], with_masks: bool
) -> InstanceSelection:
    """Convert boxes and masks to the form that training uses, and find those that cannot be used.

    Args:
        annotations: Annotations of listed images. Each has an id.
        sizes: Image id -> (height, width).
        with_masks: Whether each annotation needs a mask.

    Returns:
        All annotations. The box of an unusable one has undefined numbers.
    """
    boxes_xyxy, findings = _clean_boxes(annotations, sizes)
    segmentations: list = [None] * len(annotations)
    without_box = {finding.subject_id for finding in findings if finding.problem in DROPPED}
    for index, annotation in enumerate(annotations):
        if not with_masks or annotation["id"] in without_box:
            continue
        segmentation = annotation.get("segmentation")
        usable = _clean_segmentation(segmentation, *sizes[annotation["image_id"]])
        if not usable:
            detail = _describe_mask(segmentation, *sizes[annotation["image_id"]])
            findings.append(Finding(NO_MASK, annotation["id"], annotation["image_id"], detail))
            continue
        segmentations[index] = usable
        if isinstance(usable, list) and isinstance(segmentation, list) and len(usable) < len(segmentation):
            detail = f"{len(segmentation) - len(usable)} of its {len(segmentation)} parts"
            findings.append(Finding(BAD_PART, annotation["id"], annotation["image_id"], detail))
    return InstanceSelection(annotations, boxes_xyxy, segmentations, findings)


def _clean_boxes(annotations: list[dict], sizes) -> tuple[np.ndarray, list[Finding]]:
    """Return the boxes as (x0, y0, x1, y1) inside the image, and their problems."""
    boxes_xywh = np.array([_read_box(annotation) for annotation in annotations], np.float64).reshape(-1, 4)
    limits = np.array([sizes[annotation["image_id"]][::-1] * 2 for annotation in annotations], np.float64).reshape(
        -1, 4
    )
    whole = np.concatenate([boxes_xywh[:, :2], boxes_xywh[:, :2] + boxes_xywh[:, 2:]], axis=1)
    # Rounded to 3 decimals as in PaddleDetection, so that both train on the same numbers.
    boxes_xyxy = np.clip(whole.round(3), 0.0, limits)
    problems = np.full(len(annotations), None, dtype=object)
    problems[np.abs(whole - boxes_xyxy).max(axis=1, initial=0.0) > TOLERATED_OVERHANG_PX] = CUT
    problems[(boxes_xyxy[:, 2:] - boxes_xyxy[:, :2] <= MIN_SIDE_PX).any(axis=1)] = OUTSIDE
    problems[(boxes_xywh[:, 2:] <= MIN_SIDE_PX).any(axis=1)] = NO_BOX_SIZE
    problems[~np.isfinite(boxes_xywh).all(axis=1)] = NO_BOX
    findings = []
    for index in np.flatnonzero(problems != None):  # noqa: E711 - elementwise
        annotation, (height, width) = annotations[index], sizes[annotations[index]["image_id"]]
        detail = f"bbox {annotation.get('bbox')} (x, y, width, height) in an image of {width}x{height}"
        findings.append(Finding(problems[index], annotation["id"], annotation["image_id"], detail))
    return boxes_xyxy.astype(np.float32), findings


def _read_box(annotation: dict) -> list[float]:
    box = annotation.get("bbox")
    return box if is_box(box) else [np.nan] * 4


def _clean_segmentation(segmentation: object, height: int, width: int) -> list[np.ndarray] | dict | None:
    if isinstance(segmentation, dict):
        return read_rle(segmentation, height, width)
    return read_polygons(segmentation)


def _describe_mask(segmentation: object, height: int, width: int) -> str:
    """Describe why a segmentation is not usable."""
    if isinstance(segmentation, dict):
        if segmentation.get("size") != [height, width]:
            return f"run lengths of size {segmentation.get('size')} in an image of [height, width] = {[height, width]}"
        return "run lengths that do not add up to the pixels of the image"
    return "polygons of fewer than three points" if segmentation else "no segmentation"
