"""Detections and objects as columns, sorted by image: what every figure of a report is computed from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools import mask as mask_utils

from ppdet_res2net.analysis.detections import read_detections
from ppdet_res2net.data.ground_truth import ScoredObjects

__all__ = ["Evidence", "Regions", "gather_evidence", "overlaps"]


@dataclass(frozen=True)
class Regions:
    """Detections or objects; a row each, sorted by image.

    Attributes:
        images: int (N,): place of the image in the list of images.
        classes: int (N,): place of the class in the list of classes.
        boxes_xywh: float64 (N, 4), in pixels.
        areas: float64 (N,): areas in pixels as COCO counts them.
        masks: Run lengths of each; None for boxes.
        references: int64 (N,): ids of the annotations, or places in the list of results.
        starts: int (images + 1,): the rows of image i are from ``starts[i]`` to ``starts[i + 1]``.
        order: int (N,): place of each row in the list that it comes from.
    """

    images: np.ndarray
    classes: np.ndarray
    boxes_xywh: np.ndarray
    areas: np.ndarray
    masks: Sequence[dict] | None
    references: np.ndarray
    starts: np.ndarray
    order: np.ndarray

    def of_image(self, image: int) -> np.ndarray:
        """Return the rows of an image."""
        return np.arange(self.starts[image], self.starts[image + 1])


@dataclass(frozen=True)
class Evidence:
    """Everything that figures of one kind are computed from.

    Attributes:
        kind: ``bbox`` or ``segm``.
        image_ids: int64 (images,).
        category_ids: int64 (classes,), in the order of the file.
        found: The detections.
        scores: float64, of each detection.
        objects: The annotated objects.
        is_set_aside: bool, of each object: whether it is a crowd region or ignored.
        notes: What may be wrong with the detections, one sentence each.
    """

    kind: str
    image_ids: np.ndarray
    category_ids: np.ndarray
    found: Regions
    scores: np.ndarray
    objects: Regions
    is_set_aside: np.ndarray
    notes: list[str]

    def count_objects(self) -> np.ndarray:
        """Return the number of objects of each class, without those that are set aside; int (classes,)."""
        return np.bincount(self.objects.classes[~self.is_set_aside], minlength=len(self.category_ids))


def gather_evidence(objects: ScoredObjects, results: Sequence[Mapping[str, Any]], kind: str) -> Evidence:
    """Put detections and objects in columns.

    Args:
        objects: What the detections are compared with.
        results: Detections in COCO's result format; see :func:`read_detections`.
        kind: ``bbox`` or ``segm``.

    Raises:
        DatasetError: A detection is wrong.
    """
    detections = read_detections(results, objects, kind)
    image_ids = np.array([image.id for image in objects.images], np.int64)
    category_ids = np.array([category.id for category in objects.categories], np.int64)
    places = {id_: place for place, id_ in enumerate(image_ids.tolist())}
    classes = {id_: place for place, id_ in enumerate(category_ids.tolist())}
    annotations = objects.to_coco(kind)["annotations"]
    masks = [one["segmentation"] for one in annotations] if kind == "segm" else None
    truth = _sort(
        np.array([places[one["image_id"]] for one in annotations], np.int64),
        np.array([classes[one["category_id"]] for one in annotations], np.int64),
        np.array([one["bbox"] for one in annotations], np.float64),
        np.array([one["area"] for one in annotations], np.float64),
        masks,
        np.array([one.id for one in objects.objects.annotations], np.int64),
        len(places),
    )
    is_set_aside = np.array([one["iscrowd"] for one in annotations], bool)[truth.order]
    if detections.masks is None:
        areas = detections.boxes_xywh[:, 2] * detections.boxes_xywh[:, 3]
    else:
        areas = np.array([mask_utils.area(mask) for mask in detections.masks], np.float64)
    found = _sort(
        detections.images,
        detections.classes,
        detections.boxes_xywh,
        areas,
        detections.masks,
        np.arange(len(results)),
        len(places),
    )
    return Evidence(
        kind, image_ids, category_ids, found, detections.scores[found.order], truth, is_set_aside, detections.notes
    )


def overlaps(
    found: Regions, rows: np.ndarray, objects: Regions, others: np.ndarray, is_crowd: np.ndarray | None = None
) -> np.ndarray:
    """Return the IoU of detections and objects of an image, float64 (rows, others); for crowds, the share inside of them."""
    if not len(rows) or not len(others):
        return np.zeros((len(rows), len(others)))
    crowd = np.zeros(len(others), np.uint8) if is_crowd is None else is_crowd.astype(np.uint8)
    if found.masks is None or objects.masks is None:
        return mask_utils.iou(found.boxes_xywh[rows], objects.boxes_xywh[others], crowd)
    return mask_utils.iou([found.masks[row] for row in rows], [objects.masks[other] for other in others], crowd)


def _sort(
    images: np.ndarray,
    classes: np.ndarray,
    boxes_xywh: np.ndarray,
    areas: np.ndarray,
    masks: list[dict] | None,
    references: np.ndarray,
    number: int,
) -> Regions:
    order = np.argsort(images, kind="stable")
    return Regions(
        images[order],
        classes[order],
        boxes_xywh[order],
        areas[order],
        None if masks is None else [masks[place] for place in order],
        references[order],
        np.searchsorted(images[order], np.arange(number + 1)),
        order,
    )
