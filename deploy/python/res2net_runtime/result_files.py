"""Write detections image by image: as COCO results and as JSON lines.

A long run then neither fills the memory nor loses its results: what is on the disk is complete, whatever ends the process.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from res2net_runtime.errors import Res2NetError
from res2net_runtime.files import replacing, unfinished_name
from res2net_runtime.locks import LockedError, WriterLock
from res2net_runtime.results import Detections
from res2net_runtime.system_errors import find_remedy
from res2net_runtime.texts import printable, storable

__all__ = ["JsonLines", "ResultFiles", "detections_record", "read_json_lines"]

logger = logging.getLogger(__name__)

# What os.link says on file systems without hard links, such as FAT.
_WITHOUT_LINKS = (errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK, errno.EXDEV)

# The key that only this file has -> the file.
_FILES = {"bbox": "bbox", "segmentation": "mask"}


class ResultFiles:
    """``bbox.json``, and ``mask.json`` for a detector with masks: JSON lists of COCO results.

    The files are opened with the first image, and replace earlier ones then. They are complete JSON at any time.

    Args:
        directory: An existing folder for the files.
        has_masks: Whether to write ``mask.json``.
        suffix: What the names of the files have before ``.json``, for instance ``.1-of-4``.
    """

    def __init__(self, directory: Path, has_masks: bool, suffix: str = "") -> None:
        self._paths = {kind: directory / f"{_FILES[kind]}{suffix}.json" for kind in ("bbox", "segmentation")}
        if not has_masks:
            del self._paths["segmentation"]
        self._files: dict[str, _ListFile] = {}
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
                self._files[kind] = _ListFile(path)
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


def detections_record(detections: Detections, image_id: int, entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return an image's line for :class:`JsonLines`, without its file name.

    Args:
        detections: What was found.
        image_id: The image.
        entries: What ``detections.to_coco(image_id)`` gives, or nothing to leave the detections out.
    """
    height, width = detections.image_hw
    found = []
    for name, entry in zip(detections.class_names, entries):
        found.append({"category": name, **{key: value for key, value in entry.items() if key != "image_id"}})
    return {"image_id": image_id, "width": width, "height": height, "detections": found}


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
            _refuse_pipes(path)
            with _saying_what_failed(path):
                if keeps_old and path.exists():
                    self._file = _OpenFile(path, keeps_old=True)
                else:
                    with replacing(path) as unfinished:  # a full disk leaves the earlier file
                        self._file = _OpenFile(unfinished)
            self._lock = stack.pop_all()
        self._path = path

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
        line = (json.dumps(record) + "\n").encode()
        with _saying_what_failed(self._path):
            self._file.write(line)
        self._file.end += len(line)


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


class _ListFile:
    """A JSON list that grows, and is complete at any time, even if the process is killed in the middle of a write.

    Two files take turns: one is published, and the other gets what is new and is then published in its place. Both have hidden
    names until the end; the next process removes those that a killed one has left.

    Args:
        path: The file. An earlier one is replaced now.
    """

    def __init__(self, path: Path) -> None:
        _refuse_pipes(path)
        self._path = path
        self._files: list[_OpenFile] = []
        self._missing = b""  # what the published file has, and the other one lacks
        self.is_empty = True
        with _saying_what_failed(path):
            try:
                self._published, self._spare = self._create(), self._create()
                self._publish(self._published)
            except BaseException as error:
                self.close()
                if not isinstance(error, OSError) or error.errno not in _WITHOUT_LINKS:
                    raise
                logger.warning(
                    "'%s' is on a disk without hard links: kill -9 can leave the last image in it half written",
                    printable(path),
                )
                with replacing(path) as unfinished:
                    self._published = self._spare = _OpenFile(unfinished, b"[", b"]\n")
                self._files = [self._published]

    def append(self, text: str) -> None:
        """Insert a text before the closing bracket. If it fails, the file is as it was.

        Raises:
            Res2NetError: The file cannot be written.
        """
        content = text.encode()
        with _saying_what_failed(self._path):
            self._spare.write(self._missing + content)
            if self._spare is not self._published:
                self._publish(self._spare)
        self._spare.end += len(self._missing + content)
        if self._spare is not self._published:
            self._published, self._spare, self._missing = self._spare, self._published, content
        self.is_empty = False

    def close(self) -> None:
        """Close the files, and remove their hidden names."""
        for file in self._files:
            file.close()
            file.path.unlink(missing_ok=True)

    def _create(self) -> _OpenFile:
        self._files.append(_OpenFile(self._path.with_name(unfinished_name(self._path.stem)), b"[", b"]\n"))
        return self._files[-1]

    def _publish(self, file: _OpenFile) -> None:
        with replacing(self._path) as unfinished:  # a full disk leaves the earlier file
            os.link(file.path, unfinished)


class _OpenFile:
    """A file that ends with the same closing text after every :meth:`write`.

    Args:
        path: The file.
        opening: Its first characters.
        closing: Its last characters; what is written goes before them.
        keeps_old: Append to the complete lines that the file has.
    """

    def __init__(self, path: Path, opening: bytes = b"", closing: bytes = b"", keeps_old: bool = False) -> None:
        self.path, self._closing = path, closing
        self.end = 0
        # Without a buffer, a line is on its way to the disk when write returns.
        self._file = open(path, "r+b" if keeps_old else "x+b", buffering=0)
        try:
            if keeps_old:
                self.end = _end_of_last_line(self._file.read())
                self._file.truncate(self.end)
            self.write(opening)
        except BaseException:
            self._file.close()
            if not keeps_old:
                path.unlink()
            raise
        self.end += len(opening)

    def write(self, content: bytes) -> None:
        """Put a text and the closing one at ``end``, which the caller advances. If it fails, the file is as it was."""
        try:
            self._write_at_end(content + self._closing)
        except OSError:
            # The closing text goes where it was before, which takes no space that the file did not have.
            self._file.truncate(self.end)
            self._write_at_end(self._closing)
            raise

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write_at_end(self, content: bytes) -> None:
        self._file.seek(self.end)
        rest = memoryview(content)
        while rest:
            rest = rest[self._file.write(rest) or 0 :]  # a disk that is almost full takes a part
        self._file.truncate()


def _refuse_pipes(path: Path) -> None:
    if path.exists() and not path.is_file() and not path.is_dir():  # reading a pipe or a device may never end
        raise Res2NetError(f"The results '{printable(path)}' cannot be written: it is not a file. Remove it.")


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
