"""What describes a dataset of YOLO: a ``data.yaml``, or Darknet's ``obj.data`` with ``names = data/obj.names``."""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath
from typing import Any

from ppdet_res2net.data.text_files import parse_plain_yaml, read_text
from ppdet_res2net.datasets.convert.files import MOST_PARTS
from ppdet_res2net.errors import DatasetError
from res2net_runtime.texts import clip

__all__ = ["SPLITS", "find_beside", "read_description", "read_split"]

# What --split calls them, and how files spell them
SPLITS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
_YAML_SUFFIXES = (".yaml", ".yml")
_DARKNET_LINE = re.compile(r"(\w+)[ \t]*=[ \t]*(\S.*)")
_DARKNET_KEYS = {"classes": "nc"}
_NOTHING = ("", "~", "null", "None")


def read_description(path: Path, what: str) -> dict | None:
    """Read a description; None if the file is none, but a list of names.

    Args:
        path: The file.
        what: What it is, for messages.

    Raises:
        DatasetError: It cannot be read, or is YAML of another form.
    """
    text = read_text(path, what, may_be_empty=True)
    if path.suffix.lower() in _YAML_SUFFIXES:
        content = parse_plain_yaml(text, f"{what} '{path}'")
        return content if isinstance(content, dict) else {}
    lines = [line.strip() for line in text.split("\n") if line.strip() and not line.lstrip().startswith("#")]
    pairs = [(match[1], match[2]) for line in lines if (match := _DARKNET_LINE.fullmatch(line))]
    if len(pairs) < len(lines) or "names" not in dict(pairs):
        return None
    return {_DARKNET_KEYS.get(key, key): value for key, value in pairs}


def find_beside(name: str, path: Path) -> Path | None:
    """Return a text file that a description names, if it is in or below its folder.

    Darknet's paths begin in the folder of the program, so ``data/obj.names`` may be ``obj.names`` beside the description.
    """
    root = path.parent.resolve()
    parts = PurePosixPath(name.replace("\\", "/")).parts[-MOST_PARTS:]
    for start in range(len(parts)):
        try:
            listed = path.parent.joinpath(*parts[start:]).resolve()
            if listed.is_file() and listed.suffix.lower() not in _YAML_SUFFIXES and root in listed.parents:
                return listed
        except (OSError, ValueError):  # too long for a file name, or with a NUL character
            return None
    return None


def read_split(path: Path, split: str | None) -> list[Path]:
    """Return the folders, images and lists of images of a split.

    Paths are taken as Ultralytics takes them, relative to ``path`` in the file, and also relative to the file's own folder: a
    dataset that was copied from elsewhere still says where it was.

    Args:
        path: The description.
        split: A key of :data:`SPLITS`; None for the only one that there is.

    Raises:
        DatasetError: There is no such split, or several and none was asked for, or its paths are not there or not certain.
    """
    content = read_description(path, "description of the dataset") or {}
    found = {name: entry for name in SPLITS if (entry := _entry_of(content, name))}
    if not found:
        raise DatasetError(f"'{path}' does not say where the images are. Pass their folder with --images.")
    if split is None and len(found) > 1:
        raise DatasetError(
            f"'{path}' has the images of {', '.join(found)}. Choose one with --split, or pass their folder with --images."
        )
    split = split or next(iter(found))
    if split not in found:
        raise DatasetError(f"'{path}' does not have the split '{split}', but {', '.join(found)}.")
    entries = found[split] if isinstance(found[split], list) else [found[split]]
    strange = next((entry for entry in entries if not isinstance(entry, str)), None)
    if strange is not None:
        raise DatasetError(
            f"'{path}': the images of '{split}' are '{clip(strange)}'; expected a path, or a list of paths."
        )
    return [_locate(entry, content.get("path"), path, split) for entry in entries]


def _entry_of(content: dict, split: str) -> Any:
    entries = (content.get(key) for key in SPLITS[split])
    return next((entry for entry in entries if entry and entry not in _NOTHING), None)


def _locate(entry: str, root: object, path: Path, split: str) -> Path:
    entry = entry.strip().replace("\\", "/")
    parent = path.parent
    bases = [parent]
    if isinstance(root, str) and root not in _NOTHING:
        bases = [parent / root, Path(root), parent]
    # Roboflow writes '../train/images' and means a folder beside the file; Ultralytics knows.
    # Darknet's paths begin in the folder of the program: 'data/train.txt' is often 'train.txt' beside the file.
    is_shifted = entry.startswith("../") or path.suffix.lower() not in _YAML_SUFFIXES
    spellings = [entry, entry.partition("/")[2]] if is_shifted and "/" in entry.rstrip("/") else [entry]
    tried = [base / spelling for base in bases for spelling in spellings]
    found = {os.path.realpath(one): one for one in reversed(tried) if _exists(one)}
    if len(found) > 1:
        shown = " or ".join(f"'{one}'" for one in reversed(found.values()))
        raise DatasetError(f"'{path}': '{entry}' of '{split}' may be {shown}. Pass the right one with --images.")
    if not found:
        raise DatasetError(
            f"'{path}': '{entry}' of '{split}' is not there (looked for '{tried[0]}'). Correct the path, or pass the folder of "
            "the images with --images."
        )
    return next(iter(found.values()))


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # too long for a file name, or with a NUL character
        return False
