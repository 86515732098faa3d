"""Counts and sizes that no honest user needs are refused by name, before they take memory, threads or an earlier run."""

from __future__ import annotations

import os
import socket
import sys

import numpy as np
import pytest

from ppdet_res2net.classification.evaluate import ClassificationResult
from ppdet_res2net.cli.main import main
from ppdet_res2net.config import load_config
from ppdet_res2net.errors import ConfigError, SetupError, WeightsError
from ppdet_res2net.ppdet_modules.registry import create_from_config
from ppdet_res2net.training.threads import choose_threads
from ppdet_res2net.zoo.weights import read_weights
from res2net_runtime import Predictor
from res2net_runtime.cli import main as infer_exported
from tests.goldens.synthetic import without_random_weights
from tests.helpers.runtime_toys import toy_model_dir
from tests.helpers.toy_task import train_toy


@pytest.mark.parametrize("count", [257, 4096])
def test_more_threads_than_a_machine_can_use_are_refused(monkeypatch, count):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    message = f"cpu_threads is {count}, but this machine has 2 processors; at most 256 threads are started"
    with pytest.raises(ConfigError, match=message):
        choose_threads({"cpu_threads": count})
    monkeypatch.setenv("OMP_NUM_THREADS", str(count))
    with pytest.raises(ConfigError, match=f"OMP_NUM_THREADS is {count}"):
        choose_threads({})
    assert choose_threads({"cpu_threads": 256}) == 256


def test_a_large_machine_may_use_more_threads(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 128)
    assert choose_threads({"cpu_threads": 512}) == 512


def test_flags_of_commands_refuse_too_many_threads_and_images(tmp_path_factory, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    model = str(toy_model_dir(tmp_path_factory))
    for flags, message in (
        (["--cpu_threads", "4096"], "the number of threads is 4096, but this machine has 2 processors"),
        (["--batch_size", "100001"], "got 100001, expected at most 100000"),
    ):
        with pytest.raises(SystemExit) as ended:
            infer_exported(["--model_dir", model, "--image_dir", str(tmp_path), *flags])
        assert ended.value.code == 2
        assert message in " ".join(capsys.readouterr().err.split())
    with pytest.raises(ValueError, match="cpu_threads is 4096"):
        Predictor(model, cpu_threads=4096)


def test_a_model_that_would_take_all_memory_is_refused_before_it_is_made():
    config = load_config("demo_mask_rcnn", overrides=["Res2Net.width=1024", "FPN.out_channel=4096"])
    message = "The model has more than 500,000,000 weights, the most that a recipe may ask for"
    with without_random_weights(), pytest.raises(ConfigError, match=message):
        create_from_config(config, config["architecture"])


def test_sides_that_no_image_has_are_refused():
    for transform in ("Pad: {size: 16384}", "RandomResizeCrop: {resizes: [9000], cropsizes: [[8, 9000]]}"):
        with pytest.raises(ConfigError, match="it must be 8192 or less"):
            load_config("demo_mask_rcnn", overrides=[f"TrainReader.sample_transforms=[Decode: {{}}, {transform}]"])


def test_only_the_metric_that_is_computed_is_accepted():
    with pytest.raises(
        ConfigError, match="metric is 'VOC', but only COCO's is computed. Convert other annotations with"
    ):
        load_config("demo_mask_rcnn", overrides=["metric=VOC"])


def test_weights_that_are_no_file_are_named_for_what_they_are(tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(tmp_path / "model.pdparams")
    (tmp_path / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        for path, kind in (
            (tmp_path / "pipe", "a named pipe"),
            (tmp_path / "model", "a named pipe"),
            (tmp_path / "socket", "a socket"),
            ("/dev/null", "a device"),
            (tmp_path / "folder", "a folder"),
        ):
            with pytest.raises(WeightsError, match=f"is {kind}"):
                read_weights(path)
    assert main(["convert-weights", "timm/res2net50_26w_4s", str(tmp_path / "pipe"), str(tmp_path / "o.pdparams")]) == 1
    assert "pipe is a named pipe, not a file of weights. Pass a regular file." in capsys.readouterr().err


def test_a_run_that_cannot_begin_leaves_the_earlier_one(tmp_path, monkeypatch):
    first = train_toy(tmp_path, epoch=1)
    monkeypatch.setitem(sys.modules, "visualdl", None)
    with pytest.raises(SetupError, match="needs VisualDL"):
        train_toy(tmp_path, {"use_vdl": True}, epoch=1)
    assert (first.run_dir / "model_final.pdparams").is_file()


def test_class_names_are_no_formulas_in_a_spreadsheet():
    names = ['=HYPERLINK("http://x")', "+1", "-1", "@SUM(1)", "\tcmd", "cat", "a=b"]
    count = len(names)
    result = ClassificationResult(np.zeros(count, int), np.zeros((count, 5), int), names, 1.0)
    rows = [line.split(",")[0] for line in result.confusion_csv().splitlines()[1:]]
    assert rows == ['"\'=HYPERLINK(""http://x"")"', '"\'+1"', '"\'-1"', '"\'@SUM(1)"', '"\'\tcmd"', '"cat"', '"a=b"']
