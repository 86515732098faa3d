"""The pictures of a report: which images are shown, their pixels, and what is drawn over them."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, zip_longest
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from ppdet_res2net.analysis.comparison import ObjectChange
from ppdet_res2net.analysis.error_schema import Mistake, Suspect
from ppdet_res2net.analysis.matches import Matches
from ppdet_res2net.analysis.schema import Report
from ppdet_res2net.analysis.subject import AnnotationRef, DetectionRef, ImageRef
from ppdet_res2net.data.coco_file import CocoImage
from ppdet_res2net.data.ground_truth import ScoredObjects
from ppdet_res2net.data.image_files import decode_as_annotated, read_image_file
from ppdet_res2net.data.masks import rasterize
from ppdet_res2net.errors import Res2NetError
from ppdet_res2net.html import embed_image
from res2net_runtime.outlines import simplify_outline

__all__ = ["PictureSource", "box_around", "cut_out", "make_pictures", "read_picture"]

logger = logging.getLogger(__name__)

SIDE_PX, CROP_SIDE_PX, LEAST_CROP_PX = 480, 300, 48
CROPS_PER_PICTURE = 3
MOST_DETECTIONS, LEAST_SCORE = 60, 0.05  # of an image
ASIDE = "aside"  # on a crowd or an ignored object


@dataclass
class PictureSource:
    """What pictures are made of.

    Attributes:
        objects: The ground truth.
        detections: The results of each kind, in COCO's format; one list may serve both kinds.
        matches: The matches of each kind, which the report was made of.
        image_paths: The file of each image by its id. Images without one are shown without their pixels.
        max_pictures: Largest number of whole images in a page.
    """

    objects: ScoredObjects
    detections: Mapping[str, Sequence[Mapping[str, Any]]]
    matches: Mapping[str, Matches]
    image_paths: Mapping[int, str]
    max_pictures: int = 80


@dataclass
class _Crop:
    """The part of an image around a mistake or a suspect.

    Attributes:
        box: x, y, width, height in pixels of the image.
        entry: What the page finds in its place.
    """

    box: tuple[int, int, int, int]
    entry: dict[str, Any] = field(default_factory=dict)


def make_pictures(report: Report, source: PictureSource) -> dict[str, Any]:
    """Return the pictures of a report as plain data for its page; images are data URLs.

    Args:
        report: The report.
        source: What pictures are made of.

    Returns:
        ``images``: by id, with objects and detections. ``crops``: by kind, ``mistakes`` and ``suspects``, in the order of the
        report; None where there is no picture.
    """
    images = {image.id: image for image in source.objects.images}
    whole = list(dict.fromkeys(_by_importance(report)))[: source.max_pictures]
    crops: dict[int, list[_Crop]] = defaultdict(list)
    crop_entries: dict[str, dict[str, list]] = {}
    left = CROPS_PER_PICTURE * source.max_pictures
    for kind, figures in report.kinds.items():
        crop_entries[kind] = {"mistakes": [], "suspects": []}
        of_kind: dict[str, list[Mistake] | list[Suspect]] = {"mistakes": figures.mistakes, "suspects": figures.suspects}
        for name, refs in of_kind.items():
            for one in refs:
                crop = _Crop(box_around(one, images[one.image_id])) if left > 0 else None
                left -= 1
                if crop is not None:
                    crops[one.image_id].append(crop)
                crop_entries[kind][name].append(None if crop is None else crop.entry)
    shown = [*whole, *(image_id for image_id in crops if image_id not in whole)]
    shapes = _Shapes(report, source, set(shown))
    entries: dict[str, dict] = {}
    unread = 0
    for image_id in shown:
        image, pixels = images[image_id], None
        if image_id in source.image_paths:
            pixels = read_picture(image, source.image_paths[image_id])
        unread += pixels is None
        entries[str(image_id)] = {
            "file": image.file_name,
            "width": image.width,
            "height": image.height,
            "src": None if pixels is None or image_id not in whole else embed_image(pixels, SIDE_PX),
            "objects": shapes.objects(image),
            "found": shapes.detections(image),
        }
        for crop in crops[image_id]:
            crop.entry.update(cut_out(pixels, crop.box))
    if unread:
        logger.warning("%d of %d images of the report cannot be read; their fields are empty", unread, len(shown))
    return {"images": entries, "crops": crop_entries}


def _by_importance(report: Report) -> Iterator[int]:
    """Yield ids of images, the most telling first; some repeatedly."""
    groups = []
    for figures in report.kinds.values():
        wrong = sorted(
            (cell for cell in figures.confusion.cells if cell.truth != cell.found), key=lambda one: -one.count
        )
        right = [cell for cell in figures.confusion.cells if cell.truth == cell.found]
        groups += [
            [image.image_id for image in figures.worst_images],
            [image_id for cell in wrong for image_id in cell.image_ids[:2]],
            [one.image_id for one in figures.mistakes],
            [one.image_id for one in figures.suspects],
            [image_id for cell in right for image_id in cell.image_ids[:1]],
        ]
    for together in zip_longest(*groups):
        yield from (image_id for image_id in together if image_id is not None)
    yield from chain.from_iterable(cell.image_ids for one in report.kinds.values() for cell in one.confusion.cells)


def read_picture(image: CocoImage | ImageRef, path: str) -> np.ndarray | None:
    """Return uint8 (H, W, 3) in RGB order, as annotated; None, with a warning, if the file is not readable any more."""
    try:
        return decode_as_annotated(read_image_file(path), (image.height, image.width))[0]
    except Res2NetError as error:
        logger.warning("'%s': %s", path, error)
        return None


def cut_out(pixels: np.ndarray | None, box: tuple[int, int, int, int]) -> dict[str, Any]:
    """Return a part of an image as plain data: ``box``, and ``src``, which is None without pixels."""
    x, y, width, height = box
    part = None if pixels is None else np.ascontiguousarray(pixels[y : y + height, x : x + width])
    return {"box": list(box), "src": None if part is None else embed_image(part, CROP_SIDE_PX)}


def box_around(one: Mistake | Suspect | ObjectChange, image: CocoImage | ImageRef) -> tuple[int, int, int, int]:
    """Return x, y, width, height of the part of an image that shows a mistake and what is around it."""
    refs: list[DetectionRef | AnnotationRef] = [ref for ref in (one.detection, one.annotation) if ref is not None]
    boxes = np.array([ref.bbox_xywh for ref in refs], float)
    low, high = boxes[:, :2].min(axis=0), (boxes[:, :2] + boxes[:, 2:]).max(axis=0)
    limits = np.array([image.width, image.height], float)
    low, high = low.clip(0, limits), high.clip(0, limits)
    side = np.minimum(limits, max(LEAST_CROP_PX, 1.5 * float((high - low).max())))
    start = np.floor((low + high - side) / 2).clip(0, limits - side).astype(int)
    width, height = np.ceil(side).astype(int)
    return int(start[0]), int(start[1]), int(width), int(height)


class _Shapes:
    """What is drawn over images: outlines in pixels of the image, and which detection is right on which object."""

    def __init__(self, report: Report, source: PictureSource, image_ids: set[int]) -> None:
        self._kinds = list(report.kinds)
        self._selection = source.objects.objects
        self._rows: dict[int, list[int]] = defaultdict(list)
        for row, annotation in enumerate(self._selection.annotations):
            if annotation.image.id in image_ids:
                self._rows[annotation.image.id].append(row)
        # A detection takes its object from all with lower scores, so the matches hold for every threshold.
        self._matches = {kind: _matched(source.matches[kind], image_ids) for kind in self._kinds}
        # Results that serve both kinds are shown once.
        self._lists: list[tuple[list[str], dict[int, list[tuple[int, Mapping]]]]] = []
        for kind in self._kinds:
            same = next(
                (kinds for kinds, _ in self._lists if source.detections[kinds[0]] is source.detections[kind]), None
            )
            if same is not None:
                same.append(kind)
                continue
            of_image: dict[int, list[tuple[int, Mapping]]] = defaultdict(list)
            for index, one in enumerate(source.detections[kind]):
                if one["image_id"] in image_ids:
                    of_image[one["image_id"]].append((index, one))
            self._lists.append(([kind], of_image))
        self._named = {
            (kind, ref.index)
            for kind, figures in report.kinds.items()
            for ref in chain(*([one.detection for one in entries] for entries in (figures.mistakes, figures.suspects)))
            if ref is not None
        }

    def objects(self, image: CocoImage) -> list[dict]:
        """Return the objects of an image: ``id``, ``c`` (category), ``b`` (box), ``o`` (outline), ``a`` (set aside)."""
        found = []
        for row in self._rows[image.id]:
            one, (x0, y0, x1, y1) = self._selection.annotations[row], map(float, self._selection.boxes_xyxy[row])
            outline = _outline(self._rle(row, image)) if "segm" in self._kinds else ""
            entry = {"id": one.id, "c": one.category_id, "b": _rounded([x0, y0, x1 - x0, y1 - y0])}
            found.append({**entry, "o": outline, "a": int(one.is_crowd or one.is_ignored)})
        return found

    def detections(self, image: CocoImage) -> list[dict]:
        """Return the detections of an image: as the objects, and ``i`` (index), ``s`` (score) and ``m`` (matches by kind)."""
        found = []
        for kinds, of_image in self._lists:
            results = sorted(of_image[image.id], key=lambda one: -one[1]["score"])
            for place, (index, one) in enumerate(results):
                is_named = any((kind, index) in self._named for kind in kinds)
                if (place >= MOST_DETECTIONS or one["score"] < LEAST_SCORE) and not is_named:
                    continue
                found.append(
                    {
                        "i": index,
                        "c": one["category_id"],
                        "s": round(float(one["score"]), 6),
                        "b": _rounded(_box_of(one)),
                        "o": _outline(_rle_of(one)) if "segmentation" in one else "",
                        "m": {kind: self._matches[kind].get(index) for kind in kinds},
                    }
                )
        return found

    def _rle(self, row: int, image: CocoImage) -> dict:
        mask = self._selection.segmentations[row]
        x0, y0, x1, y1 = map(float, self._selection.boxes_xyxy[row])
        return rasterize([np.array([x0, y0, x1, y0, x1, y1, x0, y1])] if mask is None else mask, *image.size)


def _matched(matches: Matches, image_ids: set[int]) -> dict[int, int | str]:
    """Return the object that each right detection of some images is on, or ``ASIDE``, by its place in the list of results."""
    is_wanted = np.isin(matches.image_ids[matches.images], list(image_ids))
    is_right = is_wanted & (matches.taken >= 0)
    ids = matches.object_ids[matches.taken[is_right]].tolist()
    found: dict[int, int | str] = dict(zip(matches.references[is_right].tolist(), ids))
    found.update(dict.fromkeys(matches.references[is_wanted & matches.is_ignored].tolist(), ASIDE))
    return found


def _box_of(one: Mapping[str, Any]) -> list[float]:
    box = one.get("bbox")
    return [float(value) for value in (coco_mask.toBbox(_rle_of(one)) if box is None else box)]


def _rle_of(one: Mapping[str, Any]) -> dict:
    rle = one["segmentation"]
    counts = rle["counts"]
    return {"size": rle["size"], "counts": counts.encode() if isinstance(counts, str) else counts}


def _outline(rle: Mapping[str, Any]) -> str:
    """Return the outlines of a mask as an SVG path."""
    x, y, width, height = (int(value) for value in coco_mask.toBbox(rle))
    bitmap = coco_mask.decode(rle)[y : y + height, x : x + width]
    contours, _ = cv2.findContours(bitmap, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    tolerance = max(rle["size"]) / SIDE_PX / 2  # half a pixel of the picture
    parts = []
    for contour in contours:
        points = simplify_outline(contour.reshape(-1, 2), tolerance) + (x + 0.5, y + 0.5)
        if len(points) > 2:
            parts.append(f"M{'L'.join(f'{px:.1f} {py:.1f}' for px, py in points)}Z")
    return "".join(parts)


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(float(value), 1) for value in values]
