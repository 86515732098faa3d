"""The fused transforms give the same numbers as PaddleDetection's, and other chains are left unchanged."""

from __future__ import annotations

import numpy as np
import pytest

from ppdet_res2net.data import loader as loader_module
from ppdet_res2net.data.fused import fuse_transforms
from ppdet_res2net.data.transforms import build_transforms
from ppdet_res2net.datasets.demo import make_demo_data
from ppdet_res2net.ppdet_modules.mask_assigner import rasterize_in_box
from tests.helpers.datasets import dataset_in, loader_for, with_run_length_mask

NORMALIZE = {"NormalizeImage": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "is_scale": True}}
TAIL = [NORMALIZE, {"Permute": {}}]
DECODE = [{"Decode": {}}]
FLIP = {"RandomFlip": {"prob": 0.5}}
SIZES = [[64, 96], [80, 112], [100, 90]]
PAD = [{"PadBatch": {"pad_to_stride": 32}}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_demo_data(tmp_path_factory.mktemp("data") / "demo", 30, 1, image_size_px=96)


CHAINS = {
    "as the recipes": [{"RandomResize": {"target_size": SIZES, "keep_ratio": True, "interp": 2}}, FLIP],
    "flip first": [FLIP, {"RandomResize": {"target_size": SIZES, "keep_ratio": False, "interp": 1}}],
    "random range": [
        {"RandomResize": {"target_size": SIZES[:2], "random_range": True, "random_interp": True}},
        FLIP,
        FLIP,
    ],
    "fixed size": [{"Resize": {"target_size": [90, 70], "keep_ratio": False, "interp": 2}}, FLIP],
    "whole pixels": [{"RandomResize": {"target_size": SIZES, "random_interp": True, "round_size": True}}, FLIP],
    "fixed size in whole pixels": [{"Resize": {"target_size": [77, 101], "keep_ratio": True, "round_size": True}}],
    "one number": [{"Resize": {"target_size": 100, "keep_ratio": True}}],
    "no random size": [{"RandomResize": {"target_size": [70, 90], "random_size": False, "random_interp": True}}],
    "no resize": [FLIP],
    "nothing": [],
    "augmentations": [
        {"Mosaic": {"prob": 0.5, "input_dim": [64, 80]}},
        {"RandomCrop": {}},
        {"RandomDistort": {}},
        {"RandomScaledCrop": {"target_dim": [80, 96], "scale_range": [0.5, 2.0]}},
        FLIP,
        {"CopyPaste": {"mask_occluded_thr": 10}},
    ],
}


@pytest.mark.parametrize("middle", CHAINS.values(), ids=CHAINS)
@pytest.mark.parametrize("batch_transforms", [PAD, [{"PadBatch": {}}]], ids=["stride 32", "no stride"])
def test_same_batches_with_and_without(folder, monkeypatch, middle, batch_transforms):
    chain = [*DECODE, *middle, *TAIL]
    fused = list(loader_for(dataset_in(folder), chain, batch_transforms).epoch(1))
    monkeypatch.setattr(loader_module, "fuse_transforms", lambda sample, batch: (sample, batch))
    plain = list(loader_for(dataset_in(folder), chain, batch_transforms).epoch(1))
    assert len(fused) == len(plain) == 15
    has_rle = False
    for ours, theirs in zip(fused, plain):
        assert ours.keys() == theirs.keys()
        for key in ("image", "im_shape", "scale_factor", "im_id"):
            np.testing.assert_array_equal(ours[key], theirs[key])
            assert ours[key].dtype == theirs[key].dtype
        for key in ("gt_bbox", "gt_class", "is_crowd"):
            for mine, other in zip(ours[key], theirs[key]):
                np.testing.assert_array_equal(mine, other)
                assert mine.dtype == other.dtype
        for mine, other in zip(ours["gt_poly"], theirs["gt_poly"]):
            assert len(mine) == len(other)
            for segment, expected in zip(mine, other):
                if isinstance(expected, dict):
                    has_rle = True
                    assert segment == expected
                else:
                    assert [list(part) for part in segment] == [list(part) for part in expected]
    assert has_rle


def test_the_images_of_a_batch_lie_in_one_array(folder):
    chain = [*DECODE, *CHAINS["as the recipes"], *TAIL]
    batch = next(loader_for(dataset_in(folder), chain, PAD, batch_size=3).epoch(0))
    assert batch["image"].base is None and batch["image"].flags.c_contiguous
    for image, (height, width) in zip(batch["image"], batch["im_shape"].round().astype(int)):
        assert not image[:, height + 1 :].any() and not image[:, :, width + 1 :].any()
        assert image[:, : height - 1, : width - 1].any()


@pytest.mark.parametrize(
    ("samples", "batches"),
    [
        ([*DECODE, {"RandomExpand": {}}, *TAIL], PAD),
        ([*DECODE, {"Resize": {"target_size": 50, "keep_ratio": True}}, FLIP, {"Permute": {}}], PAD),
        ([*DECODE, NORMALIZE, FLIP, {"Permute": {}}], PAD),
        ([*DECODE, {"Resize": {"target_size": 50, "keep_ratio": True}}] * 2 + TAIL, PAD),
        ([*DECODE, *TAIL], [{"BatchRandomResize": {"target_size": [32], "keep_ratio": False}}, *PAD]),
        ([*DECODE, *TAIL], []),
        ([], []),
    ],
)
def test_other_chains_are_left_alone(samples, batches):
    built = build_transforms(samples), build_transforms(batches)
    assert fuse_transforms(*built) == built


def test_a_run_length_instance_is_trained_as_a_mask_after_augmentation(folder):
    # Polygons cannot say a hole.
    dataset, mask = with_run_length_mask(folder, box=(8, 12, 32, 40), hole=(16, 20, 24, 32))
    height, width = mask.shape
    size = {"target_size": [2 * height, 2 * width], "keep_ratio": False, "interp": 2}
    chain = [*DECODE, {"Resize": size}, {"RandomFlip": {"prob": 1.0}}, *TAIL]
    (batch,) = loader_for(dataset, chain, PAD).epoch(0)
    box = batch["gt_bbox"][0][0]
    np.testing.assert_allclose(box, [2 * (width - 32), 24, 2 * (width - 8), 80], atol=1e-4)
    target = rasterize_in_box(batch["gt_poly"][0][0], box, 28)
    expected = np.ones((28, 28), int)
    expected[8:20, 10:19] = 0
    assert (target != expected).mean() < 0.06
    assert target[14, 14] == 0 and target[2, 2] == target[-3, -3] == 1
