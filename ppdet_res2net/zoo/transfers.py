"""Bring one file here: download it from a server, or copy it from a folder, within limits of size and time."""

from __future__ import annotations

import contextlib
import http.client
import re
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from tqdm import tqdm

from ppdet_res2net.errors import WeightsError
from ppdet_res2net.zoo.punctual import LateAnswer, PunctualAdapter
from res2net_runtime.downloads import check_size, most_bytes
from res2net_runtime.system_errors import explain
from res2net_runtime.texts import clip, hide_password, printable

__all__ = ["ask_size", "copy_file", "fetch_file"]

_ATTEMPTS = 3
_TIMEOUTS_S = (10, 60)  # to connect, and between two chunks
_HEADERS = {"Accept-Encoding": "identity"}  # so that the announced length is the file's
_CHUNK_BYTES = 1 << 20
_SLOWEST_BYTES_PER_S = 1024  # on average, after the first minute


def fetch_file(url: str, part: Path, *, resume: bool = False) -> tuple[str, bool]:
    """Download to ``part``; if the connection breaks, try again.

    Args:
        url: The file's address.
        part: Where it is written.
        resume: Keep what has arrived, and ask for the rest only: for files whose checksum is known, since the server may
            have another file by then.

    Returns:
        What was wrong, or ``""``; and whether the server cannot be reached at present.

    Raises:
        WeightsError: The file is too large or cannot be written, or the server cannot be trusted with it.
    """
    problem, may_pass = "", True
    for _ in range(_ATTEMPTS):
        # Not an exception: those of requests, which would be its context, hold the url with its password.
        problem, may_pass = _try_to_fetch(url, part, resume)
        if not problem or not may_pass:
            break
    return problem, may_pass


def copy_file(source: Path, part: Path) -> tuple[str, bool]:
    """Copy a file to ``part``. Returns and raises what :func:`fetch_file` does."""
    try:
        size_bytes = source.stat().st_size
        file = open(source, "rb")
    except OSError as error:
        return explain(error, "make it readable"), False
    with file:
        check_size(printable(source), size_bytes, most_bytes(WeightsError), WeightsError)
        tqdm.write(f"Copying {printable(source)} ({size_bytes / 2**20:.1f} MiB) to {part.parent}", file=sys.stderr)
        with _writing(part), _new_file(part) as copy:
            shutil.copyfileobj(file, copy, _CHUNK_BYTES)
    return "", False


def ask_size(url: str) -> int:
    """Return the bytes of the file of ``url``, as its server states them, without downloading it.

    Raises:
        WeightsError: The server does not say.
    """
    size_bytes: int | None = None
    try:
        with _Session() as session:
            response = session.head(url, timeout=_TIMEOUTS_S, headers=_HEADERS, allow_redirects=True)
            _check_status(response)
            size_bytes = _size_of(response)
        problem = "the server does not say"
    except _FAILURES as error:
        problem, _ = _explain_failure(error)
    if size_bytes is None:
        raise WeightsError(problem)
    return size_bytes


def _try_to_fetch(url: str, part: Path, resume: bool) -> tuple[str, bool]:
    """Return what was wrong, or ``""``, and whether another attempt may succeed."""
    try:
        _fetch_once(url, part, _bytes_here(part) if resume else 0)
    except WeightsError:
        raise
    except _FAILURES as error:
        return _explain_failure(error)
    return "", False


# Of requests and below it. Its own exceptions for addresses are ValueErrors.
_FAILURES = (ValueError, requests.RequestException, urllib3.exceptions.HTTPError, http.client.HTTPException, LateAnswer)


def _explain_failure(error: Exception) -> tuple[str, bool]:
    """Return what was wrong, and whether another attempt may succeed."""
    if isinstance(error, (WeightsError, LateAnswer)):
        return str(error), False
    if isinstance(error, requests.HTTPError):
        status = error.response.status_code
        return f"the server answered {status} {http.client.responses.get(status, '')}".rstrip(), status >= 500
    if isinstance(error, requests.TooManyRedirects):
        return f"the server redirects more than {requests.models.DEFAULT_REDIRECT_LIMIT} times", False
    if isinstance(error, ValueError):
        return "its address is not valid, or the server sends a redirect or a length that is not", False
    return _shortened(error), True


class _Session(requests.Session):
    def __init__(self) -> None:
        super().__init__()
        self.mount("https://", PunctualAdapter(_TIMEOUTS_S[1]))
        self.mount("http://", PunctualAdapter(_TIMEOUTS_S[1]))

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Refuse to be sent to other schemes; and from https to http, where anybody on the way could change the file."""
        target: str | None = super().get_redirect_target(resp)
        if target is not None:
            before, scheme = urlsplit(resp.url).scheme, urlsplit(urljoin(resp.url, target)).scheme
            if scheme != "https" and (scheme != "http" or before == "https"):
                raise WeightsError(
                    f"weights: {hide_password(resp.url)} redirects from {before} to {clip(scheme, 20)}. Nothing was "
                    "downloaded. Download the file in another way, and pass its path."
                )
        return target


def _bytes_here(part: Path) -> int:
    return 0 if part.is_symlink() or not part.is_file() else part.stat().st_size


def _fetch_once(url: str, part: Path, start: int) -> None:
    """Download a file, or what follows its first ``start`` bytes if the server sends parts."""
    headers = {**_HEADERS, "Range": f"bytes={start}-"} if start else _HEADERS
    with _Session() as session, session.get(url, stream=True, timeout=_TIMEOUTS_S, headers=headers) as response:
        place = response.headers.get("Content-Range", "")
        if start and response.status_code == 416:  # nothing follows
            if place != f"bytes */{start}":
                part.unlink()
                raise requests.ConnectionError("what arrived earlier is not the beginning of this file")
            return
        if not start or response.status_code != 206 or not place.startswith(f"bytes {start}-"):
            start = 0
            _check_status(response)
        if response.headers.get("Content-Encoding", "").strip().lower() not in ("", "identity"):
            raise WeightsError(
                f"weights: {hide_password(url)} is sent compressed, although it must not be. Download it yourself."
            )
        size_bytes = _size_of(response)
        most = most_bytes(WeightsError)
        check_size(hide_password(url), start + (size_bytes or 0), most, WeightsError)
        _announce(url, size_bytes, part.parent, start)
        received = 0
        total = None if size_bytes is None else start + size_bytes
        progress = tqdm(
            total=total, initial=start, desc=part.stem, file=sys.stderr, unit="B", unit_scale=True, unit_divisor=1024
        )
        with _writing(part):
            file = open(part, "ab") if start else _new_file(part)
        with file, progress as bar:
            for chunk in _chunks(url, response):
                received += len(chunk)
                check_size(hide_password(url), start + received, most, WeightsError)
                with _writing(part):
                    file.write(chunk)
                bar.update(len(chunk))
            with _writing(part):
                file.flush()
    if size_bytes is not None and received != size_bytes:
        raise requests.ConnectionError(f"only {start + received} of {total} bytes arrived")


def _check_status(response: requests.Response) -> None:
    if response.status_code != 200:  # others bring no file, or a part of one
        raise requests.HTTPError(response=response)


def _size_of(response: requests.Response) -> int | None:
    length = response.headers.get("Content-Length", "")
    return int(length) if re.fullmatch("[0-9]{1,19}", length) else None


def _new_file(part: Path) -> BinaryIO:
    part.unlink(missing_ok=True)  # what an earlier download left, or a link that leads somewhere else
    return open(part, "xb")


def _chunks(url: str, response: requests.Response) -> Iterator[bytes]:
    """Yield the body as it arrives. A server that sends a byte now and then would hold the command for days."""
    started, received = time.monotonic(), 0
    while chunk := response.raw.read1(_CHUNK_BYTES):
        yield chunk
        received += len(chunk)
        seconds = time.monotonic() - started
        if seconds > _TIMEOUTS_S[1] and received < _SLOWEST_BYTES_PER_S * seconds:
            raise WeightsError(
                f"weights: {hide_password(url)} has sent {received} bytes in {seconds:.0f} s, less than 1 KiB/s. Download "
                "the file in another way, and pass its path."
            )


@contextlib.contextmanager
def _writing(part: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise WeightsError(
            f"weights: cannot write {part}: {explain(error, 'set RES2NET_HOME to a folder on another disk')}"
        ) from error


def _announce(url: str, size_bytes: int | None, folder: Path, start: int = 0) -> None:
    size = f"{size_bytes / 2**20:.1f} MiB" if size_bytes is not None else "size unknown"
    size += f", after {start / 2**20:.1f} MiB that are here" if start else ""
    tqdm.write(f"Downloading {hide_password(url)} ({size}) to {folder}", file=sys.stderr)
    free_bytes = shutil.disk_usage(folder).free
    if size_bytes is not None and size_bytes > free_bytes:
        raise WeightsError(
            f"weights: {hide_password(url)} needs {size}, but {folder} has only {free_bytes / 2**20:.1f} MiB left. Make "
            "room, or set RES2NET_HOME to a folder on another disk."
        )


def _shortened(error: Exception) -> str:
    """Return the innermost reason: requests wraps it in several exceptions of its own."""
    reason = error
    while reason.args and isinstance(reason.args[-1], Exception):
        reason = reason.args[-1]
    reason = getattr(reason, "reason", None) or reason
    text = re.sub(r"\?\S+", "?...", str(reason).rpartition(": ")[2])  # a query may hold a token
    return clip(text.strip(), 200) or type(error).__name__
