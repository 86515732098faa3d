"""Class names: one per line, or the ``names`` of a YOLO ``data.yaml`` or of Darknet's ``obj.data``."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from ppdet_res2net.data.name_lists import are_counted, blank_line, read_name_lines, split_numbers
from ppdet_res2net.datasets.convert.yolo_description import find_beside, read_description
from ppdet_res2net.errors import DatasetError
from res2net_runtime.texts import clip, storable

__all__ = ["ClassTable", "read_class_table", "read_names"]

_WHAT = "class names"
_NUMBER = re.compile("[0-9]{1,9}")
_HOLDS_NONE = "holds no class names: expected one per line, or 'names: [...]' in a YAML file."


class ClassTable(dict[int, str]):
    """Class names by number, as a YOLO dataset counts them.

    Attributes:
        keypoint_shape: The number of key points in a row, and of the numbers for each (2 or 3); None if the dataset's rows
            have no key points, or if it was not said.
        blank_line: The number of a blank line between names, from 1; None if there is none.
    """

    keypoint_shape: tuple[int, int] | None = None
    blank_line: int | None = None


def read_names(path: str | os.PathLike) -> list[str]:
    """Read class names in their order: one per line, or those of a YOLO dataset. Blank lines do not count.

    Raises:
        DatasetError: The file cannot be read, holds no names, or has a name twice.
    """
    return list(_read(Path(path)).values())


def read_class_table(path: str | os.PathLike) -> ClassTable:
    """Read the class names of a YOLO dataset by their numbers.

    The keys of a mapping count, so it may begin at 1 and have gaps. Lines count from 0, unless each begins with its number.

    Raises:
        DatasetError: As for :func:`read_names`. Also, a blank line between names: some tools count it, others do not.
    """
    table = _read(Path(path))
    if table.blank_line is not None:
        raise DatasetError(
            f"'{path}', line {table.blank_line} is blank. Some tools count blank lines and some do not, so the numbers of the "
            "classes below it are not certain. Remove the line, or write a data.yaml that gives each number its name."
        )
    return table


def _read(path: Path) -> ClassTable:
    content = read_description(path, _WHAT)
    if content is None:
        return _checked(_read_lines(path), path)
    names = content.get("names")
    if isinstance(names, str) and (listed := find_beside(names, path)):  # as in Darknet: the name of a list
        table = _read(listed)
    elif isinstance(names, list):
        table = _checked(ClassTable(enumerate(names)), path)
    elif isinstance(names, dict):
        wrong = next((key for key in names if not _NUMBER.fullmatch(key)), None)
        if wrong is not None:
            raise DatasetError(
                f"'{path}': '{wrong}' among the names is not the number of a class. Write them as '0: cat', or as a list."
            )
        table = _checked(_numbered(names.items(), path), path)
    else:
        raise DatasetError(f"'{path}' {_HOLDS_NONE}")
    _check_count(content, table, path)
    table.keypoint_shape = _read_keypoint_shape(content, path)
    return table


def _read_lines(path: Path) -> ClassTable:
    """Read a name per line, or ``0 name`` or ``1: name`` in every line.

    Raises:
        DatasetError: It looks like another kind of file, whose lines would become names.
    """
    lines = read_name_lines(path)
    filled = [line for line in lines if line]
    if are_counted(filled):
        return _numbered(split_numbers(filled) or [], path)
    table = ClassTable((number, line) for number, line in enumerate(lines) if line)
    table.blank_line = blank_line(lines)
    return table


def _numbered(pairs: Iterable[tuple[str, str]], path: Path) -> ClassTable:
    table = ClassTable()
    for key, name in sorted(pairs, key=lambda pair: int(pair[0])):
        if int(key) in table:
            raise DatasetError(f"'{path}' gives the class '{key}' two names. Remove one.")
        table[int(key)] = name
    return table


def _checked(table: ClassTable, path: Path) -> ClassTable:
    if not table:
        raise DatasetError(f"'{path}' {_HOLDS_NONE}")
    numbers: dict[str, int] = {}
    for number, name in table.items():
        name = name.strip() if isinstance(name, str) else name
        if not isinstance(name, str) or not name.strip() or storable(name) != name:
            raise DatasetError(f"'{path}': class {number} has no name, but '{clip(name)}'. Write its name as text.")
        if name in numbers:
            raise DatasetError(
                f"'{path}' names two classes '{name}': {numbers[name]} and {number}. Every class needs a name of its own."
            )
        numbers[name] = number
        table[number] = name
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
