"""Signals that stop a run after saving a checkpoint."""

from __future__ import annotations

import contextlib
import logging
import signal
from collections.abc import Callable, Iterator

__all__ = ["StopRequest", "stop_on_signals"]

logger = logging.getLogger(__name__)


class _Stopped(BaseException):
    """Leaves the function of :meth:`StopRequest.run`. A BaseException, so that no ``except Exception`` swallows it."""


class StopRequest:
    """Whether the run was asked to stop, and by which signal.

    Attributes:
        signal: The first signal that arrived, or None.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._may_leave = False

    def __bool__(self) -> bool:
        return self.signal is not None

    def run(self, function: Callable[[], None]) -> bool:
        """Call ``function`` and return whether it was completed. A stop request prevents the call, or ends it at once."""
        try:
            try:
                self._may_leave = True
                if not self:
                    function()
                    return True
            finally:
                self._may_leave = False
        except _Stopped:
            pass
        return False

    def note(self, number: int, frame: object) -> None:
        """Handle a signal: remember the first one; a second Ctrl-C stops at once."""
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = self.signal or signal.Signals(number)
        logger.warning("%s: saving a checkpoint after this step; Ctrl-C now stops at once", self.signal.name)
        if self._may_leave:
            raise _Stopped


@contextlib.contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn SIGINT, SIGTERM and SIGHUP into a stop request, so that the current step ends and a checkpoint is written.

    A signal that is ignored stays so: ``nohup`` ignores SIGHUP.
    """
    request = StopRequest()
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    previous = {}
    try:
        for number in numbers:
            if signal.getsignal(number) is not signal.SIG_IGN:
                previous[number] = signal.signal(number, request.note)
    except ValueError:  # outside the main thread, signals cannot be handled
        pass
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
