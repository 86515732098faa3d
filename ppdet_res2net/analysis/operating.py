"""Precision, recall and F1 against the score, the best threshold, and whether scores can be believed."""

from __future__ import annotations

import math

import numpy as np

from ppdet_res2net.analysis.evidence import Evidence
from ppdet_res2net.analysis.schema import Calibration, CalibrationBin, OperatingPoint, ScoreCurve, ScoreCurves
from ppdet_res2net.analysis.scoring import Matching

__all__ = ["best_points", "calibrate", "score_curves"]

SCORES = np.arange(101) / 100


def score_curves(evidence: Evidence, matching: Matching) -> ScoreCurves:
    """Return precision, recall and F1 of the detections from each score on."""
    scores, is_right, classes = _columns(evidence, matching)
    objects = evidence.count_objects()
    of_classes = [
        _curve(scores[classes == class_], is_right[classes == class_], int(count))
        for class_, count in enumerate(objects)
    ]
    return ScoreCurves(SCORES.tolist(), _curve(scores, is_right, int(objects.sum())), of_classes)


def best_points(evidence: Evidence, matching: Matching) -> tuple[OperatingPoint, list[OperatingPoint]]:
    """Return the thresholds with the largest F1: of all detections together, and of each class."""
    scores, is_right, classes = _columns(evidence, matching)
    objects = evidence.count_objects()
    of_classes = [
        _best(scores[classes == class_], is_right[classes == class_], int(count))
        for class_, count in enumerate(objects)
    ]
    return _best(scores, is_right, int(objects.sum())), of_classes


def calibrate(evidence: Evidence, matching: Matching, bins: int) -> Calibration:
    """Compare scores with the share of right detections, in equal ranges of scores."""
    scores, is_right, _ = _columns(evidence, matching)
    places = np.minimum((scores * bins).astype(np.int64), bins - 1)
    counts = np.bincount(places, minlength=bins)
    means = np.bincount(places, scores, minlength=bins) / np.maximum(counts, 1)
    shares = np.bincount(places, is_right, minlength=bins) / np.maximum(counts, 1)
    rows = [
        CalibrationBin(
            place / bins, (place + 1) / bins, int(count), *((_round(a), _round(b)) if count else (None, None))
        )
        for place, (count, a, b) in enumerate(zip(counts, means, shares))
    ]
    error = _round(float((counts * abs(means - shares)).sum() / counts.sum())) if len(scores) else None
    return Calibration(rows, error)


def _columns(evidence: Evidence, matching: Matching) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return score, whether it is right, and class of the detections that count, by falling score."""
    rows = np.flatnonzero(~matching.is_set_aside)
    rows = rows[np.argsort(-evidence.scores[rows], kind="stable")]
    return evidence.scores[rows], matching.taken[rows] >= 0, evidence.found.classes[rows]


def _curve(scores: np.ndarray, is_right: np.ndarray, objects: int) -> ScoreCurve:
    number = np.searchsorted(-scores, -SCORES, side="right")
    right = np.append(0, np.cumsum(is_right))[number]
    precision = [_ratio(a, b) for a, b in zip(right, number)]
    recall = [_ratio(a, objects) for a in right]
    return ScoreCurve(precision, recall, [_ratio(2 * a, b + objects) for a, b in zip(right, number)])


def _best(scores: np.ndarray, is_right: np.ndarray, objects: int) -> OperatingPoint:
    right = np.cumsum(is_right)
    is_last = np.append(scores[1:] != scores[:-1], True)[: len(scores)]  # equal scores are kept or left out together
    ends = np.flatnonzero(is_last)
    if not len(ends) or not right[-1]:
        return OperatingPoint(None, None, 0.0 if objects else None, None, 0, 0, objects)
    f1 = 2 * right[ends] / (ends + 1 + objects)
    end = int(ends[f1.argmax()])  # the first of equal ones has the highest score
    below = float(scores[end + 1]) if end + 1 < len(scores) else 0.0
    found, number = int(right[end]), end + 1
    return OperatingPoint(
        _short_between(below, float(scores[end])),
        _ratio(found, number),
        _ratio(found, objects),
        _ratio(2 * found, number + objects),
        found,
        number - found,
        objects - found,
    )


def _short_between(below: float, score: float) -> float:
    """Return the number of fewest digits that is above ``below`` and not above ``score``."""
    for digits in range(1, 16):
        number = math.floor(score * 10**digits) / 10**digits
        if below < number <= score:
            return number
    return score


def _ratio(part: float, whole: float) -> float | None:
    return _round(part / whole) if whole else None


def _round(value: float) -> float:
    return round(float(value), 6)
