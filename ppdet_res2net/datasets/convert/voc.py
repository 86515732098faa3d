"""Pascal VOC: one XML file per image, and maybe a PNG with the instances."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as mask_utils

from ppdet_res2net.datasets.convert.builder import DatasetBuilder, find_image, measure_image
from ppdet_res2net.errors import DatasetError

__all__ = ["convert_voc"]

BORDER = 255  # pixels of SegmentationObject whose object is uncertain


def convert_voc(
    annotation_dir: Path,
    image_dir: Path,
    names: Sequence[str] | None = None,
    list_file: Path | None = None,
    mask_dir: Path | None = None,
    ignore_difficult: bool = False,
) -> DatasetBuilder:
    """Read annotations in the format of Pascal VOC.

    VOC counts pixels from 1 and names the first and the last one inside a box, so a box of ``xmin 1, xmax 10`` covers
    the ten pixels from 0.0 to 10.0.

    Args:
        annotation_dir: Folder of the XML files (``Annotations``).
        image_dir: Folder of the images (``JPEGImages``).
        names: Class names in the order of their ids; None: those that occur, sorted.
        list_file: Names of the images to take, one per line (``ImageSets/Main/train.txt``); None: all.
        mask_dir: Folder of ``SegmentationObject``: in the picture of the same name, pixels of value k are the k-th
            object of the XML file.
        ignore_difficult: Make objects marked as difficult crowd regions, which are not trained on and neither
            rewarded nor punished in evaluation, as in VOC's.

    Raises:
        DatasetError: A file is missing or wrong; it is named.
    """
    builder = DatasetBuilder(names)
    for path in _list_files(annotation_dir, list_file):
        root = _parse(path)
        image_path = find_image(image_dir, _text(root, "filename", path, path.stem + ".jpg"), str(path))
        sides = [_number(root, f"size/{side}", path, 0.0) for side in ("height", "width")]
        is_known = all(math.isfinite(side) and side >= 1 for side in sides)
        height, width = (int(sides[0]), int(sides[1])) if is_known else measure_image(image_path)
        image = builder.add_image(image_path.relative_to(image_dir).as_posix(), height, width)
        instances = _read_instances(mask_dir, path, image) if mask_dir else None
        for position, entry in enumerate(root.iter("object"), 1):
            where = f"'{path}', object {position}"
            x0, y0, x1, y1 = (_number(entry, f"bndbox/{key}", path) for key in ("xmin", "ymin", "xmax", "ymax"))
            if x1 < x0 or y1 < y0:
                raise DatasetError(f"{where}: the box ends before it begins: {[x0, y0, x1, y1]}. Correct the file.")
            bitmap = None if instances is None else instances == position
            if bitmap is not None and not bitmap.any():
                builder.skipped["objects without pixels in SegmentationObject"] += 1
                continue
            builder.add_object(
                image,
                _text(entry, "name", path),
                where,
                (x0 - 1, y0 - 1, x1, y1),
                None if bitmap is None else mask_utils.encode(np.asfortranarray(bitmap, dtype=np.uint8)),
                ignore_difficult and _text(entry, "difficult", path, "0").strip() == "1",
            )
    return builder


def _list_files(folder: Path, list_file: Path | None) -> list[Path]:
    if list_file is None:
        files = sorted(folder.glob("*.xml"))
        if not files:
            raise DatasetError(f"there are no XML files in '{folder}'. Pass the folder 'Annotations' of the dataset.")
        return files
    try:
        lines = [line.split() for line in list_file.read_text(encoding="utf-8").splitlines()]
    except OSError as error:
        raise DatasetError(f"cannot read the list '{list_file}': {error}.") from error
    # Lists per class have 1 or -1 behind each name.
    files = [folder / f"{Path(line[0]).name}.xml" for line in lines if line and line[1:] != ["-1"]]
    missing = [path.name for path in files if not path.is_file()]
    if missing:
        raise DatasetError(
            f"'{list_file}' names {len(missing)} files that are not in '{folder}', first '{missing[0]}'."
        )
    return files


def _parse(path: Path) -> ElementTree.Element:
    try:
        return ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError) as error:
        raise DatasetError(f"'{path}' is not a readable XML file: {error}. Export it again.") from error


def _text(element: ElementTree.Element, key: str, path: Path, default: str | None = None) -> str:
    found = element.findtext(key)
    if found is None or not found.strip():
        if default is None:
            raise DatasetError(
                f"'{path}': <{element.tag}> has no <{key}>. Check that the file is in Pascal VOC's format."
            )
        return default
    return found.strip()


def _number(element: ElementTree.Element, key: str, path: Path, default: float | None = None) -> float:
    text = _text(element, key, path, None if default is None else str(default))
    try:
        return float(text)
    except ValueError as error:
        raise DatasetError(f"'{path}': <{key}> is '{text}', expected a number. Correct the file.") from error


def _read_instances(mask_dir: Path, path: Path, image: dict) -> np.ndarray:
    mask_path = mask_dir / f"{path.stem}.png"
    try:
        with Image.open(mask_path) as picture:
            instances = np.array(picture)
    except OSError as error:
        raise DatasetError(f"cannot read the instances '{mask_path}' of '{path}': {error}.") from error
    expected = (image["height"], image["width"])
    if instances.shape != expected:
        raise DatasetError(
            f"'{mask_path}' has the shape {instances.shape}, expected {expected} with one number per pixel: a PNG with "
            "a palette, as in VOC's SegmentationObject."
        )
    return np.where(instances == BORDER, 0, instances)
