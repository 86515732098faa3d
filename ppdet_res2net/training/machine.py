"""The machine and the packages that compute. Besides the data and the seed, the last bits of training depend on them."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np
import paddle

import ppdet_res2net
from res2net_runtime.backends.cpu import cpu_features, cpu_name

__all__ = ["describe_machine", "list_differences", "list_versions"]

# Math libraries choose their kernels by these instruction sets; x86, then ARM.
_VECTOR_INSTRUCTIONS = ("sse", "avx", "fma", "amx", "asimd", "sve")
# Environment variables that make math libraries choose other kernels, or sum in a different order.
_MATH_VARIABLES = ("MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "MKL_DEBUG_CPU_TYPE", "ONEDNN_MAX_CPU_ISA")


def list_versions() -> dict[str, str]:
    """Return the versions of the packages that compute."""
    return {"ppdet_res2net": ppdet_res2net.__version__, "paddle": paddle.__version__, "numpy": np.__version__}


def describe_machine(device: str, threads: int) -> dict[str, str]:
    """Describe what a run computes on: the GPU, or the CPU with its vector instructions and the number of threads.

    Args:
        device: ``cpu`` or ``gpu:<index>``.
        threads: Threads that compute on a CPU.
    """
    if device.startswith("gpu"):
        return {"device": paddle.device.cuda.get_device_name()}
    features = cpu_features() or ()
    return {
        "device": cpu_name(),
        "instructions": " ".join(sorted(name for name in features if name.startswith(_VECTOR_INSTRUCTIONS))),
        "threads": str(threads),
        **{name: os.environ.get(name, "unset") for name in _MATH_VARIABLES},
    }


def list_differences(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return what has changed, as text such as ``threads 1 -> 2``; names that only one side has are left out."""
    differences = []
    for name in before.keys() & now.keys():
        old, new = before[name], now[name]
        if name == "instructions" and old != new:
            lost, added = sorted(set(old.split()) - set(new.split())), sorted(set(new.split()) - set(old.split()))
            changes = [*(f"-{part}" for part in lost), *(f"+{part}" for part in added)]
            differences.append(f"instructions {' '.join(changes)}")
        elif old != new:
            differences.append(f"{name} {old} -> {new}")
    return sorted(differences)
