"""Where the file of a url is kept: under the host and path of the url, in the cache and in mirrors alike."""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import platformdirs

from ppdet_res2net.errors import WeightsError
from res2net_runtime.hub import address_of_page
from res2net_runtime.texts import hide_password

__all__ = ["cache_folder", "cached_path", "find_checksum", "relative_path"]

_LONGEST_NAME_BYTES = 200
# As torch.hub does, publishers end the file's name with the first digits of its SHA-256.
_CHECKSUM_IN_NAME = re.compile(r"-([0-9a-f]{8,64})(\.\w+)+(\W.*)?$", re.IGNORECASE)


def cache_folder() -> Path:
    """Return the folder for downloads: ``$RES2NET_HOME``, or the platform's cache folder for this package."""
    home = os.environ.get("RES2NET_HOME")
    return Path(home).expanduser() if home else Path(platformdirs.user_cache_dir("ppdet_res2net"))


def cached_path(url: str) -> Path:
    """Return the path in the cache for the file of ``url``, whether or not it exists.

    Raises:
        WeightsError: ``url`` is not the http(s) address of a file.
    """
    return cache_folder() / relative_path(url)


def relative_path(url: str) -> PurePosixPath:
    """Return the path of the file of ``url`` below the cache or a mirror; it has no ``..``.

    Raises:
        WeightsError: ``url`` is not the http(s) address of a file.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port  # is checked when it is asked for
    except ValueError:
        parts = urlsplit("")
    steps = _steps_of(parts.path)
    if parts.scheme not in ("http", "https") or not parts.hostname or not steps:
        raise WeightsError(
            f"weights: {hide_password(url)!r} is not the address of a file; expected http(s)://host/path/file."
        )
    page = address_of_page(url)
    if page is not None:
        raise WeightsError(f"weights: {hide_password(url)!r} is a page, not a file. Pass {page} for what it shows.")
    names = [_name_in_cache(step) for step in (parts.netloc.rpartition("@")[2], *steps)]
    if parts.query:
        names[-1:] = [f"query-{_digest(parts.query)}", names[-1]]
    return PurePosixPath(*names)


def find_checksum(url: str) -> str:
    """Return the first digits of the SHA-256 that the name in a url has, in lower case; ``""`` if it has none."""
    found = _CHECKSUM_IN_NAME.search(_steps_of(urlsplit(url).path)[-1])
    return found[1].lower() if found else ""


def _steps_of(path: str) -> list[str]:
    """Return folders and file of a url's path. All spellings of one path have the same, as for most servers."""
    return [step for step in posixpath.normpath("/" + unquote(path)).split("/") if step]


def _name_in_cache(step: str) -> str:
    name = re.sub(r"[^\w.-]", "_", step)
    return name if len(name.encode()) <= _LONGEST_NAME_BYTES else f"{_digest(step)}-{name[-40:]}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:12]
