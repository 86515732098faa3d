"""Files that name the classes.

The 1000 names of ImageNet are not part of this package: they come with the dataset (``LOC_synset_mapping.txt``), with
PaddleClas (``imagenet1k_label_list.txt``) and many other projects. This module reads all usual forms.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from ppdet_res2net.data.name_lists import blank_line, read_name_lines, split_numbers
from ppdet_res2net.errors import DatasetError

__all__ = ["LABEL_FILES", "ClassNames", "find_label_file", "read_class_names"]

# Files that are looked for in a dataset's folder if none is given.
LABEL_FILES = (
    "LOC_synset_mapping.txt",
    "synset_words.txt",
    "imagenet1k_label_list.txt",
    "labels.txt",
    "label_list.txt",
    "classes.txt",
)
_SYNSET = re.compile(r"(n\d{8})(?:[\s,]+(.*))?")


@dataclass(frozen=True)
class ClassNames:
    """The classes in the order of their labels.

    Attributes:
        folders: The names of their folders: WordNet ids in ImageNet's layout, else the names themselves.
        names: Readable names.
    """

    folders: tuple[str, ...]
    names: tuple[str, ...]


def find_label_file(folder: str | os.PathLike[str]) -> Path | None:
    """Return the first of :data:`LABEL_FILES` in ``folder``, or None."""
    return next((path for path in (Path(folder) / name for name in LABEL_FILES) if path.is_file()), None)


def read_class_names(path: str | os.PathLike[str]) -> ClassNames:
    """Read a file with one class per line.

    Lines are ``name``, ``<label> name`` (PaddleClas), ``<label>: name``, or ``<WordNet id> name`` (ImageNet; sorted by id,
    since that is the order of ImageNet's labels). All lines have the same form.

    Raises:
        DatasetError: The file is missing, empty or no list of names, or its labels are not 0, 1, 2, ...
    """
    written = read_name_lines(path)
    lines = [line for line in written if line]
    if not lines:
        raise DatasetError(f"'{path}' names no class. Write one name per line, in the order of the labels.")
    synsets = [match for line in lines if (match := _SYNSET.fullmatch(line))]
    if len(synsets) == len(lines):
        pairs = sorted((match[1], match[2] or match[1]) for match in synsets)
        folders = tuple(folder for folder, _ in pairs)
        _refuse_repeated(folders, path)
        return ClassNames(folders, tuple(name for _, name in pairs))
    numbered = split_numbers(lines)
    if numbered is not None:
        by_label = {int(label): name for label, name in numbered}
        missing = sorted(set(range(len(lines))) - set(by_label))
        if missing:
            raise DatasetError(
                f"'{path}' numbers {len(lines)} classes, but label {missing[0]} is missing. Labels must be 0 to "
                f"{len(lines) - 1}, each once."
            )
        lines = [by_label[label] for label in range(len(lines))]
    else:
        blank = blank_line(written)
        if blank is not None:
            raise DatasetError(
                f"'{path}', line {blank} is blank, so the labels of the classes below it are not certain. Remove the line, or "
                "write the label before each name, as in '0 cat'."
            )
        _refuse_repeated(lines, path)
    return ClassNames(tuple(lines), tuple(lines))


def _refuse_repeated(names: tuple[str, ...] | list[str], path: str | os.PathLike[str]) -> None:
    repeated = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
    if repeated is not None:
        raise DatasetError(f"'{path}' names the class '{repeated}' twice. Every class needs a name of its own.")
