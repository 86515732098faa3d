"""A set of annotated images as it was found, and its content in COCO's format."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ppdet_res2net.commands import program
from ppdet_res2net.data.annotations import read_json
from ppdet_res2net.datasets import convert
from ppdet_res2net.datasets.own_recipe.image_folders import place_images
from ppdet_res2net.datasets.own_recipe.tree import FileTree
from ppdet_res2net.errors import DatasetError

__all__ = ["ReadSet", "Source", "read_source"]

# What messages of the converters propose
_FLAGS = re.compile(r"--(extract_images|measure_images|first_pixel|labels|skip_unsupported)\b")


@dataclass(frozen=True)
class Source:
    """A set of annotated images.

    Attributes:
        form: ``coco``, ``voc``, ``labelme`` or ``yolo``.
        annotations: The annotation file of COCO, the folder of VOC or labelme, or what names the classes of YOLO.
        role: What its names say that it is for; None if they say nothing.
        image_dir: The folder of its images; None if it has yet to be found.
        listed: VOC: the file that lists the images; None for all.
        mask_dir: VOC: the folder of the masks.
        places: YOLO: the folders of the images, and lists of images.
        note: What the user should know about how it was found, without a full stop.
    """

    form: str
    annotations: Path
    role: str | None = None
    image_dir: Path | None = None
    listed: Path | None = None
    mask_dir: Path | None = None
    places: tuple[Path, ...] = ()
    note: str = ""


@dataclass
class ReadSet:
    """A set in COCO's format.

    Attributes:
        source: Where it comes from.
        content: ``images``, ``annotations`` and ``categories``.
        image_dir: The folder that file names are relative to.
        is_written: Whether ``source.annotations`` is a file with just this content.
        notes: What the user should know about how it was read, a sentence each without its full stop.
    """

    source: Source
    content: dict
    image_dir: Path
    is_written: bool = False
    notes: list[str] = field(default_factory=list)


def read_source(source: Source, tree: FileTree, names: Path | None = None) -> ReadSet:
    """Read a set, and convert it if it is not COCO's.

    Args:
        source: The set.
        tree: Where to look for images.
        names: A file with the class names in their order; None for those that occur.

    Raises:
        DatasetError: A file is missing or wrong.
    """
    if source.form == "coco":
        return _read_coco(source, tree)
    try:
        converted = _convert(source, tree, names)
    except DatasetError as error:
        if _FLAGS.search(str(error)):
            raise DatasetError(f"{error} {_say_flags()}") from error
        raise
    if any(map(_FLAGS.search, converted.notes)):
        converted.notes.append(_say_flags().rstrip("."))
    return converted


def _say_flags() -> str:
    return f"These flags are for '{program('convert-dataset')}', which writes the annotation files that --train and --val take."


def _convert(source: Source, tree: FileTree, names: Path | None) -> ReadSet:
    listed = convert.read_names(names) if names else None
    image_dir = source.image_dir or tree.root
    if source.form == "voc":
        builder = convert.convert_voc(source.annotations, image_dir, listed, source.listed, source.mask_dir)
    elif source.form == "labelme":
        builder = convert.convert_labelme(source.annotations, image_dir, listed)
    else:
        images = convert.YoloImages.of(source.places)
        table = convert.read_class_table(names or source.annotations)
        image_dir, builder = images.root, convert.convert_yolo(images, None, table)
    lines = [*filter(None, [source.note]), *(f"left out: {line}" for line in builder.skipped.lines())]
    lines += builder.notes.lines()
    return ReadSet(source, builder.content, image_dir, notes=lines)


def _read_coco(source: Source, tree: FileTree) -> ReadSet:
    content = read_json(source.annotations)
    if source.image_dir is not None:
        return ReadSet(source, content, source.image_dir, is_written=True)
    names = _texts(entry.get("file_name") for entry in content["images"])
    if not names:
        return ReadSet(source, content, tree.root, is_written=True)  # the check says that the images have no names
    place = place_images(names, source.annotations, tree)
    if not place.renamed:
        return ReadSet(source, content, place.folder, is_written=True)
    images = [
        {**entry, "file_name": place.renamed.get(entry.get("file_name"), entry.get("file_name"))}
        for entry in content["images"]
    ]
    first = next(iter(place.renamed.items()))
    note = (
        f"'{source.annotations}' calls the images by names that no file has; they were found by the last part, "
        f"as '{first[1]}' for '{first[0]}'"
    )
    return ReadSet(source, {**content, "images": images}, place.folder, notes=[note])


def _texts(values) -> Sequence[str]:
    return [value for value in values if isinstance(value, str) and value]
