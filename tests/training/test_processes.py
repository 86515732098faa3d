"""Two processes on a CPU, started by Paddle's launcher, compared with one process and the doubled batch."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ppdet_res2net.errors import ConfigError
from ppdet_res2net.training.checkpoint import load_training_state
from ppdet_res2net.training.processes import Processes
from tests.helpers.toy_task import IMAGES, ToyModel, train_toy
from tests.helpers.training_runs import losses_by_step, make_config, read_metrics, read_tensors

TESTS = Path(__file__).resolve().parents[1]
TIME_LIMIT_S = 120


def launch(what: str, folder: Path, *arguments) -> tuple[int, str]:
    """Run the script in two processes; return exit code and everything printed. It fails after ``TIME_LIMIT_S``."""
    return launch_command(folder, folder, TESTS / "helpers" / "distributed_script.py", what, folder, *arguments)


def launch_command(folder: Path, cwd: Path, *command) -> tuple[int, str]:
    """Give a command to the launcher; the rest is as for :func:`launch`."""
    folder.mkdir(exist_ok=True)
    path = os.pathsep.join([str(TESTS.parent), str(TESTS.parent / "deploy" / "python")])
    launcher = [sys.executable, "-m", "paddle.distributed.launch", "--nproc_per_node", "2", "--backend", "gloo"]
    command = [*launcher, "--log_dir", folder / "log", *command]
    # A process that dies leaves its temporary folder behind.
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "TMPDIR": str(folder)}
    done = subprocess.run(
        list(map(str, command)), env=environment, capture_output=True, text=True, timeout=TIME_LIMIT_S, cwd=cwd
    )
    logs = "".join(file.read_text(errors="replace") for file in sorted((folder / "log").glob("workerlog.*")))
    return done.returncode, done.stdout + done.stderr + logs


@pytest.fixture(scope="module")
def two(tmp_path_factory, demo_data, detecting):
    """Folder with the results of everything that two processes do without an error."""
    folder = tmp_path_factory.mktemp("two")
    code, output = launch("work", folder, demo_data, detecting)
    assert code == 0, output
    return folder


def _assert_close(run_dir: Path, other: Path):
    one, two = (read_tensors(folder / "model_final.pdparams") for folder in (run_dir, other))
    for name in one:
        np.testing.assert_allclose(one[name], two[name], rtol=0, atol=2e-6, err_msg=name)


def test_two_processes_train_as_one_with_the_doubled_batch(two, tmp_path):
    alone = train_toy(tmp_path).run_dir
    for name in ("plain", "accumulated"):
        _assert_close(alone, two / name / "toy")
        for step, losses in losses_by_step(alone).items():
            assert losses_by_step(two / name / "toy")[step] == pytest.approx(losses, rel=1e-5)


def test_each_process_sees_its_own_images_and_together_they_see_all(two):
    seen = [json.loads((two / f"seen.{rank}.json").read_text()) for rank in (0, 1)]
    for epoch in (0, 1):
        ids = [sum(batches[4 * epoch : 4 * epoch + 4], []) for batches in seen]
        assert len(ids[0]) == len(ids[1]) == IMAGES // 2
        assert sorted(ids[0] + ids[1]) == list(range(IMAGES))


def test_only_the_first_process_writes(two):
    run_dir = two / "plain" / "toy"
    assert len((run_dir / "metrics.jsonl").read_text().splitlines()) == 8
    log = (run_dir / "train.log").read_text()
    assert log.count("step 8/8") == log.count("saved ") / 2 == 1
    assert not (two / "plain" / "toy.1").exists()


def test_one_process_goes_on_where_two_have_stopped(two, tmp_path, caplog):
    whole = train_toy(tmp_path / "whole").run_dir
    resumed = train_toy(two / "begun", {"resume": "auto"})
    assert resumed.steps == 8
    assert "was written by 2 processes, this run has 1" in caplog.text
    _assert_close(whole, resumed.run_dir)


def test_an_evaluation_is_shared_and_every_image_counts_once(two, detecting, demo_data, tmp_path):
    from ppdet_res2net.detection.evaluate import evaluate_from_config

    config = make_config(demo_data, tmp_path, f"weights={detecting}", "cpu_threads=1")  # as launch() says
    expected = evaluate_from_config(config, output_dir=str(tmp_path / "detections")).summary
    for name in ("bbox.json", "mask.json"):
        one, shared = (json.loads((folder / "detections" / name).read_text()) for folder in (tmp_path, two))
        assert one and shared == one
    for rank in (0, 1):
        summary = json.loads((two / f"eval.{rank}.json").read_text())
        assert {**summary, "seconds": 0} == {**expected, "seconds": 0}


def test_a_signal_to_one_process_stops_both_with_one_checkpoint(two):
    results = [json.loads((two / f"stopped.{rank}.json").read_text()) for rank in (0, 1)]
    assert results[0] == results[1]
    assert results[0][0] < 16 and results[0][1] == signal.SIGTERM
    assert (two / "stopped" / "toy" / "interrupted.pdstate").is_file()


def test_a_signal_before_an_evaluation_leaves_it_to_the_resumed_run(two):
    results = [json.loads((two / f"unevaluated.{rank}.json").read_text()) for rank in (0, 1)]
    assert results == [[4, signal.SIGTERM]] * 2
    resumed = train_toy(
        two / "unevaluated", {"resume": "auto", "evaluate": True, "max_steps": 5}, toy={"scores": [0.5, 0.4]}
    )
    assert [record["step"] for record in read_metrics(resumed.run_dir, "eval")] == [4, 5]


def test_a_process_that_dies_ends_the_other_with_a_message(tmp_path):
    code, output = launch("die", tmp_path)
    assert code != 0
    assert "ABORT!!!" in output and "was aborted. Please check its log" in output


def test_a_loss_that_is_not_finite_is_named_whichever_process_has_it(two):
    for rank in (0, 1):
        assert "loss nan (image ids" in (two / f"nan.{rank}.txt").read_text()


@pytest.mark.parametrize("script", [("-m", "ppdet_res2net"), (TESTS.parent / "ppdet_res2net" / "__main__.py",)])
def test_the_package_is_launched_as_a_module_and_by_its_path(demo_data, tmp_path, script):
    """The launcher hands a module's name on as a path, so -m works in a checkout only."""
    overrides = [f"TrainDataset.dataset_dir={demo_data}", f"save_dir={tmp_path}", "use_gpu=false", "worker_num=0"]
    overrides += ["TrainDataset.sample_num=4", "TrainReader.batch_size=1"]
    arguments = ["train", "-c", "demo_mask_rcnn", "--max_steps", "1", "-o", *overrides]
    code, output = launch_command(tmp_path / "launched", TESTS.parent, *script, *arguments)
    assert code == 0, output
    assert "2 steps of 2 images" in output
    assert load_training_state(tmp_path / "demo_mask_rcnn" / "model_final").values["world_size"] == 2


def test_run_by_its_path_the_package_hides_no_other_module(tmp_path):
    (tmp_path / "datasets.py").write_text("print('the other one')")
    (tmp_path / "sitecustomize.py").write_text("import atexit; atexit.register(lambda: __import__('datasets'))")
    path = os.pathsep.join([str(tmp_path), str(TESTS.parent), str(TESTS.parent / "deploy" / "python")])
    main = TESTS.parent / "ppdet_res2net" / "__main__.py"
    done = subprocess.run(
        [sys.executable, main, "--version"], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    assert "ppdet-res2net " in done.stdout and "the other one" in done.stdout, done.stderr


def test_statistics_that_cannot_be_synchronized_are_refused():
    with pytest.raises(ConfigError, match="norm_type is sync_bn, but 2 processes run on a CPU.*Pass -o norm_type=bn"):
        Processes(0, 2).synchronize_norms(ToyModel(), "sync_bn", "cpu")
    Processes(0, 1).synchronize_norms(ToyModel(), "sync_bn", "cpu")
    Processes(0, 2).synchronize_norms(ToyModel(), "bn", "cpu")
