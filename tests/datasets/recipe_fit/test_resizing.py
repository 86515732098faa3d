"""The factors of a reader, computed from its settings, are those of ppdet's transforms."""

from __future__ import annotations

import random

import numpy as np
import pytest

from ppdet_res2net.data.transforms import build_transforms
from ppdet_res2net.datasets.recipe_fit import list_factors
from ppdet_res2net.datasets.recipe_fit.resizing import find_other_changes

SIZES = [(60, 80), (90, 40), (128, 128), (50, 300)]
LISTED = {
    "fit": {"Resize": {"target_size": [50, 70], "keep_ratio": True}},
    "one side": {"Resize": {"target_size": 64, "keep_ratio": True}},
    "stretch": {"Resize": {"target_size": [50, 70], "keep_ratio": False}},
    "choice": {"RandomResize": {"target_size": [[40, 90], [50, 90], [60, 200]], "keep_ratio": True}},
    "sides": {"RandomResize": {"target_size": [32, 64, 96], "keep_ratio": False}},
    "fixed": {"RandomResize": {"target_size": [50, 70], "random_size": False}},
    "short side": {"RandomShortSideResize": {"short_side_sizes": [40, 64], "max_size": 100}},
}


def _measured(transform: dict, size: tuple[int, int]) -> tuple[float, float]:
    ((_, apply),) = build_transforms([transform])
    image = np.zeros((*size, 3), "uint8")
    sample = {"image": image, "im_shape": np.array(size, "float32"), "scale_factor": np.ones(2, "float32")}
    height, width = apply(sample)["image"].shape[:2]
    return height / size[0], width / size[1]


@pytest.mark.parametrize("name", LISTED)
def test_factors_are_those_of_ppdet(name):
    transform = LISTED[name]
    random.seed(0)
    factors = list_factors({"sample_transforms": [{"Decode": {}}, transform, {"RandomFlip": None}]}, np.array(SIZES))
    for size, computed in zip(SIZES, factors):
        drawn = {_measured(transform, size) for _ in range(40)}
        assert len(drawn) == len({tuple(factor) for factor in computed})
        for factor in drawn:
            tolerance = 1.01 / min(size)  # images have whole pixels
            assert (np.abs(computed - factor) <= tolerance).all(axis=1).any(), (size, factor, computed)


def test_a_range_is_covered_evenly():
    transform = {"RandomResize": {"target_size": [[40, 200], [80, 200]], "random_range": True}}
    (factors,) = list_factors({"sample_transforms": [transform]}, np.array([(50, 100)]))
    assert factors.min() == pytest.approx(0.8) and factors.max() == pytest.approx(1.6)
    assert np.median(factors) == pytest.approx(1.2)


def test_large_scale_jitter_has_its_range():
    transform = {"RandomScaledCrop": {"target_dim": 1024, "scale_range": [0.1, 2.0]}}
    (factors,) = list_factors({"sample_transforms": [transform]}, np.array([(512, 256)]))
    assert factors.min() == pytest.approx(0.2) and factors.max() == pytest.approx(4.0)


def test_transforms_follow_each_other():
    reader = {
        "sample_transforms": [{"Resize": {"target_size": [100, 100], "keep_ratio": True}}],
        "batch_transforms": [{"BatchRandomResize": {"target_size": [32, 64], "keep_ratio": False}}],
    }
    (factors,) = list_factors(reader, np.array([(200, 400)]))
    np.testing.assert_allclose(sorted(factors.tolist()), [[32 / 200, 32 / 400], [64 / 200, 64 / 400]])
    assert list_factors({}, np.array([(200, 400)])).tolist() == [[[1.0, 1.0]]]


def test_what_cannot_be_computed_is_named():
    assert find_other_changes({"sample_transforms": [{"RandomCrop": {}}, {"Resize": {"target_size": 3}}]}) == [
        "RandomCrop"
    ]
