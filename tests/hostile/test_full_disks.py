"""Real faults of the machine, in a process of their own: files too large, too many open files, signals.

A limit on the size of files stands for a full disk: it needs no rights, and the same code is told of both.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from benchmarks.harness import child_environment
from tests.helpers.runtime_toys import picture, toy_model_dir

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits as Linux sets them")

PRELUDE = """
import os, resource, signal, sys
from pathlib import Path
folder = Path(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
def limit(size_bytes):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, size_bytes))
def use_up_files():
    with open(os.devnull) as first_free:  # all numbers below it are taken; the limit is one for numbers
        resource.setrlimit(resource.RLIMIT_NOFILE, (first_free.fileno(),) * 2)
from res2net_runtime.console import run_command
"""


def run_limited(code: str, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PRELUDE + code, str(folder), *words]
    done = subprocess.run(command, capture_output=True, text=True, env=child_environment(1), check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("size_bytes", [0, 500])
@pytest.mark.parametrize("verb", ["replace", "add"])
def test_earlier_results_stay_whole(tmp_path, size_bytes, verb):
    for name in ("bbox.json", "mask.json"):
        (tmp_path / name).write_text("[1]")
    code = f"""
from res2net_runtime.result_files import ResultFiles
def write():
    with ResultFiles(folder, has_masks=True) as files:
        limit({size_bytes})
        files.{verb}([{{"image_id": 1, "bbox": [0.0] * 100, "segmentation": "1" * 1000}}])
sys.exit(run_command(write))
"""
    done = run_limited(code, tmp_path)
    assert done.returncode == 1
    assert "cannot be written: File too large" in done.stderr and "Raise the limit on the size of files" in done.stderr
    kept = {"bbox.json": b"[1]", "mask.json": b"[1]"}
    # With room for the first bytes, a run that adds image by image has begun.
    begun = verb == "add" and size_bytes
    assert content(tmp_path) == ({name: b"[]\n" for name in kept} if begun else kept)


def test_a_text_is_replaced_whole_or_not_at_all(tmp_path):
    (tmp_path / "figures.json").write_text("{}")
    code = """
from res2net_runtime.arguments import write_json
limit(100)
sys.exit(run_command(lambda: write_json(str(folder / "figures.json"), ["x" * 1000])))
"""
    done = run_limited(code, tmp_path)
    assert done.returncode == 1 and "figures.json' cannot be written: File too large. Raise the limit" in done.stderr
    assert content(tmp_path) == {"figures.json": b"{}"}


def test_a_pipe_gets_the_text_itself(tmp_path):
    from res2net_runtime.files import save_text

    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    save_text(tmp_path / "pipe", "text")
    assert os.read(reader, 10) == b"text"
    os.close(reader)


def test_crops_that_do_not_fit_leave_nothing(tmp_path):
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "a.png"), picture(50, 70))
    annotations = {
        "images": [{"id": 1, "file_name": "a.png", "width": 70, "height": 50}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 30, 30], "area": 900, "iscrowd": 0}],
        "categories": [{"id": 1, "name": "cat"}],
    }
    (tmp_path / "a.json").write_text(json.dumps(annotations))
    code = """
from ppdet_res2net.datasets.small_sets import write_object_crops
limit(20)
sys.exit(run_command(lambda: write_object_crops(folder / "a.json", folder / "images", folder / "crops")))
"""
    done = run_limited(code, tmp_path)
    assert done.returncode == 1
    assert "crops' cannot be written: File too large. Raise the limit on the size of files" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "images"]


@pytest.mark.parametrize("codec", ["h264", "vp8", "mpeg4"])
def test_a_video_that_is_cut_short_is_an_error(tmp_path, codec):
    if codec == "h264":
        pytest.importorskip("av")
    (tmp_path / "v.mp4").write_text("earlier")
    code = """
import numpy as np
from res2net_runtime.video_writer import VideoWriter
def write():
    with VideoWriter(folder / "v.mp4", 10.0, sys.argv[2]) as video:
        limit(4096)
        for seed in range(30):
            video.write(np.random.default_rng(seed).integers(0, 256, (48, 64, 3), np.uint8))
    return 0
sys.exit(run_command(write))
"""
    done = run_limited(code, tmp_path, codec)
    assert done.returncode == 1, done.stderr
    reason = "File too large. Raise the limit" if codec == "h264" else "of 30 frames, usually because the disk is full"
    assert "Cannot write the video" in done.stderr and reason in done.stderr
    # An MP4 without its end cannot be played, and the earlier file stays. A WebM can.
    assert content(tmp_path).pop("v.mp4") == b"earlier"
    assert [path.suffix for path in tmp_path.iterdir()].count(".webm") == (codec == "vp8")
    assert len(list(tmp_path.iterdir())) == 1 + (codec == "vp8")


@pytest.mark.parametrize(("limit_bytes", "code"), [(40_500, 1), (200_000, 0)])
def test_paddle_does_not_cut_weights_silently(tmp_path, limit_bytes, code):
    script = f"""
import paddle
from ppdet_res2net.export.paddle_graph import save_paddle_graph
limit({limit_bytes})
network = paddle.nn.Linear(100, 100)  # 40400 bytes, without the headers of two tensors
network.eval()
try:
    save_paddle_graph(network, folder, [paddle.static.InputSpec([1, 100], "float32")])
except OSError as error:
    sys.exit(error.strerror)
assert (folder / "model.pdiparams").stat().st_size > 40400
"""
    done = run_limited(script, tmp_path)
    assert done.returncode == code, done.stderr
    if code:
        assert done.stderr.endswith("File too large\n") and not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_a_plot_is_replaced_whole_or_not_at_all(tmp_path, suffix):
    pytest.importorskip("matplotlib")
    target = tmp_path / f"curves{suffix}"
    target.write_text("earlier")
    code = """
from matplotlib.figure import Figure
from ppdet_res2net.errors import ConfigError
from ppdet_res2net.files import save_figure
figure = Figure()
figure.subplots().plot(range(9))
save_figure(figure, folder / "sound.png", 80, ConfigError)
limit(4096)
sys.exit(run_command(lambda: save_figure(figure, sys.argv[2], 80, ConfigError)))
"""
    done = run_limited(code, tmp_path, str(target))
    assert done.returncode == 1
    assert (
        f"The picture '{target}' cannot be written: File too large. Raise the limit on the size of files" in done.stderr
    )
    assert target.read_text() == "earlier"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([target.name, "sound.png"])


def test_a_full_log_is_said_once(tmp_path):
    code = """
import logging
from ppdet_res2net.training.run_log import _LogFile
limit(50)
log = logging.getLogger("x"); log.propagate = False; log.addHandler(_LogFile(folder / "train.log"))
for _ in range(20): log.error("0123456789")
"""
    done = run_limited(code, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(f"'{tmp_path}/train.log' misses messages: File too large. Raise the limit") == 1
    assert done.stderr.count("File too large") == 1


@pytest.mark.parametrize(
    ("fault", "done_images", "message"),
    [
        ("limit(600)", 2, "results.jsonl' cannot be written: File too large"),
        ("use_up_files()", 0, "Too many open files. Close files, or raise the limit of open files (ulimit -n)."),
    ],
)
def test_a_prediction_stops_and_says_what_it_keeps(tmp_path_factory, tmp_path, fault, done_images, message):
    model = toy_model_dir(tmp_path_factory, "onnx")
    (tmp_path / "images").mkdir()
    for index in range(20):
        cv2.imwrite(str(tmp_path / "images" / f"{index:02d}.png"), picture(50, 70))
    code = f"""
import logging
from res2net_runtime import Predictor
from res2net_runtime.image_lists import name_images
from res2net_runtime.jobs import Output, run_images
logging.basicConfig(format="%(message)s")
paths = sorted((folder / "images").iterdir())
with Predictor(sys.argv[2]) as predictor:
    predictor(paths[0])
    {fault}
    output = Output(folder, 0.5, False, save_jsonl={fault != "use_up_files()"}, save_pictures=False)
    sys.exit(run_command(lambda: run_images(predictor, name_images(paths), output)))
"""
    done = run_limited(code, tmp_path, str(model))
    assert done.returncode == 1 and message in done.stderr, done.stderr
    assert done.stderr.count("Error: ") == 1
    if done_images:
        assert f"stopped after {done_images} images; what is complete is kept in '{tmp_path}'" in done.stderr
        assert len((tmp_path / "results.jsonl").read_text().splitlines()) == done_images


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_command_and_what_it_writes(tmp_path, number):
    code = """
from res2net_runtime.console import ending_on_signals
from res2net_runtime.files import replacing
def write():
    with ending_on_signals(), replacing(folder / "file") as unfinished:
        unfinished.write_text("half")
        os.kill(os.getpid(), int(sys.argv[2]))
sys.exit(run_command(write))
"""
    done = run_limited(code, tmp_path, str(int(number)))
    assert done.returncode == 128 + number and done.stderr == f"Ended by {number.name}.\n"
    assert not list(tmp_path.iterdir())


def test_what_nohup_ignores_stays_ignored():
    from ppdet_res2net.training.signals import stop_on_signals
    from res2net_runtime.console import ending_on_signals

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ending_on_signals(), stop_on_signals() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
        assert not stop
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        with stop_on_signals() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
        assert stop.signal == signal.SIGHUP
    finally:
        signal.signal(signal.SIGHUP, before)
