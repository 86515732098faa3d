"""labelme: one JSON file per image, with shapes."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as mask_utils

from ppdet_res2net.datasets.convert.builder import DatasetBuilder, find_image, measure_image, rectangle
from ppdet_res2net.errors import DatasetError

__all__ = ["convert_labelme"]

CIRCLE_POINTS = 48


def convert_labelme(annotation_dir: Path, image_dir: Path, names: Sequence[str] | None = None) -> DatasetBuilder:
    """Read the JSON files of labelme.

    Polygons, rectangles, circles and masks become masks; shapes of one label and ``group_id`` are parts of one object.
    Points and lines, which have no area, are left out and counted.

    Args:
        annotation_dir: Folder of the JSON files.
        image_dir: Folder of the images; file names in the result are relative to it.
        names: Class names in the order of their ids; None: those that occur, sorted.

    Raises:
        DatasetError: A file is missing or wrong; it is named.
    """
    files = sorted(annotation_dir.rglob("*.json"))
    if not files:
        raise DatasetError(f"there are no JSON files in '{annotation_dir}'. Pass the folder that labelme saves to.")
    builder = DatasetBuilder(names)
    for path in files:
        content = _parse(path)
        image_path = _find_image(path, content, image_dir)
        height, width = content.get("imageHeight"), content.get("imageWidth")
        if not (isinstance(height, int) and isinstance(width, int) and height > 0 and width > 0):
            height, width = measure_image(image_path)
        image = builder.add_image(image_path.relative_to(image_dir).as_posix(), height, width)
        for name, shapes in _group(content["shapes"], path).items():
            _add_object(builder, image, name[0], shapes, path)
    return builder


def _parse(path: Path) -> dict:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"'{path}' is not a readable JSON file: {error}. Save it again.") from error
    shapes = content.get("shapes") if isinstance(content, dict) else None
    if not isinstance(shapes, list) or not all(isinstance(shape, dict) for shape in shapes):
        raise DatasetError(f"'{path}' has no list of shapes. Pass a folder that holds labelme's JSON files only.")
    return content


def _find_image(path: Path, content: dict, image_dir: Path) -> Path:
    named = content.get("imagePath") or f"{path.stem}.jpg"
    beside = path.parent / named.replace("\\", "/")  # relative to the JSON file, as in labelme
    if beside.is_file() and image_dir.resolve() in beside.resolve().parents:
        return image_dir / beside.resolve().relative_to(image_dir.resolve())
    return find_image(image_dir, named, f"'{path}'")


def _group(shapes: list[dict], path: Path) -> dict[tuple, list[tuple[int, dict]]]:
    """Return the shapes of each object, with their positions. A shape without group id is an object of its own."""
    groups: dict[tuple, list[tuple[int, dict]]] = {}
    for position, shape in enumerate(shapes, 1):
        label = shape.get("label")
        if not isinstance(label, str) or not label:
            raise DatasetError(f"'{path}', shape {position} has no label. Name it in labelme.")
        group = shape.get("group_id")
        key = (label, "alone", position) if group is None else (label, "group", group)
        groups.setdefault(key, []).append((position, shape))
    return groups


def _add_object(builder: DatasetBuilder, image: dict, name: str, shapes: list, path: Path) -> None:
    polygons: list[list[float]] = []
    bitmaps: list[dict] = []
    for position, shape in shapes:
        kind = shape.get("shape_type") or "polygon"
        points = _points(shape, f"'{path}', shape {position}")
        if kind == "polygon" and len(points) >= 3:
            polygons.append(points.ravel().tolist())
        elif kind == "rectangle" and len(points) == 2:
            polygons.append(rectangle(*points.min(axis=0), *points.max(axis=0)))
        elif kind == "circle" and len(points) == 2:
            angles = np.linspace(0, 2 * np.pi, CIRCLE_POINTS, endpoint=False)
            radius = np.linalg.norm(points[1] - points[0])
            polygons.append((points[0] + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)).ravel().tolist())
        elif kind == "mask":
            bitmaps.append(_read_mask(shape, points, image, f"'{path}', shape {position}"))
        else:
            builder.skipped[f"shapes of type {kind} (no area)"] += 1
    if bitmaps:
        size = image["height"], image["width"]
        parts = [*bitmaps, *(mask_utils.frPyObjects(polygons, *size) if polygons else [])]
        builder.add_object(image, name, f"'{path}'", segmentation=mask_utils.merge(parts))
    elif polygons:
        builder.add_object(image, name, f"'{path}'", segmentation=polygons)


def _points(shape: dict, where: str) -> np.ndarray:
    try:
        points = np.asarray(shape.get("points"), np.float64).reshape(-1, 2)
    except (TypeError, ValueError) as error:
        raise DatasetError(f"{where} has points that are not pairs of numbers: {shape.get('points')!r}.") from error
    if not np.isfinite(points).all():
        raise DatasetError(f"{where} has points that are not finite. Draw it again.")
    return points


def _read_mask(shape: dict, points: np.ndarray, image: dict, where: str) -> dict:
    """Return the RLE of a mask shape: a picture whose corner lies at the first point."""
    try:
        with Image.open(io.BytesIO(base64.b64decode(shape["mask"]))) as picture:
            part = np.array(picture) > 0
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise DatasetError(f"{where} is a mask without a readable picture: {error}. Draw it again.") from error
    x, y = (int(round(value)) for value in points.min(axis=0))
    whole = np.zeros((image["height"], image["width"]), np.uint8, order="F")
    inside = whole[max(y, 0) : y + part.shape[0], max(x, 0) : x + part.shape[1]]
    inside[:] = part[max(-y, 0) :, max(-x, 0) :][: inside.shape[0], : inside.shape[1]]
    return mask_utils.encode(whole)
