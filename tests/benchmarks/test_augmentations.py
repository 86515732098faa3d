"""The benchmark of augmentations: its runs are valid recipes, it does only what is missing, and the table shows the spread."""

from __future__ import annotations

import json
import sys

import pytest

from benchmarks import augmentations
from benchmarks.augmentations import AUGMENTATIONS, RECIPE, Run, overrides_of, table
from ppdet_res2net.config import load_config
from ppdet_res2net.data.loader import BatchLoader
from ppdet_res2net.detection.model import read_coco_dataset


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_each_run_reads_batches_of_its_size(name, demo_data, tmp_path):
    run = Run(str(demo_data), "train2017", "val2017", (64, 96), 10)
    config = load_config(RECIPE, overrides_of(run, name, 5, str(tmp_path), 12))
    assert config["epoch"] == config["LearningRate"]["schedulers"][0].kwargs["max_epochs"] == 4  # three steps each
    assert config["seed"] == 5 and config["num_classes"] == 3
    dataset = read_coco_dataset(config, "TrainDataset")
    batch = next(BatchLoader.from_reader(dataset, config["TrainReader"], num_workers=0, seed=5, num_classes=3).epoch(0))
    height, width = batch["image"].shape[2:]
    assert (height, width) == (64, 96) or ("jitter" not in name and height <= 64 and width <= 96)


def test_only_missing_runs_are_done(demo_data, tmp_path, monkeypatch, capsys):
    calls = []

    def fake_call(function, arguments, threads):
        calls.append((arguments["name"], arguments["seed"]))
        return {"bbox": 10.0 * len(calls), "segm": 5.0, "cpu_minutes": 1.0}

    monkeypatch.setattr(augmentations, "call", fake_call)
    only = ["--only", "flip", "jitter 0.1-2.0", "--data", str(demo_data), "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["augmentations", *only, "--seeds", "0"])
    augmentations.main()
    assert calls == [("flip", 0), ("jitter 0.1-2.0", 0)]
    monkeypatch.setattr(sys, "argv", ["augmentations", *only, "--seeds", "0", "1"])
    augmentations.main()
    assert calls[2:] == [("flip", 1), ("jitter 0.1-2.0", 1)]
    assert "| flip | 2 | 20.0 ± 14.1 | 5.0 ± 0.0 | 10.0, 30.0 | 5.0, 5.0 |" in capsys.readouterr().out
    assert all("bbox" in json.loads(file.read_text()) for file in tmp_path.glob("*.json"))


def test_one_seed_has_no_spread():
    assert table({"flip": {0: {"bbox": 12.34, "segm": 5.0}}, "other": {}})[2:] == [
        "| flip | 1 | 12.3 | 5.0 | 12.3 | 5.0 |"
    ]
