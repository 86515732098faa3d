"""Which images a batch has: those of a folder, a list, a COCO file, or a table in JSON lines or Parquet."""

from __future__ import annotations

import codecs
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from res2net_runtime.batch.parquet import iterate_rows, list_columns
from res2net_runtime.errors import ImageError
from res2net_runtime.files import IMAGE_SUFFIXES, find_images
from res2net_runtime.image_lists import check_listed, iterate_image_list
from res2net_runtime.texts import clip, hide_password, is_url, printable

__all__ = ["NAME_COLUMNS", "Entry", "Source", "locate", "open_source"]

# Columns of tables that hold paths, the first one that is there.
NAME_COLUMNS = ("file_name", "path", "image_path", "filepath", "filename", "image", "uri")
_ID_COLUMN = "image_id"
_MOST_BITS = 63
_LOOKED_AT = 100
_LONGEST_ROW = 2**20  # characters of a table's row
_PARQUET_SUFFIXES = (".parquet", ".pq")
_LINES_SUFFIXES = (".jsonl", ".ndjson")
_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16's, which it begins with
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


@dataclass(frozen=True)
class Entry:
    """An image as its source names it.

    Attributes:
        name: Its path, from the source's root.
        image_id: Its id, if the source has one.
    """

    name: str
    image_id: int | None = None


@dataclass(frozen=True)
class Source:
    """Where the images of a batch come from.

    Attributes:
        kind: What it is, for people.
        root: The folder that relative names begin from.
        entries: Goes through the images, always in the same order.
    """

    kind: str
    root: str
    entries: Callable[[], Iterator[Entry]]


def open_source(
    images: str, *, recursive: bool = False, list_root: str | None = None, column: str | None = None
) -> Source:
    """Find out what a source is, and check that its first images exist.

    Args:
        images: A folder; a text file with one path per line; a COCO file; a table in JSON lines or Parquet.
        recursive: Also look into the subfolders of a folder of images.
        list_root: The folder that relative names of a file begin from; by default, the folder of the file.
        column: The column of a table that holds paths; by default, the first of :data:`NAME_COLUMNS` that it has.

    Raises:
        ImageError: The source cannot be read, is of no known kind, or names images that do not exist.
    """
    if is_url(images):
        raise ImageError(
            f"'{hide_password(images)}' is a url. Download the images first, or mount the bucket as a folder."
        )
    source = _find_kind(images, recursive, list_root, column)
    if source.kind != "folder":
        _check_first(images, source)
    return source


def locate(root: str, name: str) -> str:
    """Return the path of an image from its source's root."""
    return os.path.join(root, name)


def _find_kind(images: str, recursive: bool, list_root: str | None, column: str | None) -> Source:
    path = Path(images)
    root = list_root if list_root is not None else os.fspath(path if path.is_dir() else path.parent)
    is_parquet = path.suffix.lower() in _PARQUET_SUFFIXES or (column is not None and path.is_dir())
    if is_parquet and path.exists():
        name_column = _choose_column(images, list_columns(images), column)
        return Source("Parquet table", root, lambda: _parquet_entries(images, name_column))
    if path.is_dir():
        if list_root is not None:
            raise ImageError(
                f"--list_root goes with lists, COCO files and tables, and '{printable(images)}' is a folder."
            )
        return Source("folder", root, lambda: _folder_entries(images, recursive))
    if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
        raise ImageError(f"'{printable(images)}' is an image. Pass its folder, or a list with one path per line.")
    if recursive:
        raise ImageError(f"--recursive goes with a folder, and '{printable(images)}' is not one. Check the path.")
    rows = _first_objects(images)
    if rows is None:
        if column is not None:
            raise ImageError(f"--column goes with tables, and '{printable(images)}' is a list of paths. Leave it out.")
        return Source("list", root, lambda: _list_entries(images, root))
    if isinstance(rows, Mapping):
        entries = list(_coco_entries(images))
        return Source("COCO file", root, lambda: iter(entries))
    name_column = _choose_column(images, rows, column)
    return Source("table in JSON lines", root, lambda: _lines_entries(images, name_column))


def _check_first(images: str, source: Source) -> None:
    """Refuse a source of which no image is there: its root is wrong, and every image would fail hours later."""
    first: list[str] = []
    for entry in source.entries():
        first.append(entry.name)
        if len(first) == _LOOKED_AT:
            break
    if not first:
        raise ImageError(f"The {source.kind} '{printable(images)}' names no image.")
    if not any(os.path.lexists(locate(source.root, name)) for name in first):
        those = f"Its first {len(first)} images are" if len(first) > 1 else "Its only image is"
        raise ImageError(
            f"The {source.kind} '{printable(images)}' names images that do not exist. {those} not below "
            f"'{printable(source.root)}', for instance '{printable(first[0])}'. --list_root names the folder that paths begin "
            "from."
        )


def _folder_entries(folder: str, recursive: bool) -> Iterator[Entry]:
    prefix = "" if Path(folder) == Path() else os.path.join(Path(folder), "")
    for path in find_images(folder, recursive):
        yield Entry(os.fspath(path).removeprefix(prefix))


def _list_entries(file: str, root: str) -> Iterator[Entry]:
    first = itertools.islice(iterate_image_list(file), _LOOKED_AT)
    check_listed([Path(root) / name for name in first], file, Path(root))
    yield from map(Entry, iterate_image_list(file))


def _coco_entries(file: str) -> Iterator[Entry]:
    content = _load_json(file)
    images = content.get("images") if isinstance(content, dict) else None
    if not isinstance(images, list):
        raise ImageError(
            f"'{printable(file)}' is JSON, but not COCO's: it has no list 'images'. Pass a COCO file, a list with one path per "
            "line, or a table in JSON lines."
        )
    for number, image in enumerate(images):
        if not isinstance(image, dict):
            raise ImageError(f"Image {number} of '{printable(file)}' is {clip(image)}, expected an object.")
        name = _take_name(image.get("file_name"), f"file_name of image {number}", file)
        yield Entry(name, _take_id(image.get("id"), f"id of image '{printable(name)}'", file))


def _lines_entries(file: str, column: str) -> Iterator[Entry]:
    yield from _row_entries(file, _read_lines(file), column)


def _parquet_entries(path: str, column: str) -> Iterator[Entry]:
    columns = [column] + [_ID_COLUMN] * (_ID_COLUMN in list_columns(path))
    yield from _row_entries(path, iterate_rows(path, columns), column)


def _row_entries(file: str, rows: Iterable[Mapping[str, Any]], column: str) -> Iterator[Entry]:
    for number, row in enumerate(rows, 1):
        name = _take_name(row.get(column), f"{column} of row {number}", file)
        image_id = row.get(_ID_COLUMN)
        yield Entry(name, None if image_id is None else _take_id(image_id, f"image_id of row {number}", file))


def _choose_column(file: str, columns: Iterable[str], wanted: str | None) -> str:
    names = [str(name) for name in columns]
    chosen = wanted if wanted is not None else next((name for name in NAME_COLUMNS if name in names), None)
    if chosen is None or chosen not in names:
        missing = f"no column '{printable(wanted)}'" if wanted is not None else "no column with paths"
        raise ImageError(
            f"'{printable(file)}' has {missing}. It has {clip(', '.join(names), 200)}. --column names the one with the paths "
            "of the images."
        )
    return chosen


def _take_name(value: object, what: str, file: str) -> str:
    if isinstance(value, str) and value.strip() and "\0" not in value:
        if is_url(value):
            raise ImageError(f"'{printable(file)}' names a url, '{hide_password(value)}'. Download the images first.")
        return value
    found = "an image itself" if isinstance(value, (bytes, Mapping)) else clip(value)
    raise ImageError(f"The {what} in '{printable(file)}' is {found}, expected the path of an image. Correct the file.")


def _take_id(value: object, what: str, file: str) -> int:
    number = value
    if isinstance(number, float) and number.is_integer():
        number = int(number)
    if isinstance(number, str) and number.strip().isascii() and number.strip().isdigit():
        number = int(number) if len(number) <= _MOST_BITS else number
    if type(number) is not int or number.bit_length() > _MOST_BITS:
        raise ImageError(
            f"The {what} in '{printable(file)}' is {clip(value)}, expected a whole number. Correct the file."
        )
    return number


def _first_objects(file: str) -> Mapping[str, Any] | list[str] | None:
    """Return what a file holds: nothing if it is a list of paths, an empty mapping for one object, else the keys of a line."""
    with _open_text(file) as stream:
        line = stream.readline(_LONGEST_ROW)
        while line.isspace():
            line = stream.readline(_LONGEST_ROW)
        if line.lstrip()[:1] not in ("{", "["):
            return None
        if len(line) == _LONGEST_ROW:  # one object, without line breaks
            return {}
        try:
            first = json.loads(line)
        except (ValueError, RecursionError):  # one object over several lines, or the name of a file with a bracket
            return {} if line.lstrip()[0] == "{" and line.strip() == "{" or _is_json(file) else None
        if not isinstance(first, dict):
            raise ImageError(
                f"'{printable(file)}' is a list in JSON. Write one path per line instead, or one object per line."
            )
        return {} if isinstance(first.get("images"), list) else list(first)


def _is_json(file: str) -> bool:
    return Path(file).suffix.lower() in (".json", *_LINES_SUFFIXES)


def _read_lines(file: str) -> Iterator[Mapping[str, Any]]:
    with _open_text(file) as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise ImageError(
                    f"Line {number} of '{printable(file)}' is not JSON: {error}. Correct the file."
                ) from error
            if not isinstance(row, dict):
                raise ImageError(f"Line {number} of '{printable(file)}' is {clip(row)}, expected an object.")
            yield row


def _load_json(file: str) -> object:
    try:
        with _open_text(file) as stream:
            return json.load(stream)
    except (ValueError, RecursionError) as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(f"'{printable(file)}' is not JSON: {error}. It may be cut off; write it again.") from error


def _open_text(file: str) -> IO[str]:
    """Open a text in UTF-8, or in another encoding that its byte order mark names."""
    try:
        with open(file, "rb") as stream:
            start = stream.read(4)
        encoding = next((name for mark, name in _BYTE_ORDER_MARKS.items() if start.startswith(mark)), "utf-8")
        return open(file, encoding=encoding, errors="surrogateescape" if encoding.startswith("utf-8") else "strict")
    except OSError as error:
        raise ImageError(f"Cannot read '{printable(file)}': {error.strerror or error}. Check the path.") from error
