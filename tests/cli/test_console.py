"""Standard output and standard error of the commands: JSON, closed pipes, terminals without Unicode."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ppdet_res2net.cli import main as cli
from res2net_runtime.console import run_command
from res2net_runtime.errors import ImageError

ROOT = Path(__file__).resolve().parents[2]


def run_python(*words: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    path = os.pathsep.join([str(ROOT), str(ROOT / "deploy" / "python")])
    return subprocess.run(
        [sys.executable, *words],
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        check=False,
    )


@pytest.fixture
def small_dataset(tmp_path):
    annotations = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 5, "height": 5}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 3, 3], "area": 9, "iscrowd": 0}],
        "categories": [{"id": 1, "name": "грибы"}],
    }
    file = tmp_path / "train.json"
    file.write_text(json.dumps(annotations))
    return ["--annotations", str(file), "--skip_images"]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_letters_that_a_terminal_lacks_are_escaped(encoding):
    code = "from ppdet_res2net.cli._common import run\nrun(lambda a: print('caf\\xe9 \\u8336 \\udcff') or 0, [])"
    done = run_python("-c", code, PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    expected = {"ascii": b"caf\\xe9 \\u8336", "latin-1": b"caf\xe9 \\u8336", "utf-8": "café 茶".encode()}[encoding]
    assert done.stdout == expected + b" \\udcff\n"


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_json_on_standard_output_stays_json(encoding, small_dataset):
    done = run_python("-m", "ppdet_res2net", "check-dataset", *small_dataset, "--json", PYTHONIOENCODING=encoding)
    (report,) = json.loads(done.stdout)["datasets"]
    assert report["statistics"]["classes"][0]["name"] == "грибы"


def test_json_goes_to_a_file_or_to_standard_output(small_dataset, tmp_path, capsys):
    cli.main(["check-dataset", *small_dataset, "--json"])
    shown = json.loads(capsys.readouterr().out)
    cli.main(["check-dataset", *small_dataset, "--json", "-"])
    assert json.loads(capsys.readouterr().out) == shown
    file = tmp_path / "new" / "report.json"
    cli.main(["check-dataset", *small_dataset, "--json", str(file)])
    assert json.loads(file.read_text("utf-8")) == shown
    assert "train" in capsys.readouterr().out


def test_models_are_json_in_both_ways(tmp_path, capsys):
    assert cli.main(["models", "--source", "timm", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown and all(model["name"].startswith("timm/") for model in shown)
    assert cli.main(["models", "--source", "timm", "--json", str(tmp_path / "x.json")]) == 0
    assert json.loads((tmp_path / "x.json").read_text("utf-8")) == shown


@pytest.mark.parametrize("module", ["ppdet_res2net models", "ppdet_res2net models --json", "ppdet_res2net --help"])
def test_a_closed_pipe_is_quiet(module):
    command = f"{sys.executable} -m {module} | head -n 1 > {os.devnull}"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "deploy" / "python")])}
    done = subprocess.run(["sh", "-c", command], env=environment, capture_output=True, check=True)
    assert done.stderr == b""


def test_errors_are_one_line_and_interrupts_130(capsys, monkeypatch):
    monkeypatch.delenv("RES2NET_DEBUG", raising=False)

    def fail(error):
        raise error

    assert run_command(lambda: fail(ImageError("no image"))) == 1
    assert run_command(lambda: fail(KeyboardInterrupt()), "Interrupted; kept.") == 130
    assert capsys.readouterr().err == "Error: no image\nInterrupted; kept.\n"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), "Error: the memory is not enough. Use smaller images, a smaller batch or a smaller model,"),
        (
            MemoryError("(ResourceExhausted) no 8 bytes.\n  [Hint]"),
            "not enough ((ResourceExhausted) no 8 bytes). Use smaller",
        ),
        (ImageError("a\x1b[2J\nb\u202e"), "Error: a\\x1b[2J\nb\\u202e\n"),
    ],
)
def test_memory_and_foreign_text_in_errors(error, expected, capsys, monkeypatch):
    monkeypatch.delenv("RES2NET_DEBUG", raising=False)

    def fail():
        raise error

    assert run_command(fail) == 1
    assert expected in capsys.readouterr().err


def test_foreign_names_reach_the_terminal_escaped(small_dataset, capsys):
    file = Path(small_dataset[1])
    content = json.loads(file.read_text("utf-8"))
    content["categories"][0]["name"] = "\x1b[2Jx\u202e\nnote: nothing wrong"
    file.write_text(json.dumps(content))
    cli.main(["check-dataset", *small_dataset])
    shown = capsys.readouterr().out
    assert "\x1b" not in shown and "\u202e" not in shown and "\nnote: nothing" not in shown
    assert "\\x1b[2Jx\\u202e\\x0anote: nothing wrong" in shown
