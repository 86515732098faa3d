"""Checkpoints: damaged, truncated, replaced and missing files are recognised, and a full disk is survived."""

from __future__ import annotations

import errno
import json
import os
import shutil

import pytest

from ppdet_res2net.detection.task import train
from ppdet_res2net.errors import TrainingError, WeightsError
from ppdet_res2net.training.checkpoint import load_training_state, read_checkpoint_info
from tests.helpers.toy_task import train_toy
from tests.helpers.training_runs import assert_equal_tensors, make_config, read_tensors


@pytest.fixture
def run_dir(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


def test_the_state_of_a_checkpoint_is_read_with_or_without_the_ending(run_dir):
    state = load_training_state(run_dir / "0")
    values = state.values
    assert (values["position"]["steps"], values["steps_per_epoch"], values["seed"]) == (2, 2, 0)
    assert state.tensors["optimizer"] and "LR_Scheduler" in values["optimizer"]
    again = load_training_state(f"{run_dir}/0.pdparams")
    assert_equal_tensors(state.tensors["optimizer"], again.tensors["optimizer"])
    assert again.values == values


def test_weights_of_another_save_are_refused(run_dir):
    shutil.copy(run_dir / "model_final.pdparams", run_dir / "0.pdparams")
    with pytest.raises(
        WeightsError,
        match="0.pdparams' is not the file that '.*0.pdstate' was saved with.*damaged, or was replaced.*earlier",
    ):
        load_training_state(run_dir / "0")


@pytest.mark.parametrize("kept_bytes", [0, 5, 3000])
def test_a_state_that_was_cut_off_is_refused(run_dir, kept_bytes):
    state = run_dir / "0.pdstate"
    state.write_bytes(state.read_bytes()[:kept_bytes])
    with pytest.raises(WeightsError, match="0.pdstate' is damaged: .*Resume from an earlier checkpoint"):
        load_training_state(run_dir / "0")


def test_a_state_of_another_program_is_refused(run_dir):
    from safetensors.numpy import save_file

    save_file({}, run_dir / "0.pdstate")
    with pytest.raises(WeightsError, match="0.pdstate' is damaged"):
        load_training_state(run_dir / "0")
    save_file({}, run_dir / "0.pdstate", metadata={"state": json.dumps({"format": 9})})
    with pytest.raises(WeightsError, match="has format 9, expected 2: another version wrote it"):
        load_training_state(run_dir / "0")


@pytest.mark.parametrize("suffix", ["pdparams", "pdstate"])
def test_a_missing_file_is_named(run_dir, suffix):
    (run_dir / f"0.{suffix}").unlink()
    with pytest.raises(
        WeightsError, match=rf"there is no '.*0\.{suffix}'.*or start from weights alone with -o pretrain"
    ):
        load_training_state(run_dir / "0")


def test_what_travels_with_weights_is_read_or_refused(run_dir):
    assert len(read_checkpoint_info(run_dir / "0.pdparams")["class_names"]) == 3
    assert read_checkpoint_info(run_dir / "unknown") is None
    for content in ("{", "[]", '{"class_names": ["a"]}', '{"class_names": ["a"], "category_ids": [1, 2]}'):
        (run_dir / "0.json").write_text(content)
        with pytest.raises(WeightsError, match="0.json' should describe the classes.*Restore it"):
            read_checkpoint_info(run_dir / "0")


@pytest.mark.parametrize("stage", ["info", "weights", "state"])
def test_a_full_disk_is_an_error_and_older_checkpoints_remain(demo_data, tmp_path, monkeypatch, stage):
    run_dir = train(make_config(demo_data, tmp_path, "TrainDataset.sample_num=2"), max_steps=1).run_dir
    before = {file.name: file.read_bytes() for file in run_dir.glob("model_final.*")}

    calls = []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) == ["info", "weights", "state"].index(stage) + 1:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    config = make_config(demo_data, tmp_path, "TrainDataset.sample_num=2", "epoch=3", "snapshot_epoch=1")
    with pytest.raises(
        TrainingError, match="1.pdparams' cannot be written: .*No space left on device.*save_dir=.*intact"
    ):
        train(config, resume=str(run_dir / "model_final"))
    assert {file.name: file.read_bytes() for file in run_dir.glob("model_final.*")} == before
    assert not [file.name for file in run_dir.iterdir() if file.name.startswith(".")]
    assert not (run_dir / "1.pdstate").exists()


def test_reading_a_checkpoint_executes_no_code(run_dir):
    import pickle

    class Evil:
        def __reduce__(self):
            return (print, ("executed",))

    (run_dir / "0.pdstate").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(WeightsError, match="is damaged"):
        load_training_state(run_dir / "0")


def test_a_checkpoint_holds_the_weights_alone(run_dir):
    names = read_tensors(run_dir / "0.pdparams")
    assert {name.partition(".")[0] for name in names} == {
        "backbone",
        "neck",
        "rpn_head",
        "bbox_head",
        "mask_head",
    }
    assert not any("moment" in name for name in names)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664), (0o027, 0o640)])
def test_every_file_of_a_run_follows_the_umask(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        run_dir = train_toy(tmp_path, {"evaluate": True}, toy={"scores": [0.5, 0.4]}).run_dir
    finally:
        os.umask(before)
    modes = {file.name: file.stat().st_mode & 0o777 for file in run_dir.iterdir()}
    assert {"model_final.pdparams", "model_final.json", "model_final.pdstate", "metrics.jsonl", "config.yml"} < set(
        modes
    )
    assert set(modes.values()) == {mode}, modes
