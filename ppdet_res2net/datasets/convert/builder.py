"""Collects images and objects, and writes them as one annotation file in COCO's format."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ppdet_res2net.data.annotations import write_annotations
from ppdet_res2net.data.masks import mask_area, outline_box, read_mask
from ppdet_res2net.data.problems import say_count
from ppdet_res2net.data.values import is_text
from ppdet_res2net.datasets.convert.tally import Tally
from ppdet_res2net.errors import DatasetError, did_you_mean
from res2net_runtime.texts import clip, printable, storable

__all__ = ["DatasetBuilder", "rectangle"]

# labelme's lists of classes begin with these, which are none, and people label with the first what is to be ignored.
_NO_CLASSES = ("__ignore__", "_background_")


class DatasetBuilder:
    """A dataset in the making.

    Args:
        names: Class names in the order of their ids, from 1 on; None: those that occur, sorted.

    Attributes:
        images: Entries in COCO's format.
        skipped: Objects and images that are missing from the result.
        notes: What the user should know about the others.
    """

    def __init__(self, names: Sequence[str] | None = None) -> None:
        self.images: list[dict] = []
        self.skipped = Tally()
        self.notes = Tally()
        self._names = None if names is None else [name for name in names if name not in _NO_CLASSES]
        if any(name in _NO_CLASSES for name in names or ()):
            self.notes.add("names that labelme has for no class; they get no category", ", ".join(_NO_CLASSES))
        self._objects: list[tuple[str, dict]] = []
        self._sources: dict[str, str] = {}

    def add_image(self, file_name: str, height: int, width: int, source: str = "") -> dict | None:
        """Add an image and return its entry.

        Args:
            file_name: Path relative to the image folder. An image whose name is not UTF-8 is left out and counted, because
                JSON cannot hold the name; the result is None.
            height: Height in pixels.
            width: Width in pixels.
            source: The annotation file, for messages.

        Raises:
            DatasetError: The image was added before.
        """
        if storable(file_name) != file_name:
            self.skipped.add("images whose file names are not UTF-8 (rename them)", f"'{file_name}'")
            return None
        if file_name in self._sources:
            raise DatasetError(
                f"{self._sources[file_name]} and {source} are both for the image '{file_name}'. Remove one of them, or correct "
                "the name of its image."
            )
        self._sources[file_name] = source
        entry = {"id": len(self.images) + 1, "file_name": file_name, "height": int(height), "width": int(width)}
        self.images.append(entry)
        return entry

    def add_object(
        self,
        image: dict,
        name: str,
        source: str,
        box_xyxy: Sequence[float] | None = None,
        segmentation: list[list[float]] | dict | None = None,
        is_crowd: bool = False,
    ) -> None:
        """Add an object. It is left out and counted if its mask or box has no area.

        Args:
            image: Entry of its image.
            name: Class name.
            source: Where it comes from, for messages.
            box_xyxy: The box; None for the box around the segmentation.
            segmentation: Polygons or compressed RLE; None for an object without mask.
            is_crowd: Whether training leaves it out and evaluation ignores it.

        Raises:
            DatasetError: The class is not one of the names, or has characters that no file can hold.
        """
        if storable(name) != name:
            raise DatasetError(f"{source}: the class name '{printable(name)}' has half of a character. Write it again.")
        if not is_text(name):
            raise DatasetError(f"{source}: the class name '{clip(name)}' is empty or has a zero byte. Write it again.")
        if name in _NO_CLASSES:
            self.skipped.add(f"objects of '{name}', which labelme has for no class", source)
            return
        if self._names is not None and name not in self._names:
            raise DatasetError(
                f"{source}: the class '{clip(name)}' is not among the {len(self._names)} names given."
                f"{did_you_mean(name, self._names)} Add it to the names, or leave --names out to take all that occur."
            )
        size = image["height"], image["width"]
        mask = None
        if segmentation is not None:
            reading = read_mask(segmentation, *size)
            mask = reading.mask
            if mask is None:
                self.skipped.add(f"objects with {reading.complaint}", source)
                return
            if reading.lost:
                self.skipped.add("masks that lost parts", f"{source}: {reading.lost}")
            if reading.clipped:
                self.notes.add("outlines that were cut far outside their image", f"{source}: {reading.clipped}")
        if box_xyxy is None:
            if mask is None:
                raise ValueError("add_object needs a box or a segmentation.")
            box_xyxy = outline_box(mask).tolist()
        x0, y0, x1, y1 = (round(float(value), 3) for value in box_xyxy)
        width, height = round(x1 - x0, 3), round(y1 - y0, 3)
        if width <= 0 or height <= 0:
            self.skipped.add("objects without width or height", source)
            return
        annotation = {
            "id": len(self._objects) + 1,
            "image_id": image["id"],
            "bbox": [x0, y0, width, height],
            "iscrowd": int(is_crowd),
            "segmentation": _plain(mask),
            "area": width * height if mask is None else mask_area(mask, *size),
        }
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
            left_out = "".join(f" Left out: {line}." for line in self.skipped.lines())
            left_out += "".join(f" Note: {line}." for line in self.notes.lines())
            raise DatasetError(
                f"no {missing} were found, so '{path}' is not written. Check the folders that were given.{left_out}"
            )
        write_annotations(self.content, path)
        with_objects = len({annotation["image_id"] for _, annotation in self._objects})
        masks = sum(bool(annotation["segmentation"]) for _, annotation in self._objects)
        skipped = "".join(f"; left out: {self.skipped[kind]} {kind}" for kind in self.skipped)
        return (
            f"{say_count(len(self.images), 'image')} ({len(self.images) - with_objects} without objects), "
            f"{say_count(len(self._objects), 'object')} ({masks} with masks), "
            f"{say_count(len(self.names), 'class', 'classes')}{skipped}"
        )


def rectangle(x0: float, y0: float, x1: float, y1: float) -> list[float]:
    """Return the polygon of a box."""
    return [x0, y0, x1, y0, x1, y1, x0, y1]


def _plain(mask: list | dict | None) -> list | dict:
    """Return a mask as JSON holds it."""
    if isinstance(mask, dict):
        return {"size": [int(side) for side in mask["size"]], "counts": mask["counts"].decode()}
    return [[round(float(value), 3) for value in part] for part in mask or []]
