"""Pascal VOC: one XML file per image, and maybe a PNG with the instances."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pycocotools import mask as mask_utils

from ppdet_res2net.datasets.convert.builder import DatasetBuilder
from ppdet_res2net.datasets.convert.failures import Failures
from ppdet_res2net.datasets.convert.files import SIZE_DIFFERS, ImageIndex, take_size
from ppdet_res2net.datasets.convert.voc_lists import VocItem, list_items
from ppdet_res2net.datasets.convert.voc_xml import read_flag, read_number, read_numbers, read_text_of, read_xml
from ppdet_res2net.errors import DatasetError
from res2net_runtime.files import read_image_bytes
from res2net_runtime.pillow_images import PILLOW_ERRORS, open_image

__all__ = ["convert_voc"]

BORDER = 255  # pixels of SegmentationObject whose object is uncertain

_FROM_ZERO = "boxes that begin at pixel 0, though VOC counts from 1 (--first_pixel 0 is for tools that count from 0)"
_PARTS = "parts of objects, which COCO's format has no place for; their objects were taken"
_ATTRIBUTES = "objects with attributes, which COCO's format has no place for"
# CVAT writes a turned box as the box before turning, and the angle in degrees as an attribute.
_ROTATION, _NO = "rotation", ("0", "0.0", "false", "no")
_NO_BOX = "objects without a box or an outline"
_DELETED = "objects that are marked as deleted"
# What an <object> of one of these tools may have in the place of a box: roLabelImg, LabelMe and Roboflow
_ROTATED, _OUTLINE, _BOX = "robndbox", "polygon", "bndbox"


def convert_voc(
    annotation_dir: Path,
    image_dir: Path,
    names: Sequence[str] | None = None,
    list_file: Path | None = None,
    mask_dir: Path | None = None,
    ignore_difficult: bool = False,
    first_pixel: int = 1,
    measure_images: bool = False,
) -> DatasetBuilder:
    """Read annotations in the format of Pascal VOC.

    VOC counts pixels from 1 and names the first and the last one inside a box, so a box of ``xmin 1, xmax 10`` covers
    the ten pixels from 0.0 to 10.0. The image of a file is the one with the file's own name, if there is one: tools do not
    change ``filename`` when files are renamed.

    Args:
        annotation_dir: Folder of the XML files (``Annotations``), searched with its subfolders.
        image_dir: Folder of the images (``JPEGImages``), searched with its subfolders.
        names: Class names in the order of their ids; None: those that occur, sorted.
        list_file: The images to take, see :func:`~ppdet_res2net.datasets.convert.voc_lists.list_items`; None: all.
        mask_dir: Folder of ``SegmentationObject``: in the picture of the same name, pixels of value k are the k-th
            object of the XML file.
        ignore_difficult: Make objects marked as difficult crowd regions, which are not trained on and neither
            rewarded nor punished in evaluation, as in VOC's.
        first_pixel: The number of the first pixel: 1 as in VOC, or 0 for tools that write the edges of a box as they are.
        measure_images: Take the sizes of the images, whatever the files say.

    Raises:
        DatasetError: A file is missing or wrong; it is named.
    """
    builder = DatasetBuilder(names)
    items = list_items(annotation_dir, list_file)
    images = ImageIndex(image_dir)
    failures = Failures()
    for item in items:
        with failures.collect():
            _convert_file(builder, item, images, mask_dir, ignore_difficult, first_pixel, measure_images)
    failures.raise_if_any()
    if list_file is None:
        images.note_unused(builder.notes)
    return builder


def _convert_file(
    builder: DatasetBuilder,
    item: VocItem,
    images: ImageIndex,
    mask_dir: Path | None,
    ignore_difficult: bool,
    first_pixel: int,
    measure_images: bool,
) -> None:
    root = read_xml(item.path)
    where = f"'{item.path}'"
    if item.image is None:
        wanted = read_text_of(root, "filename", where, f"{item.path.stem}.jpg")
        image_path = images.find(item.relative, wanted, where, builder.notes)
    else:
        image_path = images.find_named(item.image, where)
    entries = list(root.iter("object"))
    annotated = _read_size(root, where)
    size = take_size(image_path, annotated if entries else None, measure_images)
    if size is None:
        for position, _ in enumerate(entries, 1):
            builder.skipped.add(SIZE_DIFFERS, f"{where}, object {position}")
        return
    image = builder.add_image(images.relative_name(image_path), *size, where)
    if image is None:
        return
    instances = _read_instances(mask_dir, item.path, image) if mask_dir else None
    for position, entry in enumerate(entries, 1):
        bitmap = None if instances is None else instances == position
        _add_object(builder, image, entry, f"{where}, object {position}", bitmap, first_pixel, ignore_difficult)


def _read_size(root: ElementTree.Element, where: str) -> tuple[int, int] | None:
    """Return (height, width), or None if the file does not say: some tools write 0."""
    height, width = (read_number(root, f"size/{side}", where, 0.0) for side in ("height", "width"))
    return (int(height), int(width)) if height >= 1 and width >= 1 else None


def _add_object(
    builder: DatasetBuilder,
    image: dict,
    entry: ElementTree.Element,
    where: str,
    bitmap: np.ndarray | None,
    first_pixel: int,
    ignore_difficult: bool,
) -> None:
    if read_flag(entry, "deleted", where):
        builder.skipped.add(_DELETED, where)
        return
    if bitmap is not None and not bitmap.any():
        builder.skipped.add("objects without pixels in SegmentationObject", where)
        return
    name = read_text_of(entry, "name", where)
    for _ in entry.findall("part"):
        builder.notes.add(_PARTS, where)
    segmentation = None if bitmap is None else mask_utils.encode(np.asfortranarray(bitmap, dtype=np.uint8))
    box = None
    if entry.find(_BOX) is not None:
        box = _read_box(entry, where, first_pixel)
        if min(box[:2]) < 0 and first_pixel == 1:
            builder.notes.add(_FROM_ZERO, where)
    attributes = _read_attributes(entry)
    angle = (
        math.radians(read_number(attributes.pop(_ROTATION), "value", where, 0.0)) if _ROTATION in attributes else 0.0
    )
    if any(read_text_of(one, "value", where, "0").lower() not in _NO for one in attributes.values()):
        builder.notes.add(_ATTRIBUTES, where)
    if segmentation is None:
        outline = _read_outline(entry, where)
        if outline is None and box is not None and angle % (2 * math.pi):
            outline = _turned(box, angle)
            box = None  # the one around the turned box
        segmentation = None if outline is None else [outline]
    if box is None and segmentation is None:
        builder.skipped.add(_NO_BOX, where)
        return
    is_crowd = ignore_difficult and read_flag(entry, "difficult", where)
    builder.add_object(image, name, where, box, segmentation, is_crowd)


def _read_box(entry: ElementTree.Element, where: str, first_pixel: int) -> list[float]:
    x0, y0, x1, y1 = read_numbers(entry, _BOX, ("xmin", "ymin", "xmax", "ymax"), where)
    if x1 < x0 or y1 < y0:
        raise DatasetError(f"{where}: the box ends before it begins: {[x0, y0, x1, y1]}. Correct the file.")
    return [x0 - first_pixel, y0 - first_pixel, x1, y1]


def _read_outline(entry: ElementTree.Element, where: str) -> list[float] | None:
    """Return the outline of an object as x, y, x, y, ..., or None if it has none.

    Raises:
        DatasetError: It is in a form that no known tool writes.
    """
    if entry.find(_ROTATED) is not None:
        x, y, width, height, angle = read_numbers(entry, _ROTATED, ("cx", "cy", "w", "h", "angle"), where)
        return _turned([x - width / 2, y - height / 2, x + width / 2, y + height / 2], angle)
    outline = entry.find(_OUTLINE)
    if outline is None or not len(outline):
        return None
    if outline.find("pt") is not None:  # LabelMe: <pt><x>..</x><y>..</y></pt>
        return [read_number(point, axis, where) for point in outline.findall("pt") for axis in ("x", "y")]
    # Roboflow: <x1>..</x1><y1>..</y1><x2>..</x2>...
    count = sum(child.tag.startswith("x") for child in outline)
    if not count:
        raise DatasetError(
            f"{where}: <{_OUTLINE}> has neither <pt> nor <x1>, but <{outline[0].tag}>; this form is not known. Write points as "
            "<pt><x>..</x><y>..</y></pt>."
        )
    return [read_number(outline, f"{axis}{number}", where) for number in range(1, count + 1) for axis in ("x", "y")]


def _turned(box_xyxy: Sequence[float], angle: float) -> list[float]:
    """Return the outline of a box that is turned around its centre by an angle in radians: clockwise, as y points downwards."""
    x0, y0, x1, y1 = box_xyxy
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    cosine, sine = math.cos(angle), math.sin(angle)
    corners = [(u - x, v - y) for u, v in ((x0, y0), (x1, y0), (x1, y1), (x0, y1))]
    points = [(x + cosine * u - sine * v, y + sine * u + cosine * v) for u, v in corners]
    return [number for point in points for number in point]


def _read_attributes(entry: ElementTree.Element) -> dict[str, ElementTree.Element]:
    """Return the attributes of an object, as CVAT writes them: ``<attribute><name>..</name><value>..</value></attribute>``."""
    return {one.findtext("name", "").strip().lower(): one for one in entry.findall("attributes/attribute")}


def _read_instances(mask_dir: Path, path: Path, image: dict) -> np.ndarray:
    mask_path = mask_dir / f"{path.stem}.png"
    expected = (image["height"], image["width"])
    try:
        with open_image(read_image_bytes(mask_path)) as picture:
            bands = len(picture.getbands())
            found = (picture.height, picture.width, bands)[: 2 + (bands > 1)]
            instances = np.array(picture) if found == expected else None
    except PILLOW_ERRORS as error:
        raise DatasetError(f"cannot read the instances '{mask_path}' of '{path}': {error}.") from error
    if instances is None:
        raise DatasetError(
            f"'{mask_path}' has the shape {found}, expected {expected} with one number per pixel: a PNG with a palette, as in "
            "VOC's SegmentationObject."
        )
    return np.where(instances == BORDER, 0, instances)
