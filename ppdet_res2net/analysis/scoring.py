"""COCO's figures and matches, class by class, so that memory does not grow with the number of classes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from pycocotools.cocoeval import Params

from ppdet_res2net.analysis.class_eval import BoundaryEval, ClassEval
from ppdet_res2net.analysis.evidence import Evidence
from ppdet_res2net.analysis.fast_eval import load_fast_evaluation

__all__ = ["COCO_IOUS", "RECALLS", "Matching", "Scored", "score", "score_boundaries"]

COCO_IOUS = Params().iouThrs
RECALLS = Params().recThrs


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
    """

    precision: np.ndarray
    recall: np.ndarray

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
        return {name: _mean_of_valid(found[name]) for name in wanted}


def score(
    evidence: Evidence, iou: float, max_detections: int = 100, *, is_fast: bool = False
) -> tuple[Scored, Matching]:
    """Compute COCO's figures and matches.

    Args:
        evidence: Detections and objects.
        iou: IoU of ``Matching.taken``.
        max_detections: Detections per image and class that count.
        is_fast: Let faster-coco-eval compute the figures, which are the same.

    Raises:
        SetupError: faster-coco-eval is not installed.
    """
    number = len(evidence.scores)
    matching = Matching(
        np.zeros(number, bool),
        np.zeros((number, len(COCO_IOUS)), bool),
        np.zeros((number, len(COCO_IOUS)), bool),
        np.full(number, -1),
        np.ones(number, bool),
    )
    scored = _nothing_scored(len(evidence.category_ids))
    for scorer in _score_classes(evidence, ClassEval, max_detections, scored, is_fast):
        _read_matches(scorer, matching, iou, has_matched=not is_fast)
    return scored, matching


def score_boundaries(evidence: Evidence, max_detections: int = 100, *, is_fast: bool = False) -> Scored:
    """Compute COCO's figures with boundary IoU (Cheng et al., 2021): the smaller one of the IoUs of masks and of boundaries.

    Args:
        evidence: Detections and objects with masks.
        max_detections: As for :func:`score`.
        is_fast: As for :func:`score`.

    Raises:
        SetupError: faster-coco-eval is not installed.
    """
    scored = _nothing_scored(len(evidence.category_ids))
    for _ in _score_classes(evidence, BoundaryEval, max_detections, scored, is_fast):
        pass  # boundaries have figures only
    return scored


def _nothing_scored(classes: int) -> Scored:
    ious = len(COCO_IOUS)
    return Scored(np.full((ious, len(RECALLS), classes, 4, 3), -1.0), np.full((ious, classes, 4, 3), -1.0))


def _score_classes(
    evidence: Evidence, evaluation: type[ClassEval], max_detections: int, scored: Scored, is_fast: bool
) -> Iterator[ClassEval]:
    """Fill ``scored`` class by class, and yield the evaluation of each."""
    evaluate = load_fast_evaluation() if is_fast else None
    for class_, (found, objects) in enumerate(_rows_by_class(evidence)):
        if not len(found) and not len(objects):
            continue
        scorer = evaluation(evidence, found, objects, max_detections)
        if evaluate is None:
            scorer.evaluate()
            scorer.accumulate()
            precision, recall = scorer.eval["precision"][:, :, 0], scorer.eval["recall"][:, 0]
        else:
            precision, recall = evaluate(scorer)
        scored.precision[:, :, class_], scored.recall[:, class_] = precision, recall
        yield scorer


def _rows_by_class(evidence: Evidence) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    columns = []
    for classes in (evidence.found.classes, evidence.objects.classes):
        order = np.argsort(classes, kind="stable")
        columns.append(np.split(order, np.searchsorted(classes[order], np.arange(1, len(evidence.category_ids)))))
    return zip(*columns)


def _read_matches(scorer: ClassEval, matching: Matching, iou: float, has_matched: bool) -> None:
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


def _mean_of_valid(values: np.ndarray) -> float | None:
    """Return the mean of what pycocotools has not marked with -1, or None."""
    valid = values[values > -1]
    return round(float(valid.mean()), 6) if valid.size else None
