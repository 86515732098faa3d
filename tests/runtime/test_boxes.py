"""Intersection over union against boxes counted by hand, and against pycocotools."""

from __future__ import annotations

import numpy as np
from pycocotools import mask as mask_utils

from res2net_runtime.boxes import box_iou


def test_boxes_by_hand():
    a = np.array([[0, 0, 2, 2], [0, 0, 0, 0]], np.float32)
    b = np.array([[0, 0, 2, 2], [1, 1, 3, 3], [2, 0, 4, 2], [0, 0, 0, 0]], np.float32)
    found = box_iou(a, b)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [[1, 1 / 7, 0, 0], [0, 0, 0, 0]], rtol=1e-6)
    assert box_iou(a[:0], b).shape == (0, 4) and box_iou(a, b[:0]).shape == (2, 0)


def test_equals_pycocotools():
    corners, sides = np.random.default_rng(0).uniform(1, 50, (2, 60, 2))
    boxes_xywh, boxes_xyxy = np.hstack([corners, sides]), np.hstack([corners, corners + sides])
    expected = mask_utils.iou(boxes_xywh[:20], boxes_xywh[20:], [0] * 40)
    np.testing.assert_allclose(box_iou(boxes_xyxy[:20], boxes_xyxy[20:]), expected, rtol=1e-12)
