"""Every program that gets a run's figures is read again with its own reader; one that fails costs the run nothing."""

from __future__ import annotations

import os
import struct
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ppdet_res2net.config import load_config
from ppdet_res2net.config.keys import PLAIN_KEYS
from ppdet_res2net.errors import ConfigError, SetupError
from ppdet_res2net.training.loggers import choice
from ppdet_res2net.training.loggers.base import Run, flatten, list_numbers, plain_settings
from ppdet_res2net.training.loggers.choice import LOGGERS, choose_loggers
from ppdet_res2net.training.loggers.fan_out import Loggers
from tests.helpers.toy_task import train_toy
from tests.helpers.training_runs import messages, read_metrics

TWO_EVALUATIONS = {"scores": [0.25, 0.5]}


@pytest.fixture(scope="module")
def picture(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("picture") / "step_8.jpg"
    Image.fromarray(np.full((20, 30, 3), 200, np.uint8)).save(path)
    return path


def train(tmp_path: Path, logger: str, **options) -> Path:
    """Train the toy for eight steps, in two runs of which the second resumes the first; return the run's folder."""
    train_toy(tmp_path, {"evaluate": True, "max_steps": 4}, toy=TWO_EVALUATIONS, loggers=[logger])
    resumed = {"evaluate": True, "resume": "auto"}
    run_dir = train_toy(tmp_path, resumed, toy={"scores": [0.5]}, loggers=[logger], **options).run_dir
    assert (run_dir / "model_final.pdparams").is_file()
    return run_dir


def expected(run_dir: Path, name: str) -> dict[int, float]:
    """Return a figure by step, as ``metrics.jsonl`` has it."""
    kind, _, key = name.partition("/")
    return {record["step"]: record[key] for record in read_metrics(run_dir, kind)}


def test_tensorboard(tmp_path, picture):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run_dir = train(tmp_path, "tensorboard")
    folder = run_dir / "tensorboard"
    assert len(list(folder.iterdir())) == 2
    read = EventAccumulator(str(folder))
    read.Reload()
    for name in ("train/loss", "train/lr"):
        values = {one.step: one.value for one in read.Scalars(name)}
        assert values == pytest.approx(expected(run_dir, name)) and len(values) == 8
    assert [(one.step, one.value) for one in read.Scalars("eval/toy/AP")] == [(4, 0.25), (8, 0.5)]


def test_tensorboard_drops_the_steps_that_a_resumed_run_repeats(tmp_path, picture):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from ppdet_res2net.training.loggers.tensorboard_logger import TensorBoardLogger

    for start, value in ((0, 1.0), (2, 2.0)):
        logger = TensorBoardLogger(Run(tmp_path, "toy", {}, start))
        for step in range(start + 1, 5):
            logger.log_numbers(step, {"train/loss": value})
        logger.log_picture(4, picture)
        logger.close("done")
    read = EventAccumulator(str(tmp_path / "tensorboard"))
    read.Reload()
    assert [(one.step, one.value) for one in read.Scalars("train/loss")] == [(1, 1), (2, 1), (3, 2), (4, 2)]
    (shown,) = read.Images("predictions")
    assert (shown.step, shown.width, shown.height) == (4, 30, 20)
    assert shown.encoded_image_string == picture.read_bytes()


def test_visualdl(tmp_path, picture):
    pytest.importorskip("visualdl")
    from visualdl import LogReader

    from ppdet_res2net.training.loggers.visualdl_logger import VisualDLLogger

    logger = VisualDLLogger(Run(tmp_path, "toy", {}, vdl_dir=str(tmp_path / "curves")))
    logger.log_numbers(1, {"train/loss": 0.5, "eval/bbox/AP/cat": 0.25})
    logger.log_picture(1, picture)
    logger.close("done")
    (file,) = (tmp_path / "curves").iterdir()
    read = LogReader(file_path=str(file))
    assert [(one.id, one.value) for one in read.get_data("scalar", "train/loss")] == [(1, 0.5)]
    assert [(one.id, one.value) for one in read.get_data("scalar", "eval/bbox/AP/cat")] == [(1, 0.25)]
    assert read.get_tags()["image"] == ["predictions"]


def read_wandb(file: Path) -> list:
    """Return the records of an offline run. The file is a log of LevelDB: blocks of 32 KiB with whole or split records."""
    from wandb.proto.wandb_internal_pb2 import Record

    data = file.read_bytes()
    assert data[:4] == b":W&B"
    records, part, place, block = [], b"", 7, 1 << 15
    while place + 7 <= len(data):
        if block - place % block < 7:
            place += block - place % block
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + 7])
        part += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            records.append(Record.FromString(part))
            part = b""
    return records


def test_wandb(tmp_path, picture, monkeypatch):
    pytest.importorskip("wandb")
    import wandb

    from ppdet_res2net.training.loggers.wandb_logger import WandbLogger

    monkeypatch.setenv("WANDB_MODE", "offline")
    for start, outcome in ((0, "stopped"), (2, "done")):
        logger = WandbLogger(Run(tmp_path, "toy", {"epoch": 2, "TrainReader": {"batch_size": 4}}, start))
        for step in range(start + 1, start + 3):
            logger.log_numbers(step, {"train/loss": 1 / step})
        logger.log_picture(start + 2, picture)
        logger.close(outcome)
    assert wandb.run is None
    wandb.teardown()  # waits until its process has written everything
    files = sorted((tmp_path / "wandb").glob("offline-run-*/*.wandb"))
    assert len(files) == 2 and files[0].name == files[1].name  # one id
    found = {}
    pictures = []
    for record in (one for file in files for one in read_wandb(file)):
        items = {(item.key or "/".join(item.nested_key)): item.value_json for item in record.history.item}
        if "train/loss" in items:
            found[int(items["step"])] = float(items["train/loss"])
        pictures += [items["step"] for name in items if name.startswith("predictions")]
    assert found == pytest.approx({step: 1 / step for step in (1, 2, 3, 4)})
    assert set(pictures) == {"2", "4"}


def test_mlflow(tmp_path, picture, monkeypatch):
    pytest.importorskip("mlflow")
    import mlflow

    from ppdet_res2net.training.loggers.mlflow_logger import _PATIENCE, MLflowLogger

    for name in _PATIENCE:
        monkeypatch.setenv(name, "1")  # so that what the logger sets does not stay
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "boxes")
    (tmp_path / "config.yml").write_text("epoch: 2\n")
    settings = {"epoch": 2, "TrainReader": {"batch_size": 4}, "note": "x" * 9000}
    for start, outcome in ((0, "stopped"), (2, "done")):
        logger = MLflowLogger(Run(tmp_path, "toy", settings, start))
        for step in range(start + 1, start + 3):
            logger.log_numbers(step, {"train/loss": 1 / step, "eval/bbox/AP/größe: x": 0.5})
        logger.log_picture(start + 2, picture)
        logger.close(outcome)
    client = mlflow.MlflowClient((tmp_path / "store").as_uri())
    (run,) = client.search_runs([client.get_experiment_by_name("boxes").experiment_id])
    assert run.info.status == "FINISHED" and run.info.run_name == "toy"
    assert run.data.params["TrainReader.batch_size"] == "4" and len(run.data.params["note"]) == 500
    history = client.get_metric_history(run.info.run_id, "train/loss")
    assert {one.step: one.value for one in history} == {step: 1 / step for step in (1, 2, 3, 4)}
    assert len(client.get_metric_history(run.info.run_id, "eval/bbox/AP/gr__e_ x")) == 4
    kept = [one.path for one in client.list_artifacts(run.info.run_id)]
    assert sorted(kept) == ["config.yml", "predictions"]


class Recorder:
    """A logger that notes what it gets, and fails at a given call."""

    def __init__(self, calls: list, fails_at: str = "") -> None:
        self.calls, self.fails_at = calls, fails_at

    def _note(self, name: str, *values) -> None:
        self.calls.append((name, *values))
        if name == self.fails_at:
            raise OSError(28, "No space left on device")

    def log_numbers(self, step, numbers):
        self._note("numbers", step, sorted(numbers))

    def log_picture(self, step, path):
        self._note("picture", step, path)

    def close(self, outcome):
        self._note("close", outcome)


@pytest.mark.parametrize("fails_at", ["numbers", "picture", "close"])
def test_a_logger_that_fails_is_left_alone_and_the_others_go_on(fails_at, caplog):
    broken, whole = [], []
    loggers = Loggers({"Broken": Recorder(broken, fails_at), "Whole": Recorder(whole)})
    for step in (1, 2):
        loggers.log_numbers(step, {"train/loss": 1.0})
        loggers.log_picture(step, Path("a.jpg"))
    loggers.close("done")
    assert [call[0] for call in whole] == ["numbers", "picture"] * 2 + ["close"]
    assert [call[0] for call in broken].count(fails_at) == 1 and broken[-1][0] == fails_at
    (record,) = caplog.records
    assert record.getMessage() == (
        "Broken has failed (OSError: [Errno 28] No space left on device) and gets nothing more from this run. Training goes "
        "on; metrics.jsonl of the run's folder has every figure."
    )


@pytest.mark.parametrize("stop, outcome", [({"max_steps": 2}, "done"), ({}, "done"), ({"evaluate": True}, "failed")])
def test_loggers_learn_how_the_run_ended(tmp_path, monkeypatch, stop, outcome):
    calls = []
    fake = types.SimpleNamespace(FakeLogger=lambda run: Recorder(calls))
    monkeypatch.setitem(sys.modules, "ppdet_res2net.training.loggers.fake", fake)
    monkeypatch.setitem(LOGGERS, "wandb", choice.Entry("Fake", "json", "fake.FakeLogger"))
    try:
        train_toy(tmp_path, stop, toy={"scores": []}, loggers=["wandb"])  # an evaluation fails: there is no score
    except StopIteration:
        assert outcome == "failed"
    assert calls[-1] == ("close", outcome) and [call[0] for call in calls].count("close") == 1


def test_a_logger_that_cannot_start_costs_the_run_nothing(tmp_path, monkeypatch, caplog):
    def refuse(run):
        raise ConnectionError("no route to host\nand a long story")

    monkeypatch.setitem(sys.modules, "ppdet_res2net.training.loggers.fake", types.SimpleNamespace(FakeLogger=refuse))
    monkeypatch.setitem(LOGGERS, "wandb", choice.Entry("Weights & Biases", "json", "fake.FakeLogger"))
    result = train_toy(tmp_path, {"max_steps": 2}, loggers=["wandb"])
    assert len(read_metrics(result.run_dir)) == 2
    said = messages(caplog)
    assert said.count("Weights & Biases has failed (ConnectionError: no route to host) and gets nothing more") == 1
    assert "a long story" not in said


def test_a_password_in_an_address_is_not_said():
    said = choice.loss_message("MLflow", ConnectionError("request to https://me:secret@host:5000/api failed"))
    assert "ConnectionError: request to https://***@host:5000/api failed" in said


def test_only_the_first_process_logs(tmp_path):
    from ppdet_res2net.training.run_log import RunLog

    calls: list = []
    log = RunLog(tmp_path, 1, "cpu", is_writer=False)
    log.open(10, 5, 2, {"Fake": Recorder(calls)})
    log.write({"kind": "train", "step": 1, "loss": 1.0})
    log.close()
    assert calls == [] and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", LOGGERS)
def test_a_missing_package_is_said_before_an_earlier_run_is_moved_aside(tmp_path, monkeypatch, name):
    first = train_toy(tmp_path, {"max_steps": 1})
    monkeypatch.setitem(sys.modules, LOGGERS[name].package, None)
    with pytest.raises(SetupError) as error:
        train_toy(tmp_path, loggers=[name])
    flag = "--use_vdl" if name == "visualdl" else f"--loggers {name}"
    assert str(error.value).startswith(
        f"{flag} needs {LOGGERS[name].title}, which is not installed: pip install {name}"
    )
    assert f"with its extra '{name}'" in str(error.value)
    assert (first.run_dir / "model_final.pdparams").is_file() and len(os.listdir(tmp_path)) == 1


def test_loggers_are_chosen_by_recipe_and_by_paddledetections_keys():
    assert PLAIN_KEYS["loggers"].kinds[0].element.choices == tuple(LOGGERS)
    config = load_config("demo_mask_rcnn", ["loggers=[mlflow,visualdl]", "use_wandb=true"])
    assert choose_loggers(config) == ("mlflow", "visualdl", "wandb")
    assert choose_loggers(load_config("demo_mask_rcnn"), use_vdl=True) == ("visualdl",)
    assert choose_loggers(load_config("demo_mask_rcnn")) == ()
    with pytest.raises(ConfigError, match="expected one of visualdl, tensorboard, wandb, mlflow"):
        load_config("demo_mask_rcnn", ["loggers=[tensorbord]"])


def test_settings_are_plain_data():
    config = load_config("demo_mask_rcnn")
    settings = dict(flatten(plain_settings(config)))
    assert settings["TrainReader.batch_size"] == config["TrainReader"]["batch_size"]
    assert settings["TrainDataset.name"] == "COCODataSet"
    assert all(isinstance(value, (int, float, str, list, type(None))) for value in settings.values())


def test_numbers_have_the_names_of_their_place():
    classes = [{"class": "cat", "category_id": 1, "AP": 0.5, "AP50": 0.7}, {"class": "dog", "AP": -1.0}]
    record = {"kind": "eval", "step": 4, "bbox": {"AP": 0.25, "classes": classes}, "done": True}
    assert dict(list_numbers(record, "eval")) == {"eval/bbox/AP": 0.25, "eval/bbox/AP/cat": 0.5}
