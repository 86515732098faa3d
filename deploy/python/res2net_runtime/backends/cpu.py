"""Facts about this machine's CPU: how many cores this process may use, and whether it has bfloat16."""

from __future__ import annotations

import logging
import math
import os
import platform
from collections.abc import Collection
from pathlib import Path

__all__ = [
    "available_cores",
    "check_threads",
    "cpu_features",
    "cpu_name",
    "find_narrow_isa_limit",
    "has_bfloat16",
    "warn_of_simulated_bfloat16",
]

logger = logging.getLogger(__name__)

# More threads than this are refused, unless the machine has a quarter as many processors: each takes memory for its stack, and
# an engine that cannot start one ends the process.
MOST_THREADS = 256

_CPU_INFO = Path("/proc/cpuinfo")
_CGROUP = Path("/sys/fs/cgroup")

# Names of instructions that multiply bfloat16, on x86 and on ARM.
_BFLOAT16_FEATURES = frozenset({"avx512_bf16", "amx_bf16", "bf16"})


def cpu_features(cpu_info: Path = _CPU_INFO) -> frozenset[str] | None:
    """Return the instruction sets that Linux lists for the first CPU, or None if they are unknown."""
    values = _read_cpu_info(("flags", "Features"), cpu_info)  # x86, ARM
    return None if values is None else frozenset(values.split())


def find_narrow_isa_limit() -> str | None:
    """Return the value of ``ONEDNN_MAX_CPU_ISA`` if it hides AVX-512 from oneDNN, else None."""
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper()
    return limit if limit == "AVX" or limit.startswith(("SSE", "AVX2")) else None


def cpu_name() -> str:
    """Return the name of the CPU that Linux reports, else the machine type."""
    return _read_cpu_info(("model name",), _CPU_INFO) or platform.processor() or platform.machine()


def _read_cpu_info(keys: Collection[str], cpu_info: Path) -> str | None:
    """Return what Linux says about the first CPU under the first of these keys that exists, or None."""
    if not cpu_info.is_file():
        return None
    for line in cpu_info.read_text(encoding="utf-8", errors="replace").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in keys:
            return value.strip()
    return None


def has_bfloat16(cpu_info: Path = _CPU_INFO) -> bool | None:
    """Return whether the CPU multiplies bfloat16 in hardware, or None if that is unknown."""
    features = cpu_features(cpu_info)
    return None if features is None else bool(features & _BFLOAT16_FEATURES)


def warn_of_simulated_bfloat16(engine: str) -> None:
    """Warn that an engine in bfloat16 is slower, not faster, on this CPU.

    OpenVINO (2026.4) and Paddle (2.6.2 and 3.3.1) simulate instructions that a CPU lacks. They report it in their own logs,
    if at all.
    """
    logger.warning(
        "This CPU has no bfloat16 instructions (such as avx512_bf16 or amx_bf16). %s simulates them, which is many times "
        "slower than fp32. Choose precision fp32, unless you want to compare results.",
        engine,
    )


def available_cores(cgroup: Path = _CGROUP) -> int:
    """Return how many cores this process may use, given its CPU affinity and a container's CPU quota.

    More threads would not run at the same time; they would wait for each other.
    """
    if hasattr(os, "sched_getaffinity"):  # Linux: respects taskset and containers' CPU sets
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    quota = _cpu_quota(cgroup)
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def check_threads(count: int, name: str = "cpu_threads") -> int:
    """Return a number of threads, unless it is below 1 or beyond any use on this machine.

    Args:
        count: The number.
        name: The argument or variable that it comes from, for the message.

    Raises:
        ValueError: The number is outside of these limits.
    """
    if count < 1:
        raise ValueError(f"{name} must be at least 1, got {count}.")
    most = max(MOST_THREADS, 4 * (os.cpu_count() or 1))
    if count > most:
        raise ValueError(
            f"{name} is {count}, but this machine has {os.cpu_count()} processors; at most {most} threads are started. More "
            "would only wait for each other. Leave it out to use one thread per processor."
        )
    return count


def _cpu_quota(cgroup: Path) -> float | None:
    """Return the number of CPUs that ``docker run --cpus`` or similar settings grant, or None without a limit."""
    try:
        try:
            quota, period = (cgroup / "cpu.max").read_text().split()  # control groups, version 2
        except FileNotFoundError:
            quota = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text()  # version 1
            period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text()
        return int(quota) / int(period) if int(quota) > 0 else None
    except (OSError, ValueError, ZeroDivisionError):  # no control groups, or "max"
        return None
