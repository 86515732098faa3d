"""The folder of a run: the newest undamaged checkpoint continues, the right ones are kept, nothing is overwritten."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest

from ppdet_res2net.config import Config
from ppdet_res2net.errors import ConfigError, TrainingError, WeightsError
from ppdet_res2net.training import checkpoint as checkpoint_module
from ppdet_res2net.training.checkpoint import load_training_state, recover
from ppdet_res2net.training.machine import describe_machine, list_differences
from ppdet_res2net.training.run_folder import RunFolder
from tests.helpers.toy_task import ToyTask, train_toy
from tests.helpers.training_runs import (
    assert_equal_tensors,
    losses_by_step,
    messages,
    read_metrics,
    read_tensors,
)

TESTS = Path(__file__).resolve().parents[1]


def _names(run_dir: Path) -> set[str]:
    return {file.stem for file in run_dir.glob("*.pdstate")}


def test_auto_continues_the_newest_checkpoint_and_starts_where_there_is_none(tmp_path, caplog):
    caplog.set_level("INFO")
    first = train_toy(tmp_path / "a", {"resume": "auto", "max_steps": 6})
    assert "no checkpoint in" in messages(caplog) and "starting a new run" in messages(caplog)
    again = train_toy(tmp_path / "a", {"resume": "auto"})
    assert f"-r auto: continuing {first.run_dir / 'model_final'}" in messages(caplog)
    whole = train_toy(tmp_path / "b")
    assert_equal_tensors(*(read_tensors(run.run_dir / "model_final.pdparams") for run in (again, whole)))
    assert losses_by_step(again.run_dir) == losses_by_step(whole.run_dir)


@pytest.mark.parametrize("suffix", ["pdparams", "json", "pdstate"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "missing"])
def test_auto_passes_over_a_damaged_checkpoint(tmp_path, caplog, suffix, damage):
    run_dir = train_toy(tmp_path, {"max_steps": 6}).run_dir
    file = run_dir / f"model_final.{suffix}"
    data = bytearray(file.read_bytes())
    if damage == "missing":
        file.unlink()
    else:
        data[len(data) // 2] ^= 1
        file.write_bytes(data if damage == "flipped" else data[: len(data) // 2])
    result = train_toy(tmp_path, {"resume": "auto"})
    assert result.steps == 8
    if (suffix, damage) != ("pdstate", "missing"):  # without a state it is no checkpoint, but weights
        assert f"passing over the checkpoint '{run_dir / 'model_final'}'" in messages(caplog)
    assert min(losses_by_step(run_dir)) == 1 and len(read_metrics(run_dir)) == 6 + 4


def test_every_bit_of_a_state_is_covered_by_its_checksum(tmp_path):
    run_dir = train_toy(tmp_path, {"max_steps": 1}).run_dir
    file = run_dir / "model_final.pdstate"
    data = file.read_bytes()
    for position in range(0, len(data), max(1, len(data) // 60)):
        damaged = bytearray(data)
        damaged[position] ^= 1 << position % 8
        file.write_bytes(damaged)
        with pytest.raises(WeightsError, match="Resume from an earlier checkpoint|another version wrote it"):
            load_training_state(run_dir / "model_final")


def test_a_new_run_moves_an_earlier_one_aside(tmp_path, caplog):
    first = train_toy(tmp_path, {"max_steps": 2})
    before = {file.name: file.read_bytes() for file in first.run_dir.iterdir()}
    second = train_toy(tmp_path, {"max_steps": 1})
    aside = tmp_path / "toy.1"
    assert f"'{first.run_dir}' held an earlier run, which is now in '{aside}'. -r auto would have" in messages(caplog)
    assert {file.name: file.read_bytes() for file in aside.iterdir()} == before
    assert len(read_metrics(second.run_dir)) == 1
    train_toy(tmp_path, {"max_steps": 1})
    assert (tmp_path / "toy.2").is_dir()


def test_a_run_is_not_written_into_a_folder_named_like_a_bucket(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TrainingError, match="save_dir 's3://bucket/run' is an address, and results are written into"):
        RunFolder(Path("s3://bucket/run")).open()
    assert not any(tmp_path.iterdir())


def test_two_runs_do_not_write_into_one_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("ppdet_res2net.training.run_folder.LOCK_TIME_S", 0.1)
    other = RunFolder(tmp_path / "toy")
    other.open()
    with pytest.raises(
        TrainingError,
        match=rf"Another run is writing to '.*toy': process {os.getpid()}\. Wait for it, or pass another folder",
    ):
        train_toy(tmp_path)
    other.close()
    assert train_toy(tmp_path, {"max_steps": 1}).steps == 1


def test_the_newest_checkpoints_and_the_results_are_kept(tmp_path):
    settings = {"epoch": 5, "keep_checkpoints": 2, "toy": {"scores": [0.5, 0.4, 0.3, 0.2, 0.1]}}
    run_dir = train_toy(tmp_path, {"evaluate": True}, **settings).run_dir
    assert _names(run_dir) == {"2", "3", "model_final", "best_model"}
    assert {file.stem for file in run_dir.glob("*.pdparams")} == _names(run_dir)
    run_dir = train_toy(tmp_path / "all", epoch=5).run_dir
    assert _names(run_dir) == {"0", "1", "2", "3", "model_final"}


def test_checkpoints_within_an_epoch(tmp_path):
    run_dir = train_toy(tmp_path, {"max_steps": 4}, snapshot_steps=3).run_dir
    assert _names(run_dir) == {"last", "model_final"}
    assert json.loads((run_dir / "last.json").read_text())["step"] == 3


@pytest.mark.parametrize("moved", [None, 0, 1, 2])
def test_a_save_that_was_interrupted_is_completed_or_undone(tmp_path, monkeypatch, moved):
    """Simulate a power cut: before the folder is renamed (None), or after this number of files was moved out of it."""
    run_dir = train_toy(tmp_path, {"max_steps": 3}).run_dir
    old = {file.name: file.read_bytes() for file in run_dir.glob("model_final.*")}
    calls = []
    rename, replace = os.rename, os.replace

    def cut_rename(source, target):
        if moved is None:
            raise KeyboardInterrupt
        rename(source, target)

    def cut_replace(source, target):
        if str(source.parent if isinstance(source, Path) else source).endswith(".saved"):
            calls.append(target)
            if len(calls) > moved:
                raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(checkpoint_module.shutil, "rmtree", lambda *args, **kwargs: None)  # no tidying up after a cut
    monkeypatch.setattr(checkpoint_module.os, "rename", cut_rename)
    monkeypatch.setattr(checkpoint_module.os, "replace", cut_replace)
    with pytest.raises(KeyboardInterrupt):
        train_toy(tmp_path, {"resume": str(run_dir / "model_final"), "max_steps": 4})
    monkeypatch.undo()
    left = ".model_final.saving" if moved is None else ".model_final.saved"
    assert [file.name for file in run_dir.glob(".model_final.*")] == [left]
    recover(run_dir)
    assert not list(run_dir.glob(".model_final.*"))
    steps = load_training_state(run_dir / "model_final").values["position"]["steps"]
    assert steps == (3 if moved is None else 4)
    if moved is None:
        assert {file.name: file.read_bytes() for file in run_dir.glob("model_final.*")} == old


def test_resuming_with_other_classes_is_refused(tmp_path):
    run_dir = train_toy(tmp_path, {"max_steps": 1}).run_dir
    for names, difference in ((["a", "c"], r"missing: \['2 b'\]; new: \['2 c'\]"), (["a"], r"missing: \['2 b'\]")):
        with pytest.raises(
            ConfigError, match=f"its classes are not those of the data .{difference}.*pretrain_weights="
        ):
            train_toy(tmp_path, {"resume": str(run_dir / "model_final")}, toy={"class_names": names})


def test_resuming_with_another_batch_is_refused_and_with_the_same_in_parts_is_not(tmp_path):
    run_dir = train_toy(tmp_path, {"max_steps": 4}).run_dir
    with pytest.raises(
        ConfigError, match="4 steps per epoch of 4 images, this one has 8 of 2. Use the same dataset and"
    ):
        train_toy(tmp_path, {"resume": "auto"}, TrainReader={"batch_size": 2})
    shutil.copytree(run_dir, tmp_path / "copy" / "toy")
    same = train_toy(tmp_path, {"resume": "auto"}, TrainReader={"batch_size": 2}, accumulate_steps=2)
    whole = train_toy(tmp_path / "copy", {"resume": "auto"})
    for step, losses in losses_by_step(whole.run_dir).items():
        assert losses == pytest.approx(losses_by_step(same.run_dir)[step], rel=1e-5)


def test_a_checkpoint_of_other_versions_is_continued_aloud(tmp_path, monkeypatch, caplog):
    with monkeypatch.context() as patch:
        patch.setattr("ppdet_res2net.training.run_state.list_versions", lambda: {"paddle": "1.0"})
        train_toy(tmp_path, {"max_steps": 1})
    train_toy(tmp_path, {"resume": "auto", "max_steps": 2})
    assert "was written under other conditions: paddle 1.0 -> " in messages(caplog)


def test_a_checkpoint_of_another_machine_is_continued_aloud_in_one_line(tmp_path, monkeypatch, caplog):
    with monkeypatch.context() as patch:
        patch.setattr("ppdet_res2net.training.machine.cpu_name", lambda: "Another CPU")
        patch.setattr("ppdet_res2net.training.machine.cpu_features", lambda: {"avx2", "avx9", "aes"})
        patch.setenv("MKL_CBWR", "COMPATIBLE")
        run_dir = train_toy(tmp_path, {"max_steps": 1}, cpu_threads=3).run_dir
        machine = load_training_state(run_dir / "model_final").values["machine"]
        assert (machine["device"], machine["instructions"], machine["threads"]) == ("Another CPU", "avx2 avx9", "3")
        train_toy(tmp_path, {"resume": "auto", "max_steps": 2}, cpu_threads=3)
        assert "under other conditions" not in messages(caplog)
    assert train_toy(tmp_path, {"resume": "auto", "max_steps": 3}, cpu_threads=1).steps == 3
    (line,) = [line for line in messages(caplog).splitlines() if "under other conditions" in line]
    assert "device Another CPU -> " in line and "instructions -avx9" in line
    assert "MKL_CBWR COMPATIBLE -> unset" in line and "threads 3 -> 1" in line
    assert line.endswith("Training continues, but its weights will not equal those of an uninterrupted run bit for bit")


def test_a_checkpoint_of_a_gpu_is_told_from_one_of_a_cpu(monkeypatch):
    monkeypatch.setattr("paddle.device.cuda.get_device_name", lambda: "Some GPU")
    monkeypatch.setattr("ppdet_res2net.training.machine.cpu_name", lambda: "Some CPU")
    gpu, cpu = describe_machine("gpu:0", 2), describe_machine("cpu", 2)
    assert list_differences(gpu, cpu) == ["device Some GPU -> Some CPU"]
    assert list_differences(cpu, describe_machine("cpu", 2)) == []


def test_a_signal_during_an_evaluation_ends_it_and_the_resumed_run_makes_up_for_it(tmp_path, monkeypatch):
    evaluate = ToyTask.evaluate

    def evaluate_and_signal(self):
        os.kill(os.getpid(), signal.SIGTERM)
        return evaluate(self)

    settings = {"toy": {"scores": [0.5, 0.4]}}
    monkeypatch.setattr(ToyTask, "evaluate", evaluate_and_signal)
    result = train_toy(tmp_path, {"evaluate": True}, **settings)
    assert (result.steps, result.signal) == (4, signal.SIGTERM)
    assert _names(result.run_dir) == {"0", "interrupted"}
    monkeypatch.setattr(ToyTask, "evaluate", evaluate)
    resumed = train_toy(tmp_path, {"evaluate": True, "resume": "auto"}, **settings)
    assert [record["step"] for record in read_metrics(resumed.run_dir, "eval")] == [4, 8]
    assert _names(resumed.run_dir) == {"interrupted", "0", "best_model", "model_final"}


@pytest.mark.parametrize("evaluate", [True, False])
def test_a_signal_in_the_last_step_of_an_epoch_does_not_cost_its_end(tmp_path, monkeypatch, evaluate):
    losses, calls = ToyTask.losses, []

    def losses_and_signal(self, model, batch):
        calls.append(1)
        if len(calls) == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return losses(self, model, batch)

    monkeypatch.setattr(ToyTask, "losses", losses_and_signal)
    settings = {"toy": {"scores": [0.5, 0.4]}}
    stopped = train_toy(tmp_path, {"evaluate": evaluate}, **settings)
    assert (stopped.steps, stopped.signal) == (4, signal.SIGTERM)
    resumed = train_toy(tmp_path, {"evaluate": evaluate, "resume": "auto"}, **settings)
    assert [record["step"] for record in read_metrics(resumed.run_dir, "eval")] == ([4, 8] if evaluate else [])
    assert _names(resumed.run_dir) >= {"0", "model_final"} | ({"best_model"} if evaluate else set())


def test_auto_ends_a_run_that_is_over_as_it_should_have_ended(tmp_path, caplog):
    """Happens if a run is killed between its last evaluation and its last checkpoint, or if a job is queued too often."""
    caplog.set_level("INFO")
    settings = {"toy": {"scores": [0.4, 0.5]}}
    run_dir = train_toy(tmp_path, {"evaluate": True}, **settings).run_dir
    for file in run_dir.glob("model_final.*"):
        file.unlink()
    again = train_toy(tmp_path, {"evaluate": True, "resume": "auto"}, **settings)
    assert (again.steps, again.signal) == (8, None)
    assert "nothing is left to train" in messages(caplog) and "done after 8 steps" in messages(caplog)
    assert_equal_tensors(*(read_tensors(run_dir / f"{name}.pdparams") for name in ("model_final", "best_model")))
    with pytest.raises(ConfigError, match="it has done 8 steps, and this run ends after 8"):
        train_toy(tmp_path, {"resume": str(run_dir / "model_final")})

    early = {"epoch": 5, "early_stop_patience": 1, "toy": {"scores": [0.5, 0.4, 0.9]}}
    assert train_toy(tmp_path / "early", {"evaluate": True}, **early).steps == 8
    assert train_toy(tmp_path / "early", {"evaluate": True, "resume": "auto"}, **early).steps == 8


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_have_exit_codes_of_their_own(tmp_path, number, code, monkeypatch):
    from ppdet_res2net.cli import train as command
    from ppdet_res2net.training.trainer import TrainResult

    monkeypatch.setattr("ppdet_res2net.cli.train.load_config", lambda *args, **options: Config({}, tmp_path))
    result = TrainResult(tmp_path, number, 1, None)
    monkeypatch.setattr("ppdet_res2net.training.trainer.run_training", lambda *args: result)
    assert command.main(["-c", "x"]) == code


def test_a_log_tells_everything_from_the_start_and_how_to_go_on(tmp_path):
    result = train_toy(tmp_path, {"resume": "auto"}, base_batch_size=8)
    log = (result.run_dir / "train.log").read_text()
    assert "no checkpoint in" in log and "learning rate 0.0001 x 4 / 8 = 5e-05" in log  # before the folder was there
    assert f"done after 8 steps. In {result.run_dir}:" in log
    assert "metrics.jsonl" in log and f"look at {result.run_dir / 'model_final'}" in log
    assert "best_model" not in log


def test_visualdl_gets_every_figure(tmp_path, monkeypatch):
    scalars: dict = {}

    class LogWriter:
        def __init__(self, folder):
            self.points = scalars.setdefault(folder, {})

        def add_scalar(self, tag, step, value):
            self.points[tag, step] = value

        def close(self):
            self.points["closed"] = True

    monkeypatch.setitem(sys.modules, "visualdl", types.SimpleNamespace(LogWriter=LogWriter))
    result = train_toy(tmp_path, {"use_vdl": True, "evaluate": True}, epoch=1, toy={"scores": [0.5]})
    points = scalars[str(result.run_dir / "vdl")]
    for record in read_metrics(result.run_dir):
        for name in ("loss", "loss_a", "lr", "images_per_s", "memory_mib"):
            assert points[f"train/{name}", record["step"]] == record[name]
    assert points["eval/toy/AP", 4] == 0.5 and points["closed"]


def test_where_the_system_does_not_tell_the_memory_the_figure_is_left_out(tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "resource", None)  # as on Windows
    caplog.set_level("INFO")
    run_dir = train_toy(tmp_path, {"max_steps": 2}).run_dir
    assert len(read_metrics(run_dir)) == 2
    assert not any("memory_mib" in record for record in read_metrics(run_dir))
    assert "step 2/2" in messages(caplog) and "MiB" not in messages(caplog)


def test_training_is_imported_where_there_is_no_module_resource():
    code = "import sys; sys.modules['resource'] = None; import ppdet_res2net.detection.task, ppdet_res2net.cli.train"
    path = os.pathsep.join([str(TESTS.parent), str(TESTS.parent / "deploy" / "python")])
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, check=True)


def test_a_line_that_was_cut_off_spoils_no_other(tmp_path):
    run_dir = train_toy(tmp_path, {"max_steps": 2}).run_dir
    with open(run_dir / "metrics.jsonl", "a") as file:
        file.write('{"kind": "train", "st')
    train_toy(tmp_path, {"resume": "auto"})
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == 9 and lines[2] == '{"kind": "train", "st'
    from ppdet_res2net.training.curves import read_metrics as read

    assert list(read(run_dir)["train"]) == list(range(1, 9))


def test_plot_draws_runs_and_refuses_what_is_none(tmp_path, capsys):
    from ppdet_res2net.cli.main import main

    runs = [train_toy(tmp_path / name, {"max_steps": 3}).run_dir for name in "ab"]
    assert main(["plot", *map(str, runs), "--out", str(tmp_path / "both.png")]) == 0
    assert (tmp_path / "both.png").read_bytes().startswith(b"\x89PNG")
    assert main(["plot", *map(str, runs), "--out", str(tmp_path / "both.svg")]) == 0
    picture = (tmp_path / "both.svg").read_text()
    assert "a/toy loss" in picture and "b/toy lr" in picture
    assert main(["plot", str(tmp_path / "nothing")]) == 1
    assert "is not the folder of a run" in capsys.readouterr().err
    assert main(["plot", str(runs[0]), "--out", str(tmp_path / "both.png" / "curves.png")]) == 1
    err = capsys.readouterr().err
    assert "curves.png' cannot be written: " in err and "Choose another file." in err


def test_a_run_that_is_killed_while_it_saves_loses_nothing(tmp_path):
    """Kill a real process; ``python -m benchmarks.faults`` does it fifty times."""
    script = tmp_path / "run.py"
    script.write_text(
        "import sys; from pathlib import Path; from tests.helpers.toy_task import train_toy\n"
        "settings = {'epoch': 3, 'snapshot_steps': 1, 'cpu_threads': 1}\n"
        "train_toy(Path(sys.argv[1]), {'resume': 'auto'}, **settings, toy={'step_s': 0.02})\n"
    )
    path = os.pathsep.join([str(TESTS.parent), str(TESTS.parent / "deploy" / "python")])
    environment = {**os.environ, "PYTHONPATH": path}
    run_dir = tmp_path / "run" / "toy"
    log = tmp_path / "run.log"
    with log.open("w") as stderr:
        process = subprocess.Popen([sys.executable, script, tmp_path / "run"], env=environment, stderr=stderr)
    metrics = run_dir / "metrics.jsonl"
    while process.poll() is None and not (metrics.exists() and '"step": 3' in metrics.read_text()):
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert metrics.exists(), log.read_text()
    folder = RunFolder(run_dir)
    folder.open()  # completes a save that was cut off
    assert folder.find_newest() is not None, log.read_text()
    folder.close()
    killed = train_toy(tmp_path / "run", {"resume": "auto"}, epoch=3, snapshot_steps=1, cpu_threads=1)
    whole = train_toy(tmp_path / "whole", epoch=3, cpu_threads=1)
    assert_equal_tensors(*(read_tensors(run.run_dir / "model_final.pdparams") for run in (killed, whole)))
