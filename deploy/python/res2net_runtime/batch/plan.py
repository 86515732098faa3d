"""The images of a batch in a file, divided into shards. The memory that it takes does not grow with the length of names."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from res2net_runtime.batch.sources import Entry
from res2net_runtime.errors import ImageError
from res2net_runtime.texts import printable

__all__ = ["BatchImage", "Plan", "find_difference", "write_plan"]

# Where ids come from, as the manifest says it.
IDS_GIVEN, IDS_IN_NAMES, IDS_ARE_POSITIONS = "of the source", "numbers in the names", "positions"
_MOST_DIGITS = 18


@dataclass(frozen=True)
class BatchImage:
    """An image of a shard.

    Attributes:
        name: Its path from the source's root, and its name in the results.
        image_id: Its id in the results.
    """

    name: str
    image_id: int


@dataclass(frozen=True)
class Plan:
    """All images of a batch, in shards of equal size; the last one may be smaller.

    Attributes:
        path: The file, with one image per line.
        count: Number of images.
        sha256: Of the file.
        ids: Where ids come from.
        shard_size: Images of a shard.
        offsets: Where each shard begins in the file, in bytes.
    """

    path: Path
    count: int
    sha256: str
    ids: str
    shard_size: int
    offsets: array[int]

    @property
    def shard_count(self) -> int:
        """Number of shards."""
        return len(self.offsets)

    def shard_images(self, index: int) -> int:
        """Return the number of images of a shard."""
        return min(self.shard_size, self.count - index * self.shard_size)

    def read_shard(self, index: int) -> list[BatchImage]:
        """Return the images of a shard."""
        with self.path.open("rb") as file:
            file.seek(self.offsets[index])
            lines = list(itertools.islice(file, self.shard_size))
        first = index * self.shard_size
        return [self._image(json.loads(line), first + number) for number, line in enumerate(lines)]

    def _image(self, row: dict[str, str | int], position: int) -> BatchImage:
        name = str(row["file_name"])
        if self.ids == IDS_GIVEN:
            return BatchImage(name, int(row["image_id"]))
        return BatchImage(name, int(_stem(name)) if self.ids == IDS_IN_NAMES else position)


def write_plan(entries: Iterable[Entry], path: Path, shard_size: int) -> Plan:
    """Write the images into a file. Ids are the source's, else the numbers in all names, as in COCO, else positions.

    Raises:
        ImageError: There is no image, or two have one name or one id.
    """
    digest = hashlib.sha256()
    offsets, hashes, ids = array("Q"), array("Q"), array("q")
    offset = count = given = 0
    are_numbers = True
    with path.open("wb") as file:
        for entry in entries:
            if count % shard_size == 0:
                offsets.append(offset)
            row: dict[str, str | int] = {"file_name": entry.name}
            if entry.image_id is not None:
                row["image_id"] = entry.image_id
                ids.append(entry.image_id)
                given += 1
            elif are_numbers and not given:
                are_numbers = _is_number(_stem(entry.name))
                ids.append(int(_stem(entry.name)) if are_numbers else 0)
            line = (json.dumps(row) + "\n").encode()
            file.write(line)
            digest.update(line)
            hashes.append(_hash(entry.name))
            offset += len(line)
            count += 1
    if not count:
        raise ImageError("There is no image to run on.")
    _refuse_repeated(path, hashes, "file_name", "image")
    if given == count:
        _refuse_repeated(path, ids, "image_id", "image id")
    elif given:
        raise ImageError(f"{given} of {count} images have an image_id. Give all of them one, or none.")
    has_numbers = not given and are_numbers and len(np.unique(np.frombuffer(ids, np.int64))) == count
    kind = IDS_GIVEN if given else IDS_IN_NAMES if has_numbers else IDS_ARE_POSITIONS
    return Plan(path, count, digest.hexdigest(), kind, shard_size, offsets)


def find_difference(old: Path, new: Path) -> str:
    """Return what differs between two files of :func:`write_plan`, as the end of a sentence."""
    with old.open("rb") as before, new.open("rb") as now:
        for number, (line, other) in enumerate(itertools.zip_longest(before, now), 1):
            if line == other:
                continue
            if line is None:
                return f"after its {number - 1} images, '{_name_of(other)}' is new"
            if other is None:
                return f"image {number}, '{_name_of(line)}', and those after it are missing"
            if _name_of(line) == _name_of(other):
                return f"image {number}, '{_name_of(line)}', has another id"
            return f"image {number} was '{_name_of(line)}', and is '{_name_of(other)}'"
    return "nothing"


def _refuse_repeated(path: Path, values: array[int], key: str, what: str) -> None:
    """Refuse images of which two have one value; the values are hashes of names, or ids."""
    numbers = np.frombuffer(values, np.uint64 if values.typecode == "Q" else np.int64)
    ordered = np.sort(numbers)
    repeated = set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())
    if not repeated:
        return
    seen: set[object] = set()
    for row, number in zip(_rows(path), values):
        value = row[key]
        if number in repeated and value in seen:  # two names may have one hash
            raise ImageError(
                f"The {what} '{printable(value)}' is there more than once, so results could not be told apart. Name every "
                "image once."
            )
        if number in repeated:
            seen.add(value)


def _rows(path: Path) -> Iterator[dict[str, str | int]]:
    with path.open("rb") as file:
        yield from map(json.loads, file)


def _name_of(line: bytes) -> str:
    return printable(json.loads(line)["file_name"])


def _hash(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def _stem(name: str) -> str:
    return os.path.splitext(os.path.basename(name))[0]


def _is_number(stem: str) -> bool:
    return stem.isascii() and stem.isdigit() and len(stem) <= _MOST_DIGITS
