"""Class-balanced sampling: detectron2's repeat factors, in epochs of equal length."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from ppdet_res2net.config import load_config
from ppdet_res2net.data.sampling import draw_epoch, repeat_factors
from ppdet_res2net.errors import ConfigError
from tests.helpers.datasets import dataset_in, loader_for


def factors_by_definition(labels_of_images, threshold: float) -> list[float]:
    """The repeat factors as LVIS and detectron2 define them, image by image."""
    images = len(labels_of_images)
    images_with = Counter(label for labels in labels_of_images for label in set(labels))
    return [
        max([1.0, *(math.sqrt(threshold / (images_with[label] / images)) for label in labels)])
        for labels in labels_of_images
    ]


@pytest.fixture
def skewed():
    rng = np.random.RandomState(0)
    return [rng.zipf(1.6, rng.randint(0, 6)).clip(1, 40).tolist() for _ in range(300)]


@pytest.mark.parametrize("threshold", [0.001, 0.01, 0.1, 0.9])
def test_factors_are_those_of_detectron2(skewed, threshold):
    factors = repeat_factors(skewed, threshold)
    np.testing.assert_allclose(factors, factors_by_definition(skewed, threshold), rtol=1e-12)
    assert len(factors) == 300 and factors.min() == 1 and (factors.max() > 1) == (threshold > 1 / 300)


def test_images_without_objects_occur_once():
    assert repeat_factors([[], [0], []], 1.0).tolist() == [1.0, math.sqrt(3), 1.0]
    assert repeat_factors([[], []], 0.5).tolist() == [1.0, 1.0]


def test_an_epoch_has_each_image_as_often_as_its_factor_says(skewed):
    factors = repeat_factors(skewed, 0.1)
    length = round(factors.sum())
    counts = np.zeros(len(factors))
    for epoch in range(400):
        drawn = draw_epoch(factors, np.random.RandomState(epoch))
        assert len(drawn) == length
        once = np.bincount(drawn, minlength=len(factors))
        assert (np.abs(once - factors) <= 1 + 1e-2).all()
        counts += once
    np.testing.assert_allclose(counts / 400, factors, atol=0.1)
    assert abs((counts / 400 - factors).mean()) < 0.005


def test_an_epoch_is_in_random_order_and_follows_from_the_seed():
    factors = np.full(100, 2.0)
    first, again, other = (draw_epoch(factors, np.random.RandomState(seed)).tolist() for seed in (1, 1, 2))
    assert first == again != other
    assert set(Counter(first).values()) == {2}
    assert sum(a == b for a, b in zip(first, first[1:])) < 10  # copies of an image are not beside each other


def _ids(loader, epoch: int, start: int = 0) -> list[int]:
    return [int(i) for batch in loader.epoch(epoch, start) for i in batch["im_id"].ravel()]


@pytest.mark.parametrize("repeat", [1, 2])
def test_the_loader_balances_classes(demo_data, caplog, repeat):
    caplog.set_level("INFO")
    dataset = dataset_in(demo_data, repeat=repeat)
    labels = [record["gt_class"].ravel().tolist() for record in dataset.roidbs]
    factors = np.array(factors_by_definition(labels, 0.9))
    settings = {"repeats": np.resize(repeat_factors(labels, 0.9), len(dataset)), "drop_last": True}
    loader = loader_for(dataset, **settings)
    assert len(loader) == round(repeat * factors.sum()) // 2 > len(dataset) // 2
    assert _ids(loader, 0) == _ids(loader, 0) != _ids(loader, 1)
    assert _ids(loader, 1, 3) == _ids(loader, 1)[6:]  # resuming
    halves = [loader_for(dataset, rank=rank, world_size=2, **{**settings, "batch_size": 1}) for rank in (0, 1)]
    joint = [pair for pairs in zip(*(_ids(half, 0) for half in halves)) for pair in pairs]
    assert joint == _ids(loader, 0)


def test_a_recipe_asks_for_it(demo_data, caplog):
    from ppdet_res2net.data.loader import BatchLoader

    caplog.set_level("INFO")
    dataset = dataset_in(demo_data)
    reader = {"repeat_factor": 0.9, "batch_size": 1}
    loader = BatchLoader.from_reader(dataset, reader, num_workers=0, seed=0)
    assert len(loader) > len(dataset)
    assert "repeat_factor 0.9: " in caplog.text and f"samples instead of {len(dataset)}" in caplog.text
    with pytest.raises(ConfigError, match="repeat_factor needs shuffle: true"):
        BatchLoader.from_reader(dataset, {**reader, "shuffle": False}, num_workers=0, seed=0)


def test_it_is_a_setting_of_training_only():
    assert load_config("demo_mask_rcnn", ["TrainReader.repeat_factor=0.001"])["TrainReader"]["repeat_factor"] == 0.001
    assert load_config("digits", ["TrainReader.repeat_factor=null"])["TrainReader"]["repeat_factor"] is None
    with pytest.raises(ConfigError, match="EvalReader.repeat_factor is 0.1, but an evaluation uses every image once"):
        load_config("demo_mask_rcnn", ["EvalReader.repeat_factor=0.1"])
    with pytest.raises(ConfigError, match=r"'TrainReader.repeat_factor' is 0; it must be above 0"):
        load_config("demo_mask_rcnn", ["TrainReader.repeat_factor=0"])
