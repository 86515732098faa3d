"""YOLO: one text file per image, with coordinates relative to the image size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ppdet_res2net.datasets.convert.builder import DatasetBuilder, list_images, measure_image
from ppdet_res2net.errors import DatasetError

__all__ = ["convert_yolo"]

BOX_NUMBERS = 5
MIN_SEGMENT_NUMBERS = 7  # a class and three points


def convert_yolo(image_dir: Path, label_dir: Path, names: Sequence[str]) -> DatasetBuilder:
    """Read YOLO's label files: boxes and segments.

    A line is ``class x_centre y_centre width height``, or ``class x y x y x y ...`` with at least three points of an
    outline. Coordinates are fractions of the image's width and height. An image without a label file has no objects.

    Args:
        image_dir: Folder of the images, searched with its subfolders.
        label_dir: Folder of the label files, with the same subfolders.
        names: Class names in the order of their numbers.

    Raises:
        DatasetError: A file is missing or wrong; it is named, with the line.
    """
    if not label_dir.is_dir():
        raise DatasetError(f"there is no label folder '{label_dir}'. Pass it with --labels.")
    builder = DatasetBuilder(names)
    read = 0
    for path in list_images(image_dir):
        relative = path.relative_to(image_dir)
        image = builder.add_image(relative.as_posix(), *measure_image(path))
        label_path = label_dir / relative.with_suffix(".txt")
        if not label_path.is_file():
            continue
        read += 1
        for number, line in enumerate(label_path.read_text(encoding="utf-8").splitlines(), 1):
            if line.strip():
                _add_object(builder, image, line, names, f"'{label_path}', line {number}")
    if not read:
        raise DatasetError(
            f"none of the {len(builder.images)} images in '{image_dir}' has a label file in '{label_dir}'. Pass the "
            "folder whose files have the names of the images with --labels."
        )
    return builder


def _add_object(builder: DatasetBuilder, image: dict, line: str, names: Sequence[str], where: str) -> None:
    try:
        numbers = [float(part) for part in line.split()]
    except ValueError as error:
        raise DatasetError(f"{where}: '{line.strip()}' is not a list of numbers. Correct the line.") from error
    is_box = len(numbers) == BOX_NUMBERS
    if not is_box and (len(numbers) < MIN_SEGMENT_NUMBERS or len(numbers) % 2 == 0):
        raise DatasetError(
            f"{where} has {len(numbers)} numbers; expected 5 (class, centre, width, height), or a class and at least "
            "three points."
        )
    if not np.isfinite(numbers).all():
        raise DatasetError(f"{where} has numbers that are not finite. Correct the line.")
    label = numbers[0]
    if label != int(label) or not 0 <= label < len(names):
        raise DatasetError(f"{where}: class {label:g} does not exist; there are {len(names)} names, counted from 0.")
    scale = np.array([image["width"], image["height"]])
    pairs = np.array(numbers[1:]).reshape(-1, 2) * scale
    name = names[int(label)]
    if is_box:
        centre, size = pairs
        builder.add_object(image, name, where, [*(centre - size / 2), *(centre + size / 2)])
    else:
        builder.add_object(image, name, where, segmentation=[pairs.ravel().tolist()])
