"""YOLO: one text file per image, with coordinates relative to the image size."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from ppdet_res2net.data.text_files import read_lines
from ppdet_res2net.datasets.convert.builder import DatasetBuilder
from ppdet_res2net.datasets.convert.failures import Failures
from ppdet_res2net.datasets.convert.files import measure_image
from ppdet_res2net.datasets.convert.names import ClassTable
from ppdet_res2net.datasets.convert.yolo_images import LabelFolders, YoloImages
from ppdet_res2net.datasets.convert.yolo_rows import RowReader
from ppdet_res2net.errors import DatasetError

__all__ = ["convert_yolo"]

# Text files that tools put among the labels: lists of classes and of images, and what exporters say about themselves
_NO_LABELS = ("classes.", "obj.", "readme.", "license.", "requirements.")
_NUMBER = re.compile(r"[0-9]+([.,][0-9]*)?")
_WITHOUT_IMAGE = "label files without an image of their name"


def convert_yolo(
    images: Path | YoloImages, label_dir: Path | None, names: Sequence[str] | Mapping[int, str]
) -> DatasetBuilder:
    """Read YOLO's label files: boxes, outlines, and boxes with key points.

    A line is ``class x_centre y_centre width height``, or ``class x y x y x y ...`` with at least three points of an
    outline; a rotated box is an outline of four points. Coordinates are fractions of the image's width and height. If
    ``names`` has a ``keypoint_shape``, lines with as many key points behind the box are read as the box, and the key points are
    left out and counted. An image without a label file has no objects.

    Args:
        images: Folder of the images, searched with its subfolders; or the images.
        label_dir: Folder of the label files, with the same subfolders; None: where YOLO looks for them, see
            :class:`~ppdet_res2net.datasets.convert.yolo_images.LabelFolders`.
        names: Class names in the order of their numbers, or by number.

    Raises:
        DatasetError: A file is missing or wrong; it is named, with the line.
    """
    if not isinstance(images, YoloImages):
        images = YoloImages.below(images)
    table = (
        names
        if isinstance(names, ClassTable)
        else ClassTable(names if isinstance(names, Mapping) else enumerate(names))
    )
    builder = DatasetBuilder(list(table.values()))
    labels = LabelFolders(images, label_dir)
    owners: dict[Path, Path] = {}
    rows = RowReader(builder, table)
    failures = Failures()
    for path in images.paths:
        with failures.collect():
            label_path = labels.find(path)
            if label_path is not None and label_path in owners:
                raise DatasetError(
                    f"the images '{owners[label_path]}' and '{path}' share the label file '{label_path}'. Remove or rename one "
                    "of them."
                )
            if label_path is not None:
                owners[label_path] = path
            file_name = path.relative_to(images.root).as_posix()
            image = builder.add_image(file_name, *measure_image(path), f"'{label_path or path}'")
            if label_path is None or image is None:
                continue
            for number, line in enumerate(read_lines(label_path, "label file", may_be_empty=True), 1):
                if line.strip():
                    rows.add(image, line, f"'{label_path}', line {number}")
    failures.raise_if_any()
    if not owners:
        searched = " or ".join(f"'{folder}'" for folder in labels.looked_in[:2])
        raise DatasetError(
            f"none of the {len(images.paths)} images in '{images.root}' has a label file in {searched}. Pass the folder whose "
            "files have the names of the images with --labels."
        )
    if images.is_complete:
        for path in labels.others:
            if _is_label_file(path):
                builder.skipped.add(_WITHOUT_IMAGE, f"'{path}'")
    return builder


def _is_label_file(path: Path) -> bool:
    """Tell whether a text file holds labels, and not names, images or prose: its first line begins with a number."""
    if path.name.lower().startswith(_NO_LABELS):
        return False
    try:
        words = " ".join(read_lines(path, "label file", may_be_empty=True)).split()
    except DatasetError:
        return True  # nobody knows
    return not words or _NUMBER.fullmatch(words[0]) is not None
