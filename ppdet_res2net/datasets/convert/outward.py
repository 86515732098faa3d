"""Writes a dataset in COCO's format in the layouts of YOLO and of Pascal VOC."""

from __future__ import annotations

import os
import re
import shutil
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
import yaml

from ppdet_res2net.data.annotations import read_annotations
from ppdet_res2net.data.coco_file import CocoAnnotation, CocoFile, CocoImage
from ppdet_res2net.data.image_names import ImageFolder
from ppdet_res2net.data.instances import DROPPED_BOX, examine_instances
from ppdet_res2net.data.masks import Mask
from ppdet_res2net.datasets.convert.tally import Tally
from ppdet_res2net.errors import DatasetError
from ppdet_res2net.files import new_folder
from res2net_runtime.outlines import find_outlines, join_outlines

__all__ = ["SPLITS", "CocoSplit", "Losses", "write_voc", "write_yolo"]

SPLITS = ("train", "val", "test")
_NO_BOX = "objects without a usable box"
_CROWDS = "crowd regions and ignored objects, which YOLO has no place for"
_NO_OUTLINE = "objects without a mask, whose box was taken as the outline"

# ElementTree writes such characters, but no parser reads them.
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class CocoSplit:
    """A split of a dataset.

    Attributes:
        name: One of :data:`SPLITS`.
        annotation_path: Its annotation file.
        image_dir: The folder of its images.
    """

    name: str
    annotation_path: Path
    image_dir: Path


@dataclass(frozen=True)
class Losses:
    """What a format could not hold.

    Attributes:
        skipped: What was left out.
        notes: What was changed.
    """

    skipped: Tally = field(default_factory=Tally)
    notes: Tally = field(default_factory=Tally)


@dataclass(frozen=True)
class _Entry:
    """An image, where its file is, and its usable objects with their boxes as x0, y0, x1, y1."""

    image: CocoImage
    path: Path
    name: PurePosixPath
    objects: list[tuple[CocoAnnotation, np.ndarray]]


def write_yolo(
    splits: Sequence[CocoSplit], folder: Path, with_outlines: bool = False, link_images: bool = False
) -> Losses:
    """Write a dataset as YOLO's programs expect it: ``data.yaml``, ``images/`` and ``labels/``, with a folder for each split.

    Args:
        splits: The splits. They must have the same categories.
        folder: A new folder.
        with_outlines: Write the outlines of masks, and not boxes. The parts of an object, and holes, are joined to its
            outline by lines without width.
        link_images: Make symbolic links to the images instead of copying them.

    Returns:
        What was left out or changed.

    Raises:
        DatasetError: A file is missing or wrong, categories differ, or the folder is not empty.
    """
    losses = Losses()
    files = _read(splits)
    classes = {category.id: number for number, category in enumerate(files[0].categories)}
    with new_folder(folder, "--out", DatasetError) as root:
        for split, file in zip(splits, files):
            for entry in _entries(split, file, losses):
                _place(entry, root / "images" / split.name, link_images)
                lines = [
                    line
                    for one, box in entry.objects
                    if (line := _yolo_line(one, box, entry.image, classes[one.category_id], with_outlines, losses))
                ]
                label_path = root / "labels" / split.name / entry.name.with_suffix(".txt")
                _write(label_path, "".join(f"{line}\n" for line in lines))
        names = {classes[one.id]: one.name for one in files[0].categories}
        content = {**{split.name: f"images/{split.name}" for split in splits}, "names": names}
        _write(root / "data.yaml", yaml.safe_dump(content, allow_unicode=True, sort_keys=False))
    return losses


def write_voc(splits: Sequence[CocoSplit], folder: Path, link_images: bool = False) -> Losses:
    """Write a dataset in the layout of Pascal VOC: ``Annotations/``, ``JPEGImages/``, and a list for each split.

    VOC's boxes are whole pixels, counted from 1, so boxes are rounded. Crowd regions become difficult objects.

    Args, Returns, Raises: As for :func:`write_yolo`. Also, an image is in two splits.
    """
    losses = Losses()
    files = _read(splits)
    names = {category.id: category.name for category in files[0].categories}
    owners: dict[PurePosixPath, str] = {}
    with new_folder(folder, "--out", DatasetError) as root:
        for split, file in zip(splits, files):
            listed = []
            for entry in _entries(split, file, losses):
                stem = entry.name.with_suffix("")
                if stem in owners:
                    raise DatasetError(
                        f"the splits {owners[stem]} and {split.name} both have an image '{stem}'. Rename one of them."
                    )
                owners[stem] = split.name
                _place(entry, root / "JPEGImages", link_images)
                text = ElementTree.tostring(_voc_tree(entry, names), encoding="unicode")
                _write(root / "Annotations" / entry.name.with_suffix(".xml"), f"{text}\n")
                listed.append(str(stem))
            _write(root / "ImageSets" / "Main" / f"{split.name}.txt", "".join(f"{name}\n" for name in listed))
    return losses


def _read(splits: Sequence[CocoSplit]) -> list[CocoFile]:
    files = [read_annotations(split.annotation_path) for split in splits]
    lists = [[(category.id, category.name) for category in file.categories] for file in files]
    for split, names in zip(splits, lists):
        if names != lists[0]:
            raise DatasetError(
                f"'{split.annotation_path}' has other categories than '{splits[0].annotation_path}', or another order. Give "
                "all splits the same list."
            )
    return files


def _entries(split: CocoSplit, file: CocoFile, losses: Losses) -> list[_Entry]:
    selection = examine_instances(file.annotations, with_masks=False)
    usable = selection.without(*DROPPED_BOX)
    for finding in selection.findings:
        if finding.problem in DROPPED_BOX:
            losses.skipped.add(_NO_BOX, f"'{split.annotation_path}', {finding.subject}")
    objects: dict[int, list[tuple[CocoAnnotation, np.ndarray]]] = defaultdict(list)
    for one, box in zip(usable.annotations, usable.boxes_xyxy.astype(float)):
        objects[one.image.id].append((one, box))
    images = ImageFolder(split.image_dir)
    entries, stems = [], set()
    for image in file.images:
        path = images.find(image.file_name)
        if path is None:
            raise DatasetError(
                f"'{split.annotation_path}', image id {image.id}: {images.explain(image.file_name)}. Correct the name "
                "or the folder."
            )
        name = PurePosixPath(os.path.relpath(path, split.image_dir))
        if name.with_suffix("") in stems:
            raise DatasetError(
                f"'{split.annotation_path}' has two images '{name.with_suffix('')}', which would share a label file. Rename "
                "one."
            )
        stems.add(name.with_suffix(""))
        entries.append(_Entry(image, Path(path), name, objects[image.id]))
    return entries


def _yolo_line(
    one: CocoAnnotation, box: np.ndarray, image: CocoImage, number: int, with_outlines: bool, losses: Losses
) -> str | None:
    if one.is_crowd or one.is_ignored:
        losses.skipped.add(_CROWDS, f"annotation id {one.id}")
        return None
    size = np.array([image.width, image.height], float)
    if not with_outlines:
        values = np.concatenate([(box[:2] + box[2:]) / 2 / size, (box[2:] - box[:2]) / size])
    else:
        if one.mask is None:
            losses.notes.add(_NO_OUTLINE, f"annotation id {one.id}")
        outline = _box_outline(box) if one.mask is None else _outline(one.mask)
        values = np.clip(outline / size, 0.0, 1.0).reshape(-1)
    return " ".join([str(number), *(f"{value:.6f}" for value in values)])


def _box_outline(box: np.ndarray) -> np.ndarray:
    return box[[0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 2)


def _outline(mask: Mask) -> np.ndarray:
    """Return a mask as one outline (N, 2): its parts, joined by lines without width."""
    if not isinstance(mask, dict):
        return join_outlines([np.asarray(part).reshape(-1, 2) for part in mask])
    parts, holes = find_outlines(mask)
    return join_outlines([*parts, *holes])


def _voc_tree(entry: _Entry, names: dict[int, str]) -> ElementTree.Element:
    root = ElementTree.Element("annotation")
    _add(root, "filename", entry.name.name)
    size = ElementTree.SubElement(root, "size")
    for key, value in (("width", entry.image.width), ("height", entry.image.height), ("depth", 3)):
        _add(size, key, value)
    for one, box in entry.objects:
        element = ElementTree.SubElement(root, "object")
        _add(element, "name", names[one.category_id])
        _add(element, "difficult", int(one.is_crowd or one.is_ignored))
        frame = ElementTree.SubElement(element, "bndbox")
        x0, y0 = (round(value) for value in box[:2])
        corners = (x0 + 1, y0 + 1, max(round(box[2]), x0 + 1), max(round(box[3]), y0 + 1))
        for key, value in zip(("xmin", "ymin", "xmax", "ymax"), corners):
            _add(frame, key, value)
    ElementTree.indent(root)
    return root


def _add(parent: ElementTree.Element, key: str, value: object) -> None:
    text = str(value)
    if _NOT_IN_XML.search(text):
        raise DatasetError(
            f"The {key} {ascii(text)[:200]} has a control character, which XML cannot hold. Rename it in the annotations."
        )
    ElementTree.SubElement(parent, key).text = text


def _place(entry: _Entry, folder: Path, link: bool) -> None:
    target = folder / entry.name
    target.parent.mkdir(parents=True, exist_ok=True)
    if link:
        target.symlink_to(entry.path.absolute())
    else:
        shutil.copyfile(entry.path, target)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
