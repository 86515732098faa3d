"""Freed memory stays with the process, if the C library can do that and the user has not configured it differently."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
# Page faults of using 48 MiB a second time: either the system provides 12288 new pages of 4 KiB, or none.
SCRIPT = """
import ctypes, resource
from ppdet_res2net.compat.host_memory import keep_freed_memory
keep_freed_memory()
library = ctypes.CDLL("libc.so.6")
library.malloc.restype = ctypes.c_void_p
faults = []
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = ctypes.c_void_p(library.malloc(48 << 20))
    ctypes.memset(block, 1, 48 << 20)
    library.free(block)
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(faults[-1])
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems have a different C library")
@pytest.mark.parametrize("own_setting", [None, "MALLOC_MMAP_THRESHOLD_"])
def test_memory_is_kept_unless_the_environment_says_how(own_setting):
    clean = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_") and k != "GLIBC_TUNABLES"}
    environment = {**clean, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "deploy" / "python")])}
    if own_setting:
        environment[own_setting] = "131072"
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True)
    faults = int(done.stdout)
    if own_setting is None:
        assert faults < 100
    elif "[always]" not in HUGE_PAGES.read_text():  # with huge pages there are few of them anyway
        assert faults > 10_000
