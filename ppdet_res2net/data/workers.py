"""Processes that prepare batches ahead of time. If one hangs or dies, the main process notices.

``paddle.io.DataLoader`` is not used, for three reasons. It seeds each worker, so that random numbers depend on the number
of workers and cannot be repeated from the middle of an epoch. It visits every number of every polygon in Python, on both
sides. And its workers share a queue whose lock stays taken if the wrong worker is killed. Here each worker has a pipe of
its own, which needs no lock: its end closes if the worker is killed.
"""

from __future__ import annotations

import contextlib
import faulthandler
import multiprocessing
import os
import signal
import tempfile
import time
import traceback
import warnings
from collections import deque
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any

import cv2

from ppdet_res2net.data.transport import receive, send
from ppdet_res2net.errors import Res2NetError, TrainingError

__all__ = ["WorkerPool", "workers_are_supported"]

# Batches that each worker makes before they are needed.
PREFETCH_PER_WORKER = 2
STACK_SIGNAL: int = getattr(signal, "SIGUSR1", 0)  # Windows has none, and no workers either
STACK_WRITING_TIME_S = 0.5
SHUTDOWN_TIME_S = 2.0


def workers_are_supported() -> bool:
    """Return whether this platform can fork, which the workers need: they start as copies of this process."""
    return "fork" in multiprocessing.get_all_start_methods()


class WorkerTraceback(Exception):
    """The traceback of a worker as text, as the cause of the error that is raised again in the main process."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


class WorkerPool:
    """Worker processes. They get tasks in turn, and their results are read in the same order.

    Args:
        function: Function that the workers call with a task. They inherit the data that it reads when they start.
        num_workers: Number of processes, at least 1.
        time_limit_s: Longest time to wait for one result.

    Attributes:
        capacity: Number of tasks to submit ahead of the one that is collected next.
    """

    def __init__(self, function: Callable[[Any], Any], num_workers: int, time_limit_s: float) -> None:
        self.capacity = PREFETCH_PER_WORKER * num_workers
        self._time_limit_s = time_limit_s
        self._pending: deque[tuple[_Worker, Any]] = deque()
        self._workers: list[_Worker] = []
        self._submitted = 0
        for number in range(num_workers):
            inherited = [worker.connection for worker in self._workers]
            self._workers.append(_Worker(number, function, inherited))

    def submit(self, task: Any) -> None:
        """Give a task to the worker whose turn it is."""
        worker = self._workers[self._submitted % len(self._workers)]
        self._submitted += 1
        self._pending.append((worker, task))
        # collect reports a dead worker, because it knows which task that worker had.
        with contextlib.suppress(OSError):
            worker.connection.send(task)

    def collect(self) -> Any:
        """Return the result of the oldest task that is not collected yet.

        Raises:
            Res2NetError: The task has failed with this error.
            TrainingError: The worker has died, has exceeded the time limit, or has a defect.
        """
        worker, task = self._pending[0]
        if not wait([worker.connection, worker.process.sentinel], self._time_limit_s):
            raise TrainingError(
                f"loader worker {worker.number} (process {worker.process.pid}) has not delivered {task} "
                f"within {self._time_limit_s:g} s. It was here:\n{worker.read_stack()}\nIf the storage is "
                "only slow, allow more time with -o worker_time_limit_s=SECONDS; otherwise train with -o worker_num=0 to "
                "see where it hangs."
            )
        try:
            is_error, result = receive(worker.connection)
        except (EOFError, OSError) as error:
            raise self._describe_death(worker, task) from error
        self._pending.popleft()
        if is_error:
            error_class, message, worker_traceback = result
            raise error_class(message) from WorkerTraceback(worker_traceback)
        return result

    @property
    def is_idle(self) -> bool:
        """Whether all tasks are collected."""
        return not self._pending

    def close(self) -> None:
        """End the processes. Their unfinished tasks are lost."""
        self._pending.clear()
        for worker in self._workers:
            worker.connection.close()
            worker.process.terminate()
        for worker in self._workers:
            worker.process.join(SHUTDOWN_TIME_S)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.stack_file.close()
        self._workers.clear()

    def _describe_death(self, worker: _Worker, task: Any) -> TrainingError:
        worker.process.join(SHUTDOWN_TIME_S)
        code = worker.process.exitcode
        how = (
            f"was killed by {signal.Signals(-code).name}"
            if code is not None and code < 0
            else f"ended with code {code}"
        )
        return TrainingError(
            f"loader worker {worker.number} (process {worker.process.pid}) {how} while it had to deliver "
            f"{task}. SIGKILL usually means that memory ran out: use a smaller worker_num or batch_size."
        )


class _Worker:
    """One process with its pipe, and a file to which it writes its stack on request."""

    def __init__(self, number: int, function: Callable[[Any], Any], inherited: list[Connection]) -> None:
        context = multiprocessing.get_context("fork")
        self.number = number
        self.connection, child_connection = context.Pipe()
        self.stack_file = tempfile.TemporaryFile()
        self.process = context.Process(
            target=_serve,
            args=(function, child_connection, [*inherited, self.connection], self.stack_file),
            name=f"loader-worker-{number}",
            daemon=True,
        )
        with warnings.catch_warnings():
            # Newer Pythons warn if a process with threads is forked, because locks that its threads hold stay taken in
            # the copy. Paddle has threads, but the workers run only NumPy and OpenCV (without its threads), which take
            # none of these locks.
            warnings.filterwarnings("ignore", message=".*multi-threaded.*", category=DeprecationWarning)
            self.process.start()
        child_connection.close()

    def read_stack(self) -> str:
        assert self.process.pid is not None  # it was started
        os.kill(self.process.pid, STACK_SIGNAL)
        time.sleep(STACK_WRITING_TIME_S)
        self.stack_file.seek(0)
        return (
            self.stack_file.read().decode(errors="replace").rstrip()
            or "(it did not answer: it is stopped, or waiting for a disk)"
        )


def _serve(function, connection, inherited, stack_file) -> None:
    """Work until the other end of the pipe closes, which also happens if the main process is killed."""
    # The main process decides what an interrupt means. Its handlers must not run here.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "SIGHUP"):  # a terminal that is closed sends it to every process
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    faulthandler.register(STACK_SIGNAL, file=stack_file, all_threads=True)
    for other_end in inherited:
        other_end.close()
    # The threads of the main process do not exist in this copy, so OpenCV must not wait for its own.
    cv2.setNumThreads(0)
    while True:
        try:
            task = connection.recv()
        except (EOFError, OSError):
            return
        try:
            reply = (False, function(task))
        except Exception as error:  # sent to the main process, which raises it
            reply = (True, _describe_error(error))
        try:
            send(connection, reply)
        except OSError:
            return


def _describe_error(error: Exception) -> tuple[type[Res2NetError], str, str]:
    """Return an error as parts that can always be pickled: class, message and traceback."""
    stack = traceback.format_exc()
    if isinstance(error, Res2NetError):
        return type(error), str(error), stack
    return TrainingError, f"a loader worker failed: {type(error).__name__}: {error}", stack
