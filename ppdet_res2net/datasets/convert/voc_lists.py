"""Lists of Pascal VOC's images: VOC's own ``ImageSets``, and PaddleDetection's with an image and an XML file per line."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ppdet_res2net.data.text_files import read_lines
from ppdet_res2net.datasets.convert.files import MOST_PARTS, find_files
from ppdet_res2net.errors import DatasetError
from res2net_runtime.files import IMAGE_SUFFIXES
from res2net_runtime.texts import clip

__all__ = ["VocItem", "list_items"]

_IMAGE = "|".join(map(re.escape, IMAGE_SUFFIXES))
_PAIR = re.compile(rf"(\S.*?(?:{_IMAGE})|\S+)\s+(\S.*\.xml)", re.IGNORECASE)
# Lists per class have a number behind each name: 1 the class is there, 0 only as difficult objects, -1 it is not.
_WITH_NUMBER = re.compile(r"(\S.*?)\s+(-1|0|1|\+1)")
_ABSENT = "-1"
_ENDINGS = (".xml", *IMAGE_SUFFIXES)


@dataclass(frozen=True)
class VocItem:
    """One annotation file.

    Attributes:
        path: The XML file.
        relative: Its path below the folder of the annotations.
        image: The image, if a list names it.
    """

    path: Path
    relative: Path
    image: str | None = None


def list_items(folder: Path, list_file: Path | None) -> list[VocItem]:
    """Return the XML files of a folder with its subfolders, or those that a list names, each once.

    Args:
        folder: The folder of the XML files.
        list_file: A text file with one image per line: its name with or without folder and ending, and maybe -1, 0 or 1
            behind it; or an image and its XML file. None: all files.

    Raises:
        DatasetError: The list cannot be read or names nothing, or files are missing.
    """
    if list_file is None:
        found = find_files(folder, ".xml")
        if not found:
            raise DatasetError(f"there are no XML files in '{folder}'. Pass the folder 'Annotations' of the dataset.")
        return [VocItem(path, path.relative_to(folder)) for path in found]
    items: dict[Path, VocItem] = {}
    missing = []
    for line in read_lines(list_file, "list"):
        if not (text := line.strip()):
            continue
        item = _read_pair(text, folder, list_file) or _read_name(text, folder)
        if item is not None and not os.path.isfile(item.path):
            missing.append(item.relative.as_posix())
        elif item is not None:
            items[item.path] = item
    if missing:
        raise DatasetError(
            f"'{list_file}' names {len(missing)} files that are not in '{folder}', first '{clip(missing[0], 200)}'. Each line "
            "is the name of an image, or an image and its XML file."
        )
    if not items:
        raise DatasetError(f"'{list_file}' names no files that are to be taken. Check that it is the right list.")
    return list(items.values())


def _read_pair(text: str, folder: Path, list_file: Path) -> VocItem | None:
    """Read PaddleDetection's ``./JPEGImages/001.jpg ./Annotations/001.xml``, whose paths begin in the dataset's folder."""
    match = _PAIR.fullmatch(text)
    if match is None:
        return None
    image, named = (part.strip("\"'").replace("\\", "/") for part in match.groups())
    root = folder.resolve()
    for path in (list_file.parent / named, folder / named):
        if os.path.isfile(path) and root in path.resolve().parents:
            return VocItem(path, path.resolve().relative_to(root), image)
    path = folder / PurePosixPath(named).name
    return VocItem(path, path.relative_to(folder), image)


def _read_name(text: str, folder: Path) -> VocItem | None:
    """Read a line of VOC's own lists; None for an image without the class of the list."""
    name = text
    match = _WITH_NUMBER.fullmatch(text)
    # A name may have a space in it: only a number for which there is no such file is one of VOC's.
    if match is not None and not os.path.isfile(_xml_of(text, folder)):
        name = match[1]
        if match[2] == _ABSENT:
            return None
    path = _xml_of(name, folder)
    return VocItem(path, path.relative_to(folder))


def _xml_of(name: str, folder: Path) -> Path:
    pure = PurePosixPath(name.replace("\\", "/"))
    # A dot in a name need not begin its ending: 'frame.0012'.
    stem = pure.stem if pure.suffix.lower() in _ENDINGS else pure.name
    below = [part for part in pure.parent.parts if part not in ("/", "..", ".")][-MOST_PARTS:]
    candidates = [folder.joinpath(*below[start:], f"{stem}.xml") for start in range(len(below) + 1)]
    # Not Path.is_file, which fails for names that are longer than a file's can be.
    return next((path for path in candidates if os.path.isfile(path)), candidates[-1])
