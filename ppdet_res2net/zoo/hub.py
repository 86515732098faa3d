"""Download published weights, verify them, and keep them in a cache.

A file is kept in ``$RES2NET_HOME``, or in the platform's cache folder, under the host and path of its url. It appears there
only when it is complete, has the right checksum and can be read. Processes that need the same file wait for each other.
With ``RES2NET_OFFLINE=1`` nothing is downloaded, and only files in the cache are used. A file in the cache is verified again
if its size or time has changed. ``RES2NET_MAX_DOWNLOAD_GIB`` (8 by default) is the largest file that is downloaded.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import posixpath
import re
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import filelock
import platformdirs
import requests
import urllib3
from tqdm import tqdm

from ppdet_res2net.errors import WeightsError
from ppdet_res2net.files import file_sha256, replacing
from ppdet_res2net.zoo.formats import read_weights_file
from ppdet_res2net.zoo.model_spec import ModelSpec
from res2net_runtime.system_errors import explain
from res2net_runtime.texts import clip, hide_password

__all__ = ["cache_folder", "cached_path", "download_model", "download_weights"]

_ATTEMPTS = 3
_TIMEOUTS_S = (10, 60)  # to connect, and between two chunks
_CHUNK_BYTES = 1 << 20
_SLOWEST_BYTES_PER_S = 1024  # on average, after the first minute
_LONGEST_NAME_BYTES = 200
# As torch.hub does, publishers end the file's name with the first digits of its SHA-256.
_CHECKSUM_IN_NAME = re.compile(r"-([0-9a-f]{8,64})(\.\w+)+(\W.*)?$", re.IGNORECASE)
_MAX_DOWNLOAD_GIB = 8.0


def cache_folder() -> Path:
    """Return the folder for downloads: ``$RES2NET_HOME``, or the platform's cache folder for this package."""
    home = os.environ.get("RES2NET_HOME")
    return Path(home).expanduser() if home else Path(platformdirs.user_cache_dir("ppdet_res2net"))


def cached_path(url: str) -> Path:
    """Return the path in the cache for the file of ``url``, whether or not it exists.

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
    names = [_name_in_cache(step) for step in (parts.netloc.rpartition("@")[2], *steps)]
    if parts.query:
        names[-1:] = [f"query-{_digest(parts.query)}", names[-1]]
    return cache_folder().joinpath(*names)


def _steps_of(path: str) -> list[str]:
    """Return folders and file of a url's path. All spellings of one path have the same, as for most servers."""
    return [step for step in posixpath.normpath("/" + unquote(path)).split("/") if step]


def _name_in_cache(step: str) -> str:
    name = re.sub(r"[^\w.-]", "_", step)
    return name if len(name.encode()) <= _LONGEST_NAME_BYTES else f"{_digest(step)}-{name[-40:]}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:12]


def download_model(spec: ModelSpec) -> Path:
    """Return the local file of a published model. Its addresses are tried in turn.

    Raises:
        WeightsError: No weights were published, or no address delivers them.
    """
    if not spec.urls:
        raise WeightsError(f"weights: there are no published weights of {spec.name}. {spec.note}")
    for url in spec.urls:
        if cached_path(url).is_file():
            return download_weights(url)
    errors = []
    for url in spec.urls:
        try:
            return download_weights(url)
        except WeightsError as error:
            errors.append(str(error))
    raise WeightsError("\n".join(errors))


def download_weights(url: str) -> Path:
    """Return the local file of ``url``. It is downloaded and verified unless it is in the cache.

    A download prints the size and a progress bar to stderr.

    Raises:
        WeightsError: The file cannot be downloaded, or is not a complete weight file. Nothing is left in the cache.
    """
    target = cached_path(url)
    shown = hide_password(url)
    if target.is_file():
        _verify_again(url, target)
        return target
    if os.environ.get("RES2NET_OFFLINE", "0") not in ("", "0"):
        raise WeightsError(
            f"weights: {shown} is not in the cache, and RES2NET_OFFLINE forbids downloads. Put the file at "
            f"{target}, or unset RES2NET_OFFLINE."
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WeightsError(
            f"weights: cannot create {target.parent}: "
            f"{explain(error, 'set RES2NET_HOME to a folder that you can write to')}"
        ) from error
    with _locked(target):
        if not target.is_file():  # another process may have fetched it meanwhile
            with replacing(target, target.with_name(f"{target.name}.part")) as part:
                _fetch(url, part, target)
                remedy = "It was damaged or replaced during the download; try again, or use another source."
                _verify(f"the file that {shown} delivers", url, part, remedy)
            _remember(target)
    return target


@contextlib.contextmanager
def _locked(target: Path) -> Iterator[None]:
    """Hold the lock of a file in the cache. A link in its place is removed: locking empties the file that it leads to."""
    path = target.with_name(f"{target.name}.lock")
    lock = filelock.FileLock(path)
    try:
        if path.is_symlink():
            path.unlink()
        lock.acquire()
    except OSError as error:
        raise WeightsError(
            f"weights: cannot lock {path}: {explain(error, 'remove what is there, or set RES2NET_HOME to another folder')}"
        ) from error
    try:
        yield
    finally:
        lock.release()


def _fetch(url: str, part: Path, target: Path) -> None:
    """Download to ``part``; if the connection breaks, start again."""
    problem, may_pass = "", True
    for _ in range(_ATTEMPTS):
        problem, may_pass = _try_to_fetch(url, part)
        if not problem:
            return
        if not may_pass:
            break
    # Raised here, so that no exception of requests is its context: they hold the url with its password.
    raise WeightsError(
        f"weights: cannot download {hide_password(url)}: {problem}. Download it in another way and put it at {target}, "
        "or pass its path."
    )


def _try_to_fetch(url: str, part: Path) -> tuple[str, bool]:
    """Return what was wrong, or ``""``, and whether another attempt may succeed."""
    try:
        _fetch_once(url, part)
    except WeightsError:
        raise
    except requests.HTTPError as error:
        status = error.response.status_code
        return f"the server answered {status} {http.client.responses.get(status, '')}".rstrip(), status >= 500
    except requests.TooManyRedirects:
        return f"the server redirects more than {requests.models.DEFAULT_REDIRECT_LIMIT} times", False
    except ValueError:  # as requests' own exceptions for addresses are
        return "its address is not valid, or the server sends a redirect or a length that is not", False
    except (requests.RequestException, urllib3.exceptions.HTTPError, http.client.HTTPException) as error:
        return _shortened(error), True
    return "", False


class _Session(requests.Session):
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


def _fetch_once(url: str, part: Path) -> None:
    headers = {"Accept-Encoding": "identity"}  # so that the announced length is the file's
    with _Session() as session, session.get(url, stream=True, timeout=_TIMEOUTS_S, headers=headers) as response:
        if response.status_code != 200:  # others bring no file, or a part of one
            raise requests.HTTPError(response=response)
        if response.headers.get("Content-Encoding", "").strip().lower() not in ("", "identity"):
            raise WeightsError(
                f"weights: {hide_password(url)} is sent compressed, although it must not be. Download it yourself."
            )
        length = response.headers.get("Content-Length", "")
        size_bytes = int(length) if re.fullmatch("[0-9]{1,19}", length) else None
        most = _most_bytes()
        _check_size(url, size_bytes or 0, most)
        _announce(url, size_bytes, part.parent)
        received = 0
        progress = tqdm(total=size_bytes, desc=part.stem, file=sys.stderr, unit="B", unit_scale=True, unit_divisor=1024)
        with _writing(part):
            part.unlink(missing_ok=True)  # what an earlier download left, or a link that leads somewhere else
            file = open(part, "xb")
        with file, progress as bar:
            for chunk in _chunks(url, response):
                received += len(chunk)
                _check_size(url, received, most)
                with _writing(part):
                    file.write(chunk)
                bar.update(len(chunk))
            with _writing(part):
                file.flush()
    if size_bytes is not None and received != size_bytes:
        raise requests.ConnectionError(f"only {received} of {size_bytes} bytes arrived")


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


def _most_bytes() -> int:
    text = os.environ.get("RES2NET_MAX_DOWNLOAD_GIB", "") or str(_MAX_DOWNLOAD_GIB)
    try:
        most = float(text) * 2**30
    except ValueError:
        most = 0.0
    if not 0 < most < 2**63:
        raise WeightsError(f"weights: RES2NET_MAX_DOWNLOAD_GIB is '{clip(text)}'; expected a number, such as 8.")
    return int(most)


def _check_size(url: str, size_bytes: int, most_bytes: int) -> None:
    if size_bytes > most_bytes:
        raise WeightsError(
            f"weights: {hide_password(url)} has more than {most_bytes / 2**30:.3g} GiB, the most that is downloaded. If it "
            "really is that large, set RES2NET_MAX_DOWNLOAD_GIB."
        )


def _announce(url: str, size_bytes: int | None, folder: Path) -> None:
    size = f"{size_bytes / 2**20:.1f} MiB" if size_bytes is not None else "size unknown"
    tqdm.write(f"Downloading {hide_password(url)} ({size}) to {folder}", file=sys.stderr)
    free_bytes = shutil.disk_usage(folder).free
    if size_bytes is not None and size_bytes > free_bytes:
        raise WeightsError(
            f"weights: {hide_password(url)} needs {size}, but {folder} has only {free_bytes / 2**20:.1f} MiB left. Make "
            "room, or set RES2NET_HOME to a folder on another disk."
        )


def _verify(name: str, url: str, path: Path, remedy: str) -> None:
    """Refuse a file that is not a complete weight file, or whose checksum is not the one in the name in its url."""
    read_weights_file(path, name=name)
    expected = _CHECKSUM_IN_NAME.search(_steps_of(urlsplit(url).path)[-1])
    if expected:
        got = file_sha256(path)
        if not got.startswith(expected[1].lower()):
            raise WeightsError(
                f"weights: {name} has the wrong checksum: SHA-256 {got[: len(expected[1])]}..., expected "
                f"{expected[1]}... (from its name). {remedy}"
            )


def _verify_again(url: str, target: Path) -> None:
    """Verify a file in the cache, unless it is as it was when it was verified last."""
    note = _note_of(target)
    if note.is_file() and note.read_bytes() == _stamp(target):
        return
    remedy = "It has changed since the download. Delete it; then it is downloaded again."
    _verify(f"{target}, the cached file of {hide_password(url)},", url, target, remedy)
    if os.access(target.parent, os.W_OK):  # a shared cache that cannot be written to is verified each time
        _remember(target)


def _remember(target: Path) -> None:
    with replacing(_note_of(target)) as note:  # never through a link
        note.write_bytes(_stamp(target))


def _note_of(target: Path) -> Path:
    return target.with_name(f"{target.name}.verified")


def _stamp(target: Path) -> bytes:
    status = target.stat()
    return f"{status.st_size} {status.st_mtime_ns}\n".encode()


def _shortened(error: Exception) -> str:
    """Return the innermost reason: requests wraps it in several exceptions of its own."""
    reason = error
    while reason.args and isinstance(reason.args[-1], Exception):
        reason = reason.args[-1]
    reason = getattr(reason, "reason", None) or reason
    text = re.sub(r"\?\S+", "?...", str(reason).rpartition(": ")[2])  # a query may hold a token
    return clip(text.strip(), 200) or type(error).__name__
