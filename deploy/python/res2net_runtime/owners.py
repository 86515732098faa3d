"""Which process has made a lock or an unfinished file, and whether it still runs."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import platform
from pathlib import Path

__all__ = ["is_running", "this_machine"]


@functools.cache
def this_machine() -> str:
    """Return eight hexadecimal digits that two processes share if each can see whether the other runs.

    Hosts may have the same name, and containers of one host count their processes separately.
    """
    parts = [platform.node()]
    with contextlib.suppress(OSError):  # not every system has it
        parts.append(Path("/etc/machine-id").read_text("ascii", errors="replace"))
    with contextlib.suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/pid"))
    return hashlib.sha256("\n".join(parts).encode("utf-8", "replace")).hexdigest()[:8]


def is_running(pid: int) -> bool:
    """Return whether a process of this machine runs. On Windows, where asking would end it, the answer is always yes."""
    if os.name == "nt":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # of another user; or not a number of this system
        return True
    return True
