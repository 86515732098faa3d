"""The facts that ``doctor`` judges: installed packages, copies of the runtime, and whether the packages work."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

import ppdet_res2net
import res2net_runtime
from ppdet_res2net.compat.probing import run_in_new_process
from res2net_runtime.engines import BACKENDS

__all__ = [
    "OPENCVS",
    "PADDLES",
    "RUNTIME",
    "Probe",
    "engine_versions",
    "installed_packages",
    "missing_requirements",
    "run_probe",
    "runtime_copies",
]

DISTRIBUTION = "ppdet-res2net"
RUNTIME = "res2net-runtime"  # of deploy/python; the distribution above has the same module
PADDLES = ("paddlepaddle", "paddlepaddle-gpu")
OPENCVS = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)
ENGINES = (
    "onnx",
    "onnxruntime-gpu",
    *(engine.package for engine in BACKENDS.values() if engine.module != "paddle"),
)
# What the report lists. Other requirements are named only if they are missing.
SHOWN = (
    *PADDLES,
    *ENGINES,
    "paddledet",
    "numpy",
    *OPENCVS,
    "pycocotools",
    "scipy",
    "scikit-learn",
    "pandas",
    "setuptools",
)


@dataclass
class Probe:
    """The result of importing and using the packages in a separate process.

    Attributes:
        cuda: Whether Paddle is built for CUDA.
        gpus: One line per GPU that Paddle sees.
        errors: Step (``numpy``, ``cv2``, ``pycocotools``, ``paddle``, ``ppdet``) -> message.
        crashed: The step that ended the process, if one did.
        exit_code: Exit code of the process; negative for a signal.
    """

    cuda: bool = False
    gpus: list[str] = field(default_factory=list)
    errors: dict[str, str] = field(default_factory=dict)
    crashed: str | None = None
    exit_code: int = 0


def installed_packages() -> dict[str, str]:
    """Return the versions of the packages that matter, our own two first, without importing the others."""
    versions = {"ppdet_res2net": ppdet_res2net.__version__, "res2net_runtime": res2net_runtime.__version__}
    for name in (RUNTIME, *SHOWN):
        try:
            found = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        # Building the runtime leaves metadata beside its source, and PYTHONPATH may contain that folder. Only pip writes the
        # file that is checked here.
        if name != RUNTIME or found.read_text("INSTALLER"):
            versions[name] = found.version
    return versions


def engine_versions(packages: Mapping[str, str]) -> dict[str, str | None]:
    """Return the package that brings each engine of the runtime, with its version; None for one that is not installed.

    Args:
        packages: Package -> version, as :func:`installed_packages` gives them.
    """
    versions: dict[str, str | None] = {}
    for name, engine in BACKENDS.items():
        names = PADDLES if engine.module == "paddle" else (engine.package, f"{engine.package}-gpu")
        versions[name] = next((f"{package} {packages[package]}" for package in names if package in packages), None)
    return versions


def missing_requirements() -> list[str]:
    """Return the declared requirements that are not installed, in pip's form. Installed packages may have any version."""
    try:
        requirements = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:  # on PYTHONPATH, not installed: nothing is declared
        return []
    missing = []
    for requirement in requirements:
        name = re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
        # Extras are optional. OpenCV has four packages; the probe imports cv2 instead.
        if "extra ==" in requirement or name in OPENCVS:
            continue
        try:
            metadata.version(name)
        except metadata.PackageNotFoundError:
            missing.append(requirement.partition(";")[0].strip())
    return missing


def runtime_copies() -> dict[Path, str]:
    """Return every folder from which ``res2net_runtime`` can be imported, with its version; the one in use is first."""
    copies = {Path(res2net_runtime.__file__).resolve().parent: res2net_runtime.__version__}
    for spec in _specs_of("res2net_runtime"):
        if spec.origin is None:  # a folder without __init__.py
            continue
        file = Path(spec.origin).resolve()
        version = re.search(r'^__version__ = "(.+?)"', file.read_text("utf-8"), re.MULTILINE)
        copies.setdefault(file.parent, version[1] if version else "without a version")
    return copies


def _specs_of(package: str) -> list[ModuleSpec]:
    """Find a package in every place of the import path, and through finders such as those of editable installations."""
    found = [PathFinder.find_spec(package, [place]) for place in sys.path]
    others = [finder for finder in sys.meta_path if finder is not PathFinder and hasattr(finder, "find_spec")]
    found += [finder.find_spec(package, None, None) for finder in others]
    return [spec for spec in found if spec is not None]


def run_probe() -> Probe:
    """Import and use the packages in a new process."""
    done = run_in_new_process("ppdet_res2net.cli._probe")
    return _read_probe(done.stdout, done.returncode)


def _read_probe(output: str, exit_code: int) -> Probe:
    probe = Probe(exit_code=exit_code)
    for line in output.splitlines():
        answer = json.loads(line)
        step = answer["step"]
        if "error" in answer:
            probe.errors[step] = f"{answer['kind']}: {answer['error']}"
        elif "found" in answer:
            for key, value in answer["found"].items():
                setattr(probe, key, value)
        probe.crashed = None if "error" in answer or "found" in answer else step
    if exit_code and probe.crashed is None:
        probe.crashed = "start"
    return probe
