"""BatchLoader: batches do not depend on which process prepares them, and every failure names its cause."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as mask_utils

from ppdet_res2net.data.loader import BatchLoader
from ppdet_res2net.data.transforms import Decode, build_transforms
from ppdet_res2net.datasets.demo import make_demo_data
from ppdet_res2net.errors import ConfigError, DatasetError, ImageError, TrainingError
from tests.helpers.datasets import (
    BATCH_TRANSFORMS,
    FIELDS,
    SAMPLE_TRANSFORMS,
    dataset_in,
    loader_for,
    with_run_length_mask,
)

ROOT = Path(__file__).resolve().parents[2]
TRAIN_IMAGES = 14


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_demo_data(tmp_path_factory.mktemp("data") / "demo", TRAIN_IMAGES, 1, image_size_px=96)


def is_same(one, other) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(is_same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(is_same, one, other))
    return np.array_equal(one, other)


def ids_of(batches) -> list[int]:
    return [int(image_id) for batch in batches for image_id in batch["im_id"][:, 0]]


class Stall:
    """A transform that never returns for one image."""

    def __call__(self, sample):
        time.sleep(3600)


class Die:
    def __call__(self, sample):
        os.kill(os.getpid(), signal.SIGKILL)


def test_batches_are_as_paddledetection_collates_them(folder):
    batch = next(loader_for(dataset_in(folder)).epoch(0))
    count, channels, height, width = batch["image"].shape
    assert (count, channels, height % 32, width % 32) == (2, 3, 0, 0)
    assert batch["image"].dtype == batch["im_shape"].dtype == batch["scale_factor"].dtype == np.float32
    assert batch["im_shape"].shape == batch["scale_factor"].shape == (2, 2) and batch["im_id"].shape == (2, 1)
    assert sorted(set(batch) - {"image", "im_shape", "scale_factor", "im_id"}) == sorted(FIELDS[1:])
    for boxes, labels, crowds, masks in zip(*(batch[key] for key in FIELDS[1:])):
        assert boxes.shape == (len(masks), 4) and labels.shape == crowds.shape == (len(masks), 1)


def test_same_batches_as_paddledetections_reader(folder):
    from ppdet_res2net.compat import prepare_ppdet

    prepare_ppdet()
    from ppdet.data.reader import BatchCompose, Compose

    dataset = dataset_in(folder)
    dataset.parse_dataset()
    fixed = [entry for entry in SAMPLE_TRANSFORMS if "Flip" not in str(entry)]
    fixed[1] = {"Resize": {"target_size": [64, 96], "keep_ratio": True, "interp": 2}}
    fixed[0] = {"Decode": {}}
    ours = next(loader_for(dataset, fixed, shuffle=False).epoch(0))
    sample, collate = Compose(fixed, 3), BatchCompose(BATCH_TRANSFORMS, 3, collate_batch=False)
    theirs = collate([sample(dataset[index]) for index in (0, 1)])
    assert is_same({key: ours[key] for key in theirs}, theirs) and ours.keys() == theirs.keys()


def test_a_loader_from_a_recipe(folder):
    reader = {"sample_transforms": SAMPLE_TRANSFORMS, "batch_transforms": BATCH_TRANSFORMS, "batch_size": 4}
    loader = BatchLoader.from_reader(dataset_in(folder), reader, num_workers=0, seed=7, num_classes=3)
    assert len(loader) == TRAIN_IMAGES // 4  # drop_last
    assert is_same(next(loader.epoch(1)), next(loader_for(dataset_in(folder), batch_size=4).epoch(1)))
    options = {"num_workers": 0, "seed": 7, "num_classes": 3, "rank": 1, "world_size": 2}
    plain = BatchLoader.from_reader(dataset_in(folder), {}, **options)
    with pytest.raises(ConfigError, match="start_step must be between 0 and 7"):
        plain.epoch(0, 8)


@pytest.mark.parametrize("num_workers", [1, 3])
def test_workers_and_restarts_change_nothing(folder, num_workers):
    plain = loader_for(dataset_in(folder), batch_size=3)
    parallel = loader_for(dataset_in(folder), batch_size=3, num_workers=num_workers)
    expected = list(plain.epoch(4))
    assert len(expected) == len(plain) == 5 and len(expected[-1]["im_id"]) == 2
    assert is_same(list(parallel.epoch(4)), expected)
    assert is_same(list(parallel.epoch(4, start_step=3)), expected[3:])
    assert is_same(list(plain.epoch(4, start_step=3)), expected[3:])
    assert list(parallel.epoch(4, start_step=5)) == []
    parallel.close()


def test_seed_and_epoch_change_order_and_augmentation(folder):
    dataset = dataset_in(folder)
    first = list(loader_for(dataset).epoch(0))
    assert sorted(ids_of(first)) == sorted(int(record["im_id"][0]) for record in dataset.roidbs)
    for other in (loader_for(dataset).epoch(1), loader_for(dataset, seed=8).epoch(0)):
        assert ids_of(other) != ids_of(first)
    still = loader_for(dataset, shuffle=False)
    images = [{int(batch["im_id"][0, 0]): batch["image"] for batch in still.epoch(epoch)} for epoch in (0, 1)]
    assert images[0].keys() == images[1].keys()
    assert not all(np.array_equal(images[0][key], images[1][key]) for key in images[0])


def test_random_batch_transforms_follow_the_step(folder):
    sizes = [{"BatchRandomResize": {"target_size": [32, 64, 96, 128], "keep_ratio": False}}, {"Permute": {}}]
    loader = loader_for(dataset_in(folder), SAMPLE_TRANSFORMS[:1], sizes)
    shapes = [batch["image"].shape for batch in loader.epoch(0)]
    assert len(set(shapes)) > 1
    assert [batch["image"].shape for batch in loader.epoch(0, 2)] == shapes[2:]


def test_the_random_state_of_the_process_is_left_alone(folder):
    random.seed(1)
    np.random.seed(1)
    expected = random.random(), np.random.rand()
    random.seed(1)
    np.random.seed(1)
    list(loader_for(dataset_in(folder)).epoch(0))
    assert (random.random(), np.random.rand()) == expected


@pytest.mark.parametrize("drop_last", [True, False])
def test_ranks_share_a_step_of_one_larger_batch(folder, drop_last):
    options = {"drop_last": drop_last, "seed": 3}
    single = list(loader_for(dataset_in(folder), batch_size=4, **options).epoch(2))
    ranks = [list(loader_for(dataset_in(folder), rank=rank, world_size=2, **options).epoch(2)) for rank in range(2)]
    assert len(ranks[0]) == len(ranks[1]) == len(single) == (3 if drop_last else 4)
    for step, whole in enumerate(single):
        assert ids_of([ranks[0][step], ranks[1][step]]) == ids_of([whole])
        assert is_same(ranks[0][step]["gt_poly"] + ranks[1][step]["gt_poly"], whole["gt_poly"])


def test_ranks_get_equally_many_samples(folder):
    ranks = [list(loader_for(dataset_in(folder), rank=rank, world_size=4).epoch(0)) for rank in range(4)]
    assert [[len(batch["im_id"]) for batch in rank] for rank in ranks] == [[2, 2]] * 4
    assert len(set(sum(map(ids_of, ranks), []))) == TRAIN_IMAGES


def test_repeats_are_augmented_differently(folder):
    dataset = dataset_in(folder, repeat=2, sample_num=1)
    loader = loader_for(dataset, [{"Decode": {}}, {"RandomDistort": {}}], shuffle=False, batch_size=1)
    first, second = loader.epoch(0)
    assert ids_of([first]) == ids_of([second])
    assert not np.array_equal(first["image"], second["image"])


def test_batches_without_objects(folder):
    dataset = dataset_in(folder)
    dataset.parse_dataset()
    dataset.roidbs[:] = [record for record in dataset.roidbs if not len(record["gt_bbox"])] * 2
    (batch,) = loader_for(dataset, num_workers=1).epoch(0)
    assert [boxes.shape for boxes in batch["gt_bbox"]] == [(0, 4), (0, 4)]
    assert batch["gt_poly"] == [[], []]


def test_run_length_masks_follow_the_image(folder):
    dataset, mask = with_run_length_mask(folder, box=(4, 10, 20, 30))
    height, width = mask.shape
    transforms = [
        {"Decode": {}},
        {"RandomFlip": {"prob": 1.0}},
        {"Resize": {"target_size": [2 * height, 2 * width], "keep_ratio": False, "interp": 2}},
    ]
    (batch,) = loader_for(dataset, transforms, []).epoch(0)
    expected = np.kron(mask[:, ::-1], np.ones((2, 2), np.uint8))
    found = mask_utils.decode(batch["gt_poly"][0][0])
    assert found.shape == batch["image"].shape[1:3] == expected.shape
    assert (found != expected).mean() < 0.01
    np.testing.assert_array_equal(mask_utils.toBbox(batch["gt_poly"][0][0]), [2 * (width - 20), 20, 32, 40])


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_unreadable_image_is_named(folder, tmp_path, num_workers):
    dataset = dataset_in(folder)
    dataset.parse_dataset()
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    dataset.roidbs[3]["im_file"] = str(broken)
    loader = loader_for(dataset, shuffle=False, num_workers=num_workers)
    with pytest.raises(DatasetError, match="transform Decode failed: Cannot decode image") as caught:
        list(loader.epoch(0))
    assert str(caught.value).startswith(f"image '{broken}' (image id {int(dataset.roidbs[3]['im_id'][0])})")


def test_a_transform_that_misaligns_masks_is_refused(folder):
    loader = loader_for(dataset_in(folder), [{"Decode": {}}], [], batch_size=1)
    loader._sample_transforms.append(("Half", lambda sample: {**sample, "gt_bbox": sample["gt_bbox"][::2]}))
    with pytest.raises(DatasetError, match=r"different objects: .* in gt_poly.*RandomScaledCrop do not"):
        list(loader.epoch(0))


@pytest.mark.parametrize("num_workers", [0, 1])
def test_errors_keep_their_class_and_their_traceback(folder, num_workers):
    loader = loader_for(dataset_in(folder), batch_transforms=[], num_workers=num_workers)
    with pytest.raises(ConfigError, match="epoch 0, step 0 with image ids .* 'image' have different shapes") as caught:
        list(loader.epoch(0))
    assert num_workers == 0 or "_collate" in str(caught.value.__cause__)


def test_a_failing_batch_transform_is_named(folder):
    loader = loader_for(dataset_in(folder))
    loader._batch_transforms.append(("Broken", lambda samples: samples["image"]))
    with pytest.raises(DatasetError, match="the batch of epoch 0, step 0 .* transform Broken failed: TypeError: "):
        next(loader.epoch(0))


def test_a_killed_worker_is_reported(folder):
    loader = loader_for(dataset_in(folder), num_workers=2)
    loader._sample_transforms.append(("Die", Die()))
    with pytest.raises(TrainingError, match=r"loader worker 0 \(process \d+\) was killed by SIGKILL while .* epoch 1"):
        next(loader.epoch(1))


def test_a_stuck_worker_is_reported_with_its_stack(folder):
    loader = loader_for(dataset_in(folder), num_workers=1, time_limit_s=0.5)
    loader._sample_transforms.append(("Stall", Stall()))
    with pytest.raises(TrainingError, match="has not delivered the batch of epoch 0, step 0") as caught:
        next(loader.epoch(0))
    assert "within 0.5 s" in str(caught.value) and "-o worker_time_limit_s=SECONDS" in str(caught.value)
    assert "test_loader.py" in str(caught.value) and "in __call__" in str(caught.value)


def test_an_epoch_left_early_ends_its_workers(folder):
    loader = loader_for(dataset_in(folder), num_workers=2)
    epoch = loader.epoch(0)
    next(epoch)
    processes = [worker.process for worker in loader._pool._workers]
    epoch.close()
    assert not any(process.is_alive() for process in processes)
    abandoned = loader.epoch(0)
    next(abandoned)
    assert len(list(loader.epoch(1))) == 7
    with pytest.raises(RuntimeError, match="ended by close\\(\\) or by a newer one"):
        next(abandoned)
    loader.close()


def process_exists(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at processes in /proc")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_the_main_process(folder, how):
    code = (
        "import signal, sys, time; from tests.helpers import datasets as t\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # a process in the background ignores it\n"
        "dataset = t.dataset_in(sys.argv[1])\n"
        "loader = t.loader_for(dataset, [{'Decode': {}}], [], num_workers=2, batch_size=1)\n"
        "batches = loader.epoch(0); next(batches)\n"
        "print(*[worker.process.pid for worker in loader._pool._workers], flush=True)\n"
        "time.sleep(60)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [ROOT, *sys.path]))}
    main = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    workers = [int(pid) for pid in main.stdout.readline().split()]
    assert len(workers) == 2 and all(map(process_exists, workers))
    time.sleep(0.2)  # a KeyboardInterrupt within a finalizer, for instance, would be ignored
    main.send_signal(how)
    errors = main.communicate(timeout=50)[1].decode()
    assert main.returncode != 0
    assert "KeyboardInterrupt" in errors or how == signal.SIGKILL
    deadline = time.monotonic() + 10
    while any(map(process_exists, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(process_exists, workers))


def test_arguments_out_of_range(folder):
    dataset = dataset_in(folder)
    for name, value in (("batch_size", 0), ("num_workers", -1), ("seed", -1), ("rank", -1)):
        with pytest.raises(ConfigError, match=f"{name} of the loader must be at least ., got {value}"):
            loader_for(dataset, **{name: value})
    with pytest.raises(ConfigError, match="rank must be below world_size, got rank 2 of 2"):
        loader_for(dataset, rank=2, world_size=2)
    with pytest.raises(
        DatasetError, match="the dataset has 14 images, which is less than one batch of 15 in each of 1"
    ):
        loader_for(dataset, batch_size=15, drop_last=True)
    with pytest.raises(ConfigError, match="start_step must be between 0 and 7, the steps of an epoch, got 8"):
        loader_for(dataset).epoch(0, start_step=8)


def test_wrong_transforms():
    with pytest.raises(ConfigError, match="no transform named 'RandomFlp'. Did you mean 'RandomFlip'?"):
        build_transforms([{"RandomFlp": {}}])
    with pytest.raises(ConfigError, match="RandomFlip does not accept the arguments {'probability': 1}"):
        build_transforms([{"RandomFlip": {"probability": 1}}])
    with pytest.raises(ConfigError, match="Decode does not accept the arguments {'fast': True}"):
        build_transforms([{"Decode": {"fast": True}}])
    with pytest.raises(ConfigError, match="must be written as 'Name: {arguments}', got 'Decode'"):
        build_transforms(["Decode"])


def test_the_number_of_classes_reaches_the_transforms():
    ((name, transform),) = build_transforms([{"Gt2TTFTarget": {}}], num_classes=11)
    assert name == "Gt2TTFTarget" and transform.num_classes == 11


def red_share(part) -> float:
    return float((part[..., 0] > 128).mean())


def test_a_turned_image_is_decoded_as_it_was_annotated(turned_jpeg):
    upright = Decode()({"im_file": turned_jpeg, "h": 40.0, "w": 20.0})
    assert upright["image"].shape == (40, 20, 3)
    assert red_share(upright["image"][:18]) == 1 and red_share(upright["image"][22:]) == 0
    stored = Decode()({"im_file": turned_jpeg, "h": 20.0, "w": 40.0})
    assert (stored["h"], stored["w"]) == (20, 40) and stored["image"].shape == (20, 40, 3)
    assert red_share(stored["image"][:, :18]) == 1 and red_share(stored["image"][:, 22:]) == 0
    np.testing.assert_array_equal(stored["im_shape"], [20, 40])
    without_size = Decode()({"image": Path(turned_jpeg).read_bytes()})
    assert without_size["image"].shape == (40, 20, 3) and (without_size["h"], without_size["w"]) == (40, 20)


def test_an_image_of_another_size_is_refused(turned_jpeg):
    with pytest.raises(
        DatasetError, match="image is 20x40 pixels .width x height., but the annotation file says 30x60"
    ):
        Decode()({"im_file": turned_jpeg, "h": 60.0, "w": 30.0})
    with pytest.raises(ImageError, match="nowhere.jpg"):
        Decode()({"im_file": "nowhere.jpg"})
