"""Evaluations have an interval of their own, in epochs or steps, and resuming keeps it."""

from __future__ import annotations

import json
import os
import signal

import pytest

from ppdet_res2net.config import load_config
from ppdet_res2net.config.interval import interval_in_steps
from ppdet_res2net.errors import ConfigError, DatasetError
from tests.helpers.toy_task import ToyTask, train_toy
from tests.helpers.training_runs import assert_equal_tensors, messages, read_metrics, read_tensors

SCORES = {"scores": [0.1, 0.4, 0.2, 0.3, 0.05, 0.06, 0.07, 0.08]}


def _evaluated(run_dir) -> list[int]:
    return [record["step"] for record in read_metrics(run_dir, "eval")]


def _names(run_dir) -> set[str]:
    return {file.stem for file in run_dir.glob("*.pdstate")}


@pytest.mark.parametrize(
    "settings, steps, names",
    [
        ({}, [4, 8, 12], {"0", "1"}),
        ({"eval_interval": None}, [4, 8, 12], {"0", "1"}),
        ({"snapshot_epoch": 2}, [8, 12], {"1"}),
        ({"eval_interval": 2}, [8, 12], {"0", "1"}),
        ({"eval_interval": 1, "snapshot_epoch": 3}, [4, 8, 12], {"last"}),
        ({"eval_interval": "2 epochs"}, [8, 12], {"0", "1"}),
        ({"eval_interval": "3 steps"}, [3, 6, 9, 12], {"0", "1", "last"}),
        ({"eval_interval": "2 steps", "snapshot_epoch": 3}, [2, 4, 6, 8, 10, 12], {"last"}),
        ({"eval_interval": 50}, [12], {"0", "1"}),
    ],
)
def test_evaluations_come_at_their_interval_and_at_the_end(tmp_path, settings, steps, names):
    run_dir = train_toy(tmp_path, {"evaluate": True}, epoch=3, toy=SCORES, **settings).run_dir
    assert _evaluated(run_dir) == steps
    assert _names(run_dir) == {*names, "best_model", "model_final"}
    best = max(read_metrics(run_dir, "eval"), key=lambda record: record["toy"]["AP"])
    assert json.loads((run_dir / "best_model.json").read_text())["step"] == best["step"]


def test_without_evaluations_the_interval_changes_nothing(tmp_path):
    run_dir = train_toy(tmp_path, epoch=3, eval_interval="3 steps").run_dir
    assert _evaluated(run_dir) == [] and _names(run_dir) == {"0", "1", "model_final"}


def test_evaluations_within_an_epoch_change_no_weights(tmp_path):
    plain = train_toy(tmp_path / "plain", epoch=3).run_dir
    evaluated = train_toy(tmp_path / "often", {"evaluate": True}, epoch=3, toy=SCORES, eval_interval="3 steps").run_dir
    assert_equal_tensors(*(read_tensors(run_dir / "model_final.pdparams") for run_dir in (plain, evaluated)))


def test_a_checkpoint_has_the_figures_of_its_own_weights_only(tmp_path):
    run_dir = train_toy(tmp_path, {"evaluate": True}, epoch=3, toy=SCORES, eval_interval=2).run_dir
    figures = {
        name: json.loads((run_dir / f"{name}.json").read_text())["metrics"] for name in ("0", "1", "model_final")
    }
    assert figures == {"0": None, "1": {"toy": {"AP": 0.1}}, "model_final": {"toy": {"AP": 0.4}}}


@pytest.mark.parametrize("stop", [2, 3, 5, 7])
def test_resuming_keeps_the_interval(tmp_path, stop):
    settings = {"epoch": 3, "eval_interval": "3 steps"}
    before = stop // 3 + 1  # with the one at the end of the first part
    train_toy(tmp_path, {"evaluate": True, "max_steps": stop}, toy={"scores": [0.1] * before}, **settings)
    run_dir = train_toy(tmp_path, {"evaluate": True, "resume": "auto"}, toy={"scores": [0.1] * 4}, **settings).run_dir
    assert _evaluated(run_dir) == sorted({3, 6, 9, 12, stop})


@pytest.mark.parametrize("use_ema", [False, True])
def test_an_evaluation_within_an_epoch_that_fails_costs_nothing(tmp_path, monkeypatch, caplog, use_ema):
    settings = {"epoch": 3, "eval_interval": "3 steps", "use_ema": use_ema}
    whole = train_toy(tmp_path / "whole", {"evaluate": True}, toy=SCORES, **settings).run_dir
    with monkeypatch.context() as patch:
        patch.setattr(ToyTask, "evaluate", lambda self: (_ for _ in ()).throw(DatasetError("image id 3: cut off")))
        with pytest.raises(DatasetError):
            train_toy(tmp_path / "failed", {"evaluate": True}, **settings)
    assert "the evaluation after step 3 failed" in messages(caplog) and "train again with -r" in messages(caplog)
    run_dir = train_toy(tmp_path / "failed", {"evaluate": True, "resume": "auto"}, toy=SCORES, **settings).run_dir
    assert _evaluated(run_dir) == [3, 6, 9, 12]
    for name in ("best_model", "model_final"):
        assert_equal_tensors(*(read_tensors(folder / f"{name}.pdparams") for folder in (whole, run_dir)))


def test_a_signal_before_an_evaluation_within_an_epoch_leaves_it_to_the_resumed_run(tmp_path, monkeypatch):
    losses, calls = ToyTask.losses, []

    def losses_and_signal(self, model, batch):
        calls.append(1)
        if len(calls) == 6:
            os.kill(os.getpid(), signal.SIGTERM)
        return losses(self, model, batch)

    settings = {"epoch": 3, "eval_interval": "3 steps"}
    monkeypatch.setattr(ToyTask, "losses", losses_and_signal)
    stopped = train_toy(tmp_path, {"evaluate": True}, toy=SCORES, **settings)
    assert (stopped.steps, stopped.signal) == (6, signal.SIGTERM)
    assert _evaluated(stopped.run_dir) == [3]
    resumed = train_toy(tmp_path, {"evaluate": True, "resume": "auto"}, toy=SCORES, **settings)
    assert _evaluated(resumed.run_dir) == [3, 6, 9, 12]


def test_a_run_stops_early_within_an_epoch(tmp_path, caplog):
    caplog.set_level("INFO")
    scores = {"scores": [0.5, 0.4, 0.3]}
    settings = {"epoch": 5, "eval_interval": "3 steps", "early_stop_patience": 2}
    result = train_toy(tmp_path, {"evaluate": True}, toy=scores, **settings)
    assert result.steps == 9 and _evaluated(result.run_dir) == [3, 6, 9]
    assert "no better toy score in 2 evaluations: stopping early" in messages(caplog)
    final = json.loads((result.run_dir / "model_final.json").read_text())
    assert (final["step"], final["metrics"]) == (9, {"toy": {"AP": 0.3}})


@pytest.mark.parametrize(
    "value, steps", [(2, 200), ("1 epoch", 100), ("3 epochs", 300), ("1 step", 1), ("200 steps", 200), (" 7steps ", 7)]
)
def test_an_interval_in_steps(value, steps):
    assert load_config("demo_mask_rcnn", [f"eval_interval={value}"])["eval_interval"] in (value, str(value).strip())
    assert interval_in_steps(value, 100) == steps


@pytest.mark.parametrize("value", ["0", "-1", "2.5", "0 steps", "often", "true", "[2]", "5 minutes", "-3 steps", "nan"])
def test_what_is_no_interval_is_refused(value):
    with pytest.raises(ConfigError, match="'eval_interval' is .*expected a number of epochs such as 2, or of steps"):
        load_config("demo_mask_rcnn", [f"eval_interval={value}"])
