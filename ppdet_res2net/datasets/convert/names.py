"""Class names: one per line, or the ``names`` of a YOLO ``data.yaml``."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ppdet_res2net.data.text_files import parse_plain_yaml, read_text
from ppdet_res2net.errors import DatasetError
from res2net_runtime.plain_yaml import clip
from res2net_runtime.texts import storable

__all__ = ["ClassTable", "read_class_table", "read_names"]

_WHAT = "class names"
_NUMBER = re.compile("[0-9]{1,9}")
_HOLDS_NONE = "holds no class names: expected one per line, or 'names: [...]' in a YAML file."


class ClassTable(dict[int, str]):
    """Class names by number, as a YOLO dataset counts them.

    Attributes:
        keypoint_shape: The number of key points in a row, and of the numbers for each (2 or 3); None if the dataset's rows
            have no key points, or if it was not said.
    """

    keypoint_shape: tuple[int, int] | None = None


def read_names(path: str | os.PathLike) -> list[str]:
    """Read class names in their order: one per line, or the ``names`` of a YOLO ``data.yaml``. Blank lines do not count.

    Raises:
        DatasetError: The file cannot be read, holds no names, or has a name twice.
    """
    table = _read_yaml(Path(path)) if _is_yaml(path) else _read_lines(Path(path))
    return list(table.values())


def read_class_table(path: str | os.PathLike) -> ClassTable:
    """Read the class names of a YOLO dataset by their numbers.

    The keys of a mapping count, so it may begin at 1 and have gaps. Lines count from 0.

    Raises:
        DatasetError: As for :func:`read_names`. Also, a blank line between names: some tools count it, others do not.
    """
    if _is_yaml(path):
        return _read_yaml(Path(path))
    table = _read_lines(Path(path))
    if list(table) != list(range(len(table))):
        blank = next(number for number in range(len(table) + 1) if number not in table)
        raise DatasetError(
            f"'{path}', line {blank + 1} is blank. Some tools count blank lines and some do not, so the numbers of the classes "
            "below it are not certain. Remove the line, or write a data.yaml that gives each number its name."
        )
    return table


def _is_yaml(path: str | os.PathLike) -> bool:
    return Path(path).suffix.lower() in (".yaml", ".yml")


def _read_lines(path: Path) -> ClassTable:
    lines = read_text(path, _WHAT, may_be_empty=True).split("\n")
    return _checked(ClassTable((number, line.strip()) for number, line in enumerate(lines) if line.strip()), path)


def _read_yaml(path: Path) -> ClassTable:
    content = parse_plain_yaml(read_text(path, _WHAT), f"{_WHAT} '{path}'")
    if not isinstance(content, dict):
        raise DatasetError(f"'{path}' {_HOLDS_NONE}")
    names = content.get("names")
    if isinstance(names, str) and _is_list_beside(names, path):  # as in Darknet: the name of a list
        table = read_class_table(path.parent / names)
    elif isinstance(names, list):
        table = _checked(ClassTable(enumerate(names)), path)
    elif isinstance(names, dict):
        wrong = next((key for key in names if not _NUMBER.fullmatch(key)), None)
        if wrong is not None:
            raise DatasetError(
                f"'{path}': '{wrong}' among the names is not the number of a class. Write them as '0: cat', or as a list."
            )
        by_number = sorted((int(key), name) for key, name in names.items())
        table = _checked(ClassTable(by_number), path)
        if len(table) < len(by_number):
            twice = next(key for key in names if str(int(key)) != key)
            raise DatasetError(
                f"'{path}' gives the class '{twice}' two names, with different spellings of its number. Remove one."
            )
    else:
        raise DatasetError(f"'{path}' {_HOLDS_NONE}")
    _check_count(content, table, path)
    table.keypoint_shape = _read_keypoint_shape(content, path)
    return table


def _is_list_beside(name: str, path: Path) -> bool:
    """Tell whether a name is that of a text file in or below the folder of a YAML file."""
    try:
        listed = (path.parent / name).resolve()
        return listed.is_file() and not _is_yaml(name) and path.parent.resolve() in listed.parents
    except (OSError, ValueError):  # too long for a file name, or with a NUL character
        return False


def _checked(table: ClassTable, path: Path) -> ClassTable:
    if not table:
        raise DatasetError(f"'{path}' {_HOLDS_NONE}")
    numbers: dict[str, int] = {}
    for number, name in table.items():
        if not isinstance(name, str) or not name.strip() or storable(name) != name:
            raise DatasetError(f"'{path}': class {number} has no name, but '{clip(name)}'. Write its name as text.")
        if name in numbers:
            raise DatasetError(
                f"'{path}' names two classes '{name}': {numbers[name]} and {number}. Every class needs a name of its own."
            )
        numbers[name] = number
    return table


def _check_count(content: dict, table: ClassTable, path: Path) -> None:
    """Refuse ``nc`` that is neither the count of the names nor, as where names have gaps, the number behind the last."""
    count = content.get("nc")
    if count is not None and str(count).strip() not in (str(len(table)), str(max(table) + 1)):
        raise DatasetError(f"'{path}' names {len(table)} classes, but says 'nc: {clip(count)}'. Correct one of them.")


def _read_keypoint_shape(content: dict, path: Path) -> tuple[int, int] | None:
    shape = content.get("kpt_shape")
    if shape is None:
        return None
    numbers = shape if isinstance(shape, list) else []
    if len(numbers) == 2 and all(str(one).isdecimal() for one in numbers) and numbers[1] in ("2", "3"):
        return int(numbers[0]), int(numbers[1])
    raise DatasetError(
        f"'{path}': kpt_shape is '{clip(shape)}'; expected the number of key points and 2 or 3, as in [17, 3]."
    )
