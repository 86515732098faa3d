"""COCO's figures and matches, class by class, so that memory does not grow with the number of classes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from pycocotools import mask as mask_utils
from pycocotools.cocoeval import COCOeval, Params

from ppdet_res2net.analysis.evidence import Evidence
from ppdet_res2net.errors import SetupError

__all__ = ["COCO_IOUS", "RECALLS", "Matching", "Scored", "mean_of_valid", "score"]

COCO_IOUS = Params().iouThrs
RECALLS = Params().recThrs
BOUNDARY_SHARE = 0.02  # width of a boundary by the image's diagonal, as in Boundary IoU (Cheng et al., 2021)


@dataclass
class Matching:
    """Which detection has matched which object, as COCO matches them.

    Attributes:
        is_counted: bool (N,): whether a detection is among the best of its class in its image.
        is_right: bool (N, 10): at COCO's IoUs.
        is_ignored: bool (N, 10): whether it has matched a crowd region or an ignored object.
        taken: int (N,): row of the object that it has matched at the IoU of the settings; -1 for none.
        is_set_aside: bool (N,): ``is_ignored`` at that IoU, or not counted.
    """

    is_counted: np.ndarray
    is_right: np.ndarray
    is_ignored: np.ndarray
    taken: np.ndarray
    is_set_aside: np.ndarray


@dataclass
class Scored:
    """What pycocotools computes.

    Attributes:
        precision: float (10 IoUs, 101 recalls, classes, 4 areas, 3 numbers of detections); -1 where no object counts.
        recall: float (10 IoUs, classes, 4 areas, 3 numbers of detections).
        matching: The matches; None for boundaries.
    """

    precision: np.ndarray
    recall: np.ndarray
    matching: Matching | None

    def figures(self, class_: int | None = None) -> dict[str, float | None]:
        """Return COCO's figures, of one class (without AR1 and AR10) or the means of all.

        Args:
            class_: Place of the class; None for all.
        """
        chosen = slice(None) if class_ is None else slice(class_, class_ + 1)
        precision, recall = self.precision[:, :, chosen], self.recall[:, chosen]
        found = {
            "AP": precision[..., 0, 2],
            "AP50": precision[0, ..., 0, 2],
            "AP75": precision[5, ..., 0, 2],
            "APs": precision[..., 1, 2],
            "APm": precision[..., 2, 2],
            "APl": precision[..., 3, 2],
            "AR1": recall[..., 0, 0],
            "AR10": recall[..., 0, 1],
            "AR100": recall[..., 0, 2],
            "ARs": recall[..., 1, 2],
            "ARm": recall[..., 2, 2],
            "ARl": recall[..., 3, 2],
        }
        wanted = found if class_ is None else ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR100")
        return {name: mean_of_valid(found[name]) for name in wanted}


def mean_of_valid(values: np.ndarray) -> float | None:
    """Return the mean of what pycocotools has not marked with -1, or None."""
    valid = values[values > -1]
    return round(float(valid.mean()), 6) if valid.size else None


def score(
    evidence: Evidence, iou: float, max_detections: int = 100, *, by_boundary: bool = False, is_fast: bool = False
) -> Scored:
    """Compute COCO's figures and matches.

    Args:
        evidence: Detections and objects.
        iou: IoU of ``Matching.taken``.
        max_detections: Detections per image and class that count.
        by_boundary: Compare the boundaries of masks; there are no matches then.
        is_fast: Let faster-coco-eval compute the figures, which are the same.

    Raises:
        SetupError: faster-coco-eval is not installed.
    """
    evaluate = _load_fast() if is_fast else None
    shape = (len(COCO_IOUS), len(evidence.category_ids))
    precision = np.full((shape[0], len(RECALLS), shape[1], 4, 3), -1.0)
    recall = np.full((*shape, 4, 3), -1.0)
    number = len(evidence.scores)
    matching = Matching(
        np.zeros(number, bool),
        np.zeros((number, len(COCO_IOUS)), bool),
        np.zeros((number, len(COCO_IOUS)), bool),
        np.full(number, -1),
        np.ones(number, bool),
    )
    for class_, (found, objects) in enumerate(_rows_by_class(evidence)):
        if not len(found) and not len(objects):
            continue
        scorer = _ClassEval(evidence, found, objects, max_detections, by_boundary)
        if evaluate is None:
            scorer.evaluate()
            scorer.accumulate()
            precision[:, :, class_], recall[:, class_] = scorer.eval["precision"][:, :, 0], scorer.eval["recall"][:, 0]
        else:
            precision[:, :, class_], recall[:, class_] = evaluate(scorer)
        if not by_boundary:
            _read_matches(scorer, matching, iou, max_detections, has_matched=evaluate is None)
    return Scored(precision, recall, None if by_boundary else matching)


def _rows_by_class(evidence: Evidence) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    columns = []
    for classes in (evidence.found.classes, evidence.objects.classes):
        order = np.argsort(classes, kind="stable")
        columns.append(np.split(order, np.searchsorted(classes[order], np.arange(1, len(evidence.category_ids)))))
    return zip(*columns)


class _ClassEval(COCOeval):
    """pycocotools' evaluation of one class, on the images that have anything of it.

    Classes do not influence each other, nor do images without objects and detections of a class.
    """

    def __init__(
        self, evidence: Evidence, found: np.ndarray, objects: np.ndarray, max_detections: int, by_boundary: bool
    ) -> None:
        super().__init__(iouType=evidence.kind)
        self.evidence, self.found, self.objects, self.by_boundary = evidence, found, objects, by_boundary
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
                entry = {"id": row + 1, "image_id": int(regions.images[row]), "category_id": 0, "area": regions.areas[row]}
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
        compute = self.compute_boundary_iou if self.by_boundary else self.computeIoU
        self.ious = {(image, 0): compute(image, 0) for image in images}
        self.evalImgs = [self.evaluateImg(image, 0, area, limit) for area in self.params.areaRng for image in images]
        self._paramsEval = self.params

    def accumulate(self, p: Params | None = None) -> None:
        """Compute precision and recall without printing."""
        import contextlib
        import io

        with contextlib.redirect_stdout(io.StringIO()):
            super().accumulate(p)

    def _prepare(self) -> None:
        self._gts, self._dts = defaultdict(list), defaultdict(list)
        self.evalImgs, self.eval = [], {}
        for side, entries in zip((self._gts, self._dts), self.entries()):
            for entry in entries:
                side[entry["image_id"], 0].append(entry)

    def compute_boundary_iou(self, image: int, class_: int) -> np.ndarray | list:
        """Return the smaller one of the IoUs of masks and of their boundaries; crowds keep that of masks."""
        ious = self.computeIoU(image, class_)
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


def _read_matches(scorer: _ClassEval, matching: Matching, iou: float, max_detections: int, has_matched: bool) -> None:
    at_setting = np.flatnonzero(np.isclose(COCO_IOUS, iou))
    if not has_matched or not len(at_setting):
        scorer.params.areaRng = scorer.params.areaRng[:1]
        scorer.params.iouThrs = COCO_IOUS if len(at_setting) else np.append(COCO_IOUS, iou)
        scorer.evaluate()
    last = int(at_setting[0]) if len(at_setting) else len(COCO_IOUS)
    for match in scorer.evalImgs[: len(scorer.params.imgIds)]:  # areas of all sizes come first
        if match is None or not match["dtIds"]:
            continue
        rows = np.array(match["dtIds"]) - 1
        matched, is_ignored = match["dtMatches"].T, match["dtIgnore"].T.astype(bool)
        is_right = (matched > 0) & ~is_ignored
        matching.is_counted[rows] = True
        matching.is_right[rows], matching.is_ignored[rows] = is_right[:, :10], is_ignored[:, :10]
        matching.taken[rows] = np.where(is_right[:, last], matched[:, last].astype(np.int64) - 1, -1)
        matching.is_set_aside[rows] = is_ignored[:, last]


def _make_scores_unique(entries: list[dict], images: list[int]) -> None:
    """Replace the scores by ranks, with equal scores in pycocotools' order: faster-coco-eval has another one for them."""
    place = {image: number for number, image in enumerate(images)}
    entries.sort(key=lambda one: (-one["score"], place[one["image_id"]]))  # stable
    for rank, entry in enumerate(entries):
        entry["score"] = float(len(entries) - rank)


def _load_fast():
    try:
        from faster_coco_eval.core.faster_eval_api import COCOeval_faster
    except ImportError as error:
        raise SetupError(
            f"the fast evaluation needs the package faster-coco-eval, which cannot be imported: {error}. Install it with "
            "pip install 'ppdet-res2net[fast-eval]', or leave out --fast_eval."
        ) from error

    class FastEval(COCOeval_faster):
        def __init__(self, scorer: _ClassEval) -> None:
            super().__init__(iouType="boundary" if scorer.by_boundary else scorer.evidence.kind)
            self.scorer = scorer
            self.print_function = lambda text: None
            self.params.imgIds, self.params.catIds = scorer.params.imgIds, [0]
            self.params.maxDets = scorer.params.maxDets

        def _prepare(self) -> None:
            sides = self.scorer.entries()
            _make_scores_unique(sides[1], self.scorer.params.imgIds)
            for dataset, entries in zip((self.gt_dataset, self.dt_dataset), sides):
                dataset.clean()
                for entry in entries:
                    if "segmentation" in entry:
                        entry["rle"] = entry["segmentation"]
                    if self.scorer.by_boundary:
                        entry["boundary"] = boundary_of(entry["segmentation"])
                    dataset.append_ref(entry["image_id"], 0, entry)

    def evaluate(scorer: _ClassEval) -> tuple[np.ndarray, np.ndarray]:
        fast = FastEval(scorer)
        fast.evaluate()
        fast.accumulate()
        return fast.eval["precision"][:, :, 0], fast.eval["recall"][:, 0]

    return evaluate
