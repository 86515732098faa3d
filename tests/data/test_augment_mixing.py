"""CopyPaste and Mosaic give what slow bitmaps give, and follow from seed and epoch alone."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from pycocotools import mask as mask_utils

from ppdet_res2net.data.augment.mixing import CopyPaste, Mosaic
from ppdet_res2net.datasets.demo import make_demo_data
from ppdet_res2net.errors import ConfigError, DatasetError
from tests.data.test_augment_placement import around, draw
from tests.data.test_loader import ids_of, is_same
from tests.helpers.datasets import BATCH_TRANSFORMS, dataset_in, loader_for

HEIGHT, WIDTH = 60, 80
TAIL = [
    {"NormalizeImage": {"mean": [0, 0, 0], "std": [1, 1, 1], "is_scale": False, "norm_type": "none"}},
    {"Permute": {}},
]
LSJ = [{"Decode": {}}, {"RandomScaledCrop": {"target_dim": 96}}, {"RandomFlip": {"prob": 0.5}}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_demo_data(tmp_path_factory.mktemp("data") / "demo", 12, 1, image_size_px=96)


def bitmap_of(mask, height=HEIGHT, width=WIDTH) -> np.ndarray:
    return mask_utils.decode(mask) if isinstance(mask, dict) else draw(mask, height, width)


def random_sample(generator, colour: int, count: int, first_label: int = 0) -> dict:
    """Return a sample of one colour whose objects are triangles, and rings of run lengths."""
    masks: list = []
    for index in range(count):
        x, y = generator.integers(2, WIDTH - 30), generator.integers(2, HEIGHT - 25)
        if index % 2:
            bitmap = np.zeros((HEIGHT, WIDTH), np.uint8, order="F")
            bitmap[y : y + 20, x : x + 24] = 1
            bitmap[y + 6 : y + 14, x + 6 : x + 16] = 0
            masks.append(mask_utils.encode(bitmap))
        else:
            masks.append([np.array([x, y, x + 25, y + 3, x + 8, y + 20], float)])
    labels = np.arange(first_label, first_label + count, dtype=np.int32)[:, None]
    return {
        "image": np.full((HEIGHT, WIDTH, 3), colour, np.uint8),
        "gt_bbox": np.array([around(mask) for mask in masks], np.float32).reshape(-1, 4),
        "gt_class": labels, "is_crowd": np.zeros_like(labels), "difficult": labels + 100, "gt_poly": masks,
        "im_shape": np.array([HEIGHT, WIDTH], np.float32), "scale_factor": np.ones(2, np.float32),
    }  # fmt: skip


def paste_slowly(below: dict, above: dict, chosen, box_limit: float, area_limit: float):
    """Return image, bitmaps, labels and boxes as mmdetection's CopyPaste makes them, on bitmaps.

    Source: mmdet/datasets/transforms/transforms.py.
    """
    pasted = [bitmap_of(above["gt_poly"][index]) for index in chosen]
    covered = np.any(pasted, axis=0) if pasted else np.zeros((HEIGHT, WIDTH), bool)
    image = np.where(covered[..., None], above["image"], below["image"])
    bitmaps, labels, boxes = [], [], []
    for mask, label, box in zip(below["gt_poly"], below["gt_class"].ravel(), below["gt_bbox"]):
        bitmap = bitmap_of(mask)
        rest = np.where(covered, 0, bitmap)
        if (rest != bitmap).any():
            if not rest.any():
                continue
            rows, columns = np.nonzero(rest)
            new_box = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
            if np.abs(new_box - box).max() > box_limit and rest.sum() <= area_limit:
                continue
            box = new_box
        bitmaps.append(rest)
        labels.append(label)
        boxes.append(box)
    labels += above["gt_class"].ravel()[chosen].tolist()
    return image, [*bitmaps, *pasted], labels, np.array([*boxes, *above["gt_bbox"][chosen]], np.float32).reshape(-1, 4)


@pytest.mark.parametrize(("box_limit", "area_limit"), [(10, 300), (3, 150), (0, 1e9), (100, 0)])
def test_pasting_equals_pasting_of_bitmaps(box_limit, area_limit):
    lost = pasted = 0
    for seed in range(25):
        generator = np.random.default_rng(seed)
        below, above = random_sample(generator, 10, 4), random_sample(generator, 200, 5, 10)
        np.random.seed(seed)
        chosen = np.random.choice(5, size=np.random.randint(0, 6), replace=False)
        expected = paste_slowly(copy.deepcopy(below), copy.deepcopy(above), chosen, box_limit, area_limit)
        image, bitmaps, labels, boxes = expected
        np.random.seed(seed)
        found = CopyPaste(bbox_occluded_thr=box_limit, mask_occluded_thr=area_limit)(below, [above])
        np.testing.assert_array_equal(found["image"], image)
        assert found["gt_class"].ravel().tolist() == labels
        assert (found["difficult"].ravel() - 100).tolist() == labels and len(found["is_crowd"]) == len(labels)
        np.testing.assert_array_equal(found["gt_bbox"], boxes)
        for mask, bitmap in zip(found["gt_poly"], bitmaps):
            np.testing.assert_array_equal(bitmap_of(mask), bitmap)
        lost += 4 + len(chosen) - len(labels)
        pasted += len(chosen)
    assert pasted > 20 and (lost > 0 or box_limit == 100)


def test_objects_that_nothing_covers_stay_polygons():
    generator = np.random.default_rng(0)
    below, above = random_sample(generator, 0, 1), random_sample(generator, 9, 1)
    below["gt_poly"] = [[np.array([1.5, 1.5, 9.25, 1.5, 4.0, 9.0])]]
    below["gt_bbox"] = np.array([[1, 1, 10, 10]], np.float32)
    above["gt_poly"] = [[np.array([40.0, 30.0, 60.0, 30.0, 50.0, 50.0])]]
    found = CopyPaste(selected=False)(below, [above])
    assert [type(mask) for mask in found["gt_poly"]] == [list, list]
    assert found["gt_bbox"][0].tolist() == [1, 1, 10, 10]


def test_a_hidden_object_is_left_out_even_if_its_box_is_small():
    below, above = random_sample(np.random.default_rng(0), 0, 1), random_sample(np.random.default_rng(1), 9, 1)
    below["gt_poly"] = [[np.array([2.0, 2.0, 6.0, 2.0, 6.0, 6.0, 2.0, 6.0])]]
    below["gt_bbox"] = np.array([[2, 2, 6, 6]], np.float32)  # mmdetection keeps it: no side is further than 10 from 0
    above["gt_poly"] = [[np.array([0.0, 0.0, 30.0, 0.0, 30.0, 30.0, 0.0, 30.0])]]
    found = CopyPaste(selected=False)(below, [above])
    assert len(found["gt_bbox"]) == len(found["gt_poly"]) == len(found["gt_class"]) == 1


def test_crowds_are_cut_but_not_pasted():
    generator = np.random.default_rng(3)
    below, above = random_sample(generator, 0, 2), random_sample(generator, 9, 3, 10)
    below["is_crowd"][1] = above["is_crowd"][0] = above["is_crowd"][2] = 1
    found = CopyPaste(selected=False)(below, [above])
    assert found["gt_class"].ravel().tolist()[-1] == 11 and 10 not in found["gt_class"] and 12 not in found["gt_class"]
    assert found["is_crowd"].ravel().tolist() == [0, 1, 0]


def test_nothing_to_paste_changes_nothing():
    generator = np.random.default_rng(0)
    below, empty = random_sample(generator, 0, 3), random_sample(generator, 9, 0)
    before = copy.deepcopy(below)
    assert is_same(CopyPaste()(below, [empty]), before)
    onto_empty = CopyPaste(selected=False)(empty, [before])
    assert onto_empty["gt_class"].ravel().tolist() == [0, 1, 2] and (onto_empty["image"] == 0).any()


def test_at_most_one_object_below_the_maximum():
    counts = set()
    for seed in range(30):
        np.random.seed(seed)
        generator = np.random.default_rng(seed)
        found = CopyPaste(max_num_pasted=3, mask_occluded_thr=0)(
            random_sample(generator, 0, 0), [random_sample(generator, 1, 6)]
        )
        counts.add(len(found["gt_bbox"]))
    assert counts == {0, 1, 2}


def test_boxes_are_pasted_without_masks(folder):
    dataset = dataset_in(folder, data_fields=["image", "gt_bbox", "gt_class"])
    with pytest.raises(
        DatasetError, match="CopyPaste failed: there are no masks. Add gt_poly to TrainDataset.data_fields"
    ):
        list(loader_for(dataset, [*LSJ, {"CopyPaste": {}}, *TAIL], BATCH_TRANSFORMS).epoch(0))
    plain = list(loader_for(dataset, [*LSJ, *TAIL], BATCH_TRANSFORMS).epoch(0))
    mixed = list(loader_for(dataset, [*LSJ, {"CopyPaste": {"paste_by_box": True}}, *TAIL], BATCH_TRANSFORMS).epoch(0))
    count = [sum(len(boxes) for batch in batches for boxes in batch["gt_bbox"]) for batches in (plain, mixed)]
    assert count[1] > count[0]


def test_images_of_different_sizes_cannot_be_pasted(folder):
    sizes = {"RandomResize": {"target_size": [[64, 96], [80, 112]], "keep_ratio": True}}
    loader = loader_for(dataset_in(folder), [{"Decode": {}}, sizes, {"CopyPaste": {}}, *TAIL], BATCH_TRANSFORMS)
    with pytest.raises(
        DatasetError, match="CopyPaste failed: the images have different sizes .* such as RandomScaledCrop"
    ):
        for epoch in range(5):
            list(loader.epoch(epoch))


@pytest.mark.parametrize("seed", range(12))
def test_mosaics_are_mmdetections(seed):
    """Four images around a centre. Source: mmdet/datasets/transforms/transforms.py, _mosaic_combine."""
    generator = np.random.default_rng(seed)
    samples = [random_sample(generator, 40 * (index + 1), 3, 10 * index) for index in range(4)]
    high, wide = 50, 70
    np.random.seed(seed)
    centre_x, centre_y = (int(np.random.uniform(0.5, 1.5) * side) for side in (wide, high))
    factor = min(high / HEIGHT, wide / WIDTH)
    new_h, new_w = int(HEIGHT * factor), int(WIDTH * factor)
    left, upper = centre_x - new_w, centre_y - new_h
    corners = [(left, upper), (centre_x, upper), (left, centre_y), (centre_x, centre_y)]
    np.random.seed(seed)
    found = Mosaic(input_dim=[high, wide])(copy.deepcopy(samples[0]), copy.deepcopy(samples[1:]))
    assert found["image"].shape == (2 * high, 2 * wide, 3) and found["im_shape"].tolist() == [2 * high, 2 * wide]
    expected = np.full((2 * high, 2 * wide), 114)
    boxes, labels = [], []
    for index, (sample, (x, y)) in enumerate(zip(samples, corners)):
        expected[max(y, 0) : min(y + new_h, 2 * high), max(x, 0) : min(x + new_w, 2 * wide)] = 40 * (index + 1)
        moved = sample["gt_bbox"] * np.tile([new_w / WIDTH, new_h / HEIGHT], 2) + [x, y, x, y]
        boxes += moved.clip(0, [2 * wide, 2 * high] * 2).tolist()
        labels += sample["gt_class"].ravel().tolist()
    np.testing.assert_array_equal(found["image"][..., 0], expected)
    kept = [index for index, (x0, y0, x1, y1) in enumerate(boxes) if min(x1 - x0, y1 - y0) > 1]
    assert set(labels[index] for index in kept) <= set(found["gt_class"].ravel().tolist()) <= set(labels)
    for box, label, mask in zip(found["gt_bbox"], found["gt_class"].ravel(), found["gt_poly"]):
        clipped = np.array(boxes[labels.index(label)])
        assert (box[:2] >= clipped[:2] - 1.5).all() and (box[2:] <= clipped[2:] + 1.5).all()
        np.testing.assert_allclose(around(mask), box, atol=1e-3 if isinstance(mask, list) else 1.5)
        x, y = corners[label // 10]
        source = bitmap_of(samples[label // 10]["gt_poly"][label % 10])
        rows = ((np.arange(new_h) + 0.5) * HEIGHT / new_h).astype(int)
        columns = ((np.arange(new_w) + 0.5) * WIDTH / new_w).astype(int)
        whole = np.zeros((6 * high, 6 * wide), np.uint8)
        whole[2 * high + y :, 2 * wide + x :][:new_h, :new_w] = source[rows][:, columns]
        seen = whole[2 * high : 4 * high, 2 * wide : 4 * wide]
        assert (bitmap_of(mask, 2 * high, 2 * wide) != seen).sum() < 0.35 * seen.sum() + 12


def test_the_probability_of_a_mosaic(folder):
    assert {Mosaic(prob=0.0).draw_count() for _ in range(20)} == {0}
    assert {Mosaic(prob=1.0).draw_count() for _ in range(20)} == {3}
    chain = [{"Decode": {}}, {"Mosaic": {"prob": 0.0}}, *TAIL]
    without = [chain[0], *TAIL]
    found = next(loader_for(dataset_in(folder), chain, BATCH_TRANSFORMS).epoch(0))
    assert is_same(found, next(loader_for(dataset_in(folder), without, BATCH_TRANSFORMS).epoch(0)))


MIXED = [
    {"Decode": {}}, {"Mosaic": {"prob": 0.5, "input_dim": 64}}, {"RandomCrop": {}}, {"RandomDistort": {}}, *LSJ[1:],
    {"CopyPaste": {"mask_occluded_thr": 20}}, *TAIL,
]  # fmt: skip


@pytest.mark.parametrize("num_workers", [1, 3])
def test_mixing_follows_from_seed_and_epoch_alone(folder, num_workers):
    plain = loader_for(dataset_in(folder), MIXED, batch_size=3)
    parallel = loader_for(dataset_in(folder), MIXED, batch_size=3, num_workers=num_workers)
    expected = list(plain.epoch(2))
    assert is_same(list(parallel.epoch(2)), expected)
    assert is_same(list(parallel.epoch(2, start_step=3)), expected[3:])
    parallel.close()
    other_epoch = list(plain.epoch(3))
    other_seed = list(loader_for(dataset_in(folder), MIXED, batch_size=3, seed=8).epoch(2))
    assert sorted(ids_of(other_epoch)) == sorted(ids_of(expected))
    for other in (other_epoch, other_seed):
        assert not is_same([batch["image"] for batch in other], [batch["image"] for batch in expected])


def test_mixed_samples_are_whole(folder):
    for batch in loader_for(dataset_in(folder), MIXED, batch_size=3).epoch(0):
        height, width = batch["image"].shape[2:]
        assert (height, width) == (96, 96)
        for boxes, labels, crowds, masks in zip(
            *(batch[key] for key in ("gt_bbox", "gt_class", "is_crowd", "gt_poly"))
        ):
            assert len(boxes) == len(labels) == len(crowds) == len(masks)
            assert boxes.dtype == np.float32 and labels.dtype == crowds.dtype == np.int32
            assert (boxes >= 0).all() and (boxes <= 96).all() and (boxes[:, 2:] > boxes[:, :2]).all()
            for mask in masks:
                assert not isinstance(mask, dict) or mask["size"] == [96, 96]
                assert isinstance(mask, dict) or (mask and all(len(polygon) >= 6 for polygon in mask))


def test_the_records_stay_as_they_are(folder):
    dataset = dataset_in(folder)
    before = copy.deepcopy(dataset.roidbs)
    list(loader_for(dataset, MIXED).epoch(0))
    assert is_same(dataset.roidbs, before)


def test_a_broken_image_that_is_mixed_in_is_named(folder, tmp_path):
    dataset = dataset_in(folder)
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    dataset.roidbs[0]["im_file"] = str(broken)
    loader = loader_for(dataset, MIXED, shuffle=False)
    with pytest.raises(DatasetError, match="^image '.*broken.jpg' .image id [0-9]+.: transform Decode failed"):
        list(loader.epoch(0, start_step=1))
        list(loader.epoch(1, start_step=1))


def test_mixing_batches_is_refused(folder):
    with pytest.raises(ConfigError, match="CopyPaste needs other samples, so it belongs in sample_transforms"):
        loader_for(dataset_in(folder), LSJ, [{"CopyPaste": {}}])
