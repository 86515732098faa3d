"""Moves an image and its objects together: resize, cut to a window, lay on a canvas."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from pycocotools import mask as mask_utils

from ppdet_res2net.data.augment.objects import keep_objects
from ppdet_res2net.data.augment.outlines import MIN_SIDE_PX, clip_polygon, visible_box

__all__ = ["Placement"]


@dataclass(frozen=True)
class Placement:
    """Where the pixels of an image go.

    Attributes:
        source_hw: Size of the image.
        resized_hw: Size to which it is resized.
        window_xyxy: The part that stays, in whole pixels of the resized image.
        canvas_hw: Size of the result.
        corner_xy: Where the window's upper left corner is in the result.
    """

    source_hw: tuple[int, int]
    resized_hw: tuple[int, int]
    window_xyxy: tuple[int, int, int, int]
    canvas_hw: tuple[int, int]
    corner_xy: tuple[int, int] = (0, 0)

    @property
    def scale_xy(self) -> np.ndarray:
        """Factors of x and y: float64 (2,)."""
        return np.array(self.resized_hw[::-1]) / np.array(self.source_hw[::-1])

    def cut_image(self, image: np.ndarray, interpolation: int) -> np.ndarray:
        """Return the window of the resized image.

        Args:
            image: (H, W) or (H, W, 3).
            interpolation: OpenCV's. An image that shrinks is averaged over areas instead (``INTER_AREA``), because the others
                would leave most of its pixels out; only the nearest pixel stays the nearest.
        """
        if self.resized_hw != self.source_hw:
            is_nearest = interpolation in (cv2.INTER_NEAREST, cv2.INTER_NEAREST_EXACT)
            if self.resized_hw[0] < self.source_hw[0] and not is_nearest:
                interpolation = cv2.INTER_AREA
            image = cv2.resize(image, self.resized_hw[::-1], interpolation=interpolation)
        x0, y0, x1, y1 = self.window_xyxy
        return image[y0:y1, x0:x1]

    def lay(self, part: np.ndarray, canvas: np.ndarray) -> None:
        """Write what :meth:`cut_image` has returned to its place in a canvas."""
        x, y = self.corner_xy
        canvas[y : y + part.shape[0], x : x + part.shape[1]] = part

    def move_objects(self, sample: dict) -> None:
        """Move boxes and masks of a sample, and leave out the objects of which nothing stays.

        An object that the window cuts gets the box of what stays of its mask. Without masks, its box is clipped.

        Args:
            sample: A sample with ``gt_bbox``; changed in place.
        """
        boxes = np.asarray(sample.get("gt_bbox", ()), np.float64).reshape(-1, 4)
        x0, y0, x1, y1 = self.window_xyxy
        moved = boxes * np.tile(self.scale_xy, 2) - np.array([x0, y0, x0, y0])
        clipped = np.clip(moved, 0, np.array([x1 - x0, y1 - y0] * 2))
        masks = sample.get("gt_poly")
        if masks is not None:
            is_cut = (moved != clipped).any(axis=1)
            for index, mask in enumerate(masks):
                masks[index], box = self._move_mask(mask, bool(is_cut[index]))
                if box is not None:
                    clipped[index] = box
        sample["gt_bbox"] = (clipped + np.tile(self.corner_xy, 2)).astype(np.float32)
        keep_objects(sample, ((clipped[:, 2:] - clipped[:, :2]) > MIN_SIDE_PX).all(axis=1))

    def _move_mask(self, mask: list | dict, is_cut: bool) -> tuple[list | dict, np.ndarray | None]:
        """Return a mask on the canvas, and its box in the window if the box of its object is to be replaced."""
        if isinstance(mask, dict):
            return self._move_run_lengths(mask, is_cut)
        x0, y0, x1, y1 = self.window_xyxy
        size = np.array([x1 - x0, y1 - y0], np.float64)
        moved, corners = [], []
        for polygon in mask:
            points = np.asarray(polygon, np.float64).reshape(-1, 2) * self.scale_xy - (x0, y0)
            low, high = points.min(axis=0), points.max(axis=0)
            if (low < 0).any() or (high > size).any():
                is_cut = True
                box = visible_box(points, size)
                if box is None:
                    continue
                low, high = box[:2], box[2:]
                points = clip_polygon(points, ((0, 0.0, size[0]), (1, 0.0, size[1])))
            corners += [low, high]
            moved.append((points + self.corner_xy).reshape(-1))
        if not moved:
            return [], np.zeros(4)
        return moved, np.concatenate([np.min(corners, axis=0), np.max(corners, axis=0)]) if is_cut else None

    def _move_run_lengths(self, mask: dict, is_cut: bool) -> tuple[dict, np.ndarray | None]:
        part = self.cut_image(mask_utils.decode(mask), cv2.INTER_NEAREST_EXACT)
        canvas = np.zeros(self.canvas_hw, np.uint8, order="F")
        self.lay(part, canvas)
        moved = mask_utils.encode(canvas)
        x, y, width, height = mask_utils.toBbox(moved)
        box = np.array([x, y, x + width, y + height]) - np.tile(self.corner_xy, 2)
        return moved, box if is_cut or not width else None
