"""Measures the objects and images of a dataset."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from ppdet_res2net.data.coco_file import CocoAnnotation
from ppdet_res2net.data.instances import DROPPED_BOX
from ppdet_res2net.datasets.check import DatasetReport

__all__ = ["Measures", "measure"]

_LOOKED_AT = 500
# A mask that fills its box so far is the box, drawn as an outline.
_SAME_AREA = 0.98


@dataclass(frozen=True)
class Measures:
    """What the settings depend on.

    Attributes:
        train_images: Images with objects, to train on.
        val_images: Images to evaluate on.
        empty_images: Images without objects among those to train on.
        class_counts: Objects of each class in the training and the validation set, in the order of the labels.
        masks: Objects of the training set that have a mask.
        masks_are_boxes: Whether all masks that were looked at are rectangles around their objects.
        image_px: Median width and height of the images, in pixels.
        boxes: The objects as x0, y0, x1, y1, in shares of the longer side of their image: float (N, 4). At least one.
        image_hw: Height and width of the image of each object, in the same unit: float (N, 2).
    """

    train_images: int
    val_images: int
    empty_images: int
    class_counts: dict[str, tuple[int, int]]
    masks: int
    masks_are_boxes: bool
    image_px: tuple[int, int]
    boxes: np.ndarray
    image_hw: np.ndarray

    @property
    def objects(self) -> int:
        """Objects to train on."""
        return len(self.boxes)

    @property
    def sizes(self) -> np.ndarray:
        """Roots of the objects' areas, as shares of the longer side of their image: float (N,)."""
        return np.sqrt((self.boxes[:, 2:] - self.boxes[:, :2]).prod(axis=1))

    @property
    def long_px(self) -> int:
        """The longer side of the median image, in pixels."""
        return max(self.image_px)


def measure(train: DatasetReport, val: DatasetReport) -> Measures:
    """Measure the objects that training uses: no crowds, none that are ignored, none with an unusable box."""
    objects, boxes_xyxy = _usable(train)
    image_hw = np.array([one.image.size for one in objects], float)
    long_px = image_hw.max(axis=1, keepdims=True)
    with_objects = len({one.image.id for one in objects})
    val_objects, _ = _usable(val)
    counts = [Counter(one.category_id for one in chosen) for chosen in (objects, val_objects)]
    masked = [one for one in objects if one.has_segmentation and one.mask is not None]
    sizes = np.array([image.size for image in train.images.values()])
    return Measures(
        with_objects,
        len(val.images),
        len(train.images) - with_objects,
        {name: (counts[0][number], counts[1][number]) for number, name in train.categories.items()},
        len(masked),
        all(_is_rectangle(one) for one in masked[:: max(1, len(masked) // _LOOKED_AT)]),
        (int(np.median(sizes[:, 1])), int(np.median(sizes[:, 0]))),
        boxes_xyxy / long_px,
        image_hw / long_px,
    )


def _usable(report: DatasetReport) -> tuple[list[CocoAnnotation], np.ndarray]:
    used = report.instances.without(*DROPPED_BOX)
    kept = [index for index, one in enumerate(used.annotations) if not one.is_crowd and not one.is_ignored]
    return [used.annotations[index] for index in kept], used.boxes_xyxy[kept].astype(float)


def _is_rectangle(one: CocoAnnotation) -> bool:
    width, height = (one.box_xywh or (0.0, 0.0, 0.0, 0.0))[2:]
    return not isinstance(one.mask, dict) and one.measured_area >= _SAME_AREA * width * height
