"""Random crops that keep boxes and masks together."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from ppdet_res2net.data.augment.objects import keep_objects
from ppdet_res2net.data.augment.placement import Placement

__all__ = ["RandomCrop", "RandomScaledCrop"]

GREY = 128.0  # detectron2's padding, close to the mean of photos


class RandomScaledCrop:
    """Large-scale jitter: resize to a random size, then crop or pad to a fixed size.

    The name and the first three arguments are PaddleDetection's, whose class fails at its first image. The numbers are those of
    detectron2's ``ResizeScale`` and ``FixedSizeCrop``, with which its recipes for large-scale jitter train (Ghiasi et al.,
    Simple Copy-Paste, 2021): the same random numbers give the same size and crop.

    An object that is cut gets the box of what stays of its mask. An object without any visible part is left out.

    Args:
        target_dim: Side of the square result in pixels, or its height and width.
        scale_range: The image is resized to fit into the target times a factor between these.
        interp: OpenCV's interpolation for an image that grows. An image that shrinks is averaged over areas.
        fill_value: Padding at the right and at the bottom: one number, or one for each of R, G and B.

    Source: detectron2 ``detectron2/data/transforms/augmentation_impl.py``.
    """

    def __init__(
        self,
        target_dim: int | Sequence[int] = 512,
        scale_range: Sequence[float] = (0.1, 2.0),
        interp: int = cv2.INTER_LINEAR,
        fill_value: float | Sequence[float] = GREY,
    ) -> None:
        height, width = (target_dim, target_dim) if isinstance(target_dim, int) else target_dim
        self.target_hw = (height, width)
        self.scale_range = scale_range
        self.interp = interp
        self.fill_value = fill_value

    def __call__(self, sample: dict, context: object = None) -> dict:
        """Change a sample in place and return it."""
        source_hw = sample["image"].shape[:2]
        limits = np.multiply(self.target_hw, _uniform(self.scale_range))
        factor = np.minimum(limits[0] / source_hw[0], limits[1] / source_hw[1])
        resized = np.maximum(np.round(np.multiply(source_hw, factor)).astype(int), 1)
        spare = np.maximum(resized - self.target_hw, 0)
        y, x = np.round(spare * np.random.uniform(0.0, 1.0)).astype(int).tolist()
        height, width = np.minimum(resized, self.target_hw).tolist()
        placement = Placement(source_hw, tuple(resized.tolist()), (x, y, x + width, y + height), self.target_hw)
        part = placement.cut_image(sample["image"], self.interp)
        if part.shape[:2] != self.target_hw:
            canvas = np.empty((*self.target_hw, 3), part.dtype)
            canvas[height:] = canvas[:height, width:] = self.fill_value
            placement.lay(part, canvas)
            part = canvas
        sample["image"] = part
        _note_size(sample, placement)
        return sample


class RandomCrop:
    """Crop so that some object keeps at least a share of its surroundings, as in SSD.

    It has PaddleDetection's arguments and draws the same numbers, so it gives the same crop. Unlike PaddleDetection's, it
    always keeps the masks aligned with the boxes, cuts run lengths and polygons that cross themselves, and sets ``im_shape``.
    A cut object gets the box of what stays of its mask.

    Args:
        aspect_ratio: Smallest and largest ratio of width to height, relative to the image's; None draws both sides.
        thresholds: Overlaps (IoU) of the crop with a box, of which one is drawn; some box must reach it.
        scaling: Smallest and largest side of the crop, relative to the image's.
        num_attempts: Crops that are tried for each threshold.
        allow_no_crop: Whether the whole image is one of the choices.
        cover_all_box: Whether every box must reach the threshold.
        is_mask_crop: Not used: masks are always cut. PaddleDetection's recipes set it.
    """

    def __init__(
        self,
        aspect_ratio: Sequence[float] | None = (0.5, 2.0),
        thresholds: Sequence[float] = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9),
        scaling: Sequence[float] = (0.3, 1.0),
        num_attempts: int = 50,
        allow_no_crop: bool = True,
        cover_all_box: bool = False,
        is_mask_crop: bool = False,
    ) -> None:
        self.aspect_ratio = aspect_ratio
        self.thresholds = thresholds
        self.scaling = scaling
        self.num_attempts = num_attempts
        self.allow_no_crop = allow_no_crop
        self.cover_all_box = cover_all_box

    def __call__(self, sample: dict, context: object = None) -> dict:
        """Change a sample in place and return it. Without objects, it stays as it is."""
        boxes = sample.get("gt_bbox", ())
        if not len(boxes):
            return sample
        choices = np.array([*self.thresholds, *([None] if self.allow_no_crop else [])], object)
        np.random.shuffle(choices)
        for threshold in choices:
            if threshold is None:
                return sample
            for _ in range(self.num_attempts):
                crop = self._draw(*sample["image"].shape[:2])
                if crop is not None and self._suits(boxes, crop, threshold):
                    return _crop(sample, crop)
        return sample

    def _draw(self, height: int, width: int) -> np.ndarray | None:
        """Return a crop (x0, y0, x1, y1), or None if its shape is too extreme."""
        scale = _uniform(self.scaling)
        if self.aspect_ratio is None:
            share_y, share_x = _uniform(self.scaling), _uniform(self.scaling)
            if not 0.5 <= height * share_y / (width * share_x) <= 2.0:
                return None
        else:
            low, high = self.aspect_ratio
            ratio = np.random.uniform(max(low, scale**2), min(high, scale**-2))
            share_y, share_x = scale / np.sqrt(ratio), scale * np.sqrt(ratio)
        crop_h, crop_w = max(1, int(height * share_y)), max(1, int(width * share_x))
        y = np.random.randint(0, max(1, height - crop_h))
        x = np.random.randint(0, max(1, width - crop_w))
        return np.array([x, y, min(x + crop_w, width), min(y + crop_h, height)])

    def _suits(self, boxes: np.ndarray, crop: np.ndarray, threshold: float) -> bool:
        overlaps = _overlaps(boxes, crop.astype(np.float32))
        reached = overlaps.min() if self.cover_all_box else overlaps.max()
        return bool(reached >= threshold and _centres_inside(boxes, crop).any())


def _uniform(interval: Sequence[float]) -> float:
    low, high = interval
    return np.random.uniform(low, high)


def _overlaps(boxes: np.ndarray, crop: np.ndarray) -> np.ndarray:
    """Return the IoU of each box with a crop."""
    sides = np.minimum(boxes[:, 2:], crop[2:]) - np.maximum(boxes[:, :2], crop[:2])
    common = np.prod(sides, axis=1) * (sides > 0).all(axis=1)
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    return common / (areas + np.prod(crop[2:] - crop[:2]) - common + 1e-10)


def _centres_inside(boxes: np.ndarray, crop: np.ndarray) -> np.ndarray:
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    return ((crop[:2] <= centres) & (centres < crop[2:])).all(axis=1)


def _crop(sample: dict, crop: np.ndarray) -> dict:
    keep_objects(sample, _centres_inside(sample["gt_bbox"], crop))
    hw = sample["image"].shape[:2]
    x0, y0, x1, y1 = crop.tolist()
    placement = Placement(hw, hw, (x0, y0, x1, y1), (y1 - y0, x1 - x0))
    sample["image"] = np.ascontiguousarray(sample["image"][y0:y1, x0:x1])
    _note_size(sample, placement)
    return sample


def _note_size(sample: dict, placement: Placement) -> None:
    placement.move_objects(sample)
    sample["im_shape"] = np.array(placement.canvas_hw, np.float32)
    sample["scale_factor"] = (sample["scale_factor"] * placement.scale_xy[::-1]).astype(np.float32)
