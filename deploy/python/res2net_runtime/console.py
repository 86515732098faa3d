"""How all command lines run: errors without tracebacks, exit codes, closed pipes, terminals that lack letters."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

from res2net_runtime._interrupts import is_interrupt, raise_on_interrupt
from res2net_runtime.errors import Res2NetError
from res2net_runtime.system_errors import explain
from res2net_runtime.texts import printable, printable_lines

__all__ = [
    "DEBUG_VARIABLE",
    "EXIT_INTERRUPTED",
    "PrintableFormatter",
    "configure_logging",
    "ending_on_signals",
    "is_found",
    "prepare_stdout",
    "python_command",
    "run_command",
    "say",
]

DEBUG_VARIABLE = "RES2NET_DEBUG"
EXIT_INTERRUPTED = 130  # what a shell reports for Ctrl-C


class PrintableFormatter(logging.Formatter):
    """Formats log records, tracebacks included, without characters of foreign texts that would change a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the lines of a record."""
        return printable_lines(super().format(record))


def configure_logging(form: str, datefmt: str | None = None, level: int | None = None) -> None:
    """Send log records to stderr, as ``logging.basicConfig`` does: logging that the caller has set up stays as it is.

    Args:
        form: What a line consists of, with ``%(message)s`` and other names of :mod:`logging`.
        datefmt: How the time is written.
        level: Lowest level that is shown; by default, warnings.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(PrintableFormatter(form, datefmt))
    logging.basicConfig(handlers=[handler], level=level)


def say(text: object, file: TextIO | None = None) -> None:
    """Print lines, of which parts may come from files: to standard output, or to ``file``.

    All commands print in this way, so that no name or message of a file changes a terminal.
    """
    print(printable_lines(text), file=file, flush=True)


def prepare_stdout() -> None:
    """Let standard output show letters that its encoding lacks as escapes, as standard error does, instead of failing."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def run_command(command: Callable[[], int], interrupted: str = "Interrupted.") -> int:
    """Run a command and return its exit code.

    An error that the user can fix is printed as one message on stderr, and the exit code is 1; ``RES2NET_DEBUG=1`` shows
    the traceback. Any other exception is a defect of this project and is not caught.

    Args:
        command: Returns the exit code.
        interrupted: What to say after Ctrl-C; the exit code is then 130.
    """
    prepare_stdout()
    raise_on_interrupt()
    try:
        code = command()
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # The program that reads the output (head, less) has closed it. Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Ended as error:
        say(f"Ended by {error.signal.name}.", sys.stderr)
        return 128 + error.signal
    except (Exception, KeyboardInterrupt) as error:
        if is_interrupt(error):
            say(interrupted, sys.stderr)
            return EXIT_INTERRUPTED
        message = _explain(error)
        if message is None or os.environ.get(DEBUG_VARIABLE) == "1":
            raise
        say(f"Error: {message}", sys.stderr)
        return 1


def _explain(error: BaseException) -> str | None:
    """Return what to tell the user, or None for a defect of this project."""
    if isinstance(error, Res2NetError):
        return str(error)
    if isinstance(error, MemoryError):  # Paddle raises it, too
        return _no_memory(error)
    if not isinstance(error, OSError):
        return None
    name = f"'{printable(os.fsdecode(error.filename))}': " if isinstance(error.filename, (str, bytes)) else ""
    return name + explain(error, "choose another folder") if error.strerror else str(error)


def _no_memory(error: MemoryError) -> str:
    first_line = str(error).strip().partition("\n")[0]
    detail = f" ({first_line.rstrip('.')})" if first_line else ""
    return (
        f"the memory is not enough{detail}. Use smaller images, a smaller batch or a smaller model, end other programs, or use "
        f"a machine with more memory. {DEBUG_VARIABLE}=1 shows what needed it."
    )


class Ended(SystemExit):
    """A signal has asked the command to end.

    Attributes:
        signal: Which one.
    """

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.signal = signal.Signals(number)


@contextlib.contextmanager
def ending_on_signals() -> Iterator[None]:
    """Within the block, SIGTERM and SIGHUP raise :class:`Ended`, so that files are closed as after an error.

    Otherwise a video that is being written would be lost: its index comes last. A signal that is ignored stays so: ``nohup``
    ignores SIGHUP.
    """

    def end(number: int, frame: object) -> None:
        raise Ended(number)

    previous = {}
    try:
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                previous[number] = signal.signal(number, end)
    except ValueError:  # outside the main thread, signals cannot be handled
        yield
        return
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def python_command() -> str:
    """Return the shortest command that starts this interpreter, quoted for a shell."""
    for name in ("python", Path(sys.executable).name):
        if is_found(name, sys.executable):
            return name
    return shlex.quote(sys.executable)


def is_found(name: str, program: str | os.PathLike[str]) -> bool:
    """Tell whether a shell that looks for a name finds this program, or another name of it in the same folder.

    All environments link to one interpreter, but each has other packages: a link in another folder is another program.
    """
    found = shutil.which(name)
    if found is None or os.path.dirname(os.path.abspath(found)) != os.path.dirname(os.path.abspath(program)):
        return False
    return os.path.realpath(found) == os.path.realpath(program)
