"""Measures the memory of training steps in a process of its own.

Nothing of it stays in the training process: no weights, no random numbers, no peak of memory. If the system runs out of memory,
it ends that process and not the training.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import signal
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from ppdet_res2net.compat.ccache_warning import ignore_ccache_warning
from ppdet_res2net.errors import Res2NetError

if TYPE_CHECKING:
    from ppdet_res2net.config import Config
    from ppdet_res2net.training.parts import CreateTask
    from ppdet_res2net.training.probe_steps import Measured

__all__ = ["MemoryProbe"]

_END_TIME_S = 10.0


class MemoryProbe:
    """A process that measures one batch size after the other. Use it as a context.

    Memory that has been freed may still count for the next size, so ask for larger and larger ones.

    Args:
        config: The configuration.
        create_task: Builds the task; a class or function of a module, which the process imports.
        device: ``cpu`` or ``gpu:<index>``.
        amp: Use mixed precision even if the configuration does not ask for it.
    """

    def __init__(self, config: Config, create_task: CreateTask, device: str, amp: bool) -> None:
        context = multiprocessing.get_context("spawn")  # a forked process cannot use a GPU, and shares memory
        self._connection, remote = context.Pipe()
        self._process = context.Process(target=_serve, args=(remote,), daemon=True)
        self._process.start()
        self._connection.send((config, create_task, device, amp))
        remote.close()

    def __enter__(self) -> MemoryProbe:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        if self._process.is_alive():
            self._process.kill()  # it may be in the middle of a step, and has nothing to save
        self._process.join(_END_TIME_S)

    def measure(self, batch_size: int, time_limit_s: float) -> Measured | None:
        """Measure steps of a batch size; None if it takes more memory or time than there is. The process has ended then.

        Raises:
            Res2NetError: Training would stop with this error, too.
        """
        try:
            self._connection.send(batch_size)
            answer = self._connection.recv() if self._connection.poll(time_limit_s) else None
        except (EOFError, OSError):  # the system has ended the process
            return None
        if isinstance(answer, Res2NetError):
            raise answer
        return answer


def _serve(connection: Connection) -> None:
    """Measure what is asked for, until nobody asks any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the training process, which ends this one
    _be_ended_first()
    ignore_ccache_warning()
    logging.getLogger("ppdet_res2net").setLevel(logging.ERROR)  # the training process says the same
    answer: Measured | Res2NetError | None
    with contextlib.suppress(EOFError):
        config, create_task, device, amp = connection.recv()  # imports Paddle
        from ppdet_res2net.training.probe_steps import run_steps

        while True:
            batch_size = connection.recv()
            try:
                answer = run_steps(config, create_task, device, amp, batch_size)
            except Res2NetError as error:
                answer = error
            except (MemoryError, RuntimeError) as error:  # RuntimeError is what Paddle raises on GPUs
                if not isinstance(error, MemoryError) and "memory" not in str(error).lower():
                    raise
                answer = None
            connection.send(answer)


def _be_ended_first() -> None:
    """Let the system end this process before any other one, if it runs out of memory; only on Linux."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
