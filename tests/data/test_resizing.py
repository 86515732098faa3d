"""``Resize`` and ``RandomResize`` are PaddleDetection's, and can round sizes to whole pixels."""

from __future__ import annotations

import random

import numpy as np
import pytest

from ppdet_res2net.compat import prepare_ppdet
from ppdet_res2net.data.resizing import RandomResize, Resize


def make_sample() -> dict:
    image = np.random.default_rng(0).integers(0, 256, (43, 64, 3), dtype=np.uint8)
    return {
        "image": image,
        "im_shape": np.array([43, 64], np.float32),
        "scale_factor": np.ones(2, np.float32),
        "gt_bbox": np.array([[0, 0, 64, 43], [3, 5, 20, 30]], np.float32),
        "gt_poly": [[[0.0, 0.0, 64.0, 0.0, 64.0, 43.0]], [[3.0, 5.0, 20.0, 5.0, 20.0, 30.0]]],
    }


def assert_equal(ours: dict, theirs: dict) -> None:
    assert ours.keys() == theirs.keys()
    for key, value in theirs.items():
        np.testing.assert_array_equal(ours[key], value, err_msg=key)


RANDOM = [
    {"target_size": [[64, 96], [80, 112], [100, 90]]},
    {"target_size": [[64, 96], [80, 112]], "random_range": True, "random_interp": True},
    {"target_size": [70, 90], "random_size": False, "keep_ratio": False, "interp": 2},
]


@pytest.mark.parametrize("arguments", RANDOM)
def test_defaults_equal_paddledetections(arguments):
    prepare_ppdet()
    from ppdet.data.transform import operators

    for seed in range(4):
        results = []
        for transform in (RandomResize(**arguments), operators.RandomResize(**arguments)):
            random.seed(seed)
            np.random.seed(seed)
            results.append(transform(make_sample()))
        assert_equal(*results)
    fixed = {"target_size": [50, 70], "keep_ratio": True, "interp": 2}
    assert_equal(Resize(**fixed)(make_sample()), operators.Resize(**fixed)(make_sample()))


@pytest.mark.parametrize(
    "transform",
    [
        Resize([800, 133], True, round_size=True),
        RandomResize([[800, 133]], round_size=True),
        RandomResize([800, 133], random_size=False, round_size=True),
    ],
)
def test_whole_pixels(transform):
    sample = transform(make_sample())  # 133 / 43 = 3.093, and 64 of it are 197.95 pixels
    assert sample["image"].shape == (133, 198, 3)
    assert sample["im_shape"].tolist() == [133, 198]
    np.testing.assert_array_equal(sample["scale_factor"], np.float32([133 / 43, 198 / 64]))
    assert sample["gt_bbox"][0].tolist() == [0, 0, 198, 133]
    np.testing.assert_allclose(sample["gt_poly"][0], [[0, 0, 198, 0, 198, 133]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target_size": 5}, "target_size must be a list of sizes to choose from, got 5"),
        (
            {"target_size": [5, 6, 7], "random_range": True},
            r"must have two sizes if random_range is true, got \[5, 6, 7\]",
        ),
    ],
)
def test_wrong_sizes_are_named(arguments, message):
    with pytest.raises(TypeError, match=message):
        RandomResize(**arguments)
    with pytest.raises(TypeError, match="target_size must be a number or two numbers, got None"):
        Resize(None, True)
