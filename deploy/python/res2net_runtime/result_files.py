"""Write detections image by image: as COCO results and as JSON lines.

A long run then neither fills the memory nor loses its results: what is on the disk is complete after every image, whatever ends
the process.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from res2net_runtime.errors import Res2NetError
from res2net_runtime.texts import printable, storable

__all__ = ["JsonLines", "ResultFiles", "read_json_lines"]

logger = logging.getLogger(__name__)

# The key that only this file has -> the file.
_FILES = {"bbox": "bbox", "segmentation": "mask"}


class ResultFiles:
    """``bbox.json``, and ``mask.json`` for a detector with masks: JSON lists of COCO results.

    The files are opened with the first image. They are complete JSON at any time.

    Args:
        directory: An existing folder for the files.
        has_masks: Whether to write ``mask.json``.
        suffix: What the names of the files have before ``.json``, for instance ``.1-of-4``.
    """

    def __init__(self, directory: Path, has_masks: bool, suffix: str = "") -> None:
        self._paths = {kind: directory / f"{_FILES[kind]}{suffix}.json" for kind in ("bbox", "segmentation")}
        if not has_masks:
            del self._paths["segmentation"]
        self._files: dict[str, _GrowingFile] = {}

    def __enter__(self) -> ResultFiles:
        return self

    def __exit__(self, *exception: object) -> None:
        for file in self._files.values():
            file.close()

    def add(self, entries: list[dict[str, Any]], **more: Any) -> None:
        """Append detections.

        Args:
            entries: What ``Detections.to_coco`` gives.
            **more: Further keys of each entry; they come first.

        Raises:
            Res2NetError: The files cannot be written.
        """
        if not self._files:
            self._files = {kind: _GrowingFile(path, "[", "]\n") for kind, path in self._paths.items()}
        more = {key: storable(value) if isinstance(value, str) else value for key, value in more.items()}
        for kind, file in self._files.items():
            lines = [
                json.dumps({**more, **{key: value for key, value in entry.items() if key == kind or key not in _FILES}})
                for entry in entries
            ]
            if lines:
                file.append(("" if file.is_empty else ",\n") + ",\n".join(lines))


class JsonLines:
    """A file with one JSON object per line, one line per image.

    Args:
        path: The file; its folder exists.
        keeps_old: Append to what the file holds, instead of replacing it. A last line that a killed process has not finished
            is removed.

    Raises:
        Res2NetError: The file cannot be written.
    """

    def __init__(self, path: Path, keeps_old: bool = False) -> None:
        self._file = _GrowingFile(path, keeps_old=keeps_old)

    def __enter__(self) -> JsonLines:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def add(self, record: dict[str, Any]) -> None:
        """Append one object.

        Raises:
            Res2NetError: The file cannot be written.
        """
        self._file.append(json.dumps(record) + "\n")


def read_json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a file that :class:`JsonLines` wrote; nothing if there is no such file.

    A last line without an end is left out: the process that wrote it was killed.

    Raises:
        Res2NetError: The file cannot be read, or holds something else.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise _not_ours(path, number) from error
            if not isinstance(record, dict) or not isinstance(record.get("file_name"), str):
                raise _not_ours(path, number)
            yield record


def _not_ours(path: Path, number: int) -> Res2NetError:
    return Res2NetError(
        f"Line {number} of '{printable(path)}' is not a result of this program. Move the file away, or choose another folder."
    )


class _GrowingFile:
    """A text file that is whole after every :meth:`append`: it always ends with the same closing text.

    Args:
        path: The file.
        opening: Its first characters.
        closing: Its last characters; what is appended goes before them.
        keeps_old: Append to the complete lines that the file has.
    """

    def __init__(self, path: Path, opening: str = "", closing: str = "", keeps_old: bool = False) -> None:
        self._path, self._closing = path, closing.encode()
        self.is_empty = True
        with self._saying_what_failed():
            # Without a buffer, a line is on its way to the disk when append returns.
            self._file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b", buffering=0)
            if not stat.S_ISREG(os.fstat(self._file.fileno()).st_mode):  # reading a pipe or a device may never end
                self._file.close()
                raise Res2NetError(f"The results '{printable(path)}' cannot be written: it is not a file. Remove it.")
            self._lock()
            self._end = _end_of_last_line(self._file.read()) if keeps_old else 0
            self._file.truncate(self._end)
            self._write(opening.encode())

    def append(self, text: str) -> None:
        """Insert a text before the closing one. If it fails, the file is as it was.

        Raises:
            Res2NetError: The file cannot be written.
        """
        with self._saying_what_failed():
            self._write(text.encode())
        self.is_empty = False

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _lock(self) -> None:
        """Refuse a file that another process is writing; the system frees the lock when a process ends, however it ends."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.close()
            raise Res2NetError(
                f"The results '{printable(self._path)}' are being written by another process. Wait for it, choose another "
                "folder, or give each process a share of the images with --shard."
            ) from error
        except OSError:  # some network disks have no locks
            logger.warning(
                "'%s' is on a disk without locks: do not let two processes write there", printable(self._path)
            )

    def _write(self, content: bytes) -> None:
        try:
            self._write_at_end(content + self._closing)
        except OSError:
            # The closing text goes where it was before, which takes no space that the file did not have.
            self._file.truncate(self._end)
            self._write_at_end(self._closing)
            raise
        self._end += len(content)

    def _write_at_end(self, content: bytes) -> None:
        self._file.seek(self._end)
        rest = memoryview(content)
        while rest:
            rest = rest[self._file.write(rest) or 0 :]  # a disk that is almost full takes a part

    def _saying_what_failed(self) -> _SayingWhatFailed:
        return _SayingWhatFailed(self._path)


class _SayingWhatFailed:
    """Turns an ``OSError`` into an error that names the file and what to do."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, OSError):
            raise Res2NetError(
                f"The results '{printable(self._path)}' cannot be written: {error.strerror or error}. What was written before "
                "is whole. Free some space, or choose another folder."
            ) from error


def _end_of_last_line(content: bytes) -> int:
    return content.rfind(b"\n") + 1
