"""What a client is told when a request fails: a status of HTTP and a sentence, without paths of the server."""

from __future__ import annotations

import re
from collections.abc import Mapping

from res2net_runtime.errors import Res2NetError
from res2net_runtime.texts import printable_lines

__all__ = ["DeadlineError", "QueueFullError", "RequestError", "hide_paths"]

# A path in quotes, as messages of the runtime have it, and an absolute path as engines write it; up to the last part.
_QUOTED = re.compile(r"'[^'\n]*[/\\](?=[^'\n/\\]+')")
_ABSOLUTE = re.compile(r"(?<![\w.:/<])(?:/|[A-Za-z]:\\)(?:[^\s'\"/\\]+[/\\])+")


class RequestError(Res2NetError):
    """A request that is answered with an error.

    Args:
        status: HTTP's code.
        message: What went wrong and what to do.
        reason: A word for metrics and logs.
        headers: Headers of the answer.
    """

    def __init__(self, status: int, message: str, reason: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.headers = dict(headers or {})


class QueueFullError(RequestError):
    """There is no place for an image.

    Args:
        message: What is full.
        retry_after_s: When the client may try again.
    """

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(
            503, f"{message} Try again in {retry_after_s} s.", "queue_full", {"Retry-After": str(retry_after_s)}
        )


class DeadlineError(RequestError):
    """The time that the client allows has passed before the network could start."""

    def __init__(self, timeout_ms: float) -> None:
        super().__init__(
            504,
            f"The image waited for {timeout_ms:g} ms, which is all that timeout_ms allows, and the network has not started "
            "on it. Allow more time, or send fewer requests at once.",
            "deadline",
        )


def hide_paths(error: object) -> str:
    """Return a message of the runtime without the folders of the server that it may name; the names of files stay."""
    return _ABSOLUTE.sub("", _QUOTED.sub("'", printable_lines(error)))
