"""The memory that is free on a machine and in its control groups."""

from __future__ import annotations

from pathlib import Path

import pytest

from ppdet_res2net.training.free_memory import free_memory_bytes

GIB = 2**30


def _write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


MACHINE = {"proc/meminfo": f"MemTotal: {32 * 2**20} kB\nMemFree: 5 kB\nMemAvailable:   {16 * 2**20} kB\n"}
GROUP = "sys/fs/cgroup/a/b"
OLD = "sys/fs/cgroup/memory"


@pytest.mark.parametrize(
    ("files", "free_gib"),
    [
        ({}, 16),
        ({"proc/self/cgroup": "0::/\n"}, 16),
        (
            {
                "proc/self/cgroup": "0::/a/b\n",
                f"{GROUP}/memory.max": f"{4 * GIB}\n",
                f"{GROUP}/memory.current": f"{3 * GIB}\n",
                f"{GROUP}/memory.stat": f"anon 1\ninactive_file {GIB}\n",
            },
            2,
        ),
        (
            {
                "proc/self/cgroup": "0::/a/b\n",
                f"{GROUP}/memory.max": "max\n",
                f"{GROUP}/memory.current": "5\n",
                f"{GROUP}/memory.stat": "",
                "sys/fs/cgroup/a/memory.max": f"{8 * GIB}",
                "sys/fs/cgroup/a/memory.current": f"{GIB}",
                "sys/fs/cgroup/a/memory.stat": "",
            },
            7,
        ),
        (  # a container of version 1, whose path is that of the host
            {
                "proc/self/cgroup": "5:cpu,cpuacct:/docker/x\n4:memory:/docker/x\n",
                f"{OLD}/memory.limit_in_bytes": f"{2 * GIB}",
                f"{OLD}/memory.usage_in_bytes": f"{GIB}",
                f"{OLD}/memory.stat": f"inactive_file 7\ntotal_inactive_file {GIB // 2}\n",
            },
            1.5,
        ),
        (  # more is used than allowed, for a moment
            {
                "proc/self/cgroup": "0::/\n",
                "sys/fs/cgroup/memory.max": f"{GIB}",
                "sys/fs/cgroup/memory.current": f"{2 * GIB}",
                "sys/fs/cgroup/memory.stat": "",
            },
            0,
        ),
    ],
)
def test_the_least_of_all_limits(tmp_path, files, free_gib):
    assert free_memory_bytes(_write(tmp_path, {**MACHINE, **files})) == free_gib * GIB


def test_a_system_that_does_not_say(tmp_path):
    assert free_memory_bytes(tmp_path) is None
    assert free_memory_bytes(_write(tmp_path, {"proc/meminfo": "MemTotal: 5 kB\n"})) is None
