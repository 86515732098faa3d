"""Download published weights, verify them, and keep them in a cache.

A file is kept in ``$RES2NET_HOME``, or in the platform's cache folder, under the host and path of its url. It appears there
only when it is complete, has the right checksum and can be read. Processes that need the same file wait for each other.
``RES2NET_MIRROR`` names a folder or a server that is asked first; what it delivers is verified in the same way. With
``RES2NET_OFFLINE=1`` nothing is downloaded, and only files in the cache and in a mirror's folder are used. A file in the cache
is verified again if its size or time has changed. ``RES2NET_MAX_DOWNLOAD_GIB`` (8 by default) limits the size.
Archives of datasets (:func:`download_file`) come in the same way.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import filelock

from ppdet_res2net.commands import PROG
from ppdet_res2net.errors import WeightsError
from ppdet_res2net.files import file_sha256, replacing
from ppdet_res2net.zoo.addresses import cache_folder, cached_path, find_checksum
from ppdet_res2net.zoo.formats import read_weights_file
from ppdet_res2net.zoo.mirror import MIRROR_VARIABLE, mirrored_places
from ppdet_res2net.zoo.model_spec import ModelSpec
from ppdet_res2net.zoo.transfers import copy_file, fetch_file
from res2net_runtime.downloads import is_offline
from res2net_runtime.system_errors import explain
from res2net_runtime.texts import hide_password, printable

__all__ = ["cache_folder", "cached_path", "download_file", "download_model", "download_weights"]

logger = logging.getLogger(__name__)

# Refuses a wrong file. Its arguments: a name for messages, the file, and what to do.
Check = Callable[[str, Path, str], None]


class _NotDelivered(WeightsError):
    """A server does not deliver a file."""


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
    for url in spec.urls:
        path = _take_from_mirror(url, functools.partial(_verify, url))
        if path is not None:
            return path
    errors = []
    for url in spec.urls:
        try:
            return _download(url, functools.partial(_verify, url))
        except WeightsError as error:
            errors.append(str(error))
    raise WeightsError("\n".join([*errors, _other_ways(spec.name, cached_path(spec.urls[0]))]))


def download_weights(url: str) -> Path:
    """Return the local file of ``url``. It is taken from the mirror, or downloaded, unless it is in the cache.

    A download prints the size and a progress bar to stderr.

    Raises:
        WeightsError: The file cannot be downloaded, or is not a complete weight file. Nothing is left in the cache.
    """
    try:
        return download_file(url, functools.partial(_verify, url))
    except _NotDelivered as error:
        raise WeightsError(f"{error} {_other_ways(hide_password(url), cached_path(url))}") from None


def download_file(url: str, check: Check, *, resume: bool = False) -> Path:
    """Return the local file of ``url``, from the cache, the mirror or its server.

    Args:
        url: The file's address.
        check: Refuses a wrong file.
        resume: If the connection breaks, continue there, now or in another call. ``check`` must compare a checksum.

    Raises:
        WeightsError: The file cannot be downloaded.
    """
    target = cached_path(url)
    if target.is_file():
        _verify_again(url, target, check)
        return target
    return _take_from_mirror(url, check, resume) or _download(url, check, resume)


def _take_from_mirror(url: str, check: Check, resume: bool = False) -> Path | None:
    """Return the local file of ``url`` if the mirror has it. If the mirror has a wrong one, that is an error."""
    places = mirrored_places(url)
    problems = []
    for place in places:
        if isinstance(place, str) and is_offline():
            continue
        shown = hide_password(place) if isinstance(place, str) else printable(place)
        with _filling(cached_path(url), resume) as (target, part):
            if part is not None:
                filled = fetch_file(place, part, resume=resume) if isinstance(place, str) else copy_file(place, part)
                problem, is_unreachable = filled
                if problem:
                    problems.append(f"{shown}: {problem}")
                    if is_unreachable:
                        break
                    continue
                remedy = f"Put a sound one there, or unset {MIRROR_VARIABLE}."
                _keep(part, target, check, f"{shown}, the mirror's file of {hide_password(url)},", remedy)
        return target
    if problems:
        logger.warning("the mirror does not deliver %s (%s)", hide_password(url), "; ".join(problems))
    return None


def _download(url: str, check: Check, resume: bool = False) -> Path:
    """Return the local file of ``url``, downloaded from there."""
    shown = hide_password(url)
    if is_offline():
        raise _NotDelivered(
            f"weights: {shown} is not in the cache, and RES2NET_OFFLINE forbids downloads. Unset RES2NET_OFFLINE to allow them."
        )
    with _filling(cached_path(url), resume) as (target, part):
        if part is not None:
            problem, _ = fetch_file(url, part, resume=resume)
            if problem:
                raise _NotDelivered(f"weights: cannot download {shown}: {problem}.")
            remedy = "It was damaged or replaced during the download; try again, or use another source."
            _keep(part, target, check, f"the file that {shown} delivers", remedy)
    return target


def _keep(part: Path, target: Path, check: Check, name: str, remedy: str) -> None:
    """Move a file that has arrived to its place, if it is right; else delete it."""
    try:
        check(name, part, remedy)
    except Exception:
        part.unlink()
        raise
    os.replace(part, target)
    _remember(target)


def _other_ways(source: str, target: Path) -> str:
    """Return what to do without internet.

    Args:
        source: The zoo name or url.
        target: Where the file belongs in the cache.
    """
    return (
        f"Without internet, there are three ways: run '{PROG} fetch {source} --to DIR' on another machine, bring DIR "
        f"here and set {MIRROR_VARIABLE}=DIR; set {MIRROR_VARIABLE} to the address of a server that has the file; or use a "
        f"file that you have: pass its path in the place of the name, or put it at {target}."
    )


@contextlib.contextmanager
def _filling(target: Path, resume: bool) -> Iterator[tuple[Path, Path | None]]:
    """Yield a file of the cache, with the path under which to write it first; None if it is there by now.

    Other processes wait meanwhile. What is left under that path is removed, unless a later call may ``resume`` with it.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WeightsError(
            f"weights: cannot create {target.parent}: "
            f"{explain(error, 'set RES2NET_HOME to a folder that you can write to')}"
        ) from error
    with _locked(target):
        if target.is_file():  # another process may have fetched it meanwhile
            yield target, None
            return
        part = target.with_name(f"{target.name}.part")
        try:
            yield target, part
        finally:
            if part.is_symlink() or (part.is_file() and not resume):
                part.unlink()


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


def _verify(url: str, name: str, path: Path, remedy: str) -> None:
    """Refuse a file that is not a complete weight file, or whose checksum is not the one in the name in its url."""
    read_weights_file(path, name=name)
    expected = find_checksum(url)
    if expected:
        got = file_sha256(path)
        if not got.startswith(expected):
            raise WeightsError(
                f"weights: {name} has the wrong checksum: SHA-256 {got[: len(expected)]}..., expected {expected}... (from its "
                f"name). {remedy}"
            )


def _verify_again(url: str, target: Path, check: Check) -> None:
    """Verify a file in the cache, unless it is as it was when it was verified last."""
    note = _note_of(target)
    if note.is_file() and note.read_bytes() == _stamp(target):
        return
    remedy = "It has changed since the download. Delete it; then it is downloaded again."
    check(f"{target}, the cached file of {hide_password(url)},", target, remedy)
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
