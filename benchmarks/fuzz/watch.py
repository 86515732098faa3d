"""Notices what an input makes Python do outside its folder: files, programs, code, unpickling and connections.

Python tells audit hooks of all of these before they happen. What libraries do in C is not noticed, so a folder with canaries
is compared, too.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.fuzz.harness import find_fault
from benchmarks.harness import ROOT

__all__ = ["CANARY", "MARK", "watched"]

CANARY = "canary"  # the folder beside the input that nothing may touch
MARK = "fuzz_canary"  # is in every text that must not run as code

_READS = ("open", "os.listdir", "os.scandir")
_WRITES = (
    "os.chmod", "os.chown", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "os.truncate",
    "os.utime", "shutil.copyfile", "shutil.move", "shutil.rmtree",
)  # fmt: skip
_NEVER = (
    "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.startfile", "os.system", "pickle.find_class",
    "pty.spawn", "socket.connect", "socket.getaddrinfo", "subprocess.Popen", "urllib.Request", "webbrowser.open",
)  # fmt: skip
_READABLE = tuple(
    os.path.realpath(path) for path in (sys.prefix, sys.base_prefix, str(ROOT), "/proc", "/sys", "/dev/null", "/usr")
)
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class _Watch(logging.Handler):
    """Collects what the hook and the log say while an input is tried."""

    def __init__(self) -> None:
        super().__init__()
        self.folder: str | None = None
        self.may_read = False
        self.found: list[str] = []
        self.messages: list[str] = []
        sys.addaudithook(self._hear)
        logging.getLogger().addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        if self.folder is not None:
            self.messages.append(record.getMessage())

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.folder is None:
            return
        if event in _READS:
            writes = event == "open" and bool(int(arguments[2] or 0) & _WRITING)
            self._judge(event, arguments[0], writes)
        elif event in ("os.remove", "os.rmdir"):  # shutil.rmtree names entries of folders that it has opened
            self._judge(event, _in_open_folder(*arguments), True)
        elif event in _WRITES:
            for path in arguments[: 2 if event in ("os.link", "os.rename", "shutil.move") else 1]:
                self._judge(event, path, True)
        elif event in _NEVER:
            self.found.append(f"{event} {arguments!r}"[:300])
        elif event == "compile" and MARK in str(arguments[0]):
            self.found.append(f"compiled {str(arguments[0])[:300]}")

    def _judge(self, event: str, path: Any, writes: bool) -> None:
        if not isinstance(path, (str, bytes, os.PathLike)):
            return
        assert self.folder is not None
        real = os.path.realpath(os.fsdecode(path).replace("\0", ""))
        inside = real == self.folder or real.startswith(self.folder + os.sep)
        if inside and os.sep + CANARY not in real[len(self.folder) :] or real == "/dev/null" or "__pycache__" in real:
            return
        if writes or not self.may_read and not real.startswith(_READABLE):
            self.found.append(f"{event} {'writes' if writes else 'reads'} {real}")


def _in_open_folder(path: Any, folder: int) -> Any:
    if folder < 0 or not isinstance(path, (str, bytes)):
        return path
    return os.path.join(os.readlink(f"/proc/self/fd/{folder}"), os.fsdecode(path))


_watch: _Watch | None = None


@contextlib.contextmanager
def watched(folder: Path, may_read: bool = False) -> Iterator[None]:
    """While an input is tried, refuse everything outside its folder, and all in its folder ``CANARY``.

    Messages of the log must be short and printable. Warnings from this project's code are errors, as in its tests.

    Args:
        folder: The folder.
        may_read: Whether files elsewhere may be read and listed.

    Raises:
        AssertionError: Something was noticed.
    """
    global _watch
    if _watch is None:
        _watch = _Watch()
    canary, before = folder / CANARY, _look(folder / CANARY)
    _watch.found, _watch.messages, _watch.may_read = [], [], may_read
    _watch.folder = os.path.realpath(folder)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.filterwarnings("error", module=r"ppdet_res2net|res2net_runtime")
            yield
    finally:
        _watch.folder = None
        assert not _watch.found, f"left its folder: {_watch.found[:3]}"
        assert _look(canary) == before, "changed the folder of the canaries"
        for message in _watch.messages:
            fault = find_fault(message)
            assert fault is None, f"the log has {fault}"


def _look(folder: Path) -> list[tuple[str, int, int]]:
    if not folder.is_dir():
        return []
    return [(entry.name, entry.stat().st_size, entry.stat().st_mtime_ns) for entry in sorted(folder.iterdir())]
