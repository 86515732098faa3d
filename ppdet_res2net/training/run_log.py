"""Reports of a training run: the console, the file ``train.log``, ``metrics.jsonl``, the run's page, and loggers."""

from __future__ import annotations

import contextlib
import datetime
import io
import json
import logging
import os
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping
from logging.handlers import MemoryHandler
from pathlib import Path
from typing import TextIO

import paddle

from ppdet_res2net.errors import ImageError, TrainingError
from ppdet_res2net.training.curves import plot_runs
from ppdet_res2net.training.loggers.base import Logger, list_numbers
from ppdet_res2net.training.loggers.fan_out import Loggers
from ppdet_res2net.training.run_page import RunPage
from ppdet_res2net.training.run_pictures import keep_picture
from ppdet_res2net.training.task import Evaluation
from res2net_runtime.console import PrintableFormatter, say
from res2net_runtime.system_errors import explain

__all__ = ["RunLog", "peak_memory_mib", "say_duration"]

logger = logging.getLogger(__name__)

LINE_INTERVAL_S = 10.0  # a run whose log stands still for longer looks stuck
_EARLY_MESSAGES = 1000
_COLUMNS = 116  # of the lines that follow the first one, which has the time and the level before it


def peak_memory_mib(device: str) -> float | None:
    """Return the peak memory in MiB: of the GPU if training runs on one, else of this process.

    None if the system does not say: Windows has no module ``resource``.
    """
    if device.startswith("gpu"):
        return paddle.device.cuda.max_memory_allocated() / 2**20
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


class RunLog:
    """Averages losses and times over an interval and reports them.

    All messages from now on also go to ``train.log``. Those logged before :meth:`open` are kept and written then.

    Args:
        run_dir: The run's folder.
        interval: Number of steps between two reports.
        device: ``cpu`` or ``gpu:<index>``.
        is_writer: Whether this process writes files. Only the first of several does.
    """

    def __init__(self, run_dir: Path, interval: int, device: str, is_writer: bool = True) -> None:
        self._run_dir, self._interval, self._device = run_dir, max(1, interval), device
        self._is_writer = is_writer
        self._total_steps = self._steps_per_epoch = self._epochs = 0
        self._metrics: TextIO | None = None
        self._file: logging.FileHandler | None = None
        self._loggers = Loggers({})
        self._outcome = "failed"
        self._last_line: float | None = None
        self._early = MemoryHandler(_EARLY_MESSAGES, flushLevel=logging.CRITICAL, flushOnClose=False)
        package = logging.getLogger("ppdet_res2net")
        package.addHandler(self._early)
        self._level = package.level
        if not package.isEnabledFor(logging.INFO):
            # A program that has not configured logging still gets a readable file.
            package.setLevel(logging.INFO)
        self._start_interval()

    def open(
        self, total_steps: int, steps_per_epoch: int, epochs: int, loggers: Mapping[str, Logger] | None = None
    ) -> None:
        """Open the files and begin to write; existing files are appended to.

        Args:
            total_steps: Steps of the whole run, to estimate the time that is left.
            steps_per_epoch: Steps of an epoch; every epoch is reported at least once.
            epochs: Epochs of the whole run.
            loggers: Get every figure besides, by the name that messages give them. They are closed with this log.

        Raises:
            TrainingError: The folder cannot be written.
        """
        self._total_steps, self._steps_per_epoch, self._epochs = total_steps, steps_per_epoch, epochs
        if self._is_writer:
            try:
                self._metrics = _open_lines(self._run_dir / "metrics.jsonl")
                self._file = _LogFile(self._run_dir / "train.log", encoding="utf-8")
            except OSError as error:
                raise TrainingError(_unwritable(self._run_dir, error)) from error
            self._file.setFormatter(PrintableFormatter("%(asctime)s %(levelname)s %(message)s"))
            self._early.setTarget(self._file)
            self._early.flush()
            package = logging.getLogger("ppdet_res2net")
            package.addHandler(self._file)
            package.removeHandler(self._early)
            self._loggers = Loggers({"The page index.html": RunPage(self._run_dir, total_steps), **(loggers or {})})
        self._start_interval()

    def step(
        self,
        step: int,
        epoch: int,
        losses: dict[str, float],
        lr: float,
        images: int,
        data_s: float,
        grad_norm: float | None = None,
    ) -> None:
        """Add one step; write a record at the end of each interval, and of each epoch that contains no such end.

        Each record has a line of the log. So have the first step, and the first one :data:`LINE_INTERVAL_S` after another
        line; these lines show the averages so far and are not records, which depend on the numbers of the steps alone.

        Args:
            step: Number of steps done in total, from 1.
            epoch: Index of the epoch, from 0.
            losses: Every loss term, and their sum as ``loss``.
            lr: Learning rate of the step.
            images: Number of images in the step, on all devices.
            data_s: Seconds spent waiting for data.
            grad_norm: Norm of the gradients, if known.
        """
        for name, value in losses.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._steps += 1
        self._images += images
        self._data_s += data_s
        now = time.perf_counter()
        is_record = self._is_due(step)
        if not is_record and self._last_line is not None and now - self._last_line < LINE_INTERVAL_S:
            return
        self._last_line = now
        seconds = now - self._started
        record = {
            "step": step,
            "epoch": epoch,
            "lr": lr,
            **{name: total / self._steps for name, total in self._sums.items()},
            "images_per_s": self._images / seconds,
            "step_s": seconds / self._steps,
            "data_s": self._data_s / self._steps,
        }
        optional = {"memory_mib": peak_memory_mib(self._device), "grad_norm": grad_norm}
        record.update({name: value for name, value in optional.items() if value is not None})
        self._say(record)
        if is_record:
            self.write({"kind": "train", **record})
            self._start_interval()

    def _say(self, record: dict) -> None:
        """Log the averages since the last record."""
        left_s = (self._total_steps - record["step"]) * record["step_s"]
        memory = f", {record['memory_mib']:.0f} MiB" if "memory_mib" in record else ""
        logger.info(
            "epoch %d of %d, step %d/%d: loss %.4f, lr %.6f, %.2f images/s%s, ETA %s\n%s",
            record["epoch"] + 1,
            self._epochs,
            record["step"],
            self._total_steps,
            record["loss"],
            record["lr"],
            record["images_per_s"],
            memory,
            say_duration(left_s),
            _wrap(
                [
                    *(f"{name.removeprefix('loss_')} {record[name]:.4f}" for name in self._sums if name != "loss"),
                    f"data {record['data_s']:.3f} s of {record['step_s']:.3f} s",
                ]
            ),
        )

    def _is_due(self, step: int) -> bool:
        """Whether a step ends an interval. It depends on its number alone, so a resumed run reports the same steps."""
        if step % self._interval == 0 or step == self._total_steps:
            return True
        before = step - self._steps_per_epoch  # where the epoch began, if it ends with this step
        return step % self._steps_per_epoch == 0 and step // self._interval == before // self._interval

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the clock of the training speed, for an evaluation or for writing a checkpoint."""
        since = time.perf_counter()
        yield
        self._started += time.perf_counter() - since

    def write(self, record: dict) -> None:
        """Append one record to ``metrics.jsonl``, and give its numbers to the loggers.

        Raises:
            TrainingError: The folder cannot be written.
        """
        if self._metrics is None:
            return
        try:
            self._metrics.write(json.dumps({"time": round(time.time(), 3), **record}) + "\n")
            self._metrics.flush()
        except OSError as error:
            raise TrainingError(_unwritable(self._run_dir, error)) from error
        self._loggers.log_numbers(record["step"], dict(list_numbers(record, record["kind"])))

    def note_evaluation(self, step: int, result: Evaluation) -> None:
        """Report an evaluation: its table in the log, its figures as a record, its picture in the run's folder.

        Raises:
            TrainingError: The folder cannot be written. For the picture alone, this is only said.
        """
        logger.info("evaluation after step %d:\n%s", step, result.report)
        if self._is_writer and result.picture is not None:
            try:
                path = keep_picture(self._run_dir, step, result.picture)
            except ImageError as error:
                logger.warning("%s", error)
            else:
                self._loggers.log_picture(step, path)
        self.write({"kind": "eval", "step": step, **result.summary})

    def finish(self, is_complete: bool) -> None:
        """Note how the run has ended, and plot its curves. Without this, loggers count it as failed."""
        self._outcome = "done" if is_complete else "stopped"
        if self._is_writer:
            plot_runs([self._run_dir], self._run_dir / "curves.png")

    def close(self) -> None:
        """Close the files and the loggers."""
        self._loggers.close(self._outcome)
        package = logging.getLogger("ppdet_res2net")
        package.setLevel(self._level)
        for handler in (self._early, self._file):
            if handler is not None:
                package.removeHandler(handler)
                handler.close()
        if self._metrics is not None:
            with contextlib.suppress(OSError):  # the disk is full, which the last write has reported
                self._metrics.close()

    def _start_interval(self) -> None:
        self._started = time.perf_counter()
        self._sums: dict[str, float] = {}
        self._steps = self._images = 0
        self._data_s = 0.0


class _LogFile(logging.FileHandler):
    """A log file whose disk may be full. That is said once, where ``logging`` would print a traceback for each message."""

    _has_failed = False

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self._has_failed:
            self._has_failed = True
            reason = explain(error, "pass another -o save_dir=FOLDER")
            say(f"'{self.baseFilename}' misses messages: {reason}", sys.stderr)

    def close(self) -> None:
        with contextlib.suppress(OSError):  # what is left of a message that could not be written
            super().close()


def say_duration(seconds: float) -> str:
    """Return ``1:23:45``, or ``2 d 3 h`` for a day and more, which keeps the line short."""
    days, rest = divmod(round(seconds), 24 * 3600)
    return f"{days} d {rest // 3600} h" if days else str(datetime.timedelta(seconds=rest))


def _wrap(terms: list[str]) -> str:
    """Join terms to indented lines that are not too long, and break no term."""
    whole = ", ".join(term.replace(" ", "\N{NO-BREAK SPACE}") for term in terms)
    text = textwrap.fill(whole, _COLUMNS, initial_indent="    ", subsequent_indent="    ", break_long_words=False)
    return text.replace("\N{NO-BREAK SPACE}", " ")


def _open_lines(path: Path) -> TextIO:
    """Open a file of lines for appending. Complete the last line if a killed run has left half of it."""
    file = open(path, "a+b")
    try:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")
    except BaseException:
        file.close()
        raise
    return io.TextIOWrapper(file, encoding="utf-8")


def _unwritable(folder: Path, error: OSError) -> str:
    reason = explain(error, "pass another one with -o save_dir=FOLDER")
    return f"The run's folder '{folder}' cannot be written: {reason}"
