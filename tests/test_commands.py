"""The commands that messages propose work when they are pasted."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ppdet_res2net.commands import command_line, program, runtime_command_line, short_name

ROOT = Path(__file__).resolve().parents[1]
PYTHON = shlex.quote(sys.executable)


@pytest.fixture
def started_as(monkeypatch):
    """Return a function that pretends that this process was started by a script, with some programs on the PATH."""

    def start(script: str, *on_path: str) -> None:
        monkeypatch.setattr(sys, "argv", [script, "x"])
        monkeypatch.setattr(shutil, "which", lambda name: next((p for p in on_path if Path(p).name == name), None))

    return start


@pytest.mark.parametrize(
    ("script", "on_path", "expected", "name"),
    [
        ("/usr/bin/pytest", [], "ppdet-res2net eval", "ppdet-res2net eval"),
        ("/opt/e/bin/ppdet-res2net", ["/opt/e/bin/ppdet-res2net"], "ppdet-res2net eval", "ppdet-res2net eval"),
        (".venv/bin/ppdet-res2net", [], ".venv/bin/ppdet-res2net eval", "ppdet-res2net eval"),
        (
            "my env/bin/ppdet-res2net",
            ["/usr/bin/ppdet-res2net"],
            "'my env/bin/ppdet-res2net' eval",
            "ppdet-res2net eval",
        ),
        ("/x/ppdet_res2net/__main__.py", [], f"{PYTHON} -m ppdet_res2net eval", "ppdet-res2net eval"),
        ("tools/train.py", [], f"{PYTHON} tools/eval.py", "tools/train.py"),
        (
            "/a b/tools/train.py",
            [sys.executable],
            f"{Path(sys.executable).name} '/a b/tools/eval.py'",
            "/a b/tools/train.py",
        ),
        ("-x/tools/train.py", [], f"{PYTHON} ./-x/tools/eval.py", "-x/tools/train.py"),
        ("tools/other.py", [], "ppdet-res2net eval", "ppdet-res2net eval"),
    ],
)
def test_commands_are_called_as_this_process_was(script, on_path, expected, name, started_as):
    started_as(script, *on_path)
    assert program("eval") == expected
    assert short_name("eval") == name


def test_a_tool_proposes_commands_that_are_no_tools(started_as):
    started_as("tools/train.py")
    assert program("doctor") == f"{PYTHON} -m ppdet_res2net doctor"
    started_as("tools/train.py", "/bin/ppdet-res2net")
    assert program("doctor") == "ppdet-res2net doctor"


@pytest.mark.parametrize(
    "name", ["plain", "with space", "quote's", 'double"', "$HOME", "a;b", "-dash", "*", "", "новый", "new\nline"]
)
def test_paths_survive_the_shell(name, started_as):
    started_as("pytest")
    words = ["--weights", Path(name) / "model_final", "-o", f"weights={name}"]
    for line in (command_line("export", *words), runtime_command_line(*words)):
        shown = subprocess.run(
            ["sh", "-c", f"printf '%s\\0' {line}"], capture_output=True, text=True, encoding="utf-8", check=True
        ).stdout.split("\0")[-5:-1]
        assert shown[0] == "--weights" and shown[3] == f"weights={name}"
        assert Path(shown[1]) == Path(name) / "model_final" and not shown[1].startswith("-")


def test_the_runtime_is_a_module_everywhere(started_as):
    started_as("tools/export_model.py")
    assert runtime_command_line("--model_dir", Path("a b")) == f"{PYTHON} -m res2net_runtime --model_dir 'a b'"


@pytest.mark.parametrize("command", ["eval", "doctor"])
@pytest.mark.parametrize("script", ["tools/train.py", "ppdet_res2net/__main__.py"])
def test_what_a_process_proposes_starts(script, command):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "deploy" / "python")])}
    code = (
        f"import sys; sys.argv = [{script!r}]\nfrom ppdet_res2net.commands import program; print(program({command!r}))"
    )
    asked = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    line = f"{asked.stdout.strip()} --help"
    done = subprocess.run(line, shell=True, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: ")
