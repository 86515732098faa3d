"""The public names: ``__all__`` of every module and of the packages. Importing them changes nothing."""

from __future__ import annotations

import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ppdet_res2net
import res2net_runtime

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = (ppdet_res2net, res2net_runtime)
# Importing __main__ runs the program.
MODULES = [
    module.name
    for package in PACKAGES
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    if not module.name.endswith("__main__")
]


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_every_public_name_exists_and_is_listed(package):
    assert len(set(package.__all__)) == len(package.__all__)
    for name in package.__all__:
        assert getattr(package, name) is not None
    assert set(package.__all__) <= set(dir(package))
    with pytest.raises(AttributeError, match="has no attribute 'no_such_name'"):
        package.no_such_name  # noqa: B018


@pytest.mark.parametrize("name", MODULES)
def test_modules_define_what_they_export(name):
    module = importlib.import_module(name)
    for public in getattr(module, "__all__", ()):
        assert hasattr(module, public), f"{name}.__all__ names {public}"


def test_importing_the_packages_is_cheap_and_changes_nothing():
    code = (
        "import logging, random, sys, warnings\n"
        "state = lambda: (random.getstate(), list(warnings.filters), list(sys.path), list(logging.root.handlers))\n"
        "before = state()\n"
        "import ppdet_res2net, res2net_runtime\n"
        "assert state() == before\n"
        "print(sorted({'paddle', 'ppdet', 'numpy', 'cv2', 'yaml'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n" and done.stderr == ""


def test_runtime_never_imports_training_packages():
    pattern = re.compile(r"^\s*(?:from|import) (?:ppdet|ppdet_res2net)\b", re.M)
    files = list((ROOT / "deploy").rglob("*.py"))
    assert files and [str(file) for file in files if pattern.search(file.read_text("utf-8"))] == []
