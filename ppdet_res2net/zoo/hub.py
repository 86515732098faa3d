"""Download published weights, verify them, and keep them in a cache.

A file is kept in ``$RES2NET_HOME``, or in the platform's cache folder, under the host and path of its url. It appears there
only when it is complete, has the right checksum and can be read. Processes that need the same file wait for each other.
With ``RES2NET_OFFLINE=1`` nothing is downloaded, and only files in the cache are used.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import filelock
import platformdirs
import requests
from tqdm import tqdm

from ppdet_res2net.errors import WeightsError
from ppdet_res2net.files import file_sha256, replacing
from ppdet_res2net.zoo.formats import read_weights_file
from ppdet_res2net.zoo.model_spec import ModelSpec

__all__ = ["cache_folder", "cached_path", "download_model", "download_weights"]

_ATTEMPTS = 3
_TIMEOUTS_S = (10, 60)  # to connect, and between two chunks
_CHUNK_BYTES = 1 << 20
# As torch.hub does, publishers end the file's name with the first digits of its SHA-256.
_CHECKSUM_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.\w+$")


def cache_folder() -> Path:
    """Return the folder for downloads: ``$RES2NET_HOME``, or the platform's cache folder for this package."""
    home = os.environ.get("RES2NET_HOME")
    return Path(home).expanduser() if home else Path(platformdirs.user_cache_dir("ppdet_res2net"))


def cached_path(url: str) -> Path:
    """Return the path in the cache for the file of ``url``, whether or not it exists.

    Raises:
        WeightsError: ``url`` is not the http(s) address of a file.
    """
    parts = urlsplit(url)
    steps = [unquote(step) for step in parts.path.split("/") if step]
    if parts.scheme not in ("http", "https") or not parts.hostname or not steps:
        raise WeightsError(f"weights: {url!r} is not the address of a file; expected http(s)://host/path/file.")
    names = [re.sub(r"[^\w.-]", "_", step) for step in (parts.netloc.rpartition("@")[2], *steps)]
    if parts.query:
        names[-1:] = [f"query-{hashlib.sha256(parts.query.encode()).hexdigest()[:12]}", names[-1]]
    return cache_folder().joinpath(*("_" if name in (".", "..") else name for name in names))


def download_model(spec: ModelSpec) -> Path:
    """Return the local file of a published model. Its addresses are tried in turn.

    Raises:
        WeightsError: No weights were published, or no address delivers them.
    """
    if not spec.urls:
        raise WeightsError(f"weights: there are no published weights of {spec.name}. {spec.note}")
    for url in spec.urls:
        if cached_path(url).is_file():
            return cached_path(url)
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
    if target.is_file():
        return target
    if os.environ.get("RES2NET_OFFLINE", "0") not in ("", "0"):
        raise WeightsError(
            f"weights: {url} is not in the cache, and RES2NET_OFFLINE forbids downloads. Put the file at "
            f"{target}, or unset RES2NET_OFFLINE."
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WeightsError(
            f"weights: cannot create {target.parent}: {error.strerror}. Set RES2NET_HOME to a folder that "
            "you can write to."
        ) from error
    with filelock.FileLock(f"{target}.lock"):
        if not target.is_file():  # another process may have fetched it meanwhile
            with replacing(target, target.with_name(f"{target.name}.part")) as part:
                _fetch(url, part, target)
                _verify(url, part)
    return target


def _fetch(url: str, part: Path, target: Path) -> None:
    """Download to ``part``; if the connection breaks, start again."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return _fetch_once(url, part)
        except requests.RequestException as error:
            response = error.response  # "is None" below, because a response with an error status is false
            if attempt < _ATTEMPTS and (response is None or response.status_code >= 500):
                continue
            if response is None:
                problem = _shortened(error)
            else:
                problem = f"the server answered {response.status_code} {response.reason}"
            raise WeightsError(
                f"weights: cannot download {url}: {problem}. Download it in another way and put it at {target}, "
                "or pass its path."
            ) from error


def _fetch_once(url: str, part: Path) -> None:
    headers = {"Accept-Encoding": "identity"}  # so that the announced length is the file's
    with requests.get(url, stream=True, timeout=_TIMEOUTS_S, headers=headers) as response:
        response.raise_for_status()
        length = response.headers.get("Content-Length", "")
        size_bytes = int(length) if length.isdigit() else None
        _announce(url, size_bytes, part.parent)
        received = 0
        progress = tqdm(total=size_bytes, desc=part.stem, file=sys.stderr, unit="B", unit_scale=True, unit_divisor=1024)
        with open(part, "wb") as file, progress as bar:
            for chunk in response.iter_content(_CHUNK_BYTES):
                file.write(chunk)
                received += len(chunk)
                bar.update(len(chunk))
    if size_bytes is not None and received != size_bytes:
        raise requests.ConnectionError(f"only {received} of {size_bytes} bytes arrived")


def _announce(url: str, size_bytes: int | None, folder: Path) -> None:
    size = f"{size_bytes / 2**20:.1f} MiB" if size_bytes is not None else "size unknown"
    tqdm.write(f"Downloading {url} ({size}) to {folder}", file=sys.stderr)
    free_bytes = shutil.disk_usage(folder).free
    if size_bytes is not None and size_bytes > free_bytes:
        raise WeightsError(
            f"weights: {url} needs {size}, but {folder} has only {free_bytes / 2**20:.1f} MiB left. Make "
            "room, or set RES2NET_HOME to a folder on another disk."
        )


def _verify(url: str, part: Path) -> None:
    """Refuse a file that is not a complete weight file, or whose checksum is not the one in its name."""
    name = f"the file that {url} delivers"
    read_weights_file(part, name=name)
    expected = _CHECKSUM_IN_NAME.search(urlsplit(url).path)
    if expected:
        got = file_sha256(part)
        if not got.startswith(expected[1]):
            raise WeightsError(
                f"weights: {name} has the wrong checksum: SHA-256 {got[: len(expected[1])]}..., expected "
                f"{expected[1]}... (from its name). It was damaged or replaced during the download; try again, or use "
                "another source."
            )


def _shortened(error: Exception) -> str:
    """Return the innermost reason: requests wraps it in several exceptions of its own."""
    reason = error
    while reason.args and isinstance(reason.args[-1], Exception):
        reason = reason.args[-1]
    reason = getattr(reason, "reason", None) or reason
    return str(reason).rpartition(": ")[2] or type(error).__name__
