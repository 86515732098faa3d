"""Package metadata: the runtime's requirements are among those of the main package, and Windows is refused."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest
import setuptools

from ppdet_res2net.cli.doctor import NUMPY_1_PACKAGES

ROOT = Path(__file__).resolve().parents[2]


def project_of(file: str) -> dict:
    tomllib = pytest.importorskip("tomllib")  # Python 3.11
    return tomllib.loads((ROOT / file).read_text("utf-8"))["project"]


def test_the_runtime_needs_a_part_of_what_the_main_package_needs():
    main, runtime = project_of("pyproject.toml"), project_of("deploy/python/pyproject.toml")
    assert set(runtime["dependencies"]) < set(main["dependencies"])
    extras = {one for extra in main["optional-dependencies"].values() for one in extra}
    assert {one for extra in runtime["optional-dependencies"].values() for one in extra} < extras
    engines = {"openvino", "onnxruntime", "paddle"}
    assert set(runtime["optional-dependencies"]) == engines | {"video", "serve", "client", "parquet", "ray", "hub"}
    assert runtime["requires-python"] == main["requires-python"] == ">=3.10"


def test_doctor_names_the_packages_of_the_extra_for_paddle_2():
    extra = project_of("pyproject.toml")["optional-dependencies"]["paddle26"]
    assert extra == ["paddlepaddle>=2.6.2,<2.7", *NUMPY_1_PACKAGES]


def test_setup_refuses_windows(monkeypatch):
    monkeypatch.setattr(setuptools, "setup", lambda **settings: pytest.fail("it was set up"))
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(SystemExit, match="^ppdet_res2net does not support Windows: it has never been run there"):
        runpy.run_path(str(ROOT / "setup.py"))
