"""``ppdet-res2net doctor``: tells whether training can work with this installation, and if not, what to do."""

from __future__ import annotations

import platform
import re
import shlex
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ppdet_res2net.cli import _defects
from ppdet_res2net.cli._common import STDOUT, CommandParser, json_option, say, write_json
from ppdet_res2net.cli._installation import (
    OPENCVS,
    PADDLES,
    RUNTIME,
    Probe,
    engine_versions,
    installed_packages,
    missing_requirements,
    run_probe,
    runtime_copies,
)
from ppdet_res2net.compat.outdated_pins import PADDLEDET_INSTALL
from res2net_runtime.backends.cpu import available_cores
from res2net_runtime.engines import BACKENDS

__all__ = ["SetupProblem", "find_problems", "find_runtime_problems", "find_system_problems", "main"]

PADDLEDET_VERSION = PADDLEDET_INSTALL.rpartition("==")[2]
# Paddle 3 has packages for these. Older Pythons had some too, but are not supported here.
PYTHONS = ((3, 10), (3, 13))
# The last releases that accept NumPy 1: the extra 'paddle26' without Paddle.
NUMPY_1_PACKAGES = ("numpy<2", "opencv-python-headless<4.12", "pandas<2.3", "scikit-learn<1.6")
PADDLE_PAGE = "https://www.paddlepaddle.org.cn/documentation/docs/en/install/index_en.html"


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


def _parser() -> CommandParser:
    parser = CommandParser(
        "doctor",
        "Check the installation. Exit code 0 if training can work, 1 if it cannot.",
        examples=("", "--json doctor.json"),
    )
    parser.add_argument("--json", **json_option("the findings"))
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns 0 if training can work and 1 if it cannot."""
    args = _parser().parse_args(argv)
    packages = installed_packages()
    probe = run_probe()
    problems = [
        *find_system_problems(sys.platform),
        *find_problems(packages, missing_requirements(), probe, sys.version_info[:2]),
        *find_runtime_problems(packages, runtime_copies()),
    ]
    fit = not any(problem.fatal for problem in problems)
    defects = _defects.probe() if fit else None  # every probe needs Paddle and paddledet
    if args.json:
        findings = {
            "ok": fit,
            "python": platform.python_version(),
            "platform": platform.platform(),
            "packages": packages,
            "engines": engine_versions(packages),
            "devices": _devices(probe),
            "problems": [asdict(problem) for problem in problems],
            "defects": defects,
        }
        write_json(args.json, findings)
    if args.json != STDOUT:
        say(_as_text(packages, probe, problems, fit, _defects.as_lines(defects) if defects else ()))
    return 0 if fit else 1


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
    # A package that cannot be used is reported once: by its known cause, else by the first step that fails. Later steps
    # need that package and would only repeat the report.
    if not any(problem.fatal for problem in problems):
        problems += [_import_problem(*failure) for failure in list(probe.errors.items())[:1]]
        if probe.crashed:
            problems.append(_crash_problem(probe))
    problems += _device_problems(packages, probe)
    return problems


def find_system_problems(system: str) -> list[SetupProblem]:
    """Judge the operating system, named as in ``sys.platform``."""
    if system != "win32":
        return []
    return [
        SetupProblem(
            "ppdet_res2net does not support Windows: it has never been run there.",
            "install it on Linux, for instance in the Windows Subsystem for Linux.",
        )
    ]


def find_runtime_problems(packages: Mapping[str, str], copies: Mapping[Path, str]) -> list[SetupProblem]:
    """Judge where ``res2net_runtime`` comes from.

    Args:
        packages: Package -> version, as ``installed_packages`` gives them.
        copies: Folder -> version, as ``runtime_copies`` gives them.
    """
    problems = []
    if RUNTIME in packages:
        problems.append(
            SetupProblem(
                f"{RUNTIME} {packages[RUNTIME]} is installed too, although ppdet_res2net brings the runtime; they may "
                "overwrite each other's files.",
                f"pip uninstall {RUNTIME}, then install ppdet_res2net again, from its checkout or its wheel.",
                fatal=False,
            )
        )
    if len(copies) > 1:
        used, *others = (f"{folder} ({version})" for folder, version in copies.items())
        problems.append(
            SetupProblem(
                f"There are {len(copies)} copies of res2net_runtime: {used} is used, {' and '.join(others)} not.",
                "keep one: remove the others from PYTHONPATH, or uninstall them.",
                fatal=False,
            )
        )
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
                _how_to_have_numpy_1(old[0]),
                fatal=False,
            )
        )
    if "paddledet" not in packages:
        problems.append(
            SetupProblem("paddledet is not installed.", f"{PADDLEDET_INSTALL}  (its own requirements cannot be met)")
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
        problems.append(SetupProblem(f"Not installed: {', '.join(missing)}.", f"pip install {shlex.join(missing)}"))
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


def _how_to_have_numpy_1(paddle: str) -> str:
    if paddle == "paddlepaddle":
        return (
            "if it fails: pip install -e '.[paddle26]' in the checkout of ppdet_res2net, or "
            "pip install --upgrade paddlepaddle"
        )
    # The extra would bring the Paddle for CPUs.
    packages = " ".join(f"'{package}'" for package in NUMPY_1_PACKAGES)
    return f"if it fails: pip install {packages}, or install Paddle 3 from {PADDLE_PAGE}"


def _install_paddle(python: tuple[int, int]) -> str:
    first, last = PYTHONS
    if not first <= python <= last:
        have, low, high = (".".join(map(str, version)) for version in (python, first, last))
        return f"make an environment with Python {low} to {high}; for Python {have} there is no Paddle that works here."
    return f"pip install paddlepaddle  (for CPUs; for GPUs see {PADDLE_PAGE})"


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
        "Install everything again in a new environment; this happens when versions of compiled packages do not match.",
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
                f"pip uninstall paddlepaddle, then install the package for your CUDA from {PADDLE_PAGE}",
                fatal=False,
            )
        ]
    return []


def _devices(probe: Probe) -> list[str]:
    return [*probe.gpus, f"cpu {platform.machine()}, {available_cores()} cores for this process"]


def _describe_engine(name: str, found: str | None) -> str:
    engine = BACKENDS[name]
    text = found or f"not installed: pip install {engine.package}"
    return text if "cpu" in engine.devices else f"{text}, on a GPU only"


def _as_text(
    packages: Mapping[str, str], probe: Probe, problems: Sequence[SetupProblem], fit: bool, defects: Sequence[str]
) -> str:
    rows = [("Python", f"{platform.python_version()}  {sys.executable}"), ("system", platform.platform())]
    rows += packages.items()
    rows += [(f"engine {name}", _describe_engine(name, found)) for name, found in engine_versions(packages).items()]
    rows += [("device", device) for device in _devices(probe)]
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:{width}}  {text}" for name, text in rows]
    lines += defects
    for problem in problems:
        lines += ["", f"{'ERROR' if problem.fatal else 'warning'}: {problem.what}", f"  remedy: {problem.remedy}"]
    fatal = sum(problem.fatal for problem in problems)
    verdict = "Training can work here." if fit else f"Training cannot work here: {fatal} error(s), see above."
    return "\n".join([*lines, "", verdict])


def _number(version: str) -> tuple[int, ...]:
    """The leading numbers of a version; ``(0,)`` for none."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3]) or (0,)
