"""Several processes that answer at one socket: starts them, starts them again if they die, and ends them together."""

from __future__ import annotations

import logging
import multiprocessing
import multiprocessing.connection
import os
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.context import SpawnContext, SpawnProcess
from multiprocessing.synchronize import Event
from pathlib import Path
from types import FrameType

from res2net_runtime.console import run_command
from res2net_runtime.errors import Res2NetError
from res2net_runtime.serve.metrics import MULTIPROCESS_VARIABLE
from res2net_runtime.serve.settings import ServeSettings

__all__ = ["run_workers"]

logger = logging.getLogger(__name__)

_LOOKING_S = 0.2
_HEALTHY_S = 30.0
_LONGEST_PAUSE_S = 30.0
_ENDING_S = 10.0  # beyond the grace time


@dataclass
class _Worker:
    process: SpawnProcess
    is_ready: Event
    started_s: float


def run_workers(settings: ServeSettings, listening: socket.socket, count: int, tell_ready: Callable[[], None]) -> None:
    """Answer requests with several processes until SIGTERM or Ctrl-C.

    Args:
        settings: How the server behaves.
        listening: The socket that all processes share.
        count: Number of processes.
        tell_ready: Called when all of them have loaded the models.

    Raises:
        Res2NetError: No process could start.
    """
    shared = Path(tempfile.mkdtemp(prefix="res2net-serve-"))
    figures = shared / "metrics"
    figures.mkdir()
    before = os.environ.get(MULTIPROCESS_VARIABLE)
    os.environ[MULTIPROCESS_VARIABLE] = str(figures)
    try:
        _Supervisor(replace(settings, shared_dir=shared), listening, count, figures).run(tell_ready)
    finally:
        if before is None:
            del os.environ[MULTIPROCESS_VARIABLE]
        else:
            os.environ[MULTIPROCESS_VARIABLE] = before
        listening.close()
        shutil.rmtree(shared, ignore_errors=True)


class _Supervisor:
    def __init__(self, settings: ServeSettings, listening: socket.socket, count: int, figures: Path) -> None:
        self._settings, self._listening, self._count, self._figures = settings, listening, count, figures
        self._context: SpawnContext = multiprocessing.get_context("spawn")
        self._workers: list[_Worker] = []
        self._must_end = threading.Event()
        self._pause_s = 0.0

    def run(self, tell_ready: Callable[[], None]) -> None:
        def end(number: int, frame: FrameType | None) -> None:
            self._must_end.set()

        before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
        has_told = False
        try:
            for _ in range(self._count):
                self._workers.append(self._start())
            while not self._must_end.is_set():
                multiprocessing.connection.wait([one.process.sentinel for one in self._workers], _LOOKING_S)
                if not has_told and all(worker.is_ready.is_set() for worker in self._workers):
                    has_told = True
                    tell_ready()
                self._replace_dead(has_told)
        finally:
            self._end_all()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _start(self) -> _Worker:
        is_ready = self._context.Event()
        process = self._context.Process(
            target=_run_worker, args=(self._settings, self._listening, is_ready), name="res2net-serve-worker"
        )
        process.start()
        logger.info("worker %s starts", process.pid)
        return _Worker(process, is_ready, time.monotonic())

    def _replace_dead(self, has_told: bool) -> None:
        for index, worker in enumerate(self._workers):
            code = worker.process.exitcode
            if code is None or self._must_end.is_set():
                continue
            self._forget_figures(worker.process.pid)
            if not has_told and not worker.is_ready.is_set():
                raise Res2NetError(f"A worker could not start (exit code {code}); its message is above.")
            lived_s = time.monotonic() - worker.started_s
            self._pause_s = 0.0 if lived_s > _HEALTHY_S else min(_LONGEST_PAUSE_S, max(1.0, 2 * self._pause_s))
            logger.error(
                "worker %s ended (exit code %s); another one starts in %g s", worker.process.pid, code, self._pause_s
            )
            if not self._must_end.wait(self._pause_s):
                self._workers[index] = self._start()

    def _forget_figures(self, pid: int | None) -> None:
        """Drop what a dead process says about the present; what it has counted stays."""
        for file in self._figures.glob(f"gauge_live*_{pid}.db"):
            file.unlink(missing_ok=True)

    def _end_all(self) -> None:
        for worker in self._workers:
            if worker.process.exitcode is None:
                worker.process.terminate()
        until_s = time.monotonic() + self._settings.grace_s + _ENDING_S
        for worker in self._workers:
            worker.process.join(max(0.0, until_s - time.monotonic()))
            if worker.process.exitcode is None:
                logger.error("worker %s did not end in time and is killed", worker.process.pid)
                worker.process.kill()
                worker.process.join()


def _run_worker(settings: ServeSettings, listening: socket.socket, is_ready: Event) -> None:
    """Be a worker; the process ends with the exit code of a command."""
    from res2net_runtime.serve.server import configure_server_logging, run_server

    configure_server_logging()
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches all processes of a terminal; the first one tells the others
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def run() -> int:
        run_server(settings, listening, is_ready.set)
        return 0

    code = run_command(run)
    if code:
        raise SystemExit(code)


def _end_with_parent() -> None:
    """End this process as SIGTERM does if the first one is killed: nobody else would."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
