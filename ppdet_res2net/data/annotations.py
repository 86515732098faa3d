"""Annotation files in COCO's format: reading them with one verdict for all, and writing them."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from ppdet_res2net.commands import command_line
from ppdet_res2net.data.coco_file import CocoFile, parse_coco
from ppdet_res2net.data.foreign_formats import recognise
from ppdet_res2net.data.garbage_collection import paused_garbage_collection
from ppdet_res2net.data.problems import ERROR, Finding, Problem, describe, group_by_problem
from ppdet_res2net.data.text_files import parse_json_with_keys, read_text
from ppdet_res2net.data.values import show
from ppdet_res2net.errors import DatasetError, did_you_mean
from ppdet_res2net.files import replacing
from res2net_runtime.system_errors import explain
from res2net_runtime.texts import json_text, printable

__all__ = ["check_dataset_path", "read_annotations", "read_categories", "read_json", "write_annotations"]

logger = logging.getLogger(__name__)

_SHOWN_CHARACTERS = 60
NOTHING_IS_DOWNLOADED = "Nothing is downloaded"
LISTS = ("images", "categories", "annotations")
ARCHIVES = ((b"\x1f\x8b", "gzip", "gunzip FILE"), (b"PK\3\4", "zip", "unzip FILE"), (b"BZh", "bzip2", "bunzip2 FILE"))


def read_annotations(annotation_path: str | os.PathLike) -> CocoFile:
    """Read an annotation file, and refuse it if its structure is wrong.

    What is read in an unusual spelling, or filled in, is said once in the log, with counts.

    Args:
        annotation_path: A JSON file in COCO's format. It need not have ``annotations`` if its images are only for
            prediction.

    Raises:
        DatasetError: The file is missing, empty, not JSON or not in COCO's format, or has one of the errors of
            :mod:`ppdet_res2net.data.structure`.
    """
    with paused_garbage_collection():
        file = parse_coco(read_json(annotation_path))
    groups = group_by_problem(file.findings)
    _refuse(groups, annotation_path)
    for problem, findings in groups.items():
        logger.warning("'%s': %s", annotation_path, describe(problem, findings))
    return file


def read_categories(annotation_path: str | os.PathLike) -> tuple[list[str], list[int]]:
    """Return the names and ids of the categories by label. As in PaddleDetection, labels follow the order of the file.

    Images and annotations are not checked.

    Raises:
        DatasetError: The file is missing or not in COCO's format, a category has no id or name, or an id is repeated.
    """
    file = parse_coco({"categories": read_json(annotation_path, ("categories",))["categories"], "images": []})
    _refuse(group_by_problem(file.findings), annotation_path)
    return [category.name for category in file.categories], [category.id for category in file.categories]


def check_dataset_path(path: str | os.PathLike, what: str) -> None:
    """Refuse a path that does not exist.

    Args:
        path: The file or folder that is needed.
        what: What the path is, for the message.

    Raises:
        DatasetError: The path does not exist. The message says which part of it exists and what was probably meant.
    """
    path = Path(path)
    if path.exists():
        return
    existing = next(parent for parent in path.absolute().parents if parent.exists())
    missing_name = path.absolute().relative_to(existing).parts[0]
    suggestion = did_you_mean(missing_name, os.listdir(existing)) if existing.is_dir() else ""
    raise DatasetError(
        f"{what} not found: '{path}' ('{existing}' exists, but has no '{missing_name}').{suggestion} "
        f"{NOTHING_IS_DOWNLOADED}: correct dataset_dir, image_dir or anno_path of the dataset in the "
        "configuration."
    )


def read_json(annotation_path: str | os.PathLike, needed: Sequence[str] = ("images", "categories")) -> dict:
    """Read an annotation file, and check only that its images, categories and annotations are lists of objects.

    Args:
        annotation_path: A JSON file in COCO's format.
        needed: Lists that must not be empty.

    Raises:
        DatasetError: The file is missing, empty, not JSON or not in COCO's format, or a needed list is empty.
    """
    check_dataset_path(annotation_path, "annotation file")
    source = f"annotation file '{annotation_path}'"
    if os.path.isdir(annotation_path):
        known = recognise(annotation_path) or "Correct anno_path."
        raise DatasetError(f"annotation file expected, but '{annotation_path}' is a folder. {known}")
    _refuse_archive(annotation_path, source)
    text = read_text(annotation_path, "annotation file")
    try:
        dataset, keys = parse_json_with_keys(text, source)
    except DatasetError as error:
        if other := recognise(annotation_path):
            raise DatasetError(f"{source} is not in COCO's format. {other}") from error
        if not text.lstrip().startswith(("{", "[")):
            first = printable(text.lstrip().partition("\n")[0][:_SHOWN_CHARACTERS])
            raise DatasetError(
                f"{source} is not in COCO's format, nor is it JSON at all: it begins with '{first}'. Export the annotations in "
                "COCO's format, or pass the right file."
            ) from error
        if text.lstrip().startswith("{") and "Extra data" in str(error):
            raise DatasetError(
                f"{source} has several JSON objects, one after the other (JSON lines?); COCO's format is one object with "
                "images, annotations and categories. Export it again in COCO's format."
            ) from error
        raise
    if not isinstance(dataset, dict) or not {"images", "categories"} <= dataset.keys():
        found = f"the keys {sorted(dataset)[:8]}" if isinstance(dataset, dict) else f"a {type(dataset).__name__}"
        raise DatasetError(
            f"{source} is not in COCO's format: expected an object with images, annotations and categories, found {found}. "
            f"{recognise(annotation_path, dataset) or ''}".rstrip()
        )
    twice = [key for key in LISTS if keys.count(key) > 1]
    if twice:  # Python keeps the last one only
        raise DatasetError(f"{source} has '{twice[0]}' twice. Merge the two lists, or remove one.")
    for key in LISTS:
        entries = dataset.get(key, [])
        if not isinstance(entries, list):
            raise DatasetError(f"'{key}' of {source} must be a list of objects, got {show(entries)}. Export it again.")
        wrong = next((place for place, entry in enumerate(entries) if not isinstance(entry, dict)), None)
        if wrong is not None:
            raise DatasetError(
                f"'{key}' of {source} must be a list of objects, but entry {wrong} (counted from 0) is {show(entries[wrong])}. "
                "Correct or remove it."
            )
    if "segments_info" in next(iter(dataset.get("annotations", [])), {}):
        raise DatasetError(f"{source} cannot be used. {recognise(annotation_path, dataset)}")
    for key in needed:
        if not dataset[key]:
            raise DatasetError(f"{source} lists no {key}. Add them, or choose another file.")
    return dataset


def write_annotations(content: dict, path: str | os.PathLike) -> None:
    """Write an annotation file. It appears under its name only when it is complete.

    Raises:
        DatasetError: The file cannot be written.
    """
    text = json_text(content)
    try:
        with replacing(path) as unfinished:
            unfinished.write_text(text, encoding="utf-8")
    except OSError as error:
        raise DatasetError(f"cannot write '{path}': {explain(error, 'choose another folder')}") from error


def _refuse_archive(path: str | os.PathLike, source: str) -> None:
    if not os.path.isfile(path):
        return  # reading it will say why not
    with open(path, "rb") as file:
        start = file.read(4)
    for mark, what, remedy in ARCHIVES:
        if start.startswith(mark):
            raise DatasetError(f"{source} is compressed ({what}). Unpack it first: {remedy}.")


def _refuse(groups: dict[Problem, list[Finding]], annotation_path) -> None:
    errors = [
        f"{describe(problem, findings)} (the first: {findings[0].detail}). {problem.remedy}"
        for problem, findings in groups.items()
        if problem.severity == ERROR
    ]
    if errors:
        check = command_line("check-dataset", "--annotations", Path(annotation_path), "--images", "DIR")
        raise DatasetError(
            f"'{annotation_path}': {' Also, '.join(errors)} '{check}' lists every problem; --fix FILE writes a corrected copy."
        )
