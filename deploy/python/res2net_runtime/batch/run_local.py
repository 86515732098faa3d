"""Run shards in processes of this machine."""

from __future__ import annotations

import logging
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any

from res2net_runtime.batch.dispatch import Dispatcher
from res2net_runtime.batch.work import Progress, ShardResult, ShardTask, Worker, WorkSettings
from res2net_runtime.console import configure_logging
from res2net_runtime.errors import Res2NetError

__all__ = ["LOG_FORM", "run_local"]

logger = logging.getLogger(__name__)

LOG_FORM = "%(levelname)s: %(message)s"
_MOST_FAILED_STARTS = 3
_ENDING_S = 5.0


@dataclass(frozen=True)
class _Ready:
    """A worker has loaded the model."""


@dataclass(frozen=True)
class _Refusal:
    """A worker cannot go on, and no other one could."""

    message: str


@dataclass
class _Process:
    process: SpawnProcess
    connection: Connection[Any, Any]
    task: ShardTask | None = None
    is_ready: bool = False


def run_local(settings: WorkSettings, dispatcher: Dispatcher, count: int) -> None:
    """Run all shards. A process that dies is replaced, and its shard is run again.

    Args:
        settings: For the workers.
        dispatcher: Has the shards.
        count: Number of processes.

    Raises:
        Res2NetError: No process can load the model, or all images would fail.
    """
    context = multiprocessing.get_context("spawn")
    processes: list[_Process] = []
    failed_starts, has_started = 0, False
    try:
        while not dispatcher.is_done:
            while len(processes) < min(count, dispatcher.count_left):
                processes.append(_start(context, settings, logging.WARNING if has_started else logging.INFO))
                has_started = True
            _give_work(processes, dispatcher)
            ready = multiprocessing.connection.wait([one.connection for one in processes])
            for one in [one for one in processes if one.connection in ready]:
                try:
                    message = one.connection.recv()
                except (EOFError, OSError):  # the process is gone; a message that it had not sent whole is gone, too
                    processes.remove(one)
                    reason = _describe_end(one.process)
                    failed_starts = 0 if one.is_ready else failed_starts + 1
                    if one.task is not None:
                        dispatcher.lose(one.task, reason)
                        continue
                    if failed_starts == _MOST_FAILED_STARTS:
                        raise Res2NetError(
                            f"No process can load the model: {failed_starts} times, {reason}. If the memory is not enough for "
                            f"{count}, pass fewer --processes."
                        ) from None
                    logger.warning("%s; another one starts", reason)
                    continue
                _take(one, message, dispatcher)
    finally:
        _end_all(processes)


def _start(context: SpawnContext, settings: WorkSettings, level: int) -> _Process:
    ours, theirs = context.Pipe()
    process = context.Process(
        target=_run_worker, args=(settings, theirs, level), name="res2net-batch-worker", daemon=True
    )
    process.start()
    theirs.close()  # so that the end of the process ends the pipe
    return _Process(process, ours)


def _give_work(processes: list[_Process], dispatcher: Dispatcher) -> None:
    for one in processes:
        if one.is_ready and one.task is None and dispatcher.has_waiting:
            one.task = dispatcher.take()
            try:
                one.connection.send(one.task)
            except OSError:  # it has just died, which the next wait finds
                continue


def _take(one: _Process, message: object, dispatcher: Dispatcher) -> None:
    if isinstance(message, _Refusal):
        raise Res2NetError(message.message)
    if isinstance(message, _Ready):
        one.is_ready = True
    elif one.task is not None and isinstance(message, (Progress, ShardResult)):
        if dispatcher.receive(one.task, message):
            one.task = None


def _end_all(processes: list[_Process]) -> None:
    for one in processes:
        one.connection.close()  # ends those that wait for work
        if not one.is_ready or one.task is not None:
            one.process.kill()  # they have nothing to lose
    for one in processes:
        one.process.join(_ENDING_S)
        if one.process.exitcode is None:
            one.process.kill()
            one.process.join()


def _describe_end(process: SpawnProcess) -> str:
    process.join(_ENDING_S)
    code = process.exitcode
    if code is not None and code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        return f"worker {process.pid} was ended by {name}"
    return f"worker {process.pid} ended with exit code {code}"


def _run_worker(settings: WorkSettings, connection: Connection[Any, Any], level: int) -> None:
    """Be a worker, until the pipe is closed or the first process ends."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches all processes of a terminal; the first one ends the others
    threading.Thread(target=_end_with_parent, daemon=True).start()
    configure_logging(LOG_FORM, level=level)
    try:
        worker = Worker(settings)
        connection.send(_Ready())
        while True:
            task = connection.recv()
            for message in worker.run(task):
                connection.send(message)
    except (EOFError, BrokenPipeError):
        return
    except (Res2NetError, MemoryError) as error:
        connection.send(_Refusal(str(error) or "A worker has not enough memory. Pass fewer --processes."))


def _end_with_parent() -> None:
    """End this process at once if the first one is killed: nobody would take its results."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
