"""Thresholds, curves and calibration, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from ppdet_res2net.analysis.operating import best_points, calibrate, score_curves
from ppdet_res2net.analysis.scoring import score
from tests.helpers.analysis import evidence_of
from tests.helpers.made_detections import make_annotations, make_results

BOX = [10.0, 10.0, 20.0, 20.0]
ELSEWHERE = [60.0, 60.0, 20.0, 20.0]


def scene(scores_of_right, scores_of_wrong, missed=0):
    """Return evidence of one class: an image for each object, with one detection each; wrong ones are beside the objects."""
    number = len(scores_of_right) + missed
    images = [{"id": one, "file_name": f"{one}.png", "width": 100, "height": 100} for one in range(max(number, 1))]
    boxes = [{"id": one, "image_id": one, "category_id": 3, "bbox": BOX, "area": 400} for one in range(number)]
    content = {"images": images, "categories": [{"id": 3, "name": "a"}], "annotations": boxes}
    right = [{"image_id": one, "category_id": 3, "bbox": BOX, "score": s} for one, s in enumerate(scores_of_right)]
    wrong = [{"image_id": 0, "category_id": 3, "bbox": ELSEWHERE, "score": s} for s in scores_of_wrong]
    return evidence_of(content, right + wrong, "bbox")


def best_of(evidence):
    overall, classes = best_points(evidence, score(evidence, 0.5)[1])
    assert classes == [overall]
    return overall


def test_the_best_threshold_has_the_largest_f1():
    best = best_of(scene([0.95, 0.9, 0.8], [0.85, 0.3, 0.2], missed=1))
    assert (best.right, best.wrong, best.missed) == (3, 1, 1)
    assert (best.precision, best.recall, best.f1) == (0.75, 0.75, 0.75)


@pytest.mark.parametrize(
    ("right", "wrong", "expected"),
    [
        ([0.87654], [0.4], 0.8),  # 0.8 has one digit and separates them
        ([0.87654], [0.81], 0.87),
        ([0.87654], [0.87651], 0.87654),
        ([0.05], [], 0.05),
        ([1.0], [], 1.0),
    ],
)
def test_a_threshold_has_as_few_digits_as_separate_the_detections(right, wrong, expected):
    assert best_of(scene(right, wrong)).score == expected


def test_of_equal_f1_the_highest_score_wins():
    # From 0.9 on: 1 of 2 found, none wrong, F1 = 2/3. From 0.5 on: 2 found, 2 wrong, F1 = 4/6.
    best = best_of(scene([0.9, 0.5], [0.7, 0.6]))
    assert (best.right, best.wrong, best.f1) == (1, 0, round(2 / 3, 6))


def test_equal_scores_are_kept_together():
    best = best_of(scene([0.9, 0.5], [0.5]))
    assert (best.right, best.wrong) in ((2, 1), (1, 0))
    assert best.f1 == pytest.approx(0.8)


def test_without_a_right_detection_there_is_no_threshold():
    best = best_of(scene([], [0.9], missed=2))
    assert (best.score, best.recall, best.precision, best.missed) == (None, 0.0, None, 2)


def test_curves_agree_with_counting():
    content = make_annotations(3, images=20)
    results = make_results(content, 3)
    evidence = evidence_of(content, results, "bbox")
    _, matching = score(evidence, 0.5)
    curves = score_curves(evidence, matching)
    for place, low in enumerate(curves.scores):
        kept = ~matching.is_set_aside & (evidence.scores >= low)
        right, objects = (matching.taken[kept] >= 0).sum(), evidence.count_objects().sum()
        assert curves.overall.precision[place] == (pytest.approx(right / kept.sum(), abs=1e-6) if kept.any() else None)
        assert curves.overall.recall[place] == pytest.approx(right / objects, abs=1e-6)
    for class_, of_class in enumerate(curves.classes):
        kept = ~matching.is_set_aside & (evidence.found.classes == class_) & (evidence.scores >= 0.5)
        assert of_class.precision[50] == pytest.approx((matching.taken[kept] >= 0).mean(), abs=1e-6)


def test_the_best_threshold_has_what_counting_finds():
    content = make_annotations(3, images=20)
    evidence = evidence_of(content, make_results(content, 3), "bbox")
    _, matching = score(evidence, 0.5)
    best, _ = best_points(evidence, matching)
    f1 = []
    for low in np.unique(evidence.scores):
        kept = ~matching.is_set_aside & (evidence.scores >= low)
        f1.append(2 * (matching.taken[kept] >= 0).sum() / (kept.sum() + evidence.count_objects().sum()))
    kept = ~matching.is_set_aside & (evidence.scores >= best.score)
    assert best.f1 == pytest.approx(max(f1), abs=1e-6)
    assert best.right + best.wrong == kept.sum()


def test_calibration_compares_scores_with_precision():
    evidence = scene([0.9, 0.8, 1.0], [0.95, 0.1])
    calibration = calibrate(evidence, score(evidence, 0.5)[1], 2)
    low, high = calibration.bins
    assert (low.low, low.high, low.count, low.score, low.precision) == (0.0, 0.5, 1, 0.1, 0.0)
    assert (high.count, high.score, high.precision) == (4, 0.9125, 0.75)
    assert calibration.error == pytest.approx((1 * 0.1 + 4 * 0.1625) / 5)


def test_calibration_without_detections_is_empty():
    evidence = scene([], [], missed=1)
    calibration = calibrate(evidence, score(evidence, 0.5)[1], 3)
    assert calibration.error is None
    assert [(one.count, one.score) for one in calibration.bins] == [(0, None)] * 3
