"""The common part of the benchmarks: measuring in separate processes, and describing the machine.

The processes may run under another Python, for example one with torch, in which this project is not installed. So this
module imports only the standard library, unless a function says otherwise.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn, TextIO

__all__ = [
    "ContenderError",
    "call",
    "child_environment",
    "machine_line",
    "peak_memory_gb",
    "run_main",
    "take_over_stdout",
]

ROOT = Path(__file__).resolve().parents[1]
# Instruction sets that decide how fast convolutions and matrix products are, on x86 and on ARM.
_FEATURES = (
    "avx2", "fma", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_int8", "amx_bf16",
    "asimddp", "bf16", "i8mm", "sve",
)  # fmt: skip


class ContenderError(RuntimeError):
    """A measuring process has failed."""


def machine_line(threads: int) -> str:
    """Return the CPU's name, the instruction sets that matter, threads and versions, in one line. Imports Paddle."""
    from ppdet_res2net.training.machine import list_versions
    from res2net_runtime.backends.cpu import cpu_features, cpu_name

    found = cpu_features() or ()
    features = " ".join(name for name in _FEATURES if name in found) or "no known features"
    count = f"{threads} thread{'s' * (threads != 1)}"
    versions = ", ".join(f"{name} {version}" for name, version in list_versions().items())
    return f"{cpu_name()}, {os.cpu_count()} cores, {count}; {features}; {versions}"


def child_environment(threads: int) -> Mapping[str, str]:
    """Return the environment of a measuring process: it finds this checkout, and uses this number of threads."""
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "deploy" / "python")]),
        "OMP_NUM_THREADS": str(threads),
        "FLAGS_paddle_num_threads": str(threads),
    }


def call(
    function: str,
    arguments: Mapping[str, Any],
    *,
    threads: int,
    python: str = sys.executable,
    time_limit_s: float | None = None,
) -> Any:
    """Call a function in a new process and return its result.

    Args:
        function: ``package.module:name``.
        arguments: Keyword arguments. JSON must be able to hold them and the result.
        threads: Threads for computing.
        python: Interpreter to use.
        time_limit_s: The process is ended after this time; None: never.

    Raises:
        ContenderError: The process failed or took too long. The message ends with the last line that it wrote to stderr.
    """
    command = [python, "-m", "benchmarks.harness", function, json.dumps(arguments)]
    environment = child_environment(threads)
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=time_limit_s)
    except subprocess.TimeoutExpired as error:
        raise ContenderError(f"took longer than {error.timeout:g} s") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise ContenderError(
            f"{function} failed with exit code {done.returncode}: {lines[-1] if lines else 'no message'}"
        )
    return json.loads(done.stdout)


def take_over_stdout() -> TextIO:
    """Return a stream to stdout for answers; everything that engines print goes to stderr from now on."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answers


def peak_memory_gb() -> float:
    """Return the largest resident memory of this process, in units of 1e9 bytes. Needs Linux.

    ``ru_maxrss`` is not used, because it starts with the size of the parent process.
    """
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e9


def run_main(main: Callable[[], int | None]) -> NoReturn:
    """Run a benchmark and exit with its code; an error that the user can fix is one line, not a traceback."""
    from ppdet_res2net.errors import Res2NetError

    try:
        sys.exit(main())
    except Res2NetError as error:
        sys.exit(f"Error: {error}")


def main() -> None:
    """Run as the new process of ``call``."""
    answers = take_over_stdout()
    module, _, name = sys.argv[1].partition(":")
    result = getattr(importlib.import_module(module), name)(**json.loads(sys.argv[2]))
    json.dump(result, answers)
    answers.flush()


if __name__ == "__main__":
    main()
