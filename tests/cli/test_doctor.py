"""``ppdet-res2net doctor``: which installations it refuses, and which remedies it names."""

from __future__ import annotations

import json
import sys
from importlib.util import spec_from_file_location
from pathlib import Path

import pytest

import res2net_runtime
from ppdet_res2net.cli import _installation, _probe, doctor
from ppdet_res2net.cli._installation import Probe
from ppdet_res2net.cli.doctor import SetupProblem, find_problems, find_runtime_problems, find_system_problems
from res2net_runtime.engines import BACKENDS

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
            "if it fails: pip install -e '.[paddle26]' in the checkout of ppdet_res2net, or pip install --upgrade",
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


def test_an_old_paddle_for_gpus_is_not_replaced_by_one_for_cpus():
    (problem,) = problems_of({**without("paddlepaddle"), "paddlepaddle-gpu": "2.6.2"})
    assert not problem.fatal and problem.what.startswith("Paddle 2.6.2 is older than NumPy 2;")
    assert problem.remedy.startswith("if it fails: pip install 'numpy<2' 'opencv-python-headless<4.12' ")
    assert "paddle26" not in problem.remedy and "or install Paddle 3 from https://www." in problem.remedy


def test_two_opencvs_of_one_version_are_fine():
    assert problems_of({**GOOD, "opencv-python": GOOD["opencv-python-headless"]}) == []


def test_python_without_paddle_packages():
    (problem,) = problems_of(without("paddlepaddle"), python=(3, 14))
    assert problem.remedy == (
        "make an environment with Python 3.10 to 3.13; for Python 3.14 there is no Paddle that works here."
    )


def test_missing_requirements_are_listed_with_one_command():
    (problem,) = problems_of(missing=["scikit-learn", "shapely"])
    assert problem.fatal and problem.remedy == "pip install scikit-learn shapely"
    assert problem.what == "Not installed: scikit-learn, shapely."


def test_a_missing_requirement_is_installed_in_the_version_that_is_asked_for(monkeypatch):
    monkeypatch.setattr(
        _installation.metadata,
        "requires",
        lambda name: [
            "numpy>=1.26",
            "no-such-package<81",
            'other-package; extra == "x"',
            "opencv-python-headless>=4.5",
        ],
    )
    missing = _installation.missing_requirements()
    assert missing == ["no-such-package<81"]  # a newer setuptools, for instance, would not do
    (problem,) = problems_of(missing=missing)
    assert problem.remedy == "pip install 'no-such-package<81'"


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


def test_windows_is_refused():
    (problem,) = find_system_problems("win32")
    assert problem.fatal and problem.what == "ppdet_res2net does not support Windows: it has never been run there."
    assert problem.remedy == "install it on Linux, for instance in the Windows Subsystem for Linux."
    assert find_system_problems("linux") == []


def test_a_second_distribution_of_the_runtime_is_a_warning():
    here = {Path("here"): "0.2.0"}
    (problem,) = find_runtime_problems({**GOOD, "res2net-runtime": "0.1.0"}, here)
    assert not problem.fatal
    assert problem.what.startswith("res2net-runtime 0.1.0 is installed too, although ppdet_res2net brings the runtime;")
    assert problem.remedy.startswith("pip uninstall res2net-runtime, then install ppdet_res2net again")
    assert find_runtime_problems(GOOD, here) == []


@pytest.mark.parametrize(("mark", "is_installed"), [("INSTALLER", True), ("SOURCES.txt", False)])
def test_what_a_build_leaves_beside_the_source_is_no_installation(mark, is_installed, monkeypatch, tmp_path):
    folder = tmp_path / "res2net_runtime-0.0.1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: res2net-runtime\nVersion: 0.0.1\n")
    (folder / mark).write_text("pip\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert (_installation.installed_packages().get("res2net-runtime") == "0.0.1") is is_installed


def test_a_second_copy_of_the_runtime_is_found_and_told(monkeypatch, tmp_path):
    copies = _installation.runtime_copies()
    assert list(copies.items())[0] == (Path(res2net_runtime.__file__).resolve().parent, res2net_runtime.__version__)

    other = tmp_path / "res2net_runtime"
    other.mkdir()
    (other / "__init__.py").write_text('__version__ = "0.0.1"  # old\n')
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    assert _installation.runtime_copies() == {**copies, other.resolve(): "0.0.1"}

    (problem,) = find_runtime_problems(GOOD, {Path("new"): "0.2.0", Path("old"): "0.0.1"})
    assert not problem.fatal
    assert problem.what == "There are 2 copies of res2net_runtime: new (0.2.0) is used, old (0.0.1) not."
    assert problem.remedy == "keep one: remove the others from PYTHONPATH, or uninstall them."


def test_a_copy_that_an_editable_installation_finds_counts(monkeypatch, tmp_path):
    (tmp_path / "__init__.py").write_text("# without a version\n")

    class Finder:
        @staticmethod
        def find_spec(name, path=None, target=None):
            is_runtime = name == "res2net_runtime"
            return spec_from_file_location(name, tmp_path / "__init__.py") if is_runtime else None

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder])
    assert _installation.runtime_copies()[tmp_path.resolve()] == "without a version"


def test_a_gpu_that_is_not_used_is_a_warning(monkeypatch):
    (problem,) = problems_of(cuda=True)
    assert not problem.fatal and problem.what == "This Paddle is for GPUs, but it sees none."
    assert problems_of(cuda=True, gpus=["gpu:0 A"]) == []
    monkeypatch.setattr(doctor.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    (problem,) = problems_of()
    assert not problem.fatal and problem.what == "There is an NVIDIA driver, but this Paddle is for CPUs only."
    assert problem.remedy.startswith(
        "pip uninstall paddlepaddle, then install the package for your CUDA from https://www."
    )


def test_probe_names_the_step_that_ended_the_process():
    lines = [
        {"step": "numpy"},
        {"step": "numpy", "found": {}},
        {"step": "cv2"},
        {"step": "cv2", "error": "no", "kind": "ImportError"},
        {"step": "paddle"},
    ]
    probe = _installation._read_probe("\n".join(map(json.dumps, lines)), -11)
    assert probe == Probe(errors={"cv2": "ImportError: no"}, crashed="paddle", exit_code=-11)
    assert _installation._read_probe("", 1).crashed == "start"


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
    packages = findings["packages"]
    assert findings["ok"] and packages["paddledet"] == "2.6.0"
    assert packages["ppdet_res2net"] == packages["res2net_runtime"] == res2net_runtime.__version__
    assert any(device.startswith("cpu") for device in findings["devices"])
    defects = {defect["name"]: defect for defect in findings["defects"]["training"]}
    assert defects["zero_dim"]["status"] == "worked around" and "0-D" in defects["zero_dim"]["what"]
    assert "enable_memory_reuse" in {quirk["name"] for quirk in findings["defects"]["runtime"]}


def test_report_for_people(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "run_probe", lambda: Probe(errors={"paddle": "ImportError: broken"}))
    assert doctor.main([]) == 1
    printed = capsys.readouterr().out
    assert "\nERROR: paddle does not work: ImportError: broken\n  remedy: reinstall it;" in printed
    assert printed.endswith("Training cannot work here: 1 error(s), see above.\n")


def test_every_engine_is_listed_with_the_version_of_its_package(monkeypatch, capsys):
    found = {"paddlepaddle-gpu": "2.6.2", "onnxruntime-gpu": "1.20.0"}
    assert _installation.engine_versions(found) == {
        "openvino": None,
        "onnxruntime": "onnxruntime-gpu 1.20.0",
        **dict.fromkeys(["onednn", "paddle", "tensorrt"], "paddlepaddle-gpu 2.6.2"),
    }
    assert list(_installation.engine_versions({})) == list(BACKENDS)
    monkeypatch.setattr("ppdet_res2net.cli.doctor.installed_packages", lambda: found)
    monkeypatch.setattr("ppdet_res2net.cli.doctor.run_probe", Probe)
    assert doctor.main([]) == 1
    rows = dict(line.split("  ", 1) for line in capsys.readouterr().out.splitlines() if line.startswith("engine "))
    rows = {name: text.strip() for name, text in rows.items()}
    assert rows["engine openvino"] == "not installed: pip install openvino"
    assert rows["engine paddle"] == "paddlepaddle-gpu 2.6.2"
    assert rows["engine tensorrt"] == "paddlepaddle-gpu 2.6.2, on a GPU only"


def test_report_lists_known_defects(monkeypatch, capsys):
    defects = {
        "training": [{"name": "zero_dim", "status": "worked around", "what": "0-D tensors are refused"}],
        "runtime": [{"name": "enable_onednn", "what": "Turn oneDNN on"}],
    }
    monkeypatch.setattr(doctor, "run_probe", lambda: Probe())
    monkeypatch.setattr(doctor._defects, "probe", lambda: defects)
    assert doctor.main([]) == 0
    printed = capsys.readouterr().out
    assert "\n  zero_dim       worked around  0-D tensors are refused\n" in printed
    assert "\n  enable_onednn  Turn oneDNN on\n" in printed


def test_an_unfit_installation_is_not_probed_for_defects(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "run_probe", lambda: Probe(errors={"paddle": "ImportError: broken"}))
    monkeypatch.setattr(doctor._defects, "probe", lambda: pytest.fail("needs Paddle"))
    assert doctor.main(["--json"]) == 1
    assert json.loads(capsys.readouterr().out)["defects"] is None
