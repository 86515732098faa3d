"""Read annotation files in COCO's format, and refuse those whose structure cannot be trusted."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pycocotools import mask as mask_utils

from ppdet_res2net.commands import command_line
from ppdet_res2net.data.foreign_formats import recognise
from ppdet_res2net.data.problems import ERROR, Finding, Problem, describe, group_by_problem
from ppdet_res2net.data.structure import find_structure_problems, get_size, is_box
from ppdet_res2net.errors import DatasetError, did_you_mean
from ppdet_res2net.files import replacing

__all__ = [
    "check_dataset_path",
    "read_polygons",
    "read_rle",
    "compute_area",
    "fill_in",
    "outline_box",
    "read_annotations",
    "read_categories",
    "read_json",
    "write_annotations",
]

logger = logging.getLogger(__name__)

NOTHING_IS_DOWNLOADED = "Nothing is downloaded"
# A polygon needs three points; pycocotools reads a list of four numbers as a box.
MIN_POLYGON_NUMBERS = 6


def read_annotations(annotation_path: str | os.PathLike) -> dict:
    """Read an annotation file and check its structure.

    Evaluation needs ``iscrowd`` and ``area``: a missing ``iscrowd`` is set to 0, and a missing ``area`` is computed from
    the mask, or else from the box. The log says so once, with counts.

    Args:
        annotation_path: A JSON file in COCO's format. It need not have ``annotations`` if its images are only for
            prediction.

    Returns:
        The content of the file: ``images``, ``categories`` and, if the file has them, ``annotations``.

    Raises:
        DatasetError: The file is missing, empty, not JSON or not in COCO's format, or has one of the errors that
            :func:`~ppdet_res2net.data.structure.find_structure_problems` finds.
    """
    dataset = read_json(annotation_path)
    groups = group_by_problem(find_structure_problems(dataset))
    _refuse(groups, annotation_path)
    for problem, findings in groups.items():
        logger.warning("'%s': %s", annotation_path, describe(problem, findings))
    fill_in(dataset)
    return dataset


def read_categories(annotation_path: str | os.PathLike) -> tuple[list[str], list[int]]:
    """Return the names and ids of the categories by label. As in PaddleDetection, labels follow the order of the file.

    Images and annotations are not checked.

    Raises:
        DatasetError: The file is missing or not in COCO's format, a category has no id or name, or an id is repeated.
    """
    categories = read_json(annotation_path, ("categories",))["categories"]
    _refuse(group_by_problem(find_structure_problems({"categories": categories, "images": []})), annotation_path)
    return [category["name"] for category in categories], [category["id"] for category in categories]


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


def read_polygons(segmentation: object) -> list[np.ndarray]:
    """Return the usable parts of a polygon segmentation, each as float64 ``(x0, y0, x1, y1, ...)`` in pixels.

    A part is left out if it has fewer than three points, an odd count of numbers, or numbers that are not finite.
    """
    if not isinstance(segmentation, list):
        return []
    parts = (_to_polygon(part) for part in segmentation)
    return [part for part in parts if part is not None]


def read_rle(segmentation: dict, height: int, width: int) -> dict | None:
    """Return an RLE mask in COCO's compressed form, or None if its runs do not fill an image of this size in pixels.

    pycocotools does not check this: given too few runs, it makes a mask of uninitialised memory.
    """
    counts = segmentation.get("counts")
    if segmentation.get("size") != [height, width] or not isinstance(counts, (list, str, bytes)):
        return None
    if isinstance(counts, str):
        counts = counts.encode()
    runs = _decompress_runs(counts) if isinstance(counts, bytes) else counts
    if not all(isinstance(run, int) and run >= 0 for run in runs) or sum(runs) != height * width:
        return None
    rle = {"size": [height, width], "counts": counts}
    return rle if isinstance(counts, bytes) else mask_utils.frPyObjects(rle, height, width)


def read_json(annotation_path: str | os.PathLike, needed: Sequence[str] = ("images", "categories")) -> dict:
    """Read an annotation file, and check only that its images, categories and annotations are lists of objects.

    Args:
        annotation_path: A JSON file in COCO's format.
        needed: Lists that must not be empty.

    Raises:
        DatasetError: The file is missing, empty, not JSON or not in COCO's format, or a needed list is empty.
    """
    check_dataset_path(annotation_path, "annotation file")
    if os.path.isdir(annotation_path):
        known = recognise(annotation_path) or "Correct anno_path."
        raise DatasetError(f"annotation file expected, but '{annotation_path}' is a folder. {known}")
    try:
        with open(annotation_path, encoding="utf-8") as file:
            text = file.read()
        if not text.strip():
            raise DatasetError(
                f"annotation file '{annotation_path}' is empty; perhaps a copy was interrupted. "
                f"{NOTHING_IS_DOWNLOADED}: copy the file again."
            )
        dataset = json.loads(text)
    except json.JSONDecodeError as error:
        if known := recognise(annotation_path):
            raise DatasetError(f"annotation file '{annotation_path}' is not in COCO's format. {known}") from error
        raise DatasetError(
            f"annotation file '{annotation_path}' is not valid JSON: {error.msg} at line {error.lineno}, "
            f"column {error.colno} (character {error.pos} of {len(error.doc)}). It may be cut off; copy or "
            "export it again."
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"annotation file '{annotation_path}' cannot be read: {error}.") from error
    missing = [key for key in ("images", "categories") if not isinstance(dataset, dict) or key not in dataset]
    if missing:
        found = f"the keys {sorted(dataset)}" if isinstance(dataset, dict) else f"a {type(dataset).__name__}"
        raise DatasetError(
            f"annotation file '{annotation_path}' is not in COCO's format: expected an object with images, "
            f"annotations and categories, found {found}. {recognise(annotation_path, dataset) or ''}".rstrip()
        )
    for key in ("images", "categories", "annotations"):
        entries = dataset.get(key, [])
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise DatasetError(f"'{key}' of annotation file '{annotation_path}' must be a list of objects.")
    for key in needed:
        if not dataset[key]:
            raise DatasetError(f"annotation file '{annotation_path}' lists no {key}. Add them, or choose another file.")
    return dataset


def outline_box(segmentation: list | dict) -> np.ndarray:
    """Return the box around a mask of polygons or compressed RLE: float64 (4,), x0 y0 x1 y1 in pixels, not clipped."""
    if isinstance(segmentation, dict):
        x, y, width, height = mask_utils.toBbox(segmentation)
        return np.array([x, y, x + width, y + height])
    points = np.concatenate([np.asarray(polygon, np.float64).reshape(-1, 2) for polygon in segmentation])
    return np.concatenate([points.min(axis=0), points.max(axis=0)])


def write_annotations(content: dict, path: str | os.PathLike) -> None:
    """Write an annotation file. It appears under its name only when it is complete.

    Raises:
        DatasetError: The file cannot be written.
    """
    try:
        with replacing(path) as unfinished:
            unfinished.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    except OSError as error:
        raise DatasetError(f"cannot write '{path}': {error}. Choose a folder that can be written.") from error


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


def fill_in(dataset: dict) -> None:
    """Add ``iscrowd`` and ``area`` where they are missing: pycocotools' evaluation fails without them."""
    sizes = {image["id"]: get_size(image) for image in dataset["images"]}
    for annotation in dataset.get("annotations", []):
        annotation.setdefault("iscrowd", 0)
        if "area" not in annotation:
            annotation["area"] = compute_area(annotation, sizes.get(annotation.get("image_id")))


def compute_area(annotation: dict, size: tuple[int, int] | None) -> float:
    """Return the area in pixels of an annotation's mask; without a mask, of its box; without a box, 0.

    Args:
        annotation: An annotation in COCO's format.
        size: (height, width) of its image. If None, the mask is ignored.
    """
    segmentation = annotation.get("segmentation")
    rle = None
    if size is not None and isinstance(segmentation, dict):
        rle = read_rle(segmentation, *size)
    elif size is not None:
        parts = read_polygons(segmentation)
        rle = mask_utils.merge(mask_utils.frPyObjects(parts, *size)) if parts else None
    if rle is not None:
        return float(mask_utils.area(rle))
    box = annotation.get("bbox")
    return float(max(box[2], 0) * max(box[3], 0)) if is_box(box) else 0.0


def _to_polygon(part: object) -> np.ndarray | None:
    try:
        numbers = np.asarray(part, dtype=np.float64)
    except (TypeError, ValueError):
        return None
    is_polygon = numbers.ndim == 1 and numbers.size >= MIN_POLYGON_NUMBERS and numbers.size % 2 == 0
    return numbers if is_polygon and np.isfinite(numbers).all() else None


def _decompress_runs(counts: bytes) -> list[int]:
    """Decode COCO's compressed runs.

    A number takes 5 bits per character and is signed. From the fourth run on, it is the difference to the run two before.
    """
    runs: list[int] = []
    value = shift = 0
    for character in counts:
        bits = character - 48
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = shift = 0
    return runs
