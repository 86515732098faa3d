"""Chooses the annotations that can be trained on. Box, class, crowd flag and mask of each stay together."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ppdet_res2net.data.coco_file import CocoAnnotation
from ppdet_res2net.data.masks import Mask
from ppdet_res2net.data.problems import ERROR, NOTE, WARNING, Finding, Problem, describe, group_by_problem
from ppdet_res2net.data.structure import CROWD, IGNORED
from ppdet_res2net.data.values import show
from ppdet_res2net.errors import DatasetError

__all__ = ["InstanceSelection", "examine_instances", "find_set_aside", "refuse_without_masks", "select_instances"]

logger = logging.getLogger(__name__)

MIN_SIDE_PX = 1e-5
# Annotation tools round. A box that reaches only this far beyond the image is clipped without a message.
TOLERATED_OVERHANG_PX = 1.0
NOT_USED = "[is/are] not used"

NO_BOX = Problem(
    "no-box",
    WARNING,
    "[annotation/annotations] without a box of four finite numbers",
    NOT_USED,
    "Write bbox as [x, y, width, height] in pixels. --fix FILE writes the box around the mask, where there is one.",
)
NO_BOX_SIZE = Problem(
    "empty-box",
    WARNING,
    "[annotation/annotations] with a box of zero or negative size",
    NOT_USED,
    "Often an accidental click, or [x0, y0, x1, y1] instead of [x, y, width, height]. Draw the box again, or remove the "
    "annotation.",
)
OUTSIDE = Problem(
    "box-outside",
    WARNING,
    "[annotation/annotations] with a box outside its image",
    NOT_USED,
    "Often normalized or swapped coordinates, or the annotation of another image. Correct or remove it.",
)
CUT = Problem(
    "box-cut",
    WARNING,
    "[box that reaches beyond its/boxes that reach beyond their] image",
    "[is clipped to it/are clipped to it]",
    "Correct them if this is not the image that was annotated.",
    scoring="[is used as it is/are used as they are], as in COCO's own evaluation",
)
NO_MASK = Problem(
    "no-mask",
    WARNING,
    "[annotation/annotations] without a usable mask",
    "[is/are] not used where masks are trained",
    "A mask is a list of polygons of at least three points, or run lengths that fill the image exactly.",
    scoring="[counts for boxes; for masks, its box is a region/count for boxes; for masks, their boxes are regions] in which "
    "detections are neither right nor wrong",
)
BAD_PART = Problem(
    "unusable-polygon",
    WARNING,
    "[mask/masks] with parts that are not polygons",
    "[loses/lose] these parts",
    "A polygon has at least three points, that is six numbers x, y, x, y, ... Draw it again, or remove the part.",
)
FAR_POINTS = Problem(
    "far-points",
    WARNING,
    "[mask/masks] with points far outside [its/their] image",
    "[is/are] clipped to the surroundings of the image",
    "A tool has written wrong numbers there. Correct or remove the points.",
)
UNUSUAL_MASK = Problem(
    "unusual-segmentation",
    NOTE,
    "[mask/masks] in a form that is not COCO's",
    "[is/are] read all the same",
    "For other programs, write a list of polygons [[x, y, x, y, ...], ...] or run lengths. --fix FILE does that.",
)
NO_MASKS = Problem(
    "no-masks-at-all",
    ERROR,
    "annotation [file/files] without any usable mask, though masks are to be trained (gt_poly is among the data_fields),",
    "[is/are] refused",
    "Use a Faster R-CNN recipe, or annotate masks.",
)
DROPPED_BOX = (NO_BOX, NO_BOX_SIZE, OUTSIDE)
DROPPED = (*DROPPED_BOX, NO_MASK)


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

    annotations: list[CocoAnnotation]
    boxes_xyxy: np.ndarray
    segmentations: list[Mask | None]
    findings: list[Finding]

    def without(self, *problems: Problem) -> InstanceSelection:
        """Return the annotations that have none of these problems."""
        dropped = {finding.subject_id for finding in self.findings if finding.problem in problems}
        if not dropped:
            return self
        kept = [index for index, annotation in enumerate(self.annotations) if annotation.id not in dropped]
        return InstanceSelection(
            [self.annotations[index] for index in kept],
            self.boxes_xyxy[kept],
            [self.segmentations[index] for index in kept],
            self.findings,
        )


def select_instances(
    annotations: Sequence[CocoAnnotation], with_masks: bool, load_crowd: bool, source: str
) -> InstanceSelection:
    """Leave out annotations that cannot be trained on, and log how many and which.

    Args:
        annotations: The annotations of an annotation file.
        with_masks: Whether each annotation needs a mask.
        load_crowd: Whether to keep crowd regions.
        source: Name of the annotation file, for the log.

    Returns:
        The remaining annotations.
    """
    wanted = [one for one in annotations if not one.is_ignored and (load_crowd or not one.is_crowd)]
    examined = examine_instances(wanted, with_masks)
    set_aside = [one for one in find_set_aside(annotations) if one.problem is IGNORED or not load_crowd]
    for problem, findings in group_by_problem([*examined.findings, *set_aside]).items():
        logger.warning("'%s': %s", source, describe(problem, findings))
    return examined.without(*DROPPED)


def find_set_aside(annotations: Iterable[CocoAnnotation]) -> list[Finding]:
    """Find the annotations that are meant not to count: ignored objects, and crowd regions."""
    return [
        Finding(IGNORED if one.is_ignored else CROWD, one.id, one.image.id)
        for one in annotations
        if one.is_ignored or one.is_crowd
    ]


def refuse_without_masks(annotations: Iterable[CocoAnnotation], source: str, why: str) -> None:
    """Refuse annotations none of which has a mask that can be used, as in data with boxes only.

    Args:
        annotations: The annotations. Crowds and ignored ones do not count.
        source: Name of the annotation file.
        why: Why masks are needed, for the message.

    Raises:
        DatasetError: There are annotations, but no masks.
    """
    complaint = find_no_masks(annotations)
    if complaint:
        raise DatasetError(f"'{source}': {complaint}, but {why}. {NO_MASKS.remedy}")


def find_no_masks(annotations: Iterable[CocoAnnotation]) -> str:
    """Say that none of the annotations has a usable mask; return "" if one has, or if there are no annotations."""
    counted = [one for one in annotations if not one.is_crowd and not one.is_ignored]
    if not counted or any(one.has_segmentation and one.mask is not None for one in counted):
        return ""
    spoilt = next((one for one in counted if one.has_segmentation), None)
    if spoilt is None:
        return f"none of the {len(counted)} annotations has a segmentation"
    first = f"annotation id {spoilt.id}: {spoilt.reading.complaint}"
    return f"none of the {len(counted)} annotations has a usable segmentation (the first, {first})"


def examine_instances(annotations: Sequence[CocoAnnotation], with_masks: bool) -> InstanceSelection:
    """Convert boxes and masks to the form that training uses, and find those that cannot be used.

    Args:
        annotations: The annotations of an annotation file.
        with_masks: Whether each annotation needs a mask.

    Returns:
        All annotations. The box of an unusable one has undefined numbers.
    """
    boxes_xyxy, findings = _clean_boxes(annotations)
    segmentations: list[Mask | None] = [None] * len(annotations)
    if not with_masks:
        return InstanceSelection(list(annotations), boxes_xyxy, segmentations, findings)
    without_box = {finding.subject_id for finding in findings if finding.problem in DROPPED_BOX}
    for index, annotation in enumerate(annotations):
        if annotation.id in without_box:
            continue
        reading = annotation.reading
        segmentations[index] = reading.mask
        for problem, detail in (
            (NO_MASK, reading.complaint),
            (BAD_PART, reading.lost),
            (FAR_POINTS, reading.clipped),
            (UNUSUAL_MASK, reading.form),
        ):
            if detail:
                findings.append(Finding(problem, annotation.id, annotation.image.id, detail))
    return InstanceSelection(list(annotations), boxes_xyxy, segmentations, findings)


def _clean_boxes(annotations: Sequence[CocoAnnotation]) -> tuple[np.ndarray, list[Finding]]:
    """Return the boxes as (x0, y0, x1, y1) inside the image, and their problems."""
    unknown = [np.nan] * 4
    boxes_xywh = np.array([one.box_xywh or unknown for one in annotations], np.float64).reshape(-1, 4)
    sizes = [(one.image.width, one.image.height) * 2 for one in annotations]
    limits = np.array(sizes, np.float64).reshape(-1, 4)
    with np.errstate(over="ignore"):  # numbers of any size are clipped
        whole = np.concatenate([boxes_xywh[:, :2], boxes_xywh[:, :2] + boxes_xywh[:, 2:]], axis=1)
        # Rounded to 3 decimals as in PaddleDetection, so that both train on the same numbers.
        boxes_xyxy = np.clip(whole.round(3), 0.0, limits)
    problems = np.full(len(annotations), None, dtype=object)
    problems[np.abs(whole - boxes_xyxy).max(axis=1, initial=0.0) > TOLERATED_OVERHANG_PX] = CUT
    problems[(boxes_xyxy[:, 2:] - boxes_xyxy[:, :2] <= MIN_SIDE_PX).any(axis=1)] = OUTSIDE
    problems[(boxes_xywh[:, 2:] <= MIN_SIDE_PX).any(axis=1)] = NO_BOX_SIZE
    problems[~np.isfinite(boxes_xywh).all(axis=1)] = NO_BOX
    findings = []
    for index in np.flatnonzero(problems != None).tolist():  # noqa: E711 - elementwise
        annotation = annotations[index]
        image = annotation.image
        detail = (
            f"bbox {show(annotation.written_box)} (x, y, width, height) in an image of {image.width}x{image.height}"
        )
        findings.append(Finding(problems[index], annotation.id, image.id, detail))
    return boxes_xyxy.astype(np.float32), findings
