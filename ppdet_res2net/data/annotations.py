"""Reads annotation files in COCO's format, quietly, and refuses those whose structure cannot be trusted."""

from __future__ import annotations

import json
import logging
import math
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from pycocotools import mask as mask_utils

from ppdet_res2net.errors import DatasetError, did_you_mean

__all__ = [
    "read_annotations",
    "read_categories",
    "check_dataset_path",
    "check_polygons",
    "check_rle",
    "list_first",
]

logger = logging.getLogger(__name__)

NOTHING_IS_DOWNLOADED = "Nothing is downloaded"
SHOWN_IDS = 5
# A polygon needs three points; pycocotools reads a list of four numbers as a box.
MIN_POLYGON_NUMBERS = 6


def read_annotations(annotation_path: str | os.PathLike) -> dict:
    """Read an annotation file and check what everything else relies on.

    Missing ``iscrowd`` is set to 0 and missing ``area`` is computed (from the mask, else from the box), as
    evaluation needs both; the log says so once, with counts.

    Args:
        annotation_path: A JSON file in COCO's format; ``annotations`` may be absent (images for prediction
            only).

    Returns:
        The content of the file: ``images``, ``categories`` and, if the file has it, ``annotations``.

    Raises:
        DatasetError: The file is missing, empty, not JSON or not COCO's format; ids are missing or not
            unique; an image has no valid size; an annotation has an unknown category.
    """
    dataset = _read_json(annotation_path)
    _check_images(dataset, annotation_path)
    names, _ = _list_categories(dataset, annotation_path)
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        logger.warning(
            "'%s': several categories share the name %s", annotation_path, ", ".join(map(repr, repeated))
        )
    if "annotations" in dataset:
        _check_annotations(dataset, annotation_path)
        _fill_in(dataset, annotation_path)
    return dataset


def read_categories(annotation_path: str | os.PathLike) -> tuple[list[str], list[int]]:
    """Return the names and ids of the categories by label: in the order of the file, as PaddleDetection does.

    Neither images nor annotations are looked at.

    Raises:
        DatasetError: The file is missing or not COCO's format, or a category has no id or name, or an id is
            repeated.
    """
    return _list_categories(_read_json(annotation_path), annotation_path)


def check_dataset_path(path: str | os.PathLike, what: str) -> None:
    """Refuse a path that does not exist, saying how far it does and what was probably meant.

    Args:
        path: The file or folder that is needed.
        what: What it is, for the message.

    Raises:
        DatasetError: It does not exist.
    """
    path = Path(path)
    if path.exists():
        return
    existing = next(parent for parent in path.absolute().parents if parent.exists())
    missing_name = path.absolute().relative_to(existing).parts[0]
    suggestion = did_you_mean(missing_name, os.listdir(existing)) if existing.is_dir() else ""
    raise DatasetError(
        f"{what} not found: '{path}' ('{existing}' exists and holds no '{missing_name}').{suggestion} "
        f"{NOTHING_IS_DOWNLOADED}: correct dataset_dir, image_dir or anno_path of the dataset in the "
        "configuration."
    )


def check_polygons(segmentation: object) -> list[np.ndarray]:
    """Return the usable parts of a polygon segmentation, each as float64 ``(x0, y0, x1, y1, ...)``.

    Left out are parts of fewer than three points, of an odd count of numbers, or with numbers that are not
    finite.
    """
    if not isinstance(segmentation, list):
        return []
    parts = (_to_polygon(part) for part in segmentation)
    return [part for part in parts if part is not None]


def check_rle(segmentation: dict, height: int, width: int) -> dict | None:
    """Return an RLE mask in COCO's compressed form, or None if its runs do not fill an image of this size.

    pycocotools does not check this: of too few runs it makes a mask of uninitialised memory.
    """
    counts = segmentation.get("counts")
    if segmentation.get("size") != [height, width] or not isinstance(counts, (list, str, bytes)):
        return None
    is_compressed = not isinstance(counts, list)
    if isinstance(counts, str):
        counts = counts.encode()
    runs = _decompress_runs(counts) if is_compressed else counts
    if not all(isinstance(run, int) and run >= 0 for run in runs) or sum(runs) != height * width:
        return None
    if is_compressed:
        return {"size": [height, width], "counts": counts}
    return mask_utils.frPyObjects({"size": [height, width], "counts": runs}, height, width)


def list_first(ids: Iterable[object]) -> str:
    """Write the first of ``ids`` for a message: ``"3, 8, 9, 12, 20 and 31 more"``."""
    ids = list(ids)
    shown = ", ".join(str(one) for one in ids[:SHOWN_IDS])
    return shown if len(ids) <= SHOWN_IDS else f"{shown} and {len(ids) - SHOWN_IDS} more"


def is_number(value: object) -> bool:
    """Tell whether ``value`` is a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _read_json(annotation_path) -> dict:
    check_dataset_path(annotation_path, "annotation file")
    if os.path.isdir(annotation_path):
        raise DatasetError(
            f"annotation file expected, but '{annotation_path}' is a folder. Correct anno_path."
        )
    try:
        with open(annotation_path, encoding="utf-8") as file:
            text = file.read()
        if not text.strip():
            raise DatasetError(
                f"annotation file '{annotation_path}' is empty; perhaps a copy was interrupted. "
                f"{NOTHING_IS_DOWNLOADED}: put the file there again."
            )
        dataset = json.loads(text)
    except json.JSONDecodeError as error:
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
            f"annotations and categories, found {found}."
        )
    for key in ("images", "categories", "annotations"):
        entries = dataset.get(key, [])
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise DatasetError(f"'{key}' of annotation file '{annotation_path}' must be a list of objects.")
    return dataset


def _list_categories(dataset: dict, annotation_path) -> tuple[list[str], list[int]]:
    categories = dataset["categories"]
    if not categories:
        raise DatasetError(
            f"annotation file '{annotation_path}' has no categories; add the classes to detect."
        )
    _check_unique_ids(categories, "category", annotation_path)
    nameless = [category["id"] for category in categories if not isinstance(category.get("name"), str)]
    if nameless:
        raise DatasetError(f"'{annotation_path}': no name is given for category id {list_first(nameless)}.")
    return [category["name"] for category in categories], [category["id"] for category in categories]


def _check_images(dataset: dict, annotation_path) -> None:
    images = dataset["images"]
    if not images:
        raise DatasetError(f"annotation file '{annotation_path}' lists no images.")
    _check_unique_ids(images, "image", annotation_path)
    nameless = [image["id"] for image in images if not isinstance(image.get("file_name"), str)]
    if nameless:
        raise DatasetError(f"'{annotation_path}': no file_name is given for image id {list_first(nameless)}.")
    sizeless = [
        image
        for image in images
        if not all(is_number(image.get(key)) and image[key] > 0 for key in ("width", "height"))
    ]
    if sizeless:
        example = sizeless[0]
        raise DatasetError(
            f"'{annotation_path}': {len(sizeless)} images have no valid width and height: image id "
            f"{list_first(image['id'] for image in sizeless)} (the first, '{example['file_name']}', has "
            f"width {example.get('width')!r} and height {example.get('height')!r}). Boxes cannot be checked "
            "without them; write the sizes of the image files there."
        )


def _check_unique_ids(entries: list[dict], what: str, annotation_path) -> None:
    without = sum(not isinstance(entry.get("id"), int) for entry in entries)
    if without:
        raise DatasetError(
            f"'{annotation_path}': {without} of {len(entries)} entries have no whole number as {what} id."
        )
    repeated = [one for one, count in Counter(entry["id"] for entry in entries).items() if count > 1]
    if repeated:
        raise DatasetError(
            f"'{annotation_path}': {what} id {list_first(repeated)} is used more than once; ids must be "
            "unique. Number the entries again (merged files often need it)."
        )


def _check_annotations(dataset: dict, annotation_path) -> None:
    annotations = dataset["annotations"]
    _check_unique_ids(annotations, "annotation", annotation_path)
    known = {category["id"] for category in dataset["categories"]}
    unknown = [annotation for annotation in annotations if annotation.get("category_id") not in known]
    if unknown:
        example = unknown[0]
        raise DatasetError(
            f"'{annotation_path}': {len(unknown)} annotations have a category that the file does not define; "
            f"the first, annotation id {example['id']}, has category id {example.get('category_id')!r}, and "
            f"the categories are {list_first(sorted(known))}. Add the category or remove these annotations."
        )
    image_ids = {image["id"] for image in dataset["images"]}
    strays = [annotation["id"] for annotation in annotations if annotation.get("image_id") not in image_ids]
    if strays:
        logger.warning(
            "'%s': %d annotations belong to images that the file does not list and are not used: annotation "
            "id %s",
            annotation_path,
            len(strays),
            list_first(strays),
        )


def _fill_in(dataset: dict, annotation_path) -> None:
    """Add what pycocotools' evaluation reads without asking."""
    sizes = {image["id"]: (int(image["height"]), int(image["width"])) for image in dataset["images"]}
    filled = Counter()
    for annotation in dataset["annotations"]:
        if "iscrowd" not in annotation:
            annotation["iscrowd"] = 0
            filled["iscrowd (set to 0)"] += 1
        if "area" not in annotation:
            annotation["area"] = _compute_area(annotation, sizes.get(annotation.get("image_id")))
            filled["area (computed)"] += 1
    if filled:
        counts = ", ".join(f"{what} in {count} annotations" for what, count in filled.items())
        logger.warning("'%s' lacks %s", annotation_path, counts)


def _compute_area(annotation: dict, size: tuple[int, int] | None) -> float:
    segmentation = annotation.get("segmentation")
    rle = None
    if size is not None and isinstance(segmentation, dict):
        rle = check_rle(segmentation, *size)
    elif size is not None:
        parts = check_polygons(segmentation)
        rle = mask_utils.merge(mask_utils.frPyObjects(parts, *size)) if parts else None
    if rle is not None:
        return float(mask_utils.area(rle))
    box = annotation.get("bbox")
    is_box = isinstance(box, list) and len(box) == 4 and all(map(is_number, box))
    return float(max(box[2], 0) * max(box[3], 0)) if is_box else 0.0


def _to_polygon(part: object) -> np.ndarray | None:
    try:
        numbers = np.asarray(part, dtype=np.float64)
    except (TypeError, ValueError):
        return None
    is_polygon = numbers.ndim == 1 and numbers.size >= MIN_POLYGON_NUMBERS and numbers.size % 2 == 0
    return numbers if is_polygon and np.isfinite(numbers).all() else None


def _decompress_runs(counts: bytes) -> list[int]:
    """Decode COCO's compressed runs: 5 bits per character, signed; from the third on, differences."""
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
