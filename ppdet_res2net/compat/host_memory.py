"""How this process handles memory that it has freed."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys

__all__ = ["keep_freed_memory"]

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
_TOP_PAD_BYTES = 64 << 20


def keep_freed_memory() -> None:
    """Let the C library keep freed memory for the next allocation instead of giving it back to the system at once.

    On a CPU, Paddle (seen in 3.3.1) asks the C library for the memory of every result and every temporary. Large blocks come
    from the system then, page by page, and go back to it, for each operator anew. ``MALLOC_ARENA_MAX=8``, for instance, in
    the environment shows what it costs in ``benchmarks/train.py``: with small images and few channels little, with large
    ones a tenth of a step was seen. Does nothing where the C library is not glibc, or where the environment already says
    how it should work (``MALLOC_...``, ``GLIBC_TUNABLES``).
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
