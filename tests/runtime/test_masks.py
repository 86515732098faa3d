"""Pasting masks: equal to PaddleDetection's paste_mask and to pycocotools' encoding."""

from __future__ import annotations

import zlib  # noqa: F401  (before paddle: Paddle 2.6.2 brings zlib symbols of its own)

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from res2net_runtime import masks_to_bitmaps, masks_to_rles

IMAGE_HW = (90, 130)


def random_boxes(count: int, scale: float, seed: int = 0) -> np.ndarray:
    """Return boxes with sides of about ``scale`` times the image's; some reach beyond the image."""
    rng = np.random.default_rng(seed)
    height, width = IMAGE_HW
    centres = rng.random((count, 2)) * [width, height]
    sides = scale * np.exp(rng.normal(0, 0.5, (count, 2))) * [width, height]
    return np.concatenate([centres - sides / 2, centres + sides / 2], axis=1).astype(np.float32)


def sample_masks(kind: str, count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    masks = rng.random((count, 28, 28)).astype(np.float32)
    if kind == "smooth":
        masks = np.stack([cv2.GaussianBlur(mask, (0, 0), 4) for mask in masks])
        masks = (masks - masks.min()) / (masks.max() - masks.min())
    return {"noise": masks, "smooth": masks, "binary": np.round(masks), "ones": np.ones_like(masks)}[kind]


def reference_values(masks: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Sample whole images with float64 arithmetic, pixel by pixel, exactly as the definition says."""
    height, width = IMAGE_HW
    x0, y0, x1, y1 = boxes.astype(np.float64).T
    size = masks.shape[1]

    def weights(start, stop, pixels):
        position = (np.arange(pixels) + 0.5 - start) / (stop - start) * size - 0.5
        return np.maximum(0, 1 - np.abs(position[:, None] - np.arange(size)))

    return np.stack(
        [weights(y0[i], y1[i], height) @ masks[i] @ weights(x0[i], x1[i], width).T for i in range(len(masks))]
    )


@pytest.mark.parametrize("threshold", [0.5, 0.1, 0.9])
@pytest.mark.parametrize("scale", [0.01, 0.1, 0.5, 3])
@pytest.mark.parametrize("kind", ["smooth", "noise", "binary", "ones"])
def test_equals_the_definition(kind, scale, threshold):
    masks, boxes = sample_masks(kind, 20), random_boxes(20, scale)
    values = reference_values(masks, boxes)
    bitmaps = masks_to_bitmaps(masks, boxes, IMAGE_HW, threshold)
    differs = bitmaps != (values >= threshold)
    assert np.abs(values[differs] - threshold).max(initial=0) < 1e-5
    assert differs.mean() < 1e-4


@pytest.mark.parametrize("scale", [0.05, 0.4, 2])
def test_equals_ppdet(ppdet, scale):
    import paddle

    masks, boxes = sample_masks("smooth", 20), random_boxes(20, scale)
    expected = ppdet.modeling.post_process.paste_mask(
        paddle.to_tensor(masks)[:, None], paddle.to_tensor(boxes), *IMAGE_HW
    ).numpy()
    bitmaps = masks_to_bitmaps(masks, boxes, IMAGE_HW, 0.5)
    differs = bitmaps != (expected >= 0.5)
    assert np.abs(expected[differs] - 0.5).max(initial=0) < 1e-5
    assert bitmaps.any()


@pytest.mark.parametrize("scale", [0.01, 0.3, 3])
@pytest.mark.parametrize("kind", ["noise", "ones"])
def test_rle_is_what_pycocotools_encodes(kind, scale):
    masks, boxes = sample_masks(kind, 20), random_boxes(20, scale)
    rles = masks_to_rles(masks, boxes, IMAGE_HW)
    bitmaps = masks_to_bitmaps(masks, boxes, IMAGE_HW)
    assert rles == [coco_mask.encode(np.asfortranarray(bitmap.astype(np.uint8))) for bitmap in bitmaps]


@pytest.mark.parametrize(
    ("box", "expected_area"),
    [
        ([-500, -500, 500, 500], 130 * 90),  # the whole image: one run without background
        ([10, -200, 20, 300], 10 * 90),  # whole columns: runs go on from column to column
        ([0, 0, 130, 90], 130 * 90 - 4),  # the corners of a box round its mask off
        ([3, 4, 5, 6], 4),
        ([129, 89, 140, 95], 1),
        ([10.6, 10.6, 11.4, 11.4], 0),  # between the centres of pixels
        ([20, 20, 20, 30], 0),  # no width
        ([30, 20, 20, 30], 0),  # turned round
        ([np.nan, 0, 5, 5], 0),
        ([0, 0, np.inf, 5], 0),
        ([200, 10, 220, 20], 0),  # outside of the image
    ],
)
def test_special_boxes(box, expected_area):
    boxes = np.array([[0, 0, 2, 2], box, box, [0, 0, 2, 2]], dtype=np.float32)
    masks = np.ones((4, 28, 28), np.float32)
    rles = masks_to_rles(masks, boxes, IMAGE_HW)
    assert coco_mask.area(rles).tolist() == [4, expected_area, expected_area, 4]
    bitmap = masks_to_bitmaps(masks, boxes, IMAGE_HW)[1]
    assert rles[1] == coco_mask.encode(np.asfortranarray(bitmap.astype(np.uint8)))


def test_values_below_half_reach_beyond_the_box():
    ones, box = np.ones((1, 28, 28), np.float32), np.array([[28, 28, 84, 84]], np.float32)
    assert masks_to_bitmaps(ones, box, IMAGE_HW, 0.5).sum() == 56 * 56
    assert masks_to_bitmaps(ones, box, IMAGE_HW, 0.1).sum() == 58 * 58 - 4  # all but the corners of one more ring


def test_empty_input():
    none = np.zeros((0, 28, 28), np.float32), np.zeros((0, 4), np.float32)
    assert masks_to_rles(*none, IMAGE_HW) == []
    assert masks_to_bitmaps(*none, IMAGE_HW).shape == (0, *IMAGE_HW)


def test_huge_images_cost_no_image_sized_memory():
    import tracemalloc

    masks = sample_masks("smooth", 100)
    boxes = np.tile(np.float32([0, 0, 4000, 3000]), (100, 1))
    tracemalloc.start()
    masks_to_rles(masks, boxes, (3000, 4000))
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 200e6  # 100 bitmaps of this size are 1.2 GB


@pytest.mark.parametrize("threshold", [0, 1.5, float("nan")])
def test_bad_threshold(threshold):
    with pytest.raises(ValueError, match=r"The mask threshold must be in \(0, 1\]"):
        masks_to_rles(np.ones((1, 28, 28)), np.ones((1, 4)), IMAGE_HW, threshold)


@pytest.mark.parametrize(("mask_shape", "box_shape"), [((1, 28), (1, 4)), ((2, 28, 28), (1, 4)), ((1, 28, 14), (1, 4))])
def test_bad_shapes(mask_shape, box_shape):
    with pytest.raises(ValueError, match=r"Expected masks \(n, m, m\) and boxes \(n, 4\), got"):
        masks_to_rles(np.ones(mask_shape), np.ones(box_shape), IMAGE_HW)
