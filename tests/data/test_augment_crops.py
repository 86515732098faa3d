"""RandomScaledCrop gives detectron2's numbers, and RandomCrop those of PaddleDetection."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from pycocotools import mask as mask_utils

from ppdet_res2net.data.augment.crops import RandomCrop, RandomScaledCrop
from tests.data.test_augment_placement import draw


def sample_with(boxes, height, width, with_masks=False, seed=0) -> dict:
    generator = np.random.default_rng(seed)
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    sample = {
        "image": generator.integers(0, 256, (height, width, 3), dtype=np.uint8),
        "gt_bbox": boxes, "gt_class": np.arange(len(boxes), dtype=np.int32)[:, None],
        "is_crowd": np.zeros((len(boxes), 1), np.int32),
        "im_shape": np.array([height, width], np.float32), "scale_factor": np.ones(2, np.float32),
    }  # fmt: skip
    if with_masks:
        sample["gt_poly"] = [[np.array([x0, y0, x1, y0, x1, y1, x0, y1], float)] for x0, y0, x1, y1 in boxes]
    return sample


def random_boxes(generator, count, height, width) -> np.ndarray:
    corners = generator.uniform(0, [width, height], (count, 2, 2))
    return np.concatenate([corners.min(axis=1), corners.max(axis=1) + 1], axis=1).clip(0, [width, height] * 2)


def as_detectron2(boxes, image_hw, target_hw, scale_range):
    """Return what detectron2's ResizeScale, FixedSizeCrop and filter_empty_instances make, one step after the other.

    Source: detectron2/data/transforms/augmentation_impl.py and detectron2/data/detection_utils.py.
    """
    target = np.multiply(target_hw, np.random.uniform(*scale_range))
    factor = np.minimum(target[0] / image_hw[0], target[1] / image_hw[1])
    new_h, new_w = np.round(np.multiply(image_hw, factor)).astype(int)
    boxes = boxes.astype(np.float64) * np.tile([new_w * 1.0 / image_hw[1], new_h * 1.0 / image_hw[0]], 2)
    most = np.maximum(np.subtract((new_h, new_w), target_hw), 0)
    offset_y, offset_x = np.round(np.multiply(most, np.random.uniform(0.0, 1.0))).astype(int)
    boxes = boxes - [offset_x, offset_y, offset_x, offset_y]
    boxes = np.minimum(boxes.clip(min=0), np.tile(target_hw[::-1], 2))  # padding is at the right and at the bottom
    kept = ((boxes[:, 2:] - boxes[:, :2]) > 1e-5).all(axis=1)
    return (new_h, new_w), (offset_y, offset_x), boxes[kept], kept


@pytest.mark.parametrize("seed", range(40))
def test_scaled_crops_are_detectron2s(seed):
    generator = np.random.default_rng(seed)
    height, width = generator.integers(20, 200, 2).tolist()
    target_hw = (96, 96) if seed % 2 else (64, 120)
    sample = sample_with(random_boxes(generator, 6, height, width), height, width, seed=seed)
    before = copy.deepcopy(sample)
    np.random.seed(seed)
    (new_h, new_w), (y, x), boxes, kept = as_detectron2(sample["gt_bbox"], (height, width), target_hw, (0.1, 2.0))
    expected_next = np.random.rand()
    np.random.seed(seed)
    transform = RandomScaledCrop(96 if seed % 2 else [64, 120], [0.1, 2.0])
    found = transform(sample)
    assert np.random.rand() == expected_next
    assert found["image"].shape == (*target_hw, 3) and found["image"].dtype == np.uint8
    np.testing.assert_allclose(found["gt_bbox"], boxes, atol=1e-4)
    np.testing.assert_array_equal(found["gt_class"].ravel(), np.flatnonzero(kept))
    np.testing.assert_array_equal(found["im_shape"], target_hw)
    np.testing.assert_allclose(found["scale_factor"], [new_h / height, new_w / width], rtol=1e-6)
    seen_h, seen_w = min(new_h - y, target_hw[0]), min(new_w - x, target_hw[1])
    assert (found["image"][seen_h:] == 128).all() and (found["image"][:, seen_w:] == 128).all()
    if (new_h, new_w) == (height, width):
        np.testing.assert_array_equal(found["image"][:seen_h, :seen_w], before["image"][y : y + seen_h, x : x + seen_w])


def test_pixels_are_close_to_pillows():
    """Detectron2 resizes with Pillow's bilinear filter, which averages what shrinks."""
    from PIL import Image

    ys, xs = np.mgrid[:120, :160]
    pattern = 127 + 60 * np.sin(xs / 5) + 60 * np.cos(ys / 3 + xs / 40)
    photo = np.stack([pattern, 255 - pattern, pattern / 2], axis=2).astype(np.uint8)
    for scale in (0.25, 0.5, 1.5):
        sample = sample_with([], 120, 160)
        sample["image"] = photo
        found = RandomScaledCrop(160, [scale, scale])(sample)["image"].astype(int)
        new_h, new_w = round(120 * scale), round(160 * scale)
        expected = np.asarray(Image.fromarray(photo).resize((new_w, new_h), Image.Resampling.BILINEAR)).astype(int)
        if scale < 1:
            assert np.abs(found[:new_h, :new_w] - expected).mean() < 4
        else:
            crops = (expected[y : y + 160, x : x + 160] for y in range(new_h - 159) for x in range(new_w - 159))
            assert min(np.abs(found - crop).max() for crop in crops) <= 1


def test_any_number_may_be_the_padding():
    sample = sample_with([], 20, 40)
    image = RandomScaledCrop(40, [1.0, 1.0], fill_value=[1, 2, 3])(sample)["image"]
    assert image[30, 5].tolist() == [1, 2, 3]


def test_an_extremely_long_image_keeps_a_pixel():
    sample = sample_with([[0, 0, 2, 900]], 900, 2)
    found = RandomScaledCrop(64, [0.1, 0.1])(sample)
    assert found["image"].shape == (64, 64, 3) and len(found["gt_bbox"]) == 1


def paddledetections_crop(**arguments):
    from ppdet_res2net.compat import prepare_ppdet

    prepare_ppdet()
    from ppdet.data.transform.operators import RandomCrop as Theirs

    return Theirs(**arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"allow_no_crop": False},
        {"cover_all_box": True, "num_attempts": 5, "thresholds": [0.0, 0.2]},
        {"aspect_ratio": None, "scaling": [0.2, 0.9]},
    ],
    ids=["default", "always", "all boxes", "free shape"],
)
def test_random_crops_are_paddledetections(arguments):
    cropped = 0
    for seed in range(60):
        generator = np.random.default_rng(seed)
        height, width = generator.integers(30, 120, 2).tolist()
        sample = sample_with(random_boxes(generator, 4, height, width), height, width, seed=seed)
        np.random.seed(seed)
        theirs = paddledetections_crop(**arguments)(copy.deepcopy(sample))
        expected_next = np.random.rand()
        np.random.seed(seed)
        ours = RandomCrop(**arguments)(copy.deepcopy(sample))
        assert np.random.rand() == expected_next
        for key in ("image", "gt_bbox", "gt_class", "is_crowd"):
            np.testing.assert_array_equal(ours[key], theirs[key])
        np.testing.assert_array_equal(ours["im_shape"], ours["image"].shape[:2])  # PaddleDetection keeps the old size
        cropped += ours["image"].shape != sample["image"].shape
    assert cropped > 20


def test_random_crops_cut_masks_of_both_kinds():
    hole = np.zeros((60, 80), np.uint8, order="F")
    hole[10:50, 10:70] = 1
    hole[20:40, 30:60] = 0
    triangle = np.array([5.0, 5.0, 75.0, 5.0, 40.0, 55.0])
    for seed in range(30):
        sample = sample_with([[10, 10, 70, 50], [5, 5, 75, 55]], 60, 80, seed=seed)
        sample["image"] = np.stack([hole, draw([triangle], 60, 80), hole], axis=2)
        sample["gt_poly"] = [mask_utils.encode(hole), [triangle]]
        np.random.seed(seed)
        found = RandomCrop(allow_no_crop=False, scaling=[0.4, 0.9])(sample)
        height, width = found["image"].shape[:2]
        for label, mask in zip(found["gt_class"].ravel(), found["gt_poly"]):
            if label == 0:
                np.testing.assert_array_equal(mask_utils.decode(mask), found["image"][..., 0])
            else:
                assert (draw(mask, height, width) != found["image"][..., 1]).sum() <= 12
        for box, label in zip(found["gt_bbox"], found["gt_class"].ravel()):
            rows, columns = np.nonzero(found["image"][..., label])
            extent = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            np.testing.assert_allclose(box, extent, atol=0 if label == 0 else 1.5)


def test_an_image_without_objects_is_not_cropped():
    sample = sample_with([], 30, 40, with_masks=True)
    assert RandomCrop(allow_no_crop=False)(sample)["image"].shape == (30, 40, 3)


def test_a_crop_as_large_as_the_image():
    sample = sample_with([[5, 5, 20, 20]], 30, 40, with_masks=True)
    found = RandomCrop(allow_no_crop=False, scaling=[1.0, 1.0], aspect_ratio=[1.0, 1.0], thresholds=[0.0])(sample)
    assert found["image"].shape == (30, 40, 3) and len(found["gt_poly"]) == 1
