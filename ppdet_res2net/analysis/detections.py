"""Reads detections in COCO's result format, of this program and of other tools; everything is checked and named if wrong."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, NoReturn

import numpy as np
from pycocotools import mask as mask_utils

from ppdet_res2net.data.coco_file import CocoImage
from ppdet_res2net.data.ground_truth import ScoredObjects
from ppdet_res2net.data.masks import MAX_COORDINATE_PX, rasterize, read_mask
from ppdet_res2net.data.text_files import read_json_file
from ppdet_res2net.data.values import show, to_number, to_whole_number
from ppdet_res2net.errors import DatasetError
from res2net_runtime.texts import printable

__all__ = ["DetectionColumns", "read_detections", "read_result_files", "spell_plainly"]

_FAR = 1.1  # a box that reaches this far is rather given by its corners
_SHOWN_CATEGORIES = 8


@dataclass(frozen=True)
class DetectionColumns:
    """Detections as columns, in the order of the list.

    Attributes:
        images: int64 (N,): place of the image.
        classes: int64 (N,): place of the class.
        scores: float64 (N,), from 0 to 1.
        boxes_xywh: float64 (N, 4), in pixels.
        masks: Run lengths in COCO's compressed form; None for boxes.
        notes: What may be wrong with all of them, one sentence each.
    """

    images: np.ndarray
    classes: np.ndarray
    scores: np.ndarray
    boxes_xywh: np.ndarray
    masks: list[dict] | None
    notes: list[str]


def read_result_files(paths: Sequence[str | os.PathLike[str]]) -> dict[str, list[dict]]:
    """Read result files, and find out which kinds they hold.

    Args:
        paths: Files with a list of results, or with an object that has it as ``annotations`` or ``predictions``.

    Returns:
        The results of ``bbox`` and ``segm``. Entries with both a box and a mask count for both, but a file with boxes only has
        precedence for ``bbox``.

    Raises:
        DatasetError: A file cannot be read, or holds something else; or two files hold the same kind.
    """
    found: dict[str, tuple[str, list[dict]]] = {}
    both: tuple[str, list[dict]] | None = None
    for path in paths:
        source = f"result file '{printable(path)}'"
        entries = _list_of(read_json_file(path, "result file"), source)
        has_masks = any(entry.get("segmentation") for entry in entries[:100])
        if not entries:
            has_masks = any(word in PurePosixPath(path).name for word in ("mask", "seg"))
        kind = "segm" if has_masks else "bbox"
        if kind in found:
            what = "masks" if has_masks else "boxes"
            raise DatasetError(
                f"{source} and {found[kind][0]} both hold {what}. Pass one file with boxes and one with masks."
            )
        found[kind] = source, entries
        if has_masks and entries and all("bbox" in entry for entry in entries[:100]):
            both = found[kind]
    if both and "bbox" not in found:
        found["bbox"] = both
    return {kind: found[kind][1] for kind in ("bbox", "segm") if kind in found}


def _list_of(content: object, source: str) -> list[dict]:
    if isinstance(content, dict):
        content = next((content[key] for key in ("annotations", "predictions") if key in content), content)
    if not isinstance(content, list) or not all(isinstance(entry, dict) for entry in content):
        raise DatasetError(
            f"{source} is not in COCO's result format: expected a list of objects with image_id, category_id, score and "
            f"bbox or segmentation, got {show(content)}. Export the results again."
        )
    return content


def read_detections(entries: Sequence[Mapping[str, Any]], objects: ScoredObjects, kind: str) -> DetectionColumns:
    """Read and check detections.

    Args:
        entries: Dicts with ``image_id``, ``category_id``, ``score``, and ``bbox`` (x, y, width, height in pixels) or
            ``segmentation`` (run lengths or polygons). An image may also be named by its file, with or without suffix.
        objects: What they are to be compared with.
        kind: ``bbox`` or ``segm``.

    Raises:
        DatasetError: An entry is wrong; it is named by its place in the list.
    """
    reader = _Reader(objects)
    number = len(entries)
    images, classes = np.zeros(number, np.int64), np.zeros(number, np.int64)
    scores, boxes = np.zeros(number), np.zeros((number, 4))
    masks: list[dict] | None = [] if kind == "segm" else None
    for reader.place, entry in enumerate(entries):
        reader.kind = kind
        images[reader.place] = reader.image(entry.get("image_id"))
        classes[reader.place] = reader.category(entry.get("category_id"))
        scores[reader.place] = reader.score(entry.get("score"))
        if masks is not None:
            masks.append(reader.mask(entry.get("segmentation"), objects.images[images[reader.place]]))
        if masks is None or entry.get("bbox"):
            boxes[reader.place] = reader.box(entry.get("bbox"))
        else:
            boxes[reader.place] = mask_utils.toBbox(masks[-1])
    return DetectionColumns(images, classes, scores, boxes, masks, list(_doubts(boxes, images, objects.images)))


def spell_plainly(results: Mapping[str, list[dict]], objects: ScoredObjects) -> dict[str, list[dict]]:
    """Return results as this program writes them, whatever forms of ids, numbers and masks another tool has used.

    Args:
        results: The results of each kind; a list that serves both still does so.
        objects: What they are to be compared with.

    Raises:
        DatasetError: An entry is wrong.
    """
    plain: dict[str, list[dict]] = {}
    for kind in sorted(results, reverse=True):  # masks first, whose entries may have boxes, too
        if kind == "bbox" and results.get("segm") is results[kind]:
            plain[kind] = plain["segm"]
            continue
        found = read_detections(results[kind], objects, kind)
        plain[kind] = []
        for place, (image, class_) in enumerate(zip(found.images, found.classes)):
            entry = {
                "image_id": objects.images[image].id,
                "category_id": objects.categories[class_].id,
                "bbox": found.boxes_xywh[place].tolist(),
                "score": float(found.scores[place]),
            }
            if found.masks is not None:
                entry["segmentation"] = found.masks[place]
            plain[kind].append(entry)
    return {kind: plain[kind] for kind in results}


def _doubts(boxes: np.ndarray, images: np.ndarray, all_images: Sequence[CocoImage]) -> Iterator[str]:
    if not len(boxes):
        return
    sizes = np.array([(image.width, image.height) for image in all_images], np.float64)[images]
    if boxes.max() <= 1:
        yield "All boxes are smaller than a pixel: are they shares of the image instead of pixels?"
    elif (is_far := ((boxes[:, :2] + boxes[:, 2:]) > sizes * _FAR).any(axis=1)).mean() > 0.3:
        yield (
            f"{is_far.sum()} of {len(boxes)} boxes of detections reach far beyond their images: are they [x0, y0, x1, y1] "
            "instead of [x, y, width, height], or of images of another size?"
        )


class _Reader:
    """Reads the fields of entries; errors name the entry at ``place``."""

    def __init__(self, objects: ScoredObjects) -> None:
        self.place, self.kind = 0, "bbox"
        self._images: dict[object, int] = {}
        for place, image in enumerate(objects.images):
            self._images[image.id] = place
        self._names = _name_images(objects.images)
        self._categories = {category.id: place for place, category in enumerate(objects.categories)}
        self._shown = ", ".join(f"{one.id} {printable(one.name)}" for one in objects.categories[:_SHOWN_CATEGORIES])
        self._shown += ", ..." if len(objects.categories) > _SHOWN_CATEGORIES else ""

    def image(self, value: object) -> int:
        place = self._images.get(value) if type(value) is int else None
        if place is None:
            number = to_whole_number(value)
            place = self._images.get(number) if number is not None else None
        if place is None and isinstance(value, str):
            place = self._names.get(value)
        if place is None:
            self._refuse(
                f"image_id {show(value)} is not an image of the annotations. Pass the annotations that the results "
                "were made for."
            )
        return place

    def category(self, value: object) -> int:
        number = to_whole_number(value)
        place = self._categories.get(number) if number is not None else None
        if place is None:
            self._refuse(
                f"category_id {show(value)} is not a category of the annotations, which have [{self._shown}]. Some tools count "
                "classes from 0: write the ids of the annotations."
            )
        return place

    def score(self, value: object) -> float:
        number = to_number(value)
        if number is None or not 0 <= number <= 1:
            self._refuse(f"score must be a number from 0 to 1, got {show(value)}. Export the results again.")
        return number

    def box(self, value: object) -> list[float]:
        numbers = [to_number(one) for one in value] if isinstance(value, (list, tuple)) else []
        box = [one for one in numbers if one is not None]
        if len(numbers) != 4 or len(box) != 4 or min(box[2:]) < 0 or not max(map(abs, box)) <= MAX_COORDINATE_PX:
            self._refuse(f"bbox must be [x, y, width, height] in pixels, got {show(value)}. Export the results again.")
        return box

    def mask(self, value: object, image: CocoImage) -> dict:
        reading = read_mask(value, image.height, image.width)
        if reading.mask is None:
            self._refuse(f"it has {reading.complaint}. Masks need run lengths or polygons in segmentation.")
        return rasterize(reading.mask, image.height, image.width)

    def _refuse(self, problem: str) -> NoReturn:
        raise DatasetError(f"Results of {self.kind}, entry {self.place} (from 0): {problem}")


def _name_images(images: Sequence[CocoImage]) -> dict[str, int]:
    """Return the place of each image by its path, file name and stem; names that several images have are left out."""
    names: dict[str, int] = {}
    for spell in (lambda path: path.stem, lambda path: path.name, str):
        of_spelling: dict[str, list[int]] = {}
        for place, image in enumerate(images):
            of_spelling.setdefault(spell(PurePosixPath(image.file_name)), []).append(place)
        names |= {name: places[0] for name, places in of_spelling.items() if len(places) == 1}
    return names
