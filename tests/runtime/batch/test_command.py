"""The command as people run it, and what happens to it when processes are killed."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest

from res2net_runtime.batch import cli
from tests.helpers.runtime_toys import BRIGHT, picture

ROOT = Path(__file__).resolve().parents[3]


def lines_of(path):
    return [json.loads(line) for line in open(path)]


def test_two_processes_one_is_killed(model_dir, tmp_path):
    """The results are those of one process that nobody kills; the killed one is named."""
    photos = tmp_path / "photos"
    photos.mkdir()
    image = picture(900, 1200, BRIGHT)
    for index in range(60):
        cv2.imwrite(str(photos / f"{index}.png"), image[: 500 + index], [cv2.IMWRITE_PNG_COMPRESSION, 1])
    words = ["--model_dir", model_dir, "--images", photos, "--backend", "onnxruntime", "--shard_size", 3]
    assert cli.main([*map(str, words), "--output", str(tmp_path / "alone"), "--cpu_threads", "1"]) == 0
    out = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-m", "res2net_runtime.batch", *map(str, words), "--output", str(out), "--processes", "2"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "deploy" / "python"), str(ROOT)])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        while not (out / "shards.jsonl").exists() or not (out / "shards.jsonl").stat().st_size:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.001)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        workers = [pid for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        os.kill(int(workers[0]), signal.SIGKILL)
        stdout, stderr = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 0, stderr
    assert f"worker {workers[0]} was ended by SIGKILL; " in stderr
    assert stdout == f"60 of 60 images, 60 detections. Results are in '{out}'.\n"
    for one in sorted((tmp_path / "alone" / "results").iterdir()):
        assert (out / "results" / one.name).read_bytes() == one.read_bytes()
    assert len(list((out / "results").iterdir())) == 20


def test_going_on_after_failures(model_dir, photos, tmp_path, capsys):
    """Exit code 1 and a list of the images that failed; a second run has nothing to do, and repairs can be tried again."""
    words = ["--model_dir", model_dir, "--images", photos, "--output", tmp_path / "out", "--shard_size", 4]
    words = [*map(str, words), "--backend", "onnxruntime", "--cpu_threads", "1"]
    assert cli.main(words) == 1
    (failure,) = lines_of(tmp_path / "out" / "failures.jsonl")
    assert failure["file_name"] == "2.png"
    assert "--retry_failed runs them again" in capsys.readouterr().err
    journal = (tmp_path / "out" / "shards.jsonl").read_bytes()
    assert cli.main(words) == 1
    assert "7 of 7 images are done; going on with the others." in capsys.readouterr().err
    assert (tmp_path / "out" / "shards.jsonl").read_bytes() == journal


def test_a_broken_model_ends_the_run_with_its_message(model_dir, photos, tmp_path, capsys):
    for file in model_dir.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes()[: 100 if file.suffix == ".onnx" else None])
    words = ["--model_dir", tmp_path, "--images", photos, "--output", tmp_path / "out", "--backend", "onnxruntime"]
    assert cli.main([*map(str, words)]) == 1
    assert "Error: " in (error := capsys.readouterr().err) and "model.onnx" in error


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--top_k", "3"], "--top_k is for classifiers, and '.*' is a detector. Leave it out."),
        (["--address", "auto"], "--address needs Ray, which the extra 'ray' installs"),
        (["--format", "parquet"], "Parquet needs pyarrow, which the extra 'parquet' installs"),
    ],
)
def test_what_cannot_be_done_is_said_first(model_dir, photos, tmp_path, capsys, monkeypatch, words, message):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    common = ["--model_dir", str(model_dir), "--images", str(photos), "--output", str(tmp_path / "out")]
    assert cli.main([*common, *words]) == 1
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "out").exists()
