"""What a training run tells: lines on the console, a log file, ``metrics.jsonl``, and VisualDL scalars."""

from __future__ import annotations

import contextlib
import datetime
import json
import logging
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import paddle

from ppdet_res2net.errors import SetupError, TrainingError

__all__ = ["RunLog", "peak_memory_mib"]

logger = logging.getLogger(__name__)


def peak_memory_mib(device: str) -> float:
    """Return the peak memory in MiB: of the GPU where training runs on one, else of this process."""
    if device.startswith("gpu"):
        return paddle.device.cuda.max_memory_allocated() / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


class RunLog:
    """Averages losses and times over an interval and reports them.

    Args:
        run_dir: The run's folder; ``train.log`` and ``metrics.jsonl`` there are appended to.
        total_steps: Steps of the whole run, for the time that is left.
        interval: Steps between two reports.
        device: ``cpu`` or ``gpu:<index>``.
        use_vdl: Also write VisualDL scalars to ``run_dir/vdl``.

    Raises:
        TrainingError: The folder cannot be written.
        SetupError: VisualDL is asked for but not installed.
    """

    def __init__(self, run_dir: Path, total_steps: int, interval: int, device: str, use_vdl: bool = False) -> None:
        self._total_steps, self._interval, self._device = total_steps, max(1, interval), device
        try:
            run_dir.mkdir(parents=True, exist_ok=True)
            self._metrics = open(run_dir / "metrics.jsonl", "a", encoding="utf-8")
            self._handler = logging.FileHandler(run_dir / "train.log", encoding="utf-8")
        except OSError as error:
            raise TrainingError(
                f"The run's folder '{run_dir}' cannot be written: {error}. Pass another one with -o save_dir=FOLDER."
            ) from error
        self._handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        package = logging.getLogger("ppdet_res2net")
        package.addHandler(self._handler)
        self._level = package.level
        if not package.isEnabledFor(logging.INFO):
            # A program that has not configured logging still gets a readable file.
            package.setLevel(logging.INFO)
        self._vdl = _open_vdl(run_dir / "vdl") if use_vdl else None
        self._start_interval()

    def step(self, step: int, epoch: int, losses: dict[str, float], lr: float, images: int, data_s: float) -> None:
        """Record one step; report when the interval is full.

        Args:
            step: Steps done so far in all, from 1.
            epoch: Index of the epoch, from 0.
            losses: Every loss term, and the sum as ``loss``.
            lr: Learning rate of the step.
            images: Images in the step, over all devices.
            data_s: Seconds spent waiting for data.
        """
        for name, value in losses.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._steps += 1
        self._images += images
        self._data_s += data_s
        if step % self._interval and step != self._total_steps:
            return
        seconds = time.perf_counter() - self._started
        record = {
            "step": step,
            "epoch": epoch,
            "lr": lr,
            **{name: total / self._steps for name, total in self._sums.items()},
            "images_per_s": self._images / seconds,
            "step_s": seconds / self._steps,
            "data_s": self._data_s / self._steps,
            "memory_mib": peak_memory_mib(self._device),
        }
        left_s = (self._total_steps - step) * seconds / self._steps
        terms = "  ".join(f"{name} {record[name]:.4f}" for name in sorted(self._sums, key=lambda n: n != "loss"))
        logger.info(
            "epoch %d  step %d/%d  lr %.6f  %s  %.2f images/s  data %.3f s of %.3f s  %d MiB  ETA %s",
            epoch,
            step,
            self._total_steps,
            lr,
            terms,
            record["images_per_s"],
            record["data_s"],
            record["step_s"],
            record["memory_mib"],
            datetime.timedelta(seconds=round(left_s)),
        )
        self.write({"kind": "train", **record})
        self._start_interval()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """While active, time does not count for the speed of training: evaluation, writing checkpoints."""
        since = time.perf_counter()
        yield
        self._started += time.perf_counter() - since

    def write(self, record: dict) -> None:
        """Append one record to ``metrics.jsonl`` and its numbers to VisualDL."""
        self._metrics.write(json.dumps({"time": round(time.time(), 3), **record}) + "\n")
        self._metrics.flush()
        if self._vdl is not None:
            for tag, value in _numbers(record, record["kind"]):
                self._vdl.add_scalar(tag=tag, step=record["step"], value=value)

    def close(self) -> None:
        """Close the files."""
        package = logging.getLogger("ppdet_res2net")
        package.removeHandler(self._handler)
        package.setLevel(self._level)
        self._handler.close()
        self._metrics.close()
        if self._vdl is not None:
            self._vdl.close()

    def _start_interval(self) -> None:
        self._started = time.perf_counter()
        self._sums: dict[str, float] = {}
        self._steps = self._images = 0
        self._data_s = 0.0


def _open_vdl(folder: Path):
    try:
        from visualdl import LogWriter
    except ImportError as error:
        raise SetupError("--use_vdl needs VisualDL, which is not installed: pip install visualdl") from error
    return LogWriter(str(folder))


def _numbers(record: dict, prefix: str):
    for name, value in record.items():
        if isinstance(value, dict):
            yield from _numbers(value, f"{prefix}/{name}")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield f"{prefix}/{name}", value
