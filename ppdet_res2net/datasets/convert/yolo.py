"""YOLO: one text file per image, with coordinates relative to the image size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ppdet_res2net.data.text_files import read_lines
from ppdet_res2net.datasets.convert.builder import DatasetBuilder
from ppdet_res2net.datasets.convert.files import find_files, list_images, measure_image
from ppdet_res2net.datasets.convert.names import ClassTable
from ppdet_res2net.datasets.convert.yolo_rows import RowReader
from ppdet_res2net.errors import DatasetError

__all__ = ["convert_yolo"]

# Text files that tools put among the labels: lists of classes and of images, and what exporters say about themselves
_NO_LABELS = ("classes", "obj", "train", "val", "valid", "test", "readme", "license", "requirements")
_WITHOUT_IMAGE = "label files without an image of their name"


def convert_yolo(image_dir: Path, label_dir: Path, names: Sequence[str] | Mapping[int, str]) -> DatasetBuilder:
    """Read YOLO's label files: boxes, outlines, and boxes with key points.

    A line is ``class x_centre y_centre width height``, or ``class x y x y x y ...`` with at least three points of an
    outline; a rotated box is an outline of four points. Coordinates are fractions of the image's width and height. If
    ``names`` has a ``keypoint_shape``, lines with as many key points behind the box are read as the box, and the key points are
    left out and counted. An image without a label file has no objects.

    Args:
        image_dir: Folder of the images, searched with its subfolders.
        label_dir: Folder of the label files, with the same subfolders.
        names: Class names in the order of their numbers, or by number.

    Raises:
        DatasetError: A file is missing or wrong; it is named, with the line.
    """
    if not label_dir.is_dir():
        raise DatasetError(f"there is no label folder '{label_dir}'. Pass it with --labels.")
    table = (
        names
        if isinstance(names, ClassTable)
        else ClassTable(names if isinstance(names, Mapping) else enumerate(names))
    )
    builder = DatasetBuilder(list(table.values()))
    labels = {path.relative_to(label_dir).with_suffix(""): path for path in find_files(label_dir, ".txt")}
    images = list_images(image_dir)
    owners: dict[Path, Path] = {}
    rows = RowReader(builder, table)
    for path in images:
        relative = path.relative_to(image_dir)
        key = relative.with_suffix("")
        label_path = labels.get(key)
        if label_path is not None and key in owners:
            raise DatasetError(
                f"the images '{owners[key]}' and '{path}' share the label file '{label_path}'. Remove or rename one of them."
            )
        owners[key] = path
        image = builder.add_image(relative.as_posix(), *measure_image(path), f"'{label_path or path}'")
        if label_path is None or image is None:
            continue
        for number, line in enumerate(read_lines(label_path, "label file", may_be_empty=True), 1):
            if line.strip():
                rows.add(image, line, f"'{label_path}', line {number}")
    if not labels.keys() & owners.keys():
        raise DatasetError(
            f"none of the {len(images)} images in '{image_dir}' has a label file in '{label_dir}'. Pass the "
            "folder whose files have the names of the images with --labels."
        )
    for key in sorted(labels.keys() - owners.keys()):
        if key.name.lower().partition(".")[0] not in _NO_LABELS:
            builder.skipped.add(_WITHOUT_IMAGE, f"'{labels[key]}'")
    return builder
