"""Collects images and objects, and writes them as one annotation file in COCO's format."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import yaml
from PIL import Image, UnidentifiedImageError

from ppdet_res2net.data.annotations import write_annotations
from ppdet_res2net.data.masks import mask_area, outline_box, read_mask
from ppdet_res2net.errors import DatasetError, did_you_mean
from ppdet_res2net.files import images_below
from res2net_runtime.files import IMAGE_SUFFIXES

__all__ = ["DatasetBuilder", "find_image", "list_images", "measure_image", "read_names", "rectangle"]

# EXIF orientations that exchange the sides of an image.
ORIENTATION_TAG, TURNED = 0x0112, (5, 6, 7, 8)


class DatasetBuilder:
    """A dataset in the making.

    Args:
        names: Class names in the order of their ids, from 1 on; None: those that occur, sorted.

    Attributes:
        images: Entries in COCO's format.
        skipped: What could not be represented -> how often.
    """

    def __init__(self, names: Sequence[str] | None = None) -> None:
        self.images: list[dict] = []
        self.skipped: Counter = Counter()
        self._names = None if names is None else list(names)
        self._objects: list[tuple[str, dict]] = []

    def add_image(self, file_name: str, height: int, width: int) -> dict:
        """Add an image; ``file_name`` is relative to the image folder. Returns its entry."""
        entry = {
            "id": len(self.images) + 1,
            "file_name": file_name,
            "height": int(height),
            "width": int(width),
        }
        self.images.append(entry)
        return entry

    def add_object(
        self,
        image: dict,
        name: str,
        source: str,
        box_xyxy: Sequence[float] | None = None,
        segmentation: list | dict | None = None,
        is_crowd: bool = False,
    ) -> None:
        """Add an object.

        Args:
            image: Entry of its image.
            name: Class name.
            source: Where it comes from, for messages.
            box_xyxy: The box; None for the box around the segmentation.
            segmentation: Polygons or compressed RLE; None for an object without mask.
            is_crowd: Whether training leaves it out and evaluation ignores it.

        Raises:
            DatasetError: The class is not one of the names.
        """
        if self._names is not None and name not in self._names:
            raise DatasetError(
                f"{source}: the class '{name}' is not among the {len(self._names)} names given."
                f"{did_you_mean(name, self._names)} Add it to the names, or leave --names out to take all that occur."
            )
        if box_xyxy is None and segmentation is None:
            raise ValueError("add_object needs a box or a segmentation.")
        mask = read_mask(_plain(segmentation), image["height"], image["width"]).mask
        if box_xyxy is None:
            box_xyxy = outline_box(mask or segmentation or []).tolist()
        x0, y0, x1, y1 = (round(float(value), 3) for value in box_xyxy)
        annotation = {
            "id": len(self._objects) + 1,
            "image_id": image["id"],
            "bbox": [x0, y0, round(x1 - x0, 3), round(y1 - y0, 3)],
            "iscrowd": int(is_crowd),
            "segmentation": _plain(mask),
        }
        annotation["area"] = (
            max(x1 - x0, 0.0) * max(y1 - y0, 0.0) if mask is None else mask_area(mask, image["height"], image["width"])
        )
        self._objects.append((name, annotation))

    @property
    def names(self) -> list[str]:
        """Class names in the order of their ids."""
        return sorted({name for name, _ in self._objects}) if self._names is None else self._names

    @property
    def content(self) -> dict:
        """The content of the annotation file."""
        ids = {name: number for number, name in enumerate(self.names, 1)}
        return {
            "images": self.images,
            "annotations": [{**annotation, "category_id": ids[name]} for name, annotation in self._objects],
            "categories": [{"id": number, "name": name} for name, number in ids.items()],
        }

    def write(self, path: str | os.PathLike) -> str:
        """Write the annotation file and return what it holds, in one line.

        Raises:
            DatasetError: There is nothing to write, or the file cannot be written.
        """
        if not self.images or not self.names:
            missing = "images" if not self.images else "objects"
            raise DatasetError(
                f"no {missing} were found, so '{path}' is not written. Check the folders that were given."
            )
        write_annotations(self.content, path)
        with_objects = len({annotation["image_id"] for _, annotation in self._objects})
        masks = sum(bool(annotation["segmentation"]) for _, annotation in self._objects)
        skipped = "".join(f"; left out: {count} {what}" for what, count in self.skipped.items())
        return (
            f"{len(self.images)} images ({len(self.images) - with_objects} without objects), {len(self._objects)} "
            f"objects ({masks} with masks), {len(self.names)} classes{skipped}"
        )


def rectangle(x0: float, y0: float, x1: float, y1: float) -> list[float]:
    """Return the polygon of a box."""
    return [x0, y0, x1, y0, x1, y1, x0, y1]


def list_images(folder: Path) -> list[Path]:
    """Return the image files below a folder, sorted.

    Raises:
        DatasetError: There are none, or no such folder.
    """
    files = sorted(map(Path, images_below(folder)))
    if not files:
        raise DatasetError(
            f"there are no images in '{folder}' (looked for {', '.join(IMAGE_SUFFIXES)}). Check the path."
        )
    return files


def find_image(folder: Path, wanted: str, source: str) -> Path:
    """Return the image file that an annotation names. If it is missing, other folders and suffixes are tried.

    Raises:
        DatasetError: There is none.
    """
    name = Path(wanted.replace("\\", "/"))
    for candidate in (folder / name, folder / name.name):
        if candidate.is_file():
            return candidate
    for candidate in sorted(folder.glob("*")):
        if candidate.stem == name.stem and candidate.suffix.lower() in IMAGE_SUFFIXES:
            return candidate
    raise DatasetError(
        f"{source}: its image '{wanted}' is not in '{folder}'. Pass the image folder with --images, or copy the image there."
    )


def measure_image(path: Path) -> tuple[int, int]:
    """Return (height, width) of an image as it is shown, from the header of its file.

    Raises:
        DatasetError: It cannot be read.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            is_turned = image.getexif().get(ORIENTATION_TAG) in TURNED
    except (OSError, UnidentifiedImageError) as error:
        raise DatasetError(f"cannot read image '{path}': {error}. Copy it again, or remove it.") from error
    return (width, height) if is_turned else (height, width)


def read_names(path: str | os.PathLike) -> list[str]:
    """Read class names: one per line, or the ``names`` of a YOLO ``data.yaml``.

    Raises:
        DatasetError: The file cannot be read, or holds no names.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        if Path(path).suffix in (".yaml", ".yml"):
            content = yaml.safe_load(text)
            names = content.get("names") if isinstance(content, dict) else None
            names = [names[key] for key in sorted(names)] if isinstance(names, dict) else names
        else:
            names = [line.strip() for line in text.splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DatasetError(f"cannot read class names from '{path}': {error}.") from error
    if not isinstance(names, Iterable) or isinstance(names, str) or not names:
        raise DatasetError(f"'{path}' holds no class names: expected one per line, or 'names: [...]' in a YAML file.")
    return [str(name) for name in names]


def _plain(segmentation: list | dict | None) -> list | dict:
    """Return a segmentation as JSON holds it."""
    if isinstance(segmentation, dict):
        return {
            "size": [int(side) for side in segmentation["size"]],
            "counts": segmentation["counts"].decode(),
        }
    return [[round(float(value), 3) for value in part] for part in segmentation or []]
