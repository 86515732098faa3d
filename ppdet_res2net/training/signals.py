"""Signals that end a run in an orderly way."""

from __future__ import annotations

import contextlib
import logging
import signal
from collections.abc import Callable, Iterator

__all__ = ["StopRequest", "stop_on_signals"]

logger = logging.getLogger(__name__)


class _Stopped(BaseException):
    """Leaves the function of :meth:`StopRequest.run`; like KeyboardInterrupt, nothing on the way may swallow it."""


class StopRequest:
    """Whether, and by which signal, the run was asked to stop.

    Attributes:
        signal: The first signal that came, or None.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._may_leave = False

    def __bool__(self) -> bool:
        return self.signal is not None

    def run(self, function: Callable[[], None]) -> bool:
        """Call ``function``, unless a stop was requested; leave it at once if one is. Return whether it was completed."""
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
        """Handle a signal: remember it; the second Ctrl-C means it and stops at once."""
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = self.signal or signal.Signals(number)
        logger.warning("%s: saving a checkpoint after this step; once more to stop at once", self.signal.name)
        if self._may_leave:
            raise _Stopped


@contextlib.contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Note SIGINT and SIGTERM instead of dying, so that the current step ends and a checkpoint is written."""
    request = StopRequest()
    try:
        previous = {number: signal.signal(number, request.note) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not in the main thread, where signals cannot be handled
        previous = {}
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
