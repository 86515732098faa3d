#!/usr/bin/env python3
"""Checks that both wheels are complete, and that the runtime works where nothing else is installed (``make test-wheels``).

Not a pytest module: it makes an environment, for which pip fetches NumPy, OpenCV and ONNX Runtime. There the runtime runs
a detector that this environment exports, first from its wheel, then from a copy of the folder ``deploy/python``. Its
detections must equal those of this environment.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RECIPE = "demo_mask_rcnn"
ENGINE = "onnxruntime"
# Without PYTHONPATH, which may lead to the training packages.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
LOOK_AROUND = """
import importlib.util, res2net_runtime
for name in ("paddle", "ppdet", "ppdet_res2net", "torch"):
    assert importlib.util.find_spec(name) is None, f"{name} is importable"
print(res2net_runtime.__version__)
"""
# Code, and the parts of pages
CODE = ("*.py", "py.typed", "*.html", "*.css", "*.js", "*.svg")


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary).resolve()
        runtime_wheel = check_wheels(folder)
        check_runtime_alone(folder, runtime_wheel)
    print("wheels: complete; the runtime alone finds the same objects as this environment")


def check_wheels(folder: Path) -> Path:
    """Build both wheels, compare their files with the checkout's, and return the runtime's wheel."""
    source = folder / "source"  # a copy, since pip leaves files where it builds
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE", "ppdet_res2net", "configs", "deploy"):
        copy(ROOT / name, source / name)

    package, runtime, recipes = ROOT / "ppdet_res2net", ROOT / "deploy" / "python" / "res2net_runtime", ROOT / "configs"
    runtime_files = {f"res2net_runtime/{name}" for name in files(runtime, *CODE)}
    own_files = {f"ppdet_res2net/{name}" for name in files(package, *CODE)}
    own_files |= {f"ppdet_res2net/configs/{name}" for name in files(recipes, "*.py", "*.yml")}
    main_wheel = build_wheel(source, folder / "main", runtime_files | own_files)
    runtime_wheel = build_wheel(source / "deploy" / "python", folder / "runtime", runtime_files)
    versions = [wheel.name.split("-")[1] for wheel in (main_wheel, runtime_wheel)]
    check(versions[0] == versions[1], f"the wheels have the versions {' and '.join(versions)}")
    return runtime_wheel


def check_runtime_alone(folder: Path, wheel: Path) -> None:
    """Export here, run there, compare."""
    model, images = export_model(folder)
    here = detect([sys.executable, ROOT / "deploy" / "python" / "infer.py"], model, images, folder / "here")
    check(len(here) > 0, "the exported detector finds nothing, so there is nothing to compare")

    python = make_environment(folder / "environment")
    run([python, "-m", "pip", "install", "-q", f"{wheel}[{ENGINE}]"])
    version = run([python, "-c", LOOK_AROUND], cwd=folder).stdout.strip()
    check(f"-{version}-" in wheel.name, f"{wheel.name} installs a runtime of version {version}")
    compare(here, detect([python, "-m", "res2net_runtime"], model, images, folder / "wheel"), "the wheel")

    run([python, "-m", "pip", "uninstall", "-q", "-y", "res2net-runtime"])
    copied = folder / "copied"
    copy(ROOT / "deploy" / "python", copied)
    compare(here, detect([python, copied / "infer.py"], model, images, folder / "copy"), "the copied folder")


def copy(source: Path, target: Path) -> None:
    """Copy a file or folder of the checkout, without the files that earlier builds and runs left in it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    else:
        shutil.copy(source, target)


def files(folder: Path, *patterns: str) -> set[str]:
    return {file.relative_to(folder).as_posix() for pattern in patterns for file in folder.rglob(pattern)}


def export_model(folder: Path) -> tuple[Path, Path]:
    """Train a detector for a step and export it; return the exported folder and a folder of images."""
    data = folder / "data"
    datasets = [f"{name}.dataset_dir={data}" for name in ("TrainDataset", "EvalDataset", "TestDataset")]
    weights = folder / "output" / RECIPE / "model_final.pdparams"
    for arguments in (
        ["make-demo-data", data, "--train", 4, "--val", 4],
        ["train", "-c", RECIPE, "-o", *datasets, "--max_steps", 1],
        ["export", "-c", RECIPE, "-o", f"weights={weights}", *datasets, "--format", "onnx"],
    ):
        run([sys.executable, "-m", "ppdet_res2net", *arguments], cwd=folder, environment=dict(os.environ))
    return folder / "output_inference" / RECIPE, data / "val2017"


def build_wheel(source: Path, wheels: Path, expected: set[str]) -> Path:
    """Build a wheel. It must hold only the expected files and its metadata."""
    run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", wheels, source])
    (wheel,) = wheels.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    check(packed == expected, f"{wheel.name} and the checkout differ in {sorted(packed ^ expected)}")
    return wheel


def make_environment(folder: Path) -> Path:
    """Create an empty environment of this Python; return its interpreter."""
    venv.create(folder, with_pip=True)
    return folder / "bin" / "python"


def detect(program: list, model: Path, images: Path, output: Path) -> list[dict]:
    """Run the runtime's command line and return its boxes."""
    flags = ["--model_dir", model, "--image_dir", images, "--backend", ENGINE, "--output_dir", output, "--save_results"]
    run([*program, *flags], cwd=output.parent)
    check((output / "mask.json").is_file(), f"there is no {output / 'mask.json'}")
    return json.loads((output / "bbox.json").read_text("utf-8"))


def compare(expected: list[dict], actual: list[dict], what: str) -> None:
    check(len(expected) == len(actual), f"{what} finds {len(actual)} objects, expected {len(expected)}")
    for one, other in zip(expected, actual):
        same = one["file_name"] == other["file_name"] and one["category_id"] == other["category_id"]
        near = all(math.isclose(a, b, abs_tol=0.01) for a, b in zip(one["bbox"], other["bbox"]))
        near = near and math.isclose(one["score"], other["score"], abs_tol=1e-4)
        check(same and near, f"{what} finds {other}, expected {one}")


def run(command: list, cwd: Path = ROOT, environment: dict[str, str] = ENVIRONMENT) -> subprocess.CompletedProcess:
    """Run a command; if it fails, exit with its output."""
    command = [str(word) for word in command]
    print("$", *(word for word in command if "\n" not in word), flush=True)
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    check(done.returncode == 0, f"this failed: {' '.join(command)}\n{done.stdout}{done.stderr}")
    return done


def check(fine: bool, message: str) -> None:
    if not fine:
        sys.exit(f"wheels: {message}")


if __name__ == "__main__":
    main()
