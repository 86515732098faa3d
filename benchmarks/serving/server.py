"""The server under test, in a process of its own."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness import child_environment

__all__ = ["Server", "start"]


@dataclass
class Server:
    """A running server.

    Attributes:
        process: The process.
        url: Its address.
        log: What it writes to standard error.
    """

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    @property
    def memory_mb(self) -> float:
        """Resident memory, in units of 1e6 bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) * 1024 / 1e6  # type: ignore[index]

    def workers(self) -> list[int]:
        """Return the numbers of the processes that it has started and that still run."""
        started = [int(number) for number in re.findall(r"worker (\d+) starts", self.log.read_text())]
        return [number for number in started if os.path.exists(f"/proc/{number}")]

    def stop(self) -> int:
        """Send SIGTERM and return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(120)


@contextlib.contextmanager
def start(folder: Path, words: Sequence[object], threads: int, python: str = sys.executable) -> Iterator[Server]:
    """Start a server at a free port, and kill it at the end if it still runs.

    Args:
        folder: Where its log goes.
        words: The command, from ``-m`` on; it prints ``Serving ... at URL`` to standard error when it is ready.
        threads: Threads of the network.
        python: Interpreter to use.
    """
    log = folder / f"server-{time.monotonic_ns()}.log"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [python, *map(str, words)], env=child_environment(threads), stdout=subprocess.DEVNULL, stderr=errors
        )
    try:
        while not (found := re.search(r"Serving .*at (http://[\w.:]+)", log.read_text())):
            if process.poll() is not None:
                raise RuntimeError(f"the server did not start: {log.read_text()[-1000:]}")
            time.sleep(0.05)
        yield Server(process, found[1], log)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
