"""``ppdet-res2net doctor``: is this installation fit for training, and if not, what to do."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata

from ppdet_res2net.compat.ppdet_import import PADDLEDET_INSTALL

__all__ = ["SetupProblem", "Probe", "find_problems", "main"]

DISTRIBUTION = "ppdet-res2net"
PADDLEDET_VERSION = PADDLEDET_INSTALL.rpartition("==")[2]
PADDLES = ("paddlepaddle", "paddlepaddle-gpu")
OPENCVS = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)
# What matters besides; the rest of our requirements are only listed when they are missing.
SHOWN = (*PADDLES, "paddledet", "numpy", *OPENCVS, "pycocotools", "scipy", "scikit-learn", "pandas", "setuptools")
# The wheels that Paddle's makers have published since 2.6.2.
PADDLE_PYTHONS = ((3, 9), (3, 13))


@dataclass(frozen=True)
class SetupProblem:
    """Something that is wrong with the installation.

    Attributes:
        what: What was found.
        remedy: What to do.
        fatal: Training cannot work with it.
    """

    what: str
    remedy: str
    fatal: bool = True


@dataclass
class Probe:
    """What importing and using the packages in a separate process gave.

    Attributes:
        cuda: Paddle is built for CUDA.
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ppdet-res2net doctor",
        description="Check the installation. Exit code 0 if training can work, 1 if it cannot.",
    )
    parser.add_argument("--json", action="store_true", help="print the findings as JSON, for programs")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns 0 if training can work and 1 if it cannot."""
    args = _parser().parse_args(argv)
    packages = installed_packages()
    probe = run_probe()
    problems = find_problems(packages, missing_requirements(), probe, sys.version_info[:2])
    fit = not any(problem.fatal for problem in problems)
    if args.json:
        findings = {
            "ok": fit,
            "python": platform.python_version(),
            "platform": platform.platform(),
            "packages": packages,
            "devices": _devices(probe),
            "problems": [asdict(problem) for problem in problems],
        }
        print(json.dumps(findings, indent=2))
    else:
        print(_as_text(packages, probe, problems, fit))
    return 0 if fit else 1


def installed_packages() -> dict[str, str]:
    """Return the versions of the packages that matter, without importing them."""
    versions = {}
    for name in SHOWN:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def missing_requirements() -> list[str]:
    """Return our declared requirements that are not installed; versions are pip's business."""
    try:
        requirements = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:  # run from a checkout through PYTHONPATH: nothing is declared
        return []
    missing = []
    for requirement in requirements:
        name = re.match(r"[\w.-]+", requirement)[0]
        # Extras are a choice, and OpenCV has four packages; 'import cv2' tells about it.
        if "extra ==" in requirement or name in OPENCVS:
            continue
        try:
            metadata.version(name)
        except metadata.PackageNotFoundError:
            missing.append(name)
    return missing


def run_probe() -> Probe:
    """Import and use the packages in a new process."""
    command = [sys.executable, "-m", "ppdet_res2net.cli._probe"]
    done = subprocess.run(command, capture_output=True, text=True, env=_probe_env())
    return _read_probe(done.stdout, done.returncode)


def _probe_env() -> dict[str, str]:
    """The environment of the probe: the same import path as ours, however this process came by it."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


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


def find_problems(
    packages: Mapping[str, str], missing: Sequence[str], probe: Probe, python: tuple[int, int]
) -> list[SetupProblem]:
    """Judge an installation.

    Args:
        packages: Package -> version, as ``installed_packages`` gives them.
        missing: Requirements that are not installed.
        probe: What using the packages gave.
        python: Python's version, such as ``(3, 11)``.
    """
    problems = _package_problems(packages, missing, python)
    # What cannot be used is told once: by its known cause, else by the first step that fails, as later ones need it.
    if not any(problem.fatal for problem in problems):
        problems += [_import_problem(*failure) for failure in list(probe.errors.items())[:1]]
        if probe.crashed:
            problems.append(_crash_problem(probe))
    problems += _device_problems(packages, probe)
    return problems


def _package_problems(
    packages: Mapping[str, str], missing: Sequence[str], python: tuple[int, int]
) -> list[SetupProblem]:
    problems = []
    paddles = [name for name in PADDLES if name in packages]
    if not paddles:
        problems.append(SetupProblem("Paddle is not installed.", _install_paddle(python)))
    if len(paddles) == 2 and packages[paddles[0]] != packages[paddles[1]]:
        problems.append(
            SetupProblem(
                f"Both {paddles[0]} {packages[paddles[0]]} and {paddles[1]} {packages[paddles[1]]} are installed; they "
                "overwrite each other's files.",
                f"pip uninstall {' '.join(paddles)}, then install the one that you want.",
                fatal=False,
            )
        )
    old = [name for name in paddles if _number(packages[name])[:2] == (2, 6)]
    if old and _number(packages.get("numpy", ""))[0] >= 2:
        problems.append(
            SetupProblem(
                f"Paddle {packages[old[0]]} is older than NumPy 2; with NumPy {packages['numpy']} it is not tested.",
                f"If it fails: pip install '{DISTRIBUTION}[paddle26]', or pip install --upgrade {old[0]}",
                fatal=False,
            )
        )
    if "paddledet" not in packages:
        problems.append(
            SetupProblem("paddledet is not installed.", f"{PADDLEDET_INSTALL}  (its own pins cannot be met)")
        )
    elif packages["paddledet"] != PADDLEDET_VERSION:
        problems.append(
            SetupProblem(
                f"paddledet {packages['paddledet']} is installed; only {PADDLEDET_VERSION} is known to work.",
                PADDLEDET_INSTALL,
                fatal=False,
            )
        )
    if missing:
        problems.append(SetupProblem(f"Not installed: {', '.join(missing)}.", f"pip install {' '.join(missing)}"))
    opencvs = {name: packages[name] for name in OPENCVS if name in packages}
    if len(set(opencvs.values())) > 1:
        found = " and ".join(f"{name} {version}" for name, version in opencvs.items())
        problems.append(
            SetupProblem(
                f"{found} are installed; they overwrite each other's files.",
                f"pip uninstall {' '.join(opencvs)}, then pip install opencv-python-headless",
                fatal=False,
            )
        )
    return problems


def _install_paddle(python: tuple[int, int]) -> str:
    first, last = PADDLE_PYTHONS
    if not first <= python <= last:
        have, low, high = (".".join(map(str, version)) for version in (python, first, last))
        return f"Paddle has no packages for Python {have}: make an environment with Python {low} to {high}."
    return "pip install paddlepaddle  (CPU), or pip install paddlepaddle-gpu"


def _import_problem(step: str, message: str) -> SetupProblem:
    what = f"{step} does not work: {message}"
    if "libGL" in message:
        return SetupProblem(
            what, "pip uninstall opencv-python, then pip install --force-reinstall opencv-python-headless"
        )
    if "pkg_resources" in message:
        return SetupProblem(what, "pip install 'setuptools<81'")
    if message.startswith("SetupError"):
        return SetupProblem(what, "do what the message says.")
    module = "ppdet.modeling" if step == "ppdet" else step
    return SetupProblem(what, f'reinstall it; python -c "import {module}" shows the whole error.')


def _crash_problem(probe: Probe) -> SetupProblem:
    if probe.exit_code < 0:
        name = signal.Signals(-probe.exit_code).name
        if name == "SIGILL":
            return SetupProblem(
                f"Using {probe.crashed} ends the process: this CPU lacks an instruction set that it is built for.",
                "Paddle's packages need a CPU with AVX. On a virtual machine, let it see the host's CPU features.",
            )
        how = f"by {name}"
    else:
        how = f"with exit code {probe.exit_code}"
    return SetupProblem(
        f"Using {probe.crashed} ends the process {how}.",
        "Install everything anew in a fresh environment; mixed versions of compiled packages do this.",
    )


def _device_problems(packages: Mapping[str, str], probe: Probe) -> list[SetupProblem]:
    if probe.cuda and not probe.gpus:
        return [
            SetupProblem(
                "This Paddle is for GPUs, but it sees none.",
                "check 'nvidia-smi' and CUDA_VISIBLE_DEVICES; until then the CPU is used.",
                fatal=False,
            )
        ]
    if "paddlepaddle" in packages and not probe.cuda and shutil.which("nvidia-smi"):
        return [
            SetupProblem(
                "There is an NVIDIA driver, but this Paddle is for CPUs only.",
                "pip uninstall paddlepaddle, then pip install paddlepaddle-gpu",
                fatal=False,
            )
        ]
    return []


def _devices(probe: Probe) -> list[str]:
    return [*probe.gpus, f"cpu {platform.machine()}, {os.cpu_count()} cores"]


def _as_text(packages: Mapping[str, str], probe: Probe, problems: Sequence[SetupProblem], fit: bool) -> str:
    rows = [("Python", f"{platform.python_version()}  {sys.executable}"), ("system", platform.platform())]
    rows += packages.items()
    rows += [("device", device) for device in _devices(probe)]
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:{width}}  {text}" for name, text in rows]
    for problem in problems:
        lines += ["", f"{'ERROR' if problem.fatal else 'warning'}: {problem.what}", f"  remedy: {problem.remedy}"]
    fatal = sum(problem.fatal for problem in problems)
    verdict = "Training can work here." if fit else f"Training cannot work here: {fatal} error(s), see above."
    return "\n".join([*lines, "", verdict])


def _number(version: str) -> tuple[int, ...]:
    """The leading numbers of a version; ``(0,)`` for none."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3]) or (0,)
