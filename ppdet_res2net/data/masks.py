"""Reads the segmentation of an annotation, in every form that tools write and that has one meaning only."""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from pycocotools import mask as mask_utils

from ppdet_res2net.data.augment.outlines import clip_polygon, rasterize
from ppdet_res2net.data.run_lengths import read_run_lengths
from ppdet_res2net.data.values import parse_text, show, to_number

__all__ = ["MAX_COORDINATE_PX", "Mask", "MaskReading", "mask_area", "outline_box", "rasterize", "read_mask"]

# Polygons as float64 (x0, y0, x1, y1, ...) in pixels, or COCO's compressed run lengths.
Mask = list[np.ndarray] | dict

# A polygon needs three points; pycocotools reads a list of four numbers as a box.
MIN_POLYGON_NUMBERS = 6
# pycocotools needs about 100 bytes for each pixel of an outline, inside the image or not. An outline may be as long as this, or
# as a quarter of the image's pixels; that of a real object is much shorter.
MAX_OUTLINE_PX = 1 << 18
# Numbers beyond it are taken as this, so that no arithmetic overflows.
MAX_COORDINATE_PX = 1e9
_NUMBERS = frozenset((int, float))
NESTED = ("lists of points", "nested lists")


@dataclass(slots=True)
class MaskReading:
    """What a segmentation holds. The phrases are empty where there is nothing to say.

    Attributes:
        mask: The mask, or None if there is no usable one.
        complaint: Why there is none.
        lost: Which parts were left out.
        form: In which unusual form it is written.
        clipped: Which points are so far away that polygons were clipped.
    """

    mask: Mask | None
    complaint: str = ""
    lost: str = ""
    form: str = ""
    clipped: str = ""


def read_mask(segmentation: object, height: int, width: int) -> MaskReading:
    """Read a segmentation as a file holds it.

    A polygon with points further outside than the image's longer side is clipped to that surrounding, which changes
    nothing inside the image. So no input needs more memory than its image.

    Args:
        segmentation: Polygons or run lengths. Also: a flat list of numbers, pairs of numbers, run lengths in a list, nested
            lists, VIA's ``all_points_x`` and ``all_points_y``, numbers as text, and any of these as JSON in text.
        height: Height of the image in pixels.
        width: Width of the image in pixels.
    """
    if type(segmentation) is list and len(segmentation) != height:  # no bitmap
        polygons = _read_plain(segmentation, height if height > width else width)
        if polygons is not None:
            return MaskReading(polygons)
    if isinstance(segmentation, str) and (parsed := parse_text(segmentation)) is not segmentation:
        reading = read_mask(parsed, height, width)
        reading.form = "JSON written as text"
        return reading
    if isinstance(segmentation, dict):
        return _read_object(segmentation, height, width)
    if not isinstance(segmentation, list):
        missing = segmentation is None or segmentation == ""
        return MaskReading(None, "no segmentation" if missing else f"a segmentation that is {show(segmentation)}")
    if len(segmentation) == height and all(isinstance(row, list) and len(row) == width for row in segmentation):
        return MaskReading(None, f"a bitmap of {height} rows of {width} pixels; write run lengths")
    return _ListReader(height, width).read(segmentation)


def mask_area(mask: Mask, height: int, width: int) -> float:
    """Return the area of a mask inside its image, in pixels."""
    return float(mask_utils.area(rasterize(mask, height, width)))


def outline_box(mask: Sequence | dict) -> np.ndarray:
    """Return the box around a mask of polygons or compressed RLE: float64 (4,), x0 y0 x1 y1 in pixels, not clipped."""
    if isinstance(mask, dict):
        x, y, width, height = mask_utils.toBbox(mask)
        return np.array([x, y, x + width, y + height])
    points = np.concatenate([np.asarray(polygon, np.float64).reshape(-1, 2) for polygon in mask])
    return np.concatenate([points.min(axis=0), points.max(axis=0)])


@functools.lru_cache(maxsize=1024)
def _doubles(count: int) -> struct.Struct:
    """Return what writes so many numbers into an array: in half the time that NumPy takes for a list."""
    return struct.Struct(f"{count}d")


def _read_plain(segmentation: list, far_px: int) -> list[np.ndarray] | None:
    """Return the polygons of an ordinary segmentation; None if anything has to be looked at more closely.

    Nearly all segmentations are ordinary, so this decides how long it takes to read a large file.
    """
    polygons = []
    for part in segmentation:
        if type(part) is not list or len(part) < MIN_POLYGON_NUMBERS or len(part) % 2:
            return None
        if not _NUMBERS.issuperset(map(type, part)):
            return None
        polygon = np.empty(len(part))
        try:
            _doubles(len(part)).pack_into(polygon.data, 0, *part)
        except struct.error:  # an integer beyond the range of float64
            return None
        # NaN is the extreme that these find, and is not near.
        low, high = polygon.item(polygon.argmin()), polygon.item(polygon.argmax())
        if not (low >= -far_px and high <= far_px) or len(part) * (high - low) > MAX_OUTLINE_PX:
            return None
        polygons.append(polygon)
    return polygons or None


def _read_object(segmentation: dict, height: int, width: int) -> MaskReading:
    """Read run lengths, or a polygon of VIA."""
    if "counts" in segmentation:
        found = read_run_lengths(segmentation, height, width)
        return MaskReading(None, found) if isinstance(found, str) else MaskReading(found)
    xs, ys = segmentation.get("all_points_x"), segmentation.get("all_points_y")
    if isinstance(xs, list) and isinstance(ys, list) and len(xs) == len(ys):
        reading = read_mask([[number for point in zip(xs, ys) for number in point]], height, width)
        reading.form = "VIA's lists of x and y"
        return reading
    if not segmentation:
        return MaskReading(None, "no segmentation")
    return MaskReading(None, f"an object with the keys {show(list(segmentation)[:8])}, not polygons or run lengths")


class _ListReader:
    """Reads one segmentation that is a list; keeps what there is to say about it."""

    def __init__(self, height: int, width: int) -> None:
        self.height, self.width = height, width
        self.far_px = float(max(height, width))
        self.max_outline_px = max(MAX_OUTLINE_PX, height * width // 4)
        self.lost: list[str] = []
        self.form = self.clipped = ""

    def read(self, segmentation: list) -> MaskReading:
        polygons: list[np.ndarray] = []
        rles: list[dict] = []
        parts = self._to_parts(segmentation)
        for part in parts:
            if isinstance(part, dict):
                self._add_object(part, polygons, rles)
            else:
                self._add_polygons(part, polygons)
        if self.form in NESTED and len(polygons) > 1:
            polygons = self._fill_holes(polygons)
        mask: Mask | None = polygons or None
        if rles:
            drawn = [rasterize(polygons, self.height, self.width)] if polygons else []
            mask = mask_utils.merge([*rles, *drawn]) if len(rles) + len(drawn) > 1 else rles[0]
        if mask is None:
            return MaskReading(None, self._complaint(), clipped=self.clipped)
        count = max(len(parts), len(self.lost) + len(polygons) + len(rles))
        lost = f"{len(self.lost)} of its {count} parts ({self.lost[0]})" if self.lost else ""
        return MaskReading(mask, "", lost, self.form, self.clipped)

    def _fill_holes(self, polygons: list[np.ndarray]) -> list[np.ndarray]:
        """Leave out what lies in an earlier polygon: a hole where rings are nested as in GeoJSON. COCO's polygons have none."""
        kept: list[np.ndarray] = []
        for polygon in polygons:
            ring = rasterize([polygon], self.height, self.width)
            is_hole = kept and mask_utils.area(ring) == mask_utils.area(
                mask_utils.merge([ring, rasterize(kept, self.height, self.width)], intersect=True)
            )
            if is_hole:
                self.lost.append("a polygon inside another one, perhaps a hole, which is filled")
            else:
                kept.append(polygon)
        return kept

    def _complaint(self) -> str:
        if not self.lost or all(what == "an empty part" for what in self.lost):
            return "no segmentation"
        return next(what for what in self.lost if what != "an empty part")

    def _to_parts(self, segmentation: list) -> list:
        """Return the parts: lists, objects, or whatever takes their place."""
        kinds = set(map(type, segmentation))
        if kinds <= {list}:
            # Three or more pairs of numbers are the points of one polygon. No part of a polygon has two numbers.
            if len(segmentation) >= 3 and all(_is_pair(part) for part in segmentation):
                self.form = "one list of points"
                return [[number for point in segmentation for number in point]]
            return segmentation
        if any(isinstance(one, (int, float)) for one in segmentation) or all(
            to_number(one) is not None for one in segmentation
        ):
            self.form = "a flat list of numbers"
            return [segmentation]
        return segmentation

    def _add_object(self, part: dict, polygons: list[np.ndarray], rles: list[dict]) -> None:
        reading = _read_object(part, self.height, self.width)
        if reading.mask is None:
            self.lost.append(reading.complaint)
        elif isinstance(reading.mask, dict):
            self.form = "run lengths in a list"
            rles.append(reading.mask)
        else:
            self.form, self.clipped = reading.form, reading.clipped or self.clipped
            polygons += reading.mask

    def _add_polygons(self, part: object, polygons: list[np.ndarray]) -> None:
        for numbers in self._to_rings(part, 0):
            polygon = self._to_polygon(numbers)
            if isinstance(polygon, str):
                self.lost.append(polygon)
            else:
                polygons.append(polygon)

    def _to_rings(self, part: object, depth: int) -> Iterator[object]:
        """Yield the flat lists of numbers in a part: itself, its points one after the other, or those of nested lists."""
        if not isinstance(part, list) or not part or not any(isinstance(one, list) for one in part):
            yield part
        elif all(_is_pair(point) for point in part):
            self.form = NESTED[0]
            yield [number for point in part for number in point]
        elif all(isinstance(point, list) and len(point) == 1 and _is_pair(point[0]) for point in part):
            self.form = "a contour of OpenCV"
            yield [number for point in part for number in point[0]]
        elif depth < 2 and all(isinstance(one, list) for one in part):
            self.form = NESTED[1]
            for one in part:
                yield from self._to_rings(one, depth + 1)
        else:
            yield part

    def _to_polygon(self, numbers: object) -> np.ndarray | str:
        """Return a polygon, or say what is there instead."""
        if numbers is None or numbers == []:
            return "an empty part"
        if not isinstance(numbers, list):
            return f"{show(numbers)} in the place of a polygon"
        if not _NUMBERS.issuperset(map(type, numbers)):
            read = [to_number(one) for one in numbers]
            wrong = next((one for one, number in zip(numbers, read) if number is None), None)
            if None in read:
                return f"a polygon with {show(wrong)} in the place of a number"
            self.form = "numbers written as text"
            numbers = read
        if len(numbers) < MIN_POLYGON_NUMBERS:
            if len(numbers) == 4:
                return "four numbers, perhaps two corners; write all points of a polygon"
            return "polygons of fewer than three points"
        if len(numbers) % 2:
            return f"an odd count of numbers ({len(numbers)})"
        try:
            polygon = np.array(numbers, np.float64)
        except OverflowError:
            return "a polygon with a number that is not finite"
        low, high = polygon.min(), polygon.max()
        if not (low >= -self.far_px and high <= self.far_px):
            if not (np.isfinite(low) and np.isfinite(high)):
                return "a polygon with a number that is not finite"
            polygon = self._clip(polygon)
            if polygon.size < MIN_POLYGON_NUMBERS:
                return "a polygon far outside the image"
            low, high = polygon.min(), polygon.max()
        if polygon.size * (high - low) > MAX_OUTLINE_PX:
            points = polygon.reshape(-1, 2)
            outline_px = np.abs(points - np.roll(points, 1, axis=0)).max(axis=1).sum()
            if outline_px > self.max_outline_px:
                return f"a polygon whose outline is {outline_px:.0f} pixels long, in an image of {self.width}x{self.height}"
        return polygon

    def _clip(self, polygon: np.ndarray) -> np.ndarray:
        """Clip a polygon to the image and as much around it as its longer side (Sutherland and Hodgman's algorithm)."""
        points = np.clip(polygon.reshape(-1, 2), -MAX_COORDINATE_PX, MAX_COORDINATE_PX)
        limits = ((0, -self.far_px, self.width + self.far_px), (1, -self.far_px, self.height + self.far_px))
        beyond = [(points[:, axis] < low) | (points[:, axis] > high) for axis, low, high in limits]
        far = np.flatnonzero(beyond[0] | beyond[1])
        if not len(far):
            return polygon
        x, y = polygon.reshape(-1, 2)[far[0]]
        self.clipped = f"{len(far)} of its {len(points)} points, the first at x {x:g}, y {y:g}"
        return clip_polygon(points, limits).reshape(-1)


def _is_pair(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(to_number(one) is not None for one in value)
