"""Reads single shapes of labelme and its relatives: the outline or the mask of each."""

from __future__ import annotations

import numpy as np
from pycocotools import mask as mask_utils

from ppdet_res2net.data.masks import MAX_COORDINATE_PX
from ppdet_res2net.data.values import show
from ppdet_res2net.datasets.convert.builder import rectangle
from ppdet_res2net.datasets.convert.labelme_pictures import open_picture
from ppdet_res2net.errors import DatasetError
from res2net_runtime.pillow_images import PILLOW_ERRORS

__all__ = ["read_shape"]

CIRCLE_POINTS = 48
# Shapes of four corners in any position: X-AnyLabeling's rotated rectangle (its 'direction' only repeats what the corners say)
# and quadrilateral, and labelme's rotated rectangle.
_FOUR_CORNERS = ("rotation", "quadrilateral", "oriented_rectangle")
_NO_AREA = ("point", "points", "line", "linestrip")
# X-AnyLabeling keeps a box in space as eight corners.
_NOT_IN_THE_PLANE = ("cuboid",)


def read_shape(shape: dict, height: int, width: int, where: str) -> list[float] | dict | str:
    """Read a shape.

    Args:
        shape: The shape as the file holds it.
        height: Height of its image in pixels.
        width: Width of its image in pixels.
        where: The shape, for messages.

    Returns:
        An outline as x, y, x, y, ... in pixels; or a mask as COCO's compressed run lengths of the image; or, for a shape that
        is neither, what it is, to be read after a count: "shapes of type point (no area)".

    Raises:
        DatasetError: Its points are no pairs of finite numbers, or its mask is not readable.
    """
    kind = shape.get("shape_type") or "polygon"  # labelme wrote no type as long as it had polygons only
    points = _read_points(shape, where)
    if kind == "mask":
        return _read_mask(shape, points, height, width, where)
    if kind == "polygon":
        return points.ravel().tolist() if len(points) >= 3 else "polygons of fewer than three points (no area)"
    if kind == "rectangle" and _are_two_corners(points):
        return rectangle(*points.min(axis=0).tolist(), *points.max(axis=0).tolist())
    if len(points) == 4 and kind in ("rectangle", *_FOUR_CORNERS):
        return points.ravel().tolist()
    if kind == "circle" and len(points) == 2:
        angles = np.linspace(0, 2 * np.pi, CIRCLE_POINTS, endpoint=False)
        radius = np.linalg.norm(points[1] - points[0])
        return (points[0] + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)).ravel().tolist()
    if kind in _NO_AREA:
        return f"shapes of type {kind} (no area)"
    if kind in _NOT_IN_THE_PLANE:
        return f"shapes of type {kind} (a body in space)"
    if kind in ("rectangle", "circle", *_FOUR_CORNERS):
        return f"shapes of type {kind} with {len(points)} points"
    return f"shapes of type {show(kind)}, which is not known"


def _are_two_corners(points: np.ndarray) -> bool:
    """Tell whether points are two opposite corners, or the four corners of an upright rectangle."""
    if len(points) == 4:
        sides = points - np.roll(points, 1, axis=0)
        return bool((sides == 0).any(axis=1).all())
    return len(points) == 2


def _read_points(shape: dict, where: str) -> np.ndarray:
    """Return the points as float64 (N, 2)."""
    given = shape.get("points")
    try:
        points = np.array(given or np.empty((0, 2)), np.float64)
    except (TypeError, ValueError, OverflowError):
        points = None
    if points is None or points.ndim != 2 or points.shape[1] != 2:
        raise DatasetError(f"{where} has points that are not pairs of numbers: {show(given)}. Draw it again.")
    if not np.isfinite(points).all():
        raise DatasetError(f"{where} has points that are not finite. Draw it again.")
    return points.clip(-MAX_COORDINATE_PX, MAX_COORDINATE_PX)


def _read_mask(shape: dict, points: np.ndarray, height: int, width: int, where: str) -> dict:
    """Return the RLE of a mask shape: a picture whose corner lies at the first point."""
    try:
        with open_picture(shape.get("mask")) as picture:
            if picture.width > width or picture.height > height:
                raise DatasetError(
                    f"{where} is a mask of {picture.width}x{picture.height} pixels, but the image has {width}x{height}. Draw "
                    "it again."
                )
            part = np.array(picture) > 0
    except DatasetError:
        raise
    except PILLOW_ERRORS as error:
        raise DatasetError(f"{where} is a mask without a readable picture: {error}. Draw it again.") from error
    if part.ndim != 2 or not len(points):
        missing = "a point for its corner" if part.ndim == 2 else "one value per pixel"
        raise DatasetError(f"{where} is a mask without {missing}. Draw it again.")
    x, y = (int(round(value)) for value in points.min(axis=0))
    whole = np.zeros((height, width), np.uint8, order="F")
    inside = whole[max(y, 0) : max(y + part.shape[0], 0), max(x, 0) : max(x + part.shape[1], 0)]
    top, left = max(-y, 0), max(-x, 0)
    inside[:] = part[top : top + inside.shape[0], left : left + inside.shape[1]]
    return mask_utils.encode(whole)
