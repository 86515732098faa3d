"""What the user allows downloads: none at all, or files up to a size."""

from __future__ import annotations

import os

from res2net_runtime.errors import Res2NetError
from res2net_runtime.texts import clip

__all__ = ["check_size", "is_offline", "most_bytes"]

_MOST_GIB = 8.0


def is_offline() -> bool:
    """Whether ``RES2NET_OFFLINE`` forbids downloads."""
    return os.environ.get("RES2NET_OFFLINE", "0") not in ("", "0")


def most_bytes(error_class: type[Res2NetError]) -> int:
    """Return the most bytes that are downloaded at once: ``RES2NET_MAX_DOWNLOAD_GIB``, or 8 GiB.

    Raises:
        Res2NetError: It is not a number. The error is of class ``error_class``.
    """
    text = os.environ.get("RES2NET_MAX_DOWNLOAD_GIB", "") or str(_MOST_GIB)
    try:
        most = float(text) * 2**30
    except ValueError:
        most = 0.0
    if not 0 < most < 2**63:
        raise error_class(f"weights: RES2NET_MAX_DOWNLOAD_GIB is '{clip(text)}'; expected a number, such as 8.")
    return int(most)


def check_size(shown: str, size_bytes: int, most: int, error_class: type[Res2NetError]) -> None:
    """Refuse what is larger than allowed.

    Args:
        shown: What is downloaded, for the message.
        size_bytes: Its size.
        most: What :func:`most_bytes` returned.
        error_class: The class of the error.

    Raises:
        Res2NetError: It is too large. The error is of class ``error_class``.
    """
    if size_bytes > most:
        raise error_class(
            f"weights: {shown} has more than {most / 2**30:.3g} GiB, the most that is downloaded. If it really is that large, "
            "set RES2NET_MAX_DOWNLOAD_GIB."
        )
