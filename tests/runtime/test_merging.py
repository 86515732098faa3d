"""Which detections of several views are one object, compared with plain loops and with other implementations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from res2net_runtime import merging
from res2net_runtime.boxes import box_iou
from res2net_runtime.merging import find_matches, overlaps, resample_masks, soft_scores, suppress

UNLIMITED = np.float64([-np.inf, -np.inf, np.inf, np.inf])


def random_boxes(rng: np.random.Generator, count: int, extent: float = 60) -> np.ndarray:
    corners = rng.integers(0, extent, (count, 2))
    return np.concatenate([corners, corners + rng.integers(0, 25, (count, 2))], axis=1).astype(np.float64)


def random_limits(rng: np.random.Generator, boxes: np.ndarray) -> np.ndarray:
    return np.where(rng.random(boxes.shape) < 0.2, boxes, UNLIMITED)


def overlap_of(a, b, limits_a, limits_b, metric: str) -> float:
    """The definition, one pair at a time."""

    def area(*boxes) -> float:
        boxes = np.asarray(boxes)
        sides = boxes[:, 2:].min(axis=0) - boxes[:, :2].max(axis=0)
        return float(sides[0] * sides[1]) if (sides > 0).all() else 0.0

    shared, area_a, area_b = area(a, b), area(a, limits_b), area(b, limits_a)
    whole = area_a + area_b - shared if metric == "iou" else min(area_a, area_b)
    return shared / whole if whole > 0 else 0.0


def plain_suppress(boxes, scores, labels, limits, metric: str, threshold: float) -> list[int]:
    """Greedy NMS as one writes it first."""
    owner = list(range(len(boxes)))
    taken: set[int] = set()
    for i in sorted(range(len(boxes)), key=lambda one: -scores[one]):
        if i in taken:
            continue
        taken.add(i)
        for j in range(len(boxes)):
            share = overlap_of(boxes[i], boxes[j], limits[i], limits[j], metric)
            if j not in taken and labels[i] == labels[j] and share > threshold:
                owner[j] = i
                taken.add(j)
    return owner


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(0, 25),
    metric=st.sampled_from(["iou", "ios"]),
    threshold=st.sampled_from([0.1, 0.5, 0.75]),
    chunk=st.sampled_from([1, 7, 500_000]),
)
def test_suppression_is_that_of_plain_loops(seed, count, metric, threshold, chunk):
    rng = np.random.default_rng(seed)
    boxes, labels = random_boxes(rng, count), rng.integers(0, 3, count)
    limits, scores = random_limits(rng, boxes), rng.random(count)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merging, "_CHUNK_PAIRS", chunk)
        matches = find_matches(boxes, labels, limits, metric, threshold)
    owner = suppress(np.argsort(-scores, kind="stable"), matches)
    assert owner.tolist() == plain_suppress(boxes, scores, labels, limits, metric, threshold)


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
def test_suppression_is_that_of_paddle(threshold):
    paddle = pytest.importorskip("paddle")
    rng = np.random.default_rng(1)
    boxes, labels, scores = random_boxes(rng, 400, 40), rng.integers(0, 4, 400), rng.random(400)
    boxes[:, 2:] += 10
    owner = suppress(
        np.argsort(-scores), find_matches(boxes, labels, np.broadcast_to(UNLIMITED, boxes.shape), "iou", threshold)
    )
    kept = set(np.flatnonzero(owner == np.arange(400)).tolist())
    tensors = (paddle.to_tensor(boxes.astype(np.float32)), threshold, paddle.to_tensor(scores.astype(np.float32)))
    expected = paddle.vision.ops.nms(*tensors, paddle.to_tensor(labels), [0, 1, 2, 3])
    assert kept == set(expected.numpy().tolist()) and 30 < len(kept) < 380


def test_overlaps_are_those_of_pycocotools():
    rng = np.random.default_rng(2)
    a, b = random_boxes(rng, 50), random_boxes(rng, 50)
    a[:, 2:] += 1
    b[:, 2:] += 1
    found = overlaps(a, b, UNLIMITED, UNLIMITED)
    as_coco = [np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1) for boxes in (a, b)]
    np.testing.assert_allclose(found, np.diag(coco_mask.iou(*as_coco, [0] * 50)), atol=1e-12)
    np.testing.assert_allclose(found, np.diag(box_iou(a, b)), atol=1e-12)


def test_boxes_of_an_object_that_is_cut_are_compared_where_both_views_show_it():
    whole, left = np.float64([0, 0, 100, 50]), np.float64([0, 0, 30, 50])
    right = np.float64([20, 0, 100, 50])
    cut_left, cut_right = np.float64([-np.inf, -np.inf, 30, np.inf]), np.float64([20, -np.inf, np.inf, np.inf])
    assert overlaps(whole, left, UNLIMITED, UNLIMITED) == 0.3
    assert overlaps(whole, left, UNLIMITED, cut_left) == 1.0
    assert overlaps(left, whole, cut_left, UNLIMITED) == 1.0
    assert overlaps(left, right, cut_left, cut_right) == 1.0  # both show the columns from 20 to 30
    taller = np.float64([20, 0, 100, 200])
    assert overlaps(left, taller, cut_left, cut_right) == pytest.approx(0.25)


def test_time_does_not_grow_with_the_square_of_the_boxes():
    rng = np.random.default_rng(3)
    corners = rng.uniform(0, 20_000, (20_000, 2))
    boxes = np.concatenate([corners, corners + 50], axis=1)
    pairs = sum(len(first) for first, _ in merging._neighbours(boxes))
    assert pairs < 20_000 * 100  # of 200 million


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(0, 25))
def test_soft_scores_are_those_of_plain_loops(seed, count):
    rng = np.random.default_rng(seed)
    boxes, labels, scores = random_boxes(rng, count), rng.integers(0, 2, count), rng.random(count)
    expected, left = scores.copy(), list(range(count))
    while left:
        best = max(left, key=lambda one: expected[one])
        left.remove(best)
        for other in left:
            share = overlap_of(boxes[best], boxes[other], UNLIMITED, UNLIMITED, "iou")
            if labels[other] == labels[best] and share > 0.3:
                expected[other] *= 1 - share
    np.testing.assert_allclose(soft_scores(boxes, scores, labels, 0.3), expected)


def test_masks_in_their_own_boxes_stay_as_they_are():
    rng = np.random.default_rng(4)
    masks = rng.random((5, 28, 28)).astype(np.float32)
    boxes = random_boxes(rng, 5, 10_000).astype(np.float32)
    boxes[:, 2:] += 1
    np.testing.assert_allclose(resample_masks(masks, boxes, boxes), masks, atol=1e-6)


def test_masks_in_other_boxes_are_sampled_bilinearly_with_zeros_outside():
    rng = np.random.default_rng(5)
    masks = rng.random((3, 4, 4)).astype(np.float32)
    old = np.float32([[0, 0, 40, 40], [10, 20, 50, 100], [5, 5, 6, 6]])
    new = np.float32([[-10, 0, 70, 40], [30, 20, 40, 60], [0, 0, 100, 100]])
    found = resample_masks(masks, old, new)
    for mask, (x0, y0, x1, y1), (u0, v0, u1, v1), result in zip(masks, old, new, found):
        for row in range(4):
            for column in range(4):
                x = (u0 + (column + 0.5) / 4 * (u1 - u0) - x0) / (x1 - x0) * 4 - 0.5
                y = (v0 + (row + 0.5) / 4 * (v1 - v0) - y0) / (y1 - y0) * 4 - 0.5
                value = sum(
                    mask[j, i] * max(0, 1 - abs(x - i)) * max(0, 1 - abs(y - j)) for j in range(4) for i in range(4)
                )
                assert result[row, column] == pytest.approx(value, abs=1e-5)
