"""Paddle and the environment variable ``OMP_NUM_THREADS``."""

from __future__ import annotations

import os
from pathlib import Path

from ppdet_res2net.compat.defect import Defect
from ppdet_res2net.compat.probing import read_source

__all__ = ["DEFECT", "find_omp_threads"]

_VARIABLE = "OMP_NUM_THREADS"
_FIRST_ENVIRONMENT = Path("/proc/self/environ")


def find_omp_threads() -> int | None:
    """Return ``OMP_NUM_THREADS``, or None if the user has not set it to a number.

    ``import paddle`` sets it to 1 if it is missing. Linux keeps the environment that the process was started with, so
    the two cases can be told apart. On other systems, a value of 1 counts as the user's.
    """
    text = os.environ.get(_VARIABLE, "")
    if text == "1" and _FIRST_ENVIRONMENT.is_file():
        names = [entry.partition(b"=")[0] for entry in _FIRST_ENVIRONMENT.read_bytes().split(b"\0")]
        if _VARIABLE.encode() not in names:
            return None
    return int(text) if text.isdigit() and int(text) > 0 else None


def _is_present() -> bool:
    return f"os.environ['{_VARIABLE}'] = " in read_source("paddle", "base/__init__.py")


DEFECT = Defect(
    name="omp_threads",
    what="importing Paddle sets OMP_NUM_THREADS to 1 if it is missing, as if the user had asked for one thread",
    versions={"paddle": ">=2.6"},
    reference="paddle/base/__init__.py of 2.6.2 and 3.3.1",
    applied="when training chooses its number of threads",
    is_present=_is_present,
)
