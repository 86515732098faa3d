"""Contenders as processes, which are started together and measured in turns."""

from __future__ import annotations

import json
import statistics
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.harness import child_environment

__all__ = ["Contender", "Process", "measure"]

# A contender that has run for this time in total is not run again, but it runs at least twice.
_MAX_SECONDS_EACH = 150.0


@dataclass
class Contender:
    """One way to run the detector, or the matrix product that shows what the machine can do.

    Attributes:
        name: Name in the table.
        group: ``ours``, ``torchvision``, ``paddledet`` or ``gemm``.
        precision: ``fp32`` or ``bf16``.
        python: Interpreter that has its packages.
        options: Arguments of the worker.
        first_s: Time from the start of the process to the first result.
        wall_s: Wall time of each run.
        cpu_s: Processor time of each run, all threads together.
        peak_gb: Largest memory of the process.
        detections: Number of detections in the image.
        error: What went wrong, or None.
    """

    name: str
    group: str
    precision: str
    python: str
    options: dict
    first_s: float = 0.0
    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    peak_gb: float = 0.0
    detections: int = 0
    error: str | None = None

    @property
    def median_s(self) -> float:
        """Median wall time of a run."""
        return statistics.median(self.wall_s)


class Process:
    """A running worker."""

    def __init__(self, contender: Contender, image: Path, threads: int) -> None:
        self.contender = contender
        self.log = image.with_name(f"{contender.name.replace(' ', '_')}.log")
        arguments = {**contender.options, "image": str(image), "threads": threads}
        start = time.perf_counter()
        with open(self.log, "w") as log:
            self._process = subprocess.Popen(
                [contender.python, "-m", "benchmarks.inference.worker", json.dumps(arguments)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=child_environment(threads),
            )
        assert self._process.stdin and self._process.stdout
        self._orders, self._answers = self._process.stdin, self._process.stdout
        answer = self._read()
        contender.first_s = time.perf_counter() - start
        contender.detections = answer.get("detections", 0)

    def run(self) -> None:
        """Run once and record the times."""
        self._orders.write("run\n")
        self._orders.flush()
        answer = self._read()
        if answer:
            self.contender.wall_s.append(answer["wall_s"])
            self.contender.cpu_s.append(answer["cpu_s"])
            self.contender.peak_gb = answer["peak_gb"]

    def close(self) -> None:
        """End the process."""
        self._orders.close()
        self._process.wait()

    def _read(self) -> dict:
        line = self._answers.readline()
        if line:
            return json.loads(line)
        lines = self.log.read_text(errors="replace").strip().splitlines()
        self.contender.error = f"{lines[-1] if lines else 'no message'} (see {self.log})"
        return {}


def measure(contenders: Sequence[Contender], image: Path, rounds: int, threads: int) -> None:
    """Run all contenders in turns, so that other work on the machine disturbs all of them alike."""
    processes = []
    try:
        for contender in contenders:
            print(f"starting {contender.name} ...", flush=True)
            processes.append(Process(contender, image, threads))
        for _ in range(rounds):
            for process in processes:
                contender = process.contender
                is_slow = len(contender.wall_s) >= 2 and sum(contender.wall_s) > _MAX_SECONDS_EACH
                if contender.error is None and not is_slow:
                    process.run()
    finally:
        for process in processes:
            process.close()
