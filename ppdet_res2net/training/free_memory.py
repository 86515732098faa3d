"""How much memory this process may still use: of the machine, and of the control groups that limit a container."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

__all__ = ["free_memory_bytes"]


def free_memory_bytes(root: Path = Path("/")) -> int | None:
    """Return the bytes that new processes may use without pushing others out; None if the system does not say.

    That is Linux's ``MemAvailable``, or what the control groups of this process leave, if that is less.

    Args:
        root: Folder with ``proc`` and ``sys``; another one in tests.
    """
    try:
        match = re.search(r"^MemAvailable:\s+(\d+) kB", (root / "proc/meminfo").read_text(), re.MULTILINE)
    except OSError:
        return None
    return None if match is None else min([int(match[1]) * 1024, *_left_in_groups(root)])


def _left_in_groups(root: Path) -> Iterator[int]:
    """Yield what is left in each control group that has a limit."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            top, limit, used, cache = root / "sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):  # version 1
            top, cache = root / "sys/fs/cgroup/memory", "total_inactive_file"
            limit, used = "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        parts = Path(path.lstrip("/")).parts
        # A limit holds for the groups below, too. In a container, the path may be that of the host, which is not there.
        for depth in range(len(parts) + 1):
            left = _left(top.joinpath(*parts[:depth]), limit, used, cache)
            if left is not None:
                yield left


def _left(group: Path, limit: str, used: str, cache: str) -> int | None:
    """Return what is left of a group's limit; files in the page cache can be dropped, so they count as free."""
    try:
        most, now = (group / limit).read_text().strip(), int((group / used).read_text())
        match = re.search(rf"^{cache} (\d+)", (group / "memory.stat").read_text(), re.MULTILINE)
    except OSError:
        return None  # the group at the top has no limit and no such files
    return None if most == "max" else max(0, int(most) - now + (int(match[1]) if match else 0))
