"""What a detector is scored on: the annotations of a file as pycocotools needs them, checked before."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

from ppdet_res2net.data.coco_file import CocoCategory, CocoFile, CocoImage
from ppdet_res2net.data.instances import (
    DROPPED_BOX,
    InstanceSelection,
    examine_instances,
    find_set_aside,
    refuse_without_masks,
)
from ppdet_res2net.data.masks import rasterize
from ppdet_res2net.data.problems import describe, group_by_problem
from ppdet_res2net.errors import DatasetError

__all__ = ["ScoredObjects", "select_scored_objects"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ScoredObjects:
    """The objects that detections are compared with.

    Attributes:
        images: The images that are scored.
        categories: The categories of the file.
        objects: All annotations of these images that have a usable box.
        with_masks: Whether masks are scored.
    """

    images: list[CocoImage]
    categories: list[CocoCategory]
    objects: InstanceSelection
    with_masks: bool

    def to_coco(self, iou_type: str) -> dict:
        """Return a fresh dataset for pycocotools.

        Its annotations are numbered from 1, because pycocotools takes a match with id 0 for none. An ignored object is a
        crowd region, in which detections are neither right nor wrong. For masks, so is the box of an object without a mask.
        pycocotools gets all masks as run lengths that have been checked.

        Args:
            iou_type: ``bbox`` or ``segm``.
        """
        rows = zip(self.objects.annotations, self.objects.boxes_xyxy, self.objects.segmentations)
        annotations: list[dict[str, Any]] = []
        for number, (one, box_xyxy, mask) in enumerate(rows, 1):
            entry: dict[str, Any] = {
                "id": number,
                "image_id": one.image.id,
                "category_id": one.category_id,
                "bbox": list(one.box_xywh or ()),
                "area": one.area,
                "iscrowd": int(one.is_crowd or one.is_ignored),
            }
            if iou_type == "segm":
                if mask is None:
                    entry["iscrowd"] = 1
                    mask = [_corners(box_xyxy)]
                entry["segmentation"] = rasterize(mask, *one.image.size)
            annotations.append(entry)
        return {
            "images": [{"id": image.id, "height": image.height, "width": image.width} for image in self.images],
            "categories": [{"id": category.id, "name": category.name} for category in self.categories],
            "annotations": annotations,
        }


def select_scored_objects(
    file: CocoFile,
    with_masks: bool,
    source: str,
    image_ids: Collection[int] | None = None,
    option: str = "-o EvalDataset.anno_path=FILE",
) -> ScoredObjects:
    """Choose what can be scored, and log how many objects are left out or treated differently, and which.

    An annotation whose box cannot be used is left out, as in training.

    Args:
        file: The annotation file.
        with_masks: Whether masks are scored.
        source: Name of the file, for messages.
        image_ids: The images that are scored; None for all.
        option: How a user names another file, for messages.

    Raises:
        DatasetError: There is nothing to score, or no mask although masks are to be scored.
    """
    wanted = None if image_ids is None else set(image_ids)
    images = [image for image in file.images if wanted is None or image.id in wanted]
    annotations = [one for one in file.annotations if wanted is None or one.image.id in wanted]
    other_file = f"Annotate them, or pass another file with {option}."
    if not annotations:
        raise DatasetError(f"'{source}' has no annotations of these images, so there is nothing to score. {other_file}")
    if with_masks:
        refuse_without_masks(annotations, source, "masks are to be scored")
    examined = examine_instances(annotations, with_masks)
    objects = examined.without(*DROPPED_BOX)
    if all(one.is_crowd or one.is_ignored for one in objects.annotations):
        raise DatasetError(
            f"none of the {len(annotations)} annotations of these images in '{source}' can be scored: they are crowd regions, "
            f"ignored, or have no usable box. {other_file}"
        )
    for problem, findings in group_by_problem([*examined.findings, *find_set_aside(annotations)]).items():
        logger.warning("'%s': %s", source, describe(problem, findings, problem.scoring))
    return ScoredObjects(images, file.categories, objects, with_masks)


def _corners(box_xyxy: np.ndarray) -> np.ndarray:
    x0, y0, x1, y1 = map(float, box_xyxy)
    return np.array([x0, y0, x1, y0, x1, y1, x0, y1])
