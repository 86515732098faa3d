"""Where AP is lost, as TIDE defines it: every wrong detection and every missed object has one type of error.

Source: Bolya et al., TIDE: A General Toolbox for Identifying Object Detection Errors (2020), and its package tidecv 1.0.1,
whose figures these equal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ppdet_res2net.analysis.error_schema import ErrorShares
from ppdet_res2net.analysis.evidence import Evidence, overlaps

__all__ = ["ERROR_TYPES", "Diagnosis", "diagnose", "share_errors"]

# Of detections, in the order in which they are tried; objects have the last one.
ERROR_TYPES = ("Cls", "Loc", "Both", "Dupe", "Bkg", "Miss")
CLS, LOC, BOTH, DUPE, BKG, MISS = range(len(ERROR_TYPES))
RIGHT = -1

MAX_DETECTIONS = 100  # per image: TIDE counts them over all classes, COCO per class


@dataclass(frozen=True)
class Diagnosis:
    """What is right and what is wrong at one IoU.

    Attributes:
        rows: int (N,): rows of the detections that count, by image and then by falling score.
        types: int (N,): place of each in ``ERROR_TYPES``; -1 if it is right.
        is_ignored: bool (N,): whether it lies in a crowd region or an ignored object of its class.
        nearest: int (N,): row of the object that the detection has matched or ought to have matched; else of the one that it
            overlaps most. -1 for detections on background.
        overlap: float (N,): its largest IoU with an object.
        is_mending: bool (N,): whether another class or place would make it right, as the best such detection of an object that
            is not found.
        is_found: bool, of each object: whether a detection has matched it.
        is_missed: bool, of each object: whether it is neither set aside nor found, nor ought any detection to have matched it.
        seen: float, of each object: its largest IoU with a detection of any class from ``unseen_score`` on.
    """

    rows: np.ndarray
    types: np.ndarray
    is_ignored: np.ndarray
    nearest: np.ndarray
    overlap: np.ndarray
    is_mending: np.ndarray
    is_found: np.ndarray
    is_missed: np.ndarray
    seen: np.ndarray


def diagnose(evidence: Evidence, iou: float, background_iou: float, unseen_score: float = 0.0) -> Diagnosis:
    """Give every detection and object its type of error.

    Args:
        evidence: Detections and objects.
        iou: IoU of a right detection.
        background_iou: IoU up to which a detection is on background.
        unseen_score: Smallest score of detections that count in ``seen``.
    """
    is_found = np.zeros(len(evidence.is_set_aside), bool)
    is_usable = np.zeros_like(is_found)
    seen = np.zeros(len(is_found))
    images = []
    for image in range(len(evidence.image_ids)):
        rows = evidence.found.of_image(image)
        rows = rows[np.argsort(-evidence.scores[rows], kind="stable")][:MAX_DETECTIONS]
        if len(rows):
            *columns, all_ious = _diagnose_image(evidence, image, rows, iou, background_iou, is_found, is_usable)
            images.append((rows, *columns))
            objects = _real_objects(evidence, image)
            loud = evidence.scores[rows] >= unseen_score
            if len(objects) and loud.any():
                seen[objects] = all_ious[loud].max(axis=0)
    is_missed = ~evidence.is_set_aside & ~is_found & ~is_usable
    whole, flags = np.zeros(0, np.int64), np.zeros(0, bool)
    columns = [np.concatenate(column) for column in zip((whole, whole, flags, whole, np.zeros(0), flags), *images)]
    rows, types, is_ignored, nearest, overlap, is_mending = columns
    return Diagnosis(rows, types, is_ignored, nearest, overlap, is_mending, is_found, is_missed, seen)


def _real_objects(evidence: Evidence, image: int) -> np.ndarray:
    objects = evidence.objects.of_image(image)
    return objects[~evidence.is_set_aside[objects]]


def _diagnose_image(
    evidence: Evidence,
    image: int,
    rows: np.ndarray,
    iou: float,
    background_iou: float,
    is_found: np.ndarray,
    is_usable: np.ndarray,
) -> tuple[np.ndarray, ...]:
    """Return types, is_ignored, nearest, overlap, is_mending and all IoUs (detections, objects) of an image's detections."""
    found, objects = evidence.found, _real_objects(evidence, image)
    is_ignored, is_mending = np.zeros(len(rows), bool), np.zeros(len(rows), bool)
    types, nearest = np.full(len(rows), BKG), np.full(len(rows), -1)
    ious = overlaps(found, rows, evidence.objects, objects)
    is_same = found.classes[rows, None] == evidence.objects.classes[objects]
    same = ious * is_same
    matched = _match(same, iou)
    is_right = matched >= 0
    _ignore_crowds(evidence, image, rows, iou, is_right, is_ignored)
    if not len(objects):
        return types, is_ignored, nearest, np.zeros(len(rows)), is_mending, ious
    is_used = np.zeros(len(objects), bool)
    is_used[matched[is_right]] = True
    other, used = ious * ~is_same, same * is_used
    best, most = np.arange(len(rows)), ious.max(axis=1)
    # As tidecv tries them: the first that holds.
    conditions = [
        is_right,
        (background_iou <= same.max(axis=1)) & (same.max(axis=1) <= iou),
        other.max(axis=1) >= iou,
        used.max(axis=1) >= iou,
        most <= background_iou,
    ]
    types = np.select(conditions, [RIGHT, LOC, CLS, DUPE, BKG], BOTH)
    # np.select evaluates in order, too: the object that belongs to the type.
    nearest = np.select(
        conditions,
        [matched, same.argmax(axis=1), other.argmax(axis=1), used.argmax(axis=1), -1],
        ious.argmax(axis=1),
    )
    for row in best[(types == LOC) | (types == CLS)]:
        target = objects[nearest[row]]
        if not is_used[nearest[row]] and not is_usable[target]:
            is_usable[target] = is_mending[row] = True
    is_found[objects[is_used]] = True
    nearest = np.where(nearest >= 0, objects[nearest], -1)
    return types, is_ignored, nearest, most, is_mending, ious


def _match(ious: np.ndarray, threshold: float) -> np.ndarray:
    """Give each detection, in order, the free object that it overlaps most; -1 for none. Rows of ``ious`` are detections."""
    matched = np.full(len(ious), -1)
    if ious.size:
        free = ious.copy()
        for row in np.flatnonzero(ious.max(axis=1) >= threshold):
            column = int(free[row].argmax())
            if free[row, column] >= threshold:
                matched[row] = column
                free[:, column] = 0
    return matched


def _ignore_crowds(
    evidence: Evidence, image: int, rows: np.ndarray, iou: float, is_right: np.ndarray, is_ignored: np.ndarray
) -> None:
    crowds = evidence.objects.of_image(image)
    crowds = crowds[evidence.is_set_aside[crowds]]
    if len(crowds):
        inside = overlaps(evidence.found, rows, evidence.objects, crowds, np.ones(len(crowds), bool)) > iou
        inside &= evidence.found.classes[rows, None] == evidence.objects.classes[crowds]
        is_ignored |= inside.any(axis=1) & ~is_right


def share_errors(evidence: Evidence, diagnosis: Diagnosis, iou: float, background_iou: float) -> ErrorShares:
    """Return what AP would gain if the errors of each type were mended."""
    rows, types = diagnosis.rows, diagnosis.types
    classes, scores = evidence.found.classes[rows], evidence.scores[rows]
    is_right = types == RIGHT
    objects = evidence.count_objects()
    counted = ~diagnosis.is_ignored
    base = _mean_ap(classes[counted], scores[counted], is_right[counted], objects)
    # Wrong detections go before right ones with the same score, as in tidecv.
    order = np.argsort(is_right, kind="stable")
    classes, scores, types, is_right = classes[order], scores[order], types[order], is_right[order]
    counted, is_mending = counted[order], diagnosis.is_mending[order]
    mended_classes = np.where(is_mending, evidence.objects.classes[diagnosis.nearest[order]], classes)
    lost = {}
    for type_, name in enumerate(ERROR_TYPES):
        is_type = types == type_
        keep = np.where(is_type, is_mending, counted)
        left = objects
        if type_ == MISS:
            missed = evidence.objects.classes[diagnosis.is_missed]
            left = objects - np.bincount(missed, minlength=len(objects))
        ap = _mean_ap(
            np.where(is_type, mended_classes, classes)[keep],
            scores[keep],
            (is_right | (is_type & is_mending))[keep],
            left,
        )
        lost[name] = max(ap - base, 0.0)
    not_found = ~diagnosis.is_found & ~evidence.is_set_aside
    left = objects - np.bincount(evidence.objects.classes[not_found], minlength=len(objects))
    special = {
        "FalsePos": _mean_ap(classes[counted], is_right[counted].astype(float), is_right[counted], objects) - base,
        "FalseNeg": _mean_ap(classes[counted], scores[counted], is_right[counted], left) - base,
    }
    counts = {name: int((types == type_).sum()) for type_, name in enumerate(ERROR_TYPES)}
    counts["Miss"] = int(diagnosis.is_missed.sum())
    return ErrorShares(iou, background_iou, base, lost, special, counts)


def _mean_ap(classes: np.ndarray, scores: np.ndarray, is_right: np.ndarray, objects: np.ndarray) -> float:
    """Return TIDE's mean AP, in points. A class with neither detections nor objects does not count."""
    order = np.lexsort((-scores, classes))
    classes, is_right = classes[order], is_right[order]
    bounds = np.searchsorted(classes, np.arange(len(objects) + 1))
    aps = [
        _ap(is_right[start:end], int(count))
        for start, end, count in zip(bounds[:-1], bounds[1:], objects)
        if end > start or count
    ]
    return float(np.mean(aps)) if aps else 0.0


def _ap(is_right: np.ndarray, count: int) -> float:
    if not count or not len(is_right):
        return 0.0
    right = np.cumsum(is_right)
    precision = np.maximum.accumulate((right / np.arange(1, len(right) + 1))[::-1])[::-1]
    places = np.searchsorted(right / count, np.arange(101) / 100)
    return float(precision[places[places < len(precision)]].sum() / 101 * 100)
