"""Keys that clients show."""

from __future__ import annotations

import hmac
import os
import stat
from collections.abc import Mapping, Sequence

from res2net_runtime.errors import Res2NetError
from res2net_runtime.texts import printable

__all__ = ["has_key", "load_keys"]

_LEAST_CHARACTERS = 16
_MOST_BYTES = 1_000_000


def load_keys(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Read a file with one key per line. Empty lines and those that begin with ``#`` are comments.

    Raises:
        Res2NetError: The file cannot be read, others can read or change it, or a line is no key.
    """
    name = printable(os.fspath(path))
    try:
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise Res2NetError(f"'{name}' is not a file. Pass a file with one key per line as --api_key_file.")
            if mode & (stat.S_IRWXO | stat.S_IWGRP):
                raise Res2NetError(
                    f"The key file '{name}' has the permissions {stat.S_IMODE(mode):o}, so other users can read or change it. "
                    f"Run: chmod 600 {name}"
                )
            data = file.read(_MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise Res2NetError(f"Cannot read the key file '{name}': {reason}. Check --api_key_file.") from error
    if len(data) > _MOST_BYTES:
        raise Res2NetError(f"The key file '{name}' has more than {_MOST_BYTES} bytes. Check --api_key_file.")
    lines = [line.strip() for line in data.decode("utf-8", "replace").splitlines()]
    keys = tuple(dict.fromkeys(line for line in lines if line and not line.startswith("#")))
    for key in keys:
        if len(key) < _LEAST_CHARACTERS or not key.isascii() or not key.isprintable() or " " in key:
            raise Res2NetError(
                f"The key file '{name}' has a key of {len(key)} characters, expected at least {_LEAST_CHARACTERS} of ASCII "
                "without spaces, one key per line. Make one with: openssl rand -hex 32"
            )
    if not keys:
        raise Res2NetError(
            f"The key file '{name}' holds no key. Write one key per line; openssl rand -hex 32 makes one."
        )
    return keys


def has_key(headers: Mapping[str, str], keys: Sequence[str]) -> bool:
    """Whether a request shows one of the keys, as ``Authorization: Bearer KEY`` or ``X-API-Key: KEY``.

    The time that it takes does not tell how much of a wrong key is right.
    """
    scheme, _, token = headers.get("authorization", "").partition(" ")
    shown = token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "").strip()
    data = shown.encode("utf-8", "replace")
    matches = [hmac.compare_digest(data, key.encode()) for key in keys]
    return any(matches)
