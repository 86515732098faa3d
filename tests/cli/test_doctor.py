"""``ppdet-res2net doctor``: which installations it refuses, and what it says to do."""

from __future__ import annotations

import json
import sys

import pytest

from ppdet_res2net.cli import _probe, doctor
from ppdet_res2net.cli.doctor import Probe, SetupProblem, find_problems

GOOD = {
    "paddlepaddle": "3.3.1",
    "paddledet": "2.6.0",
    "numpy": "2.4.6",
    "opencv-python-headless": "5.0.0.93",
}


@pytest.fixture(autouse=True)
def _no_nvidia_driver(monkeypatch):
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)


def problems_of(packages=GOOD, missing=(), python=(3, 11), **probe) -> list[SetupProblem]:
    return find_problems(packages, missing, Probe(**probe), python)


def without(*names: str) -> dict[str, str]:
    return {name: version for name, version in GOOD.items() if name not in names}


def test_a_good_installation_has_no_problems():
    assert problems_of() == []
    assert problems_of({**GOOD, "paddlepaddle": "2.6.2", "numpy": "1.26.4"}) == []


@pytest.mark.parametrize(
    ("packages", "what", "remedy"),
    [
        (without("paddlepaddle"), "Paddle is not installed.", "pip install paddlepaddle "),
        (without("paddledet"), "paddledet is not installed.", "pip install --no-deps paddledet==2.6.0"),
    ],
)
def test_what_is_fatal_in_the_packages(packages, what, remedy):
    (problem,) = problems_of(packages, errors={"paddle": "ImportError: whatever follows from it"})
    assert problem.fatal and problem.what == what and problem.remedy.startswith(remedy)


@pytest.mark.parametrize(
    ("packages", "what", "remedy"),
    [
        (
            {**GOOD, "paddlepaddle": "2.6.2"},
            "Paddle 2.6.2 is older than NumPy 2; with NumPy 2.4.6 it is not tested.",
            "If it fails: pip install 'ppdet-res2net[paddle26]'",
        ),
        (
            {**GOOD, "opencv-python": "4.11.0.86"},
            "opencv-python 4.11.0.86 and opencv-python-headless 5.0.0.93 are installed; they overwrite",
            "pip uninstall opencv-python opencv-python-headless",
        ),
        (
            {**GOOD, "paddlepaddle-gpu": "3.2.0"},
            "Both paddlepaddle 3.3.1 and paddlepaddle-gpu 3.2.0 are installed",
            "pip uninstall paddlepaddle paddlepaddle-gpu",
        ),
        ({**GOOD, "paddledet": "2.5.0"}, "paddledet 2.5.0 is installed; only 2.6.0 is known", "pip install --no-deps"),
    ],
)
def test_what_is_only_a_warning(packages, what, remedy):
    (problem,) = [found for found in problems_of(packages) if not found.fatal]
    assert problem.what.startswith(what) and problem.remedy.startswith(remedy)


def test_two_opencvs_of_one_version_are_fine():
    assert problems_of({**GOOD, "opencv-python": GOOD["opencv-python-headless"]}) == []


def test_python_without_paddle_packages():
    (problem,) = problems_of(without("paddlepaddle"), python=(3, 14))
    assert problem.remedy == ("Paddle has no packages for Python 3.14: make an environment with Python 3.9 to 3.13.")


def test_missing_requirements_are_listed_with_one_command():
    (problem,) = problems_of(missing=["scikit-learn", "shapely"])
    assert problem.fatal and problem.remedy == "pip install scikit-learn shapely"
    assert problem.what == "Not installed: scikit-learn, shapely."


@pytest.mark.parametrize(
    ("step", "message", "remedy"),
    [
        ("cv2", "ImportError: libGL.so.1: cannot open shared object file", "pip uninstall opencv-python, then"),
        ("ppdet", "ModuleNotFoundError: No module named 'pkg_resources'", "pip install 'setuptools<81'"),
        ("ppdet", "SetupError: paddledet needs the module 'pandas'", "do what the message says."),
        ("paddle", "ImportError: broken", 'reinstall it; python -c "import paddle" shows the whole error.'),
        ("ppdet", "TypeError: broken", 'reinstall it; python -c "import ppdet.modeling" shows the whole error.'),
    ],
)
def test_failing_imports_are_told_with_a_remedy(step, message, remedy):
    (problem,) = problems_of(errors={step: message})
    assert problem.fatal and problem.what == f"{step} does not work: {message}"
    assert problem.remedy.startswith(remedy)


def test_only_the_first_failing_step_is_told():
    errors = {"cv2": "ImportError: libGL.so.1", "ppdet": "SetupError: follows from it"}
    assert [problem.what for problem in problems_of(errors=errors)] == ["cv2 does not work: ImportError: libGL.so.1"]


@pytest.mark.parametrize(
    ("exit_code", "what"),
    [
        (-4, "Using paddle ends the process: this CPU lacks an instruction set that it is built for."),
        (-11, "Using paddle ends the process by SIGSEGV."),
        (3, "Using paddle ends the process with exit code 3."),
    ],
)
def test_crashes_are_told(exit_code, what):
    (problem,) = problems_of(crashed="paddle", exit_code=exit_code)
    assert problem.fatal and problem.what == what


def test_a_gpu_that_is_not_used_is_a_warning(monkeypatch):
    (problem,) = problems_of(cuda=True)
    assert not problem.fatal and problem.what == "This Paddle is for GPUs, but it sees none."
    assert problems_of(cuda=True, gpus=["gpu:0 A"]) == []
    monkeypatch.setattr(doctor.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    (problem,) = problems_of()
    assert not problem.fatal and "pip install paddlepaddle-gpu" in problem.remedy


def test_probe_names_the_step_that_ended_the_process():
    lines = [
        {"step": "numpy"},
        {"step": "numpy", "found": {}},
        {"step": "cv2"},
        {"step": "cv2", "error": "no", "kind": "ImportError"},
        {"step": "paddle"},
    ]
    probe = doctor._read_probe("\n".join(map(json.dumps, lines)), -11)
    assert probe == Probe(errors={"cv2": "ImportError: no"}, crashed="paddle", exit_code=-11)
    assert doctor._read_probe("", 1).crashed == "start"


def test_probe_goes_on_after_a_failing_step(monkeypatch, capsys):
    def fail():
        raise RuntimeError("no device")

    monkeypatch.setattr(_probe, "STEPS", {"paddle": fail, "numpy": lambda: {}})
    monkeypatch.setattr(sys, "stdout", sys.stdout)  # main() replaces it
    _probe.main()
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [
        {"step": "paddle"},
        {"step": "paddle", "error": "no device", "kind": "RuntimeError"},
        {"step": "numpy"},
        {"step": "numpy", "found": {}},
    ]


def test_here_everything_works_and_the_report_says_so(capsys):
    assert doctor.main(["--json"]) == 0
    findings = json.loads(capsys.readouterr().out)
    assert findings["ok"] and findings["packages"]["paddledet"] == "2.6.0"
    assert any(device.startswith("cpu") for device in findings["devices"])


def test_report_for_people(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "run_probe", lambda: Probe(errors={"paddle": "ImportError: broken"}))
    assert doctor.main([]) == 1
    printed = capsys.readouterr().out
    assert "\nERROR: paddle does not work: ImportError: broken\n  remedy: reinstall it;" in printed
    assert printed.endswith("Training cannot work here: 1 error(s), see above.\n")
