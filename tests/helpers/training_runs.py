"""Shared by tests that train: a small demo dataset, its configuration, and one trained run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

RECIPE = "demo_mask_rcnn"
TRAIN_IMAGES, VAL_IMAGES, IMAGE_SIZE_PX = 12, 6, 96


@pytest.fixture(scope="session")
def demo_data(tmp_path_factory) -> Path:
    """Folder of a demo dataset. Tests that change it work on a copy (:func:`copy_data`)."""
    from ppdet_res2net.datasets.demo import make_demo_data

    folder = tmp_path_factory.mktemp("engine") / "data"
    return make_demo_data(folder, TRAIN_IMAGES, VAL_IMAGES, IMAGE_SIZE_PX)


@pytest.fixture(scope="session")
def trained(demo_data, tmp_path_factory) -> Path:
    """Folder of a run of four steps (two epochs of two), with a checkpoint ``0`` after the first epoch."""
    from ppdet_res2net.detection.task import train

    config = make_config(demo_data, tmp_path_factory.mktemp("trained"), "TrainDataset.sample_num=4", "epoch=2")
    return train(config).run_dir


@pytest.fixture(scope="session")
def detecting(trained, demo_data, tmp_path_factory) -> str:
    """Weights of the trained run, changed so that the detector, which has not learned anything yet, detects something.

    Only the bias of the class scores is changed: label 0 is more likely than the background everywhere.
    """
    from ppdet_res2net.zoo.formats import read_weights_file, save_weights_file

    folder = tmp_path_factory.mktemp("detecting")
    file = read_weights_file(trained / "model_final.pdparams")
    tensors = dict(file.tensors)
    bias = tensors["bbox_head.bbox_score.bias"].copy()
    bias[:] = [1.0, 0.5, -2.0, 0.0]
    tensors["bbox_head.bbox_score.bias"] = bias
    save_weights_file(folder / "model.pdparams", tensors, file.metadata)
    shutil.copy(trained / "model_final.json", folder / "model.json")
    return str(folder / "model")


def make_config(data: Path, save_dir: Path, *overrides: str, recipe: str | Path = RECIPE):
    """Return the demo recipe for a dataset in ``data``: two images per step, one epoch, no worker processes."""
    from ppdet_res2net.config import load_config

    return load_config(recipe, [*overrides_for(data, save_dir), *overrides])


def overrides_for(data: Path, save_dir: Path) -> list[str]:
    """Return the overrides of :func:`make_config`."""
    return [
        *(f"{name}Dataset.dataset_dir={data}" for name in ("Train", "Eval", "Test")),
        f"save_dir={save_dir}",
        "TrainReader.batch_size=2",
        "worker_num=0",
        "epoch=1",
        "snapshot_epoch=1",
        "log_iter=1",
        "use_gpu=false",
    ]


def copy_data(data: Path, folder: Path) -> Path:
    """Copy the dataset to the test's own folder."""
    return Path(shutil.copytree(data, folder / "data"))


def annotation_file(data: Path, split: str = "train") -> Path:
    """Return the path of the annotations of ``train`` or ``val``."""
    return data / "annotations" / f"instances_{split}2017.json"


def edit_annotations(data: Path, change, split: str = "train") -> None:
    """Apply ``change`` to the content of an annotation file."""
    file = annotation_file(data, split)
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def image_files(data: Path, split: str = "val") -> list[Path]:
    """Return the pictures of a split, sorted by name."""
    return sorted((data / f"{split}2017").iterdir())


def read_metrics(run_dir: Path, kind: str = "train") -> list[dict]:
    """Return the records of one kind in ``metrics.jsonl``."""
    records = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [record for record in records if record["kind"] == kind]


def losses_by_step(*run_dirs: Path) -> dict[int, dict[str, float]]:
    """Return every loss term by step; later runs replace earlier ones."""
    return {
        record["step"]: {name: value for name, value in record.items() if name.startswith("loss")}
        for run_dir in run_dirs
        for record in read_metrics(run_dir)
    }


def read_tensors(file: Path) -> dict[str, np.ndarray]:
    """Return the tensors of a weight file."""
    from ppdet_res2net.zoo.formats import load_weights_file

    return load_weights_file(file)


def assert_equal_tensors(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    """Assert that both have the same tensors, bit for bit."""
    assert one.keys() == other.keys()
    different = [name for name in one if one[name].tobytes() != other[name].tobytes()]
    assert not different


def messages(caplog) -> str:
    """Return all logged messages, one per line."""
    return "\n".join(record.getMessage() for record in caplog.records)


def write_config(path: Path, lines: Sequence[str]) -> Path:
    """Write a YAML file."""
    path.write_text("\n".join(lines) + "\n")
    return path
