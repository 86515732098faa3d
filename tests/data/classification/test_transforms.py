"""Augmentation, mixing, and batches that depend only on seed, epoch and position."""

from __future__ import annotations

import random

import numpy as np
import pytest
from PIL import Image

from ppdet_res2net.data.classification.labelled import Contents, LabelledImages
from ppdet_res2net.data.classification.loader import LabelledImageLoader
from ppdet_res2net.data.classification.mixing import MixImages
from ppdet_res2net.data.classification.rand_augment import _OPERATIONS, RandAugment
from ppdet_res2net.data.classification.transforms import BATCH_TRANSFORMS, SAMPLE_TRANSFORMS
from ppdet_res2net.data.transforms import build_transforms
from ppdet_res2net.errors import ConfigError, DatasetError

AUGMENTATION = [
    {"Decode": None},
    {"RandomResizedCrop": {"size": 16}},
    {"RandomHorizontalFlip": {}},
    {"ColorJitter": {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}},
    {"RandAugment": {}},
    {"Normalize": {}},
    {"RandomErasing": {"prob": 1.0, "mode": "pixel"}},
]


class Pictures(LabelledImages):
    """Eight small pictures in memory."""

    def __init__(self, count=8):
        self.count = count

    def _read(self):
        pixels = np.random.RandomState(0).randint(0, 255, (self.count, 20, 24, 3)).astype(np.uint8)
        names = [f"picture {i}" for i in range(self.count)]
        return Contents("The pictures", names, np.arange(self.count) % 3, ("a", "b", "c"), pixels)


@pytest.fixture(autouse=True)
def seeded():
    random.seed(1)
    np.random.seed(1)


def picture():
    return Image.fromarray(np.random.RandomState(3).randint(0, 255, (40, 50, 3)).astype(np.uint8))


def apply(name, image, **arguments):
    ((_, transform),) = build_transforms([{name: arguments}], SAMPLE_TRANSFORMS)
    return transform({"image": image})["image"]


def test_crops_and_flips():
    image = picture()
    assert apply("RandomResizedCrop", image, size=32).size == (32, 32)
    assert apply("RandomCrop", image, size=32, padding=4).size == (32, 32)
    assert apply("Resize", image, size=32).size == (32, 32)
    assert np.array_equal(apply("RandomHorizontalFlip", image, prob=1.0), np.asarray(image)[:, ::-1])
    assert apply("RandomHorizontalFlip", image, prob=0.0) is image


def test_crops_cover_the_shares_that_were_asked_for():
    # The grey value of a pixel is its column, so the crop's width can be read from the result.
    ramp = Image.fromarray(np.repeat(np.arange(200, dtype=np.uint8)[None, :], 200, axis=0)).convert("RGB")
    widths = []
    for _ in range(200):
        crop = np.asarray(apply("RandomResizedCrop", ramp, size=50, scale=[0.25, 0.5], ratio=[1.0, 1.0]))
        widths.append((int(crop[0, -1, 0]) - int(crop[0, 0, 0])) / 200)
    assert 0.45 < min(widths) < 0.55 and 0.65 < max(widths) < 0.75


def test_normalize_equals_evaluation():
    image = Image.fromarray(np.random.RandomState(3).randint(0, 255, (32, 32, 3)).astype(np.uint8))
    evaluated = build_transforms([{"ClassifierInput": {"size_px": 32, "crop_fraction": 1.0}}], SAMPLE_TRANSFORMS)[0][1]
    sample = evaluated({"im_file": "x", "image": np.asarray(image)})
    assert np.array_equal(apply("Normalize", image), sample["image"]) and "im_file" not in sample


@pytest.mark.parametrize("mode", ["const", "pixel"])
def test_erasing(mode):
    shares = []
    for _ in range(100):
        erased = apply("RandomErasing", np.full((3, 40, 40), 9, np.float32), prob=1.0, mode=mode, scale=[0.1, 0.3])
        hole = (erased != 9).any(axis=0)
        rows, columns = np.flatnonzero(hole.any(axis=1)), np.flatnonzero(hole.any(axis=0))
        assert hole[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        shares.append(hole.mean())
        assert (erased[:, hole] == 0).all() == (mode == "const")
    assert 0.08 < min(shares) < 0.14 and 0.26 < max(shares) < 0.32
    untouched = np.full((3, 4, 4), 9, np.float32)
    assert (apply("RandomErasing", untouched, prob=0.0) == 9).all()


def test_rand_augment_operations():
    image = picture()
    for name, (function, largest, is_signed) in _OPERATIONS.items():
        for sign in (1, -1) if is_signed else (1,):
            assert function(image, sign * largest).size == image.size, name
            # At strength 0, only operations without a strength change the image.
            assert np.array_equal(function(image, 0), image) == (name not in ("auto_contrast", "equalize")), name
    assert len(_OPERATIONS) == 14
    results = {np.asarray(RandAugment(2, 9)(image)).tobytes() for _ in range(20)}
    assert len(results) > 10


@pytest.mark.parametrize(
    "entry, known, message",
    [
        (
            {"RandomFlip": {}},
            SAMPLE_TRANSFORMS,
            "Available: Decode, RandomResizedCrop, RandomCrop, ",
        ),
        ({"RandomErasing": {"mode": "grey"}}, SAMPLE_TRANSFORMS, "mode is 'grey'; choose const or pixel"),
        ({"RandAugment": {"magnitude": 30}}, SAMPLE_TRANSFORMS, "a magnitude from 0 to 10"),
        ({"Resize": {}}, SAMPLE_TRANSFORMS, "transform Resize does not accept the arguments {}"),
        ({"MixImages": {}}, BATCH_TRANSFORMS, "neither may be below 0, and one must be above"),
        ({"MixImages": {"mixup_alpha": -1, "cutmix_alpha": 1}}, BATCH_TRANSFORMS, "mixup_alpha is -1"),
    ],
)
def test_wrong_transforms(entry, known, message):
    with pytest.raises(ConfigError) as error:
        build_transforms([entry], known)
    assert message in str(error.value)


def samples(count=6):
    # Image i is filled with i, so that a mixed image tells what it was mixed from.
    return [
        {"image": np.full((3, 20, 20), i, np.float32), "label": np.array(i, np.int64), "im_id": np.array([i])}
        for i in range(count)
    ]


def test_mixup_mixes_labels_as_it_mixes_images():
    for _ in range(20):
        for sample in MixImages(mixup_alpha=0.5)(samples()):
            share = sample["label_share"]
            expected = share * sample["label"] + (1 - share) * sample["other_label"]
            assert np.allclose(sample["image"], expected, atol=1e-5) and sample["image"].dtype == np.float32


def test_cutmix_shares_are_areas():
    seen = []
    for _ in range(40):
        for sample in MixImages(cutmix_alpha=1.0)(samples()):
            own = (sample["image"][0] == sample["label"]).mean()
            if sample["label"] != sample["other_label"]:
                assert own == pytest.approx(sample["label_share"], abs=1e-6)
                seen.append(own)
    assert min(seen) < 0.5 and max(seen) > 0.8  # the edges cut large rectangles off


def test_mixing_may_be_left_out_and_switched():
    for sample in MixImages(mixup_alpha=1.0, prob=0.0)(samples()):
        assert sample["label_share"] == 1 and (sample["image"] == sample["label"]).all()
    kinds = set()
    for _ in range(20):
        mixed = MixImages(mixup_alpha=1.0, cutmix_alpha=1.0)(samples())
        kinds.add(all(len(np.unique(sample["image"])) == 1 for sample in mixed))
    assert kinds == {True, False}


def batches(epoch=0, start=0, mixed=True, **options):
    settings = {"batch_size": 3, "shuffle": True, "drop_last": False, "num_workers": 0, "seed": 5, **options}
    mixing = [{"MixImages": {"mixup_alpha": 0.2, "cutmix_alpha": 1.0}}] if mixed else []
    loader = LabelledImageLoader(Pictures(), AUGMENTATION, mixing, **settings)
    try:
        return list(loader.epoch(epoch, start))
    finally:
        loader.close()


def assert_equal(some, others):
    assert len(some) == len(others)
    for one, other in zip(some, others):
        assert one.keys() == other.keys()
        for key in one:
            assert np.array_equal(one[key], other[key]), key


def test_batches():
    first, *_, last = batches()
    assert {key: (value.shape, value.dtype.name) for key, value in first.items()} == {
        "image": ((3, 3, 16, 16), "float32"),
        "label": ((3,), "int64"),
        "im_id": ((3, 1), "int64"),
        "other_label": ((3,), "int64"),
        "label_share": ((3,), "float32"),
    }
    assert len(last["label"]) == 2


def test_batches_depend_on_seed_epoch_and_position_alone():
    reference = batches(epoch=1)
    assert_equal(batches(epoch=1, num_workers=2), reference)
    assert_equal(batches(epoch=1, start=1), reference[1:])
    assert not np.array_equal(batches(epoch=0)[0]["image"], reference[0]["image"])
    assert not np.array_equal(batches(epoch=1, seed=6)[0]["image"], reference[0]["image"])


def test_ranks_share_a_batch():
    whole = batches(batch_size=4, mixed=False)
    halves = [batches(batch_size=2, rank=rank, world_size=2, mixed=False) for rank in (0, 1)]
    for batch, first, second in zip(whole, *halves):
        assert np.array_equal(batch["image"], np.concatenate([first["image"], second["image"]]))


def test_an_unreadable_image_is_named(tmp_path):
    class Broken(Pictures):
        def _read(self):
            return Contents("x", [str(tmp_path / "no.png")], np.zeros(1, np.int64), ("a",))

    options = {"batch_size": 1, "shuffle": False, "drop_last": False, "num_workers": 0, "seed": 0}
    loader = LabelledImageLoader(Broken(), [{"Decode": {}}], **options)
    with pytest.raises(
        DatasetError, match=r"image '.*no.png' \(image id 0\): transform Decode failed: Cannot read image"
    ):
        next(iter(loader.epoch(0)))
