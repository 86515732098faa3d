"""Lists of class names as people write them: a name per line, maybe behind its number."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from ppdet_res2net.data.text_files import read_text
from ppdet_res2net.errors import DatasetError
from res2net_runtime.texts import clip

__all__ = ["are_counted", "blank_line", "read_name_lines", "split_numbers"]

# How other files begin: JSON or a dict of Python, XML, YAML, TensorFlow's label map
_OTHER_FILE = re.compile(r"[\[{]|<[?!]|- |names\s*[:=]|item\s*\{")
_NUMBERED = re.compile(r"([0-9]{1,9})(\s*[:=])?\s+(\S.*)")


def read_name_lines(path: str | os.PathLike[str]) -> list[str]:
    """Read a list of names as its lines, stripped; there are no blank ones at the end.

    Raises:
        DatasetError: The file cannot be read, or looks like another kind of file, whose lines would become names.
    """
    lines = [line.strip() for line in read_text(path, "class names", may_be_empty=True).rstrip().split("\n")]
    filled = [line for line in lines if line]
    if filled and (_OTHER_FILE.match(filled[0]) or (len(filled) == 1 and "," in filled[0])):
        raise DatasetError(
            f"'{path}' is not a list with one class name per line; it begins with '{clip(filled[0])}'. Write one name per line."
        )
    return lines if filled else []


def blank_line(lines: Sequence[str]) -> int | None:
    """Return the number of the first blank line, from 1; None if there is none."""
    return lines.index("") + 1 if "" in lines else None


def split_numbers(lines: Sequence[str]) -> list[tuple[str, str]] | None:
    """Split lines such as ``0 cat`` or ``0: cat`` into number and name; None if there is a line of another form."""
    pairs = [(match[1], match[3]) for line in lines if (match := _NUMBERED.fullmatch(line))]
    return pairs if len(pairs) == len(lines) else None


def are_counted(lines: Sequence[str]) -> bool:
    """Tell whether the numbers before the names are those of classes, and not parts of the names, as in ``1 euro``.

    They are if they count from 0, or if there is a colon behind each.
    """
    matches = [match for line in lines if (match := _NUMBERED.fullmatch(line))]
    if len(matches) < len(lines):
        return False
    return all(match[2] for match in matches) or [match[1] for match in matches] == [str(n) for n in range(len(lines))]
