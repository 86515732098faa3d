"""Whatever an evaluation raises, the weights of its epoch stay, and the run goes on from them as if nothing had happened."""

from __future__ import annotations

import errno
import json

import pytest

from ppdet_res2net.errors import DatasetError, TrainingError
from ppdet_res2net.training.checkpoint import load_training_state
from ppdet_res2net.training.run_folder import RunFolder
from tests.helpers.toy_task import ToyTask, train_toy
from tests.helpers.training_runs import (
    assert_equal_tensors,
    losses_by_step,
    messages,
    read_metrics,
    read_tensors,
)

SCORES = {"toy": {"scores": [0.5, 0.4]}}


def _fail_at(monkeypatch, number: int, error: BaseException) -> None:
    """Let the evaluation with this number, from 1, raise an error."""
    evaluate, calls = ToyTask.evaluate, []

    def evaluate_or_fail(self):
        calls.append(1)
        if len(calls) == number:
            raise error
        return evaluate(self)

    monkeypatch.setattr(ToyTask, "evaluate", evaluate_or_fail)


@pytest.mark.parametrize(
    "error",
    [DatasetError("image id 3: cut off"), MemoryError(), KeyboardInterrupt(), SystemExit(3), RuntimeError("a defect")],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("number, name", [(1, "0"), (2, "model_final")])
@pytest.mark.parametrize("use_ema", [False, True])
def test_the_weights_of_the_epoch_stay_and_the_run_goes_on(tmp_path, monkeypatch, caplog, error, number, name, use_ema):
    whole = train_toy(tmp_path / "whole", {"evaluate": True}, use_ema=use_ema, **SCORES).run_dir
    with monkeypatch.context() as patch:
        _fail_at(patch, number, error)
        with pytest.raises(type(error)):
            train_toy(tmp_path / "failed", {"evaluate": True}, use_ema=use_ema, **SCORES)
    run_dir = tmp_path / "failed" / "toy"
    base = run_dir / name
    assert f"the evaluation after step {4 * number} failed ({type(error).__name__}). No weights are lost" in messages(
        caplog
    )
    assert f"they are in {base}.pdparams" in messages(caplog) and f"train again with -r {base}." in messages(caplog)
    assert f"-o weights={base}" in messages(caplog)
    assert_equal_tensors(read_tensors(f"{base}.pdparams"), read_tensors(whole / f"{name}.pdparams"))

    left = {"toy": {"scores": SCORES["toy"]["scores"][number - 1 :]}}
    resumed = train_toy(tmp_path / "failed", {"evaluate": True, "resume": str(base)}, use_ema=use_ema, **left)
    assert resumed.steps == 8
    assert losses_by_step(run_dir) == losses_by_step(whole)
    assert [record["toy"]["AP"] for record in read_metrics(run_dir, "eval")] == [0.5, 0.4]
    for result in ("0", "best_model", "model_final"):
        assert_equal_tensors(*(read_tensors(folder / f"{result}.pdparams") for folder in (run_dir, whole)))
        assert (run_dir / f"{result}.json").read_text() == (whole / f"{result}.json").read_text()
        positions = [load_training_state(folder / result).values["position"] for folder in (run_dir, whole)]
        assert positions[0] == positions[1]


@pytest.mark.parametrize("keep", [1, 2])
def test_only_complete_epochs_make_room_and_the_best_score_stays(tmp_path, monkeypatch, keep):
    settings = {"epoch": 4, "keep_checkpoints": keep, "toy": {"scores": [0.9, 0.4]}}
    _fail_at(monkeypatch, 3, DatasetError("image id 3: cut off"))
    with pytest.raises(DatasetError):
        train_toy(tmp_path, {"evaluate": True}, **settings)
    run_dir = tmp_path / "toy"
    kept = {"2"} if keep == 1 else {"1", "2"}
    assert {file.stem for file in run_dir.glob("*.pdstate")} == {"best_model", *kept}
    resumed = train_toy(tmp_path, {"evaluate": True, "resume": "auto"}, **{**settings, "toy": {"scores": [0.8, 0.7]}})
    assert [record["step"] for record in read_metrics(resumed.run_dir, "eval")] == [4, 8, 12, 16]
    assert json.loads((run_dir / "best_model.json").read_text())["step"] == 4


@pytest.mark.parametrize("written", ["metrics", "best_model"])
def test_a_full_disk_after_an_evaluation_does_not_cost_the_epoch(tmp_path, monkeypatch, caplog, written):
    from ppdet_res2net.training import run_state
    from ppdet_res2net.training.run_log import RunLog

    save, write = run_state.save_checkpoint, RunLog.write

    def save_or_fail(run_dir, name, *arguments):
        if written == name:
            raise TrainingError("No space left on device")
        return save(run_dir, name, *arguments)

    def write_or_fail(self, record):
        if written == "metrics" and record["kind"] == "eval":
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, record)

    with monkeypatch.context() as patch:
        patch.setattr(run_state, "save_checkpoint", save_or_fail)
        patch.setattr(RunLog, "write", write_or_fail)
        with pytest.raises((TrainingError, OSError), match="No space left"):
            train_toy(tmp_path, {"evaluate": True}, **SCORES)
    assert f"No weights are lost: they are in {tmp_path / 'toy' / '0'}.pdparams" in messages(caplog)
    resumed = train_toy(tmp_path, {"evaluate": True, "resume": "auto"}, **SCORES)
    assert json.loads((resumed.run_dir / "best_model.json").read_text())["step"] == 4


def test_auto_prefers_the_checkpoint_whose_evaluation_is_done(tmp_path, monkeypatch):
    from ppdet_res2net.training import run_state

    save = run_state.save_checkpoint

    def save_and_die(run_dir, name, *arguments):
        path = save(run_dir, name, *arguments)
        if name == "best_model":
            raise KeyboardInterrupt  # before the epoch's own checkpoint gets the figures
        return path

    with monkeypatch.context() as patch:
        patch.setattr(run_state, "save_checkpoint", save_and_die)
        with pytest.raises(KeyboardInterrupt):
            train_toy(tmp_path, {"evaluate": True}, **SCORES)
    folder = RunFolder(tmp_path / "toy")
    assert folder.find_newest() == tmp_path / "toy" / "best_model"
