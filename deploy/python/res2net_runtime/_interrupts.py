"""Ctrl-C in the first second of a command, while modules are imported."""

from __future__ import annotations

import signal
import threading

__all__ = ["end_quietly_on_interrupt", "is_interrupt", "raise_on_interrupt"]


def end_quietly_on_interrupt() -> None:
    """Let Ctrl-C end the process as it ends most programs, without a traceback.

    A signal that is ignored stays so: shells ignore it for jobs in the background.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def raise_on_interrupt() -> None:
    """Undo :func:`end_quietly_on_interrupt`: Ctrl-C raises ``KeyboardInterrupt`` again."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)


def is_interrupt(error: BaseException | None) -> bool:
    """Tell whether Ctrl-C has caused an error. Compiled modules turn ``KeyboardInterrupt`` into ``ImportError``."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__
    return error is not None
