"""The registry of defects: complete, cheap to list, and right about the installed Paddle, paddledet and NumPy."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ppdet_res2net import compat
from ppdet_res2net.compat import registry
from ppdet_res2net.compat.defect import Defect
from ppdet_res2net.compat.registry import DEFECTS, ProbedDefect, installed_versions, probe_defects

FOLDER = Path(compat.__file__).parent
# Helper modules that are not entries.
HELPERS = {"__init__", "__main__", "defect", "overlay", "ppdet_import", "probing", "registry"}
NAMES = [defect.name for defect in DEFECTS]


@pytest.fixture(scope="module")
def findings() -> dict[str, ProbedDefect]:
    if any(importlib.util.find_spec(package) is None for package in ("paddle", "ppdet")):
        pytest.skip("Paddle or paddledet is not installed")
    return {finding.defect.name: finding for finding in probe_defects()}


def run_python(code: str) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120).stdout


@pytest.mark.parametrize("name", NAMES)
def test_an_entry_says_what_the_installed_packages_do(findings, name):
    finding = findings[name]
    assert finding.error is None
    versions = installed_versions()
    assert finding.present == finding.expected, f"{name} is for {finding.defect.versions_text}, installed: {versions}"
    if not finding.present:
        pytest.skip(f"no longer needed, or not yet: {name} is for {finding.defect.versions_text}")  # -ra lists it


def test_every_module_is_an_entry_and_every_entry_a_module():
    modules = {path.stem for path in FOLDER.glob("*.py")} - HELPERS
    assert modules == set(NAMES) and len(NAMES) == len(modules)
    for name in NAMES:
        assert getattr(registry, name).DEFECT.name == name


def test_every_entry_says_what_versions_reference_and_when():
    for defect in DEFECTS:
        for text in (defect.what, defect.reference, defect.applied):
            assert text and "\n" not in text and not text.endswith("."), defect.name
        assert set(defect.versions) <= {"paddle", "paddledet", "numpy"} and defect.versions, defect.name


def test_listing_imports_nothing_heavy():
    code = (
        "import sys; from ppdet_res2net.compat.registry import DEFECTS\n"
        "print(sorted({'paddle', 'ppdet', 'cv2', 'numpy'} & set(sys.modules)), len(DEFECTS))"
    )
    assert run_python(code) == f"[] {len(DEFECTS)}\n"


def test_versions_and_platform_decide_what_is_expected():
    defect = Defect("x", "what", {"paddle": ">=2.5,<3", "numpy": ">=2.4"}, "where", "when", lambda: True)
    assert defect.versions_text == "paddle>=2.5,<3, numpy>=2.4"
    assert defect.is_expected({"paddle": "2.6.2", "numpy": "2.4.0"})
    assert not defect.is_expected({"paddle": "3.3.1", "numpy": "2.4.0"})
    assert not defect.is_expected({"paddle": "2.6.2", "numpy": "1.26.4"})
    assert not defect.is_expected({"paddle": "2.6.2"})
    elsewhere = Defect("x", "what", {"paddle": ">=2.5"}, "where", "when", lambda: True, platform="no-such-system")
    assert not elsewhere.is_expected({"paddle": "2.6.2"})


def test_a_probe_that_fails_and_one_that_ends_the_process_are_reported(monkeypatch):
    answers = '{"name": "zero_dim", "present": true}\n{"name": "one_element", "error": "OSError: no"}\n'
    done = subprocess.CompletedProcess([], -11, stdout=answers)
    monkeypatch.setattr(registry, "run_in_new_process", lambda module: done)
    found = {finding.defect.name: finding.status for finding in probe_defects()}
    assert found["zero_dim"] == "worked around"
    assert found["one_element"] == "not known: OSError: no"
    assert found["crowd_labels"] == "not known: the process of the probes ended with exit code -11"


def test_a_view_is_its_module_but_for_what_it_replaces():
    import math

    from ppdet_res2net.compat.overlay import ModuleView

    view = ModuleView(math, floor=lambda x: "floor")
    assert view.floor(1.5) == "floor" and math.floor(1.5) == 1
    assert view.ceil is math.ceil and view.__name__ == "math"
    with pytest.raises(AttributeError, match="no_such_name"):
        view.no_such_name  # noqa: B018
