"""What the system refuses a program, and what a person can do about it."""

from __future__ import annotations

import errno
import os

__all__ = ["explain", "find_remedy", "is_lasting"]

_FULL = "Free some space, or {elsewhere}."
_CLOSED = "Choose a folder that can be written: {elsewhere}."
_REMEDIES = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: "Raise the limit on the size of files (ulimit -f), or {elsewhere}.",
    errno.EROFS: _CLOSED,
    errno.EACCES: _CLOSED,
    errno.EPERM: _CLOSED,
    errno.EMFILE: "Close files, or raise the limit of open files (ulimit -n).",
    errno.ENFILE: "Close files: the whole system has too many open.",
    errno.ENOMEM: "Free memory, or use a smaller model.",
}
# What the next file meets, too.
_LASTING = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO}


def explain(error: OSError, elsewhere: str) -> str:
    """Return what the system says, and what to do: ``No space left on device. Free some space, or choose another folder.``

    Args:
        error: What the system has refused.
        elsewhere: How to choose another place, beginning with a verb: ``choose another folder``.
    """
    return f"{error.strerror or error}. {find_remedy(error, elsewhere) or elsewhere[:1].upper() + elsewhere[1:] + '.'}"


def find_remedy(error: BaseException, elsewhere: str) -> str | None:
    """Return what to do about a fault of the machine; None if the error is of another kind.

    Args:
        error: The error. Native code gives the system's words, not its numbers.
        elsewhere: As for :func:`explain`.
    """
    code: int | None = errno.ENOMEM if isinstance(error, MemoryError) else getattr(error, "errno", None)
    if code not in _REMEDIES:
        code = next((one for one in _REMEDIES if os.strerror(one) in str(error)), None)
    return None if code is None else _REMEDIES[code].format(elsewhere=elsewhere)


def is_lasting(error: BaseException | None) -> bool:
    """Return whether an error, or what has caused it, will meet the next file as well: a full disk, too many open files."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _LASTING:
            return True
        error = error.__cause__
    return False
