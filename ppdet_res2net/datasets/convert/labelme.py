"""labelme and its relatives (AnyLabeling, X-AnyLabeling): one JSON file per image, with shapes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pycocotools import mask as mask_utils

from ppdet_res2net.data.foreign_formats import recognise
from ppdet_res2net.data.masks import rasterize, read_mask
from ppdet_res2net.data.text_files import read_json_file
from ppdet_res2net.data.values import show, to_flag, to_whole_number
from ppdet_res2net.datasets.convert.builder import DatasetBuilder
from ppdet_res2net.datasets.convert.failures import Failures
from ppdet_res2net.datasets.convert.files import SIZE_DIFFERS, ImageIndex, find_files, take_size
from ppdet_res2net.datasets.convert.labelme_pictures import write_picture
from ppdet_res2net.datasets.convert.labelme_shapes import read_shape
from ppdet_res2net.errors import DatasetError

__all__ = ["convert_labelme"]

_FLAGS = "files with flags for the whole image, which COCO's format has no place for"
_ATTRIBUTES = "shapes with flags, attributes or a description, which COCO's format has no place for"
_EXTRAS = ("attributes", "description", "kie_linking")
_COCO = "JSON files that are COCO's and not labelme's"


def convert_labelme(
    annotation_dir: Path,
    image_dir: Path,
    names: Sequence[str] | None = None,
    ignore_difficult: bool = False,
    measure_images: bool = False,
    extract_images: bool = False,
) -> DatasetBuilder:
    """Read the JSON files of labelme.

    Polygons, rectangles (two or four corners), rotated rectangles, quadrilaterals, circles and masks become masks; shapes of
    one label and ``group_id`` are parts of one object. Other shapes are left out and counted: points and lines have no area, a
    cuboid is not in the plane.

    Args:
        annotation_dir: Folder of the JSON files.
        image_dir: Folder of the images; file names in the result are relative to it.
        names: Class names in the order of their ids; None: those that occur, sorted.
        ignore_difficult: Make objects that X-AnyLabeling marks as difficult crowd regions.
        measure_images: Take the sizes of the images, whatever the files say.
        extract_images: Write the copy of an image that a JSON file has in it (``imageData``) to ``image_dir``, if the image
            is not there.

    Raises:
        DatasetError: A file is missing or wrong; it is named.
    """
    files = find_files(annotation_dir, ".json")
    if not files:
        raise DatasetError(f"there are no JSON files in '{annotation_dir}'. Pass the folder that labelme saves to.")
    builder = DatasetBuilder(names)
    try:
        images = ImageIndex(image_dir, may_be_empty=extract_images)
    except DatasetError as error:
        raise DatasetError(
            f"{error} If the JSON files have copies of the images (imageData), --extract_images writes them."
        ) from error
    failures = Failures()
    for path in files:
        with failures.collect():
            content = read_json_file(path)
            if isinstance(content, dict) and {"images", "categories"} <= content.keys():
                builder.notes.add(_COCO, f"'{path}'")
                continue
            file = _LabelFile(path, content)
            image_path = file.find_image(images, path.relative_to(annotation_dir), builder, extract_images)
            _convert_file(builder, file, images.relative_name(image_path), image_path, ignore_difficult, measure_images)
    failures.raise_if_any()
    images.note_unused(builder.notes)
    if builder.notes[_COCO] == len(files):
        raise DatasetError(
            f"the JSON files in '{annotation_dir}' are in COCO's format already. Nothing is to be converted."
        )
    return builder


def _convert_file(
    builder: DatasetBuilder,
    file: _LabelFile,
    image_name: str,
    image_path: Path,
    ignore_difficult: bool,
    measure_images: bool,
) -> None:
    size = take_size(image_path, file.size if file.shapes else None, measure_images)
    if size is None:
        for position, _ in enumerate(file.shapes, 1):
            builder.skipped.add(SIZE_DIFFERS, file.where(position))
        return
    image = builder.add_image(image_name, *size, f"'{file.path}'")
    if image is not None:
        for name, shapes in file.objects():
            _add_object(builder, image, name, shapes, file, ignore_difficult)
        file.note_what_is_lost(builder)


class _LabelFile:
    """One JSON file of labelme, as it is.

    Raises:
        DatasetError: It is not labelme's.
    """

    def __init__(self, path: Path, content: object) -> None:
        if not isinstance(content, dict) or not _is_list_of_objects(content.get("shapes")):
            known = None if isinstance(content, dict) and "shapes" in content else recognise(path, content)
            remedy = known or "Pass a folder that holds labelme's JSON files only."
            raise DatasetError(f"'{path}' has no list of shapes. {remedy}")
        self.path = path
        self.content: dict = content
        self.shapes: list[dict] = content["shapes"]

    def where(self, position: int) -> str:
        """Return what to call a shape in messages; the first has the position 1."""
        return f"'{self.path}', shape {position}"

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width) as annotated; None if they are missing or are no sizes."""
        height, width = (to_whole_number(self.content.get(key)) for key in ("imageHeight", "imageWidth"))
        return (height, width) if height and width and min(height, width) > 0 else None

    def find_image(self, images: ImageIndex, relative: Path, builder: DatasetBuilder, extract: bool) -> Path:
        """Return the image of this file, whose path below the folder of annotations is ``relative``.

        If there is none, and ``extract`` is set, the copy in the file is written beside the other images.
        """
        named = self.content.get("imagePath")
        try:
            wanted = named if isinstance(named, str) and named.strip() else f"{relative.stem}.jpg"
            return images.find(relative, wanted, f"'{self.path}'", builder.notes)
        except DatasetError as error:
            copy = self.content.get("imageData")
            if not copy or images.has(relative, wanted):
                raise
            if not extract:
                raise DatasetError(
                    f"{error} The file has a copy of the image in it (imageData); --extract_images writes it there."
                ) from error
            images.add(write_picture(copy, images.root / relative, f"'{self.path}'"))
            return images.find(relative, wanted, f"'{self.path}'", builder.notes)

    def objects(self) -> list[tuple[str, list[tuple[int, dict]]]]:
        """Return name and shapes of each object, with the positions of the shapes.

        A shape without group id is an object of its own.

        Raises:
            DatasetError: A shape has no label, or a group id that is none.
        """
        groups: dict[tuple, list[tuple[int, dict]]] = {}
        for position, shape in enumerate(self.shapes, 1):
            label, group = shape.get("label"), shape.get("group_id")
            if type(label) is int:
                label = str(label)
            if isinstance(group, float) and group.is_integer():
                group = int(group)
            if not isinstance(label, str) or not label.strip():
                found = "" if label is None else f", but {show(label)}"
                raise DatasetError(f"{self.where(position)} has no label{found}. Name it in labelme.")
            if group is not None and not isinstance(group, (int, str)):
                raise DatasetError(
                    f"{self.where(position)} has the group_id {show(group)}; expected a whole number or null."
                )
            is_alone = group is None or group == ""
            key = (label.strip(), "alone", position) if is_alone else (label.strip(), "group", group)
            groups.setdefault(key, []).append((position, shape))
        return [(key[0], shapes) for key, shapes in groups.items()]

    def note_what_is_lost(self, builder: DatasetBuilder) -> None:
        """Count what people have written into the file that a COCO file does not hold."""
        flags = self.content.get("flags")
        if isinstance(flags, dict) and any(flags.values()):
            builder.notes.add(_FLAGS, f"'{self.path}'")
        for position, shape in enumerate(self.shapes, 1):
            flags = shape.get("flags")
            if any(shape.get(key) for key in _EXTRAS) or (isinstance(flags, dict) and any(flags.values())):
                builder.notes.add(_ATTRIBUTES, self.where(position))


def _is_list_of_objects(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(entry, dict) for entry in value)


def _add_object(
    builder: DatasetBuilder,
    image: dict,
    name: str,
    shapes: list[tuple[int, dict]],
    file: _LabelFile,
    ignore_difficult: bool,
) -> None:
    size = image["height"], image["width"]
    polygons: list[list[float]] = []
    bitmaps: list[dict] = []
    used: list[int] = []
    for position, shape in shapes:
        part = read_shape(shape, *size, file.where(position))
        if isinstance(part, str):
            builder.skipped.add(part, file.where(position))
            continue
        used.append(position)
        if isinstance(part, dict):
            bitmaps.append(part)
        else:
            polygons.append(part)
    if not used:
        return
    is_crowd = ignore_difficult and any(to_flag(shape.get("difficult")) for _, shape in shapes)
    segmentation: list[list[float]] | dict = polygons
    if bitmaps:
        drawn = read_mask(polygons, *size).mask
        segmentation = mask_utils.merge([*bitmaps, *([] if drawn is None else [rasterize(drawn, *size)])])
    builder.add_object(image, name, file.where(used[0]), segmentation=segmentation, is_crowd=is_crowd)
