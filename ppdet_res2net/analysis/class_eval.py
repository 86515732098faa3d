"""pycocotools' evaluation of one class, of masks and of their boundaries."""

from __future__ import annotations

import contextlib
import io
from collections import defaultdict

import cv2
import numpy as np
from pycocotools import mask as mask_utils
from pycocotools.cocoeval import COCOeval, Params

from ppdet_res2net.analysis.evidence import Evidence

__all__ = ["BoundaryEval", "ClassEval", "boundary_of"]

BOUNDARY_SHARE = 0.02  # width of a boundary by the image's diagonal, as in Boundary IoU (Cheng et al., 2021)


class ClassEval(COCOeval):
    """pycocotools' evaluation of one class, on the images that have anything of it.

    Classes do not influence each other, nor do images without objects and detections of a class.

    Args:
        evidence: Detections and objects.
        found: Rows of the detections of the class.
        objects: Rows of its objects.
        max_detections: Detections per image that count.
    """

    def __init__(self, evidence: Evidence, found: np.ndarray, objects: np.ndarray, max_detections: int) -> None:
        super().__init__(iouType=evidence.kind)
        self.evidence, self.found, self.objects = evidence, found, objects
        images = np.union1d(evidence.found.images[found], evidence.objects.images[objects])
        # pycocotools takes images by rising id, which decides between equal scores.
        self.params.imgIds = images[np.argsort(evidence.image_ids[images])].tolist()
        self.params.catIds = [0]
        self.params.maxDets = [1, 10, max_detections]

    def entries(self) -> tuple[list[dict], list[dict]]:
        """Return objects and detections as pycocotools has them; ids are rows from 1, images are places."""
        sides = []
        for regions, rows in ((self.evidence.objects, self.objects), (self.evidence.found, self.found)):
            side = []
            for row in rows.tolist():
                entry = {
                    "id": row + 1,
                    "image_id": int(regions.images[row]),
                    "category_id": 0,
                    "area": regions.areas[row],
                }
                if regions.masks is None:
                    entry["bbox"] = regions.boxes_xywh[row].tolist()
                else:
                    entry["segmentation"] = regions.masks[row]
                side.append(entry)
            sides.append(side)
        for entry, row in zip(sides[0], self.objects):
            entry["iscrowd"] = entry["ignore"] = int(self.evidence.is_set_aside[row])
        for entry, row in zip(sides[1], self.found):
            entry["score"] = float(self.evidence.scores[row])
        return sides[0], sides[1]

    def evaluate(self) -> None:
        """Match; unlike pycocotools, print nothing, and take images as they are ordered."""
        self._prepare()
        images, limit = self.params.imgIds, self.params.maxDets[-1]
        self.ious = {(image, 0): self.computeIoU(image, 0) for image in images}
        self.evalImgs = [self.evaluateImg(image, 0, area, limit) for area in self.params.areaRng for image in images]
        self._paramsEval = self.params

    def accumulate(self, p: Params | None = None) -> None:
        """Compute precision and recall without printing."""
        with contextlib.redirect_stdout(io.StringIO()):
            super().accumulate(p)

    def _prepare(self) -> None:
        self._gts: dict = defaultdict(list)
        self._dts: dict = defaultdict(list)
        self.eval: dict = {}
        for side, entries in zip((self._gts, self._dts), self.entries()):
            for entry in entries:
                side[entry["image_id"], 0].append(entry)


class BoundaryEval(ClassEval):
    """The same for the boundaries of masks."""

    def computeIoU(self, image: int, class_: int) -> np.ndarray | list:
        """Return the smaller one of the IoUs of masks and of their boundaries; crowds keep that of masks."""
        ious = super().computeIoU(image, class_)
        if not len(ious):
            return ious
        objects = self._gts[image, class_]
        found = self._dts[image, class_]
        order = np.argsort([-one["score"] for one in found], kind="mergesort")[: self.params.maxDets[-1]]
        boundaries = mask_utils.iou(
            [boundary_of(found[place]["segmentation"]) for place in order],
            [boundary_of(one["segmentation"]) for one in objects],
            [one["iscrowd"] for one in objects],
        )
        is_object = np.array([not one["iscrowd"] for one in objects])
        ious[:, is_object] = np.minimum(ious, boundaries)[:, is_object]
        return ious


def boundary_of(mask: dict) -> dict:
    """Return the part of a mask that is near its outline, as run lengths. The edge of the image is an outline, too."""
    height, width = mask["size"]
    distance = max(1, int(round(BOUNDARY_SHARE * (height**2 + width**2) ** 0.5)))
    bitmap = mask_utils.decode(mask)
    x, y, w, h = (int(value) for value in mask_utils.toBbox(mask))
    part = bitmap[y : y + h, x : x + w]
    if part.size:
        around = np.pad(part, 1)
        inner = cv2.erode(around, np.ones((3, 3), np.uint8), iterations=distance)[1:-1, 1:-1]
        bitmap[y : y + h, x : x + w] = part - inner
    return mask_utils.encode(np.asfortranarray(bitmap))
