"""No text tells users to install an unpublished package by name: a stranger could take the name."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Ours are on no package index. The others are modules, whose packages have other names: paddlepaddle, paddledet,
# opencv-python-headless, Pillow, PyYAML, scikit-learn.
NOT_TO_INSTALL = {"ppdet-res2net", "res2net-runtime", "paddle", "ppdet", "cv2", "pil", "yaml", "sklearn"}
REQUIREMENT_LISTS = ("pyproject.toml", "deploy/python/pyproject.toml")


def unpublished(text: str) -> list[str]:
    """Return the names that the 'pip install' commands in a text should not ask for."""
    found = []
    for command in re.findall(r"\bpip3? (?:install|download|wheel)\b([^\n;|&#`]*)", text):
        for word in command.split():
            if word in ("and", "in", "or", "then"):  # the sentence goes on, the command does not
                break
            name = re.match(r"['\"(]*([A-Za-z0-9][\w.-]*)(?:\[[\w,]*\])?(?:[<>=!~][^'\"]*)?['\").,:]*$", word)
            normal = re.sub(r"[-_.]+", "-", name[1]).lower().rstrip("-") if name else ""
            if normal in NOT_TO_INSTALL:
                found.append(word)
    return found


def project_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("this is not a checkout: git does not list its files")
    files = [ROOT / name for name in listed.stdout.split("\0") if name]
    return [file for file in files if file.suffix in (".py", ".md", ".toml", ".yml", ".yaml", "") and file.is_file()]


@pytest.mark.parametrize(
    "text",
    [
        "pip install 'ppdet-res2net[paddle26]'",
        "run pip install ppdet_res2net.",
        "pip install -U numpy res2net_runtime==0.2.0",
        "python -m pip install res2net-runtime[openvino]",
        "pip download --no-deps ppdet-res2net",
        "after: pip install paddle and",
    ],
)
def test_an_install_by_name_is_recognised(text):
    assert len(unpublished(text)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "pip install -e '.[paddle26]' in the checkout of ppdet-res2net/",
        "pip install 'deploy/python[openvino]'",
        "pip install 'dist/res2net_runtime-0.2.0-py3-none-any.whl[openvino]'",
        "pip install --no-deps paddledet==2.6.0; then run 'ppdet-res2net doctor'",
        "pip install paddlepaddle  # for ppdet_res2net",
        "pip uninstall res2net-runtime",
    ],
)
def test_a_checkout_a_wheel_and_published_packages_are_fine(text):
    assert unpublished(text) == []


def test_no_text_of_the_project_installs_them_by_name():
    wrong = {
        str(file.relative_to(ROOT)): names
        for file in project_files()
        if file != Path(__file__).resolve() and (names := unpublished(file.read_text("utf-8")))
    }
    assert wrong == {}


@pytest.mark.parametrize("file", REQUIREMENT_LISTS)
def test_no_requirement_names_them(file):
    tomllib = pytest.importorskip("tomllib")  # Python 3.11
    project = tomllib.loads((ROOT / file).read_text("utf-8"))["project"]
    extras = project.get("optional-dependencies", {})
    for requirement in [*project["dependencies"], *(one for extra in extras.values() for one in extra)]:
        assert unpublished(f"pip install {requirement}") == []
