"""Write detections image by image: as COCO results and as JSON lines.

A long run then neither fills the memory nor loses its results: what is on the disk is complete after every image, whatever ends
the process between two writes.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from res2net_runtime.errors import Res2NetError
from res2net_runtime.files import replacing
from res2net_runtime.locks import LockedError, WriterLock
from res2net_runtime.system_errors import find_remedy
from res2net_runtime.texts import printable, storable

__all__ = ["JsonLines", "ResultFiles", "read_json_lines"]

# The key that only this file has -> the file.
_FILES = {"bbox": "bbox", "segmentation": "mask"}


class ResultFiles:
    """``bbox.json``, and ``mask.json`` for a detector with masks: JSON lists of COCO results.

    The files are opened with the first image, and replace earlier ones then. They are complete JSON after every image; only
    ``kill -9`` in the middle of a write can leave a part of what was being written, without the closing bracket.

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
        self._locks = contextlib.ExitStack()
        self._is_locked = False

    def __enter__(self) -> ResultFiles:
        return self

    def __exit__(self, *exception: object) -> None:
        for file in self._files.values():
            file.close()
        self._locks.close()

    def lock(self) -> None:
        """Keep other processes from writing the files, from now until the end. Otherwise, this happens with the first image.

        Raises:
            Res2NetError: Another process is writing them, or they cannot be written.
        """
        if not self._is_locked:
            for path in self._paths.values():
                self._locks.enter_context(_locked(path))
            self._is_locked = True

    def add(self, entries: Sequence[dict[str, Any]], **more: Any) -> None:
        """Append detections.

        Args:
            entries: What ``Detections.to_coco`` gives.
            **more: Further keys of each entry; they come first.

        Raises:
            Res2NetError: The files cannot be written.
        """
        self.lock()
        for kind, path in self._paths.items():
            if kind not in self._files:
                self._files[kind] = _GrowingFile(path, "[", "]\n")
        more = {key: storable(value) if isinstance(value, str) else value for key, value in more.items()}
        for kind, file in self._files.items():
            lines = [json.dumps({**more, **_part_of(kind, entry)}) for entry in entries]
            if lines:
                file.append(("" if file.is_empty else ",\n") + ",\n".join(lines))

    def replace(self, entries: Sequence[dict[str, Any]]) -> None:
        """Write all detections at once. After an error, the earlier files are as they were.

        Raises:
            Res2NetError: The files cannot be written.
        """
        self.lock()
        with contextlib.ExitStack() as stack:
            for kind, path in self._paths.items():
                stack.enter_context(_saying_what_failed(path))
                # All of them are complete before the first one is moved to its place.
                unfinished = stack.enter_context(replacing(path))
                with open(unfinished, "w", encoding="utf-8") as file:
                    file.write("[")
                    for number, entry in enumerate(entries):
                        file.write((",\n" if number else "") + json.dumps(_part_of(kind, entry)))
                    file.write("]\n")


def _part_of(kind: str, entry: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key == kind or key not in _FILES}


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
        with contextlib.ExitStack() as stack:
            stack.enter_context(_locked(path))
            self._file = _GrowingFile(path, keeps_old=keeps_old)
            self._lock = stack.pop_all()

    def __enter__(self) -> JsonLines:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()
        self._lock.close()

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
        self._end = 0
        self.is_empty = True
        if path.exists() and not path.is_file() and not path.is_dir():  # reading a pipe or a device may never end
            raise Res2NetError(f"The results '{printable(path)}' cannot be written: it is not a file. Remove it.")
        with _saying_what_failed(path):
            # Without a buffer, a line is on its way to the disk when append returns.
            if keeps_old and path.exists():
                self._file = open(path, "r+b", buffering=0)
                self._end = _end_of_last_line(self._file.read())
                self._file.truncate(self._end)
                return
            with replacing(path) as unfinished:  # a full disk leaves the earlier file
                self._file = open(unfinished, "w+b", buffering=0)
                try:
                    self._write(opening.encode())
                except BaseException:
                    self._file.close()
                    raise

    def append(self, text: str) -> None:
        """Insert a text before the closing one. If it fails, the file is as it was.

        Raises:
            Res2NetError: The file cannot be written.
        """
        with _saying_what_failed(self._path):
            self._write(text.encode())
        self.is_empty = False

    def close(self) -> None:
        """Close the file."""
        self._file.close()

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


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep other processes from writing a file."""
    lock = WriterLock(path.with_name(f".{path.name}.lock"))
    try:
        with _saying_what_failed(path):
            lock.acquire()
    except LockedError as error:
        raise Res2NetError(
            f"The results '{printable(path)}' are being written by another process: {error}. Wait for it, choose another "
            "folder, or give each process a share of the images with --shard."
        ) from error
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _saying_what_failed(path: Path) -> Iterator[None]:
    """Turn an ``OSError`` into an error that names the file and what to do."""
    try:
        yield
    except OSError as error:
        remedy = find_remedy(error, "choose another folder") or "Choose another folder."
        raise Res2NetError(
            f"The results '{printable(path)}' cannot be written: {error.strerror or error}. What was written before is whole. "
            f"{remedy}"
        ) from error


def _end_of_last_line(content: bytes) -> int:
    return content.rfind(b"\n") + 1
