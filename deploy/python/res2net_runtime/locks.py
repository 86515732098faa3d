"""Keep two processes from writing the same results."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import platform
import time
from pathlib import Path

from res2net_runtime.errors import Res2NetError
from res2net_runtime.owners import is_running, this_machine
from res2net_runtime.texts import printable

__all__ = ["LockedError", "WriterLock"]

logger = logging.getLogger(__name__)

_RETRY_S = 0.05
_NOTE_BYTES = 500
# What network drives without locks say.
_WITHOUT_LOCKS = (errno.EBADF, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


class LockedError(Res2NetError):
    """Another process holds the lock. The message is a name for it, such as ``process 123``."""


class WriterLock:
    """A lock file that names the process that holds it; use it as a context manager.

    The system frees the lock when the process ends, however it ends. On a drive without locks, the name in the file decides.

    Args:
        path: The lock file, which exists while the lock is held; its folder exists.
        timeout_s: How long to wait for another process, which may be ending.
    """

    def __init__(self, path: Path, timeout_s: float = 0.2) -> None:
        self._path, self._timeout_s = path, timeout_s
        self._descriptor: int | None = None

    def __enter__(self) -> WriterLock:
        self.acquire()
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            LockedError: Another process holds it.
            OSError: The lock file cannot be written.
        """
        until_s = time.monotonic() + self._timeout_s
        while not self._try():
            if time.monotonic() >= until_s:
                raise LockedError(self._describe_holder())
            time.sleep(_RETRY_S)

    def release(self) -> None:
        """Free the lock, and remove its file."""
        if self._descriptor is not None:
            self._path.unlink(missing_ok=True)  # while it is ours
            os.close(self._descriptor)
            self._descriptor = None

    def _try(self) -> bool:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            if not self._has_locked(descriptor):
                os.close(descriptor)
                return False
            note = f"{os.getpid()} {this_machine()} {platform.node() or '?'}\n".encode("utf-8", "replace")
            os.ftruncate(descriptor, 0)
            try:
                os.write(descriptor, note)
            except OSError:
                self._path.unlink(missing_ok=True)
                raise
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        return True

    def _has_locked(self, descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in _WITHOUT_LOCKS:
                raise
            if self._is_anothers():
                return False
            logger.warning(
                "'%s' is on a disk without locks: do not let two processes write there", printable(self._path.parent)
            )
            return True
        try:
            return os.path.samestat(os.fstat(descriptor), os.stat(self._path))
        except FileNotFoundError:  # its holder has just removed it
            return False

    def _is_anothers(self) -> bool:
        """Return whether the file names a process that may still write. Those of other machines cannot be asked."""
        pid, machine, _ = self._read_note()
        return pid is not None and (machine != this_machine() or (pid != os.getpid() and is_running(pid)))

    def _describe_holder(self) -> str:
        pid, machine, host = self._read_note()
        if pid is None:
            return "a process that has left no name"
        if machine != this_machine():
            return f"process {pid} on host '{printable(host)}' (if it has ended, remove '{printable(self._path)}')"
        if not is_running(pid):  # flock belongs to its children, too
            return f"a process that process {pid}, which has ended, has started"
        return f"process {pid}"

    def _read_note(self) -> tuple[int | None, str, str]:
        try:
            with open(self._path, encoding="utf-8", errors="replace") as file:
                pid, machine, host = file.read(_NOTE_BYTES).split(maxsplit=2)
            return int(pid), machine, host.strip()
        except (OSError, ValueError):  # nothing is written yet, or it is gone again
            return None, "", ""
