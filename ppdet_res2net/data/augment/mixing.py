"""Transforms that make one sample of several."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import cv2
import numpy as np
from pycocotools import mask as mask_utils

from ppdet_res2net.data.augment.objects import join_objects, keep_objects
from ppdet_res2net.data.augment.outlines import rasterize
from ppdet_res2net.data.augment.placement import Placement
from ppdet_res2net.errors import ConfigError

__all__ = ["CopyPaste", "MixingTransform", "Mosaic"]


class MixingTransform(ABC):
    """A transform that needs other samples of the dataset. The loader draws them and applies the transforms before it."""

    @abstractmethod
    def draw_count(self) -> int:
        """Draw how many other samples are needed this time; with 0, the transform is left out."""

    @abstractmethod
    def __call__(self, sample: dict, others: Sequence[dict]) -> dict:
        """Return the sample with the others mixed in. All of them may be changed."""


class CopyPaste(MixingTransform):
    """Paste some objects of another image over a sample, by their masks (Ghiasi et al., Simple Copy-Paste, 2021).

    Arguments and rules are mmdetection's. The mask of each object below is cut and gets a new box. The object is left out if
    nothing of it stays, or if its box has changed while little of its mask stays. Differences: crowd regions are never pasted,
    and an object that nothing covers keeps its polygons and its box.

    Args:
        max_num_pasted: The number of objects to paste is below this, and at most all of the other image.
        bbox_occluded_thr: An object stays if no side of its box has moved by more than this, in pixels.
        mask_occluded_thr: It also stays if its mask has more pixels than this.
        selected: Draw the objects to paste; otherwise all are pasted.
        paste_by_box: For data without masks: paste the whole boxes.

    Source: mmdetection ``mmdet/datasets/transforms/transforms.py``.
    """

    def __init__(
        self,
        max_num_pasted: int = 100,
        bbox_occluded_thr: float = 10,
        mask_occluded_thr: float = 300,
        selected: bool = True,
        paste_by_box: bool = False,
    ) -> None:
        self.max_num_pasted = max_num_pasted
        self.bbox_occluded_thr = bbox_occluded_thr
        self.mask_occluded_thr = mask_occluded_thr
        self.selected = selected
        self.paste_by_box = paste_by_box

    def draw_count(self) -> int:
        """Return 1: the image that objects are taken from."""
        return 1

    def __call__(self, sample: dict, others: Sequence[dict]) -> dict:
        """Paste objects of the other sample.

        Raises:
            ConfigError: The images differ in size, or there are no masks.
        """
        (other,) = others
        height, width = sample["image"].shape[:2]
        if other["image"].shape[:2] != (height, width):
            raise ConfigError(
                f"the images have different sizes ({width}x{height} and {other['image'].shape[1]}x"
                f"{other['image'].shape[0]}). Put a transform that gives all images one size before CopyPaste, such as "
                "RandomScaledCrop."
            )
        if "gt_poly" not in sample and not self.paste_by_box:
            raise ConfigError(
                "there are no masks. Add gt_poly to TrainDataset.data_fields, or paste whole boxes with paste_by_box: true."
            )
        self._select(other)
        pasted = [rasterize(mask, height, width) for mask in _masks_of(other)]
        if not pasted:
            return sample
        covered = mask_utils.merge(pasted)
        bitmap = mask_utils.decode(covered)
        sample["image"] = cv2.copyTo(
            other["image"], np.ascontiguousarray(bitmap), np.ascontiguousarray(sample["image"])
        )
        self._cut(sample, covered, mask_utils.encode(1 - bitmap))
        sample.update(join_objects([sample, other]))
        return sample

    def _select(self, other: dict) -> None:
        if "is_crowd" in other:
            keep_objects(other, other["is_crowd"].reshape(-1) == 0)
        if self.selected:
            count = len(other["gt_bbox"])
            wanted = np.random.randint(0, min(count + 1, self.max_num_pasted))
            keep_objects(other, np.random.choice(count, size=wanted, replace=False))

    def _cut(self, sample: dict, covered: dict, free: dict) -> None:
        """Cut what is covered from the objects of a sample, and leave out those that are hidden."""
        height, width = covered["size"]
        kept = np.ones(len(sample["gt_bbox"]), bool)
        for index, mask in enumerate(_masks_of(sample)):
            drawn = rasterize(mask, height, width)
            if not mask_utils.area(mask_utils.merge([drawn, covered], intersect=True)):
                continue
            rest = mask_utils.merge([drawn, free], intersect=True)
            x, y, box_width, box_height = mask_utils.toBbox(rest)
            box = np.array([x, y, x + box_width, y + box_height], np.float32)
            area = mask_utils.area(rest)
            has_moved = np.abs(box - sample["gt_bbox"][index]).max() > self.bbox_occluded_thr
            kept[index] = area > 0 and (not has_moved or area > self.mask_occluded_thr)
            sample["gt_bbox"][index] = box
            if "gt_poly" in sample:
                sample["gt_poly"][index] = rest
        keep_objects(sample, kept)


def _masks_of(sample: dict) -> list:
    """Return the masks of a sample; without masks, its boxes as polygons."""
    if "gt_poly" in sample:
        return sample["gt_poly"]
    return [[[x0, y0, x1, y0, x1, y1, x0, y1]] for x0, y0, x1, y1 in sample["gt_bbox"].astype(np.float64).tolist()]


class Mosaic(MixingTransform):
    """Join four images around a random centre, with boxes and masks.

    The rules are mmdetection's; the first two arguments have PaddleDetection's names. PaddleDetection's class of this name also
    turns, shears and blends images; its other arguments are refused. The result has twice the size given, so put
    RandomScaledCrop or Resize behind it.

    Args:
        prob: Probability.
        input_dim: Height and width into which each image is fitted, in pixels; or one number for both.
        center_ratio_range: Where the centre may be, in multiples of ``input_dim``.
        pad_val: Value of the pixels that no image covers.

    Source: mmdetection ``mmdet/datasets/transforms/transforms.py``.
    """

    def __init__(
        self,
        prob: float = 1.0,
        input_dim: int | Sequence[int] = (640, 640),
        center_ratio_range: Sequence[float] = (0.5, 1.5),
        pad_val: float = 114.0,
    ) -> None:
        self.prob = prob
        height, width = (input_dim, input_dim) if isinstance(input_dim, int) else input_dim
        self.input_hw = (height, width)
        self.center_ratio_range = center_ratio_range
        self.pad_val = pad_val

    def draw_count(self) -> int:
        """Return 3, or 0 if the image stays as it is this time."""
        return 3 if np.random.uniform(0, 1) <= self.prob else 0

    def __call__(self, sample: dict, others: Sequence[dict]) -> dict:
        """Return the sample with three others around it."""
        canvas_hw = (2 * self.input_hw[0], 2 * self.input_hw[1])
        low, high = self.center_ratio_range
        centre_x = int(np.random.uniform(low, high) * self.input_hw[1])
        centre_y = int(np.random.uniform(low, high) * self.input_hw[0])
        canvas = np.full((*canvas_hw, 3), self.pad_val, sample["image"].dtype)
        corners = ((True, True), (False, True), (True, False), (False, False))
        parts = [sample, *others]
        for part, (is_left, is_upper) in zip(parts, corners):
            source_hw = part["image"].shape[:2]
            factor = min(self.input_hw[0] / source_hw[0], self.input_hw[1] / source_hw[1])
            resized_hw = (max(1, int(source_hw[0] * factor)), max(1, int(source_hw[1] * factor)))
            (x0, x1), x = _fit(resized_hw[1], centre_x, canvas_hw[1], is_left)
            (y0, y1), y = _fit(resized_hw[0], centre_y, canvas_hw[0], is_upper)
            placement = Placement(source_hw, resized_hw, (x0, y0, x1, y1), canvas_hw, (x, y))
            placement.lay(placement.cut_image(part["image"], cv2.INTER_LINEAR), canvas)
            placement.move_objects(part)
            part["scale_factor"] = (part["scale_factor"] * placement.scale_xy[::-1]).astype(np.float32)
        sample.update(join_objects(parts), image=canvas, im_shape=np.array(canvas_hw, np.float32))
        return sample


def _fit(length: int, centre: int, limit: int, is_before: bool) -> tuple[tuple[int, int], int]:
    """Return the part of an image that is visible along one axis, and where it begins on the canvas."""
    if is_before:
        visible = min(length, centre)
        return (length - visible, length), centre - visible
    return (0, min(length, limit - centre)), centre
