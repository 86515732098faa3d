"""The treatment of memory that this process has freed."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys

from ppdet_res2net.compat.defect import Defect

__all__ = ["DEFECT", "keep_freed_memory"]

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
_TOP_PAD_BYTES = 64 << 20


def keep_freed_memory() -> None:
    """Let the C library keep freed memory for the next allocation, instead of giving it back to the system at once.

    On a CPU, Paddle asks the C library for the memory of every result and every temporary. For each operator, large
    blocks come from the system page by page and go back to it. This costs little with small images and few channels;
    with large ones, it was seen to take a tenth of a training step. To see the cost on a machine, compare
    ``benchmarks.train`` with and without ``MALLOC_ARENA_MAX=8`` in the environment.

    Does nothing if the C library is not glibc, or if the environment already configures it (``MALLOC_...``,
    ``GLIBC_TUNABLES``).
    """
    if not sys.platform.startswith("linux"):
        return
    if any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ):
        return
    with contextlib.suppress(OSError, AttributeError):  # another C library
        library = ctypes.CDLL("libc.so.6")
        library.mallopt(_M_MMAP_MAX, 0)
        library.mallopt(_M_TRIM_THRESHOLD, -1)  # the largest number
        library.mallopt(_M_TOP_PAD, _TOP_PAD_BYTES)


def _is_present() -> bool:
    import paddle

    paddle.set_device("cpu")
    before = _resident_bytes()
    tensor = paddle.ones([16 << 20])  # float32: 64 MiB
    used = _resident_bytes()
    del tensor
    return used - _resident_bytes() > (used - before) / 2 > 0


def _resident_bytes() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


DEFECT = Defect(
    name="host_memory",
    what="on a CPU, the memory of each operator's result is taken from the system and given back to it, which takes time",
    versions={"paddle": ">=2.6"},
    reference="seen in Paddle 2.6.2 and 3.3.1; no upstream report is known",
    applied="when training or evaluation selects the CPU",
    is_present=_is_present,
    platform="linux",
)
