"""What single mistakes cost, the images and mistakes that cost most, and what may be errors of the annotations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from ppdet_res2net.analysis.confusion import Outcome
from ppdet_res2net.analysis.error_schema import Mistake, Suspect, WorstImage
from ppdet_res2net.analysis.evidence import Evidence, overlaps
from ppdet_res2net.analysis.subject import AnnotationRef, DetectionRef
from ppdet_res2net.analysis.tide import CLS, ERROR_TYPES, MISS, RIGHT, Diagnosis

__all__ = ["Costs", "costs_of", "find_suspects", "worst_images", "worst_mistakes"]

SURE_IOU = 0.75  # from which a detection is on an annotation without doubt, whatever its class
MIN_SUSPECT_SCORE = 0.5
CLASS_SHARE = 6  # a class may have one of so many entries among the mistakes, so that the rarest does not fill the list


@dataclass(frozen=True)
class Costs:
    """What AP would gain if single mistakes were mended, in points; see :class:`Mistake`.

    Attributes:
        of_detections: float, of each row of the diagnosis; 0 for right and ignored detections.
        of_objects: float, of each object; 0 for those that are not missed.
    """

    of_detections: np.ndarray
    of_objects: np.ndarray


class _Curve:
    """Precision at the right detections of a class, and what a change at one place does to the area below it.

    Args:
        scores: Scores, falling.
        is_right: Whether each detection is right.
        objects: Number of objects; not 0.
    """

    def __init__(self, scores: np.ndarray, is_right: np.ndarray, objects: int) -> None:
        self.scores, self.objects = scores, objects
        self.right = np.cumsum(is_right)
        self.number = np.arange(1, len(scores) + 1)
        right, number = self.right, self.number
        self.without = _after(is_right * (right / np.maximum(number - 1, 1) - right / number))
        self.turned = _after(is_right * (1 / number))
        self.added = _after(is_right * ((right + 1) / (number + 1) - right / number))

    def remove(self, places: np.ndarray) -> np.ndarray:
        """Return what is gained if a wrong detection goes."""
        return self.without[places + 1] / self.objects

    def turn(self, places: np.ndarray) -> np.ndarray:
        """Return what is gained if a wrong detection becomes right."""
        return ((self.right[places] + 1) / self.number[places] + self.turned[places + 1]) / self.objects

    def add(self, scores: np.ndarray) -> np.ndarray:
        """Return what is gained by another right detection, which goes behind those of equal score."""
        places = np.searchsorted(-self.scores, -scores, side="right")
        before = np.append(0, self.right)[places]
        return ((before + 1) / (places + 1) + self.added[places]) / self.objects


def costs_of(evidence: Evidence, diagnosis: Diagnosis) -> Costs:
    """Compute what every mistake costs, each as if it were the only one."""
    rows, types = diagnosis.rows, diagnosis.types
    classes, objects = evidence.found.classes[rows], evidence.count_objects()
    of_detections, of_objects = np.zeros(len(rows)), np.zeros(len(evidence.is_set_aside))
    curves, order = {}, np.lexsort((-evidence.scores[rows], classes))
    order = order[~diagnosis.is_ignored[order]]
    for class_ in np.flatnonzero(objects):
        places = order[classes[order] == class_]
        curve = curves[class_] = _Curve(evidence.scores[rows[places]], types[places] == RIGHT, int(objects[class_]))
        wrong = np.flatnonzero(types[places] != RIGHT)
        turns = wrong[diagnosis.is_mending[places[wrong]] & (types[places[wrong]] != CLS)]
        of_detections[places[wrong]] = curve.remove(wrong)
        of_detections[places[turns]] = curve.turn(turns)
    target_classes = evidence.objects.classes[diagnosis.nearest]
    for class_, curve in curves.items():
        changing = diagnosis.is_mending & (types == CLS) & (target_classes == class_) & ~diagnosis.is_ignored
        of_detections[changing] += curve.add(evidence.scores[rows[changing]])
        missed = diagnosis.is_missed & (evidence.objects.classes == class_)
        of_objects[missed] = curve.add(np.array([np.inf]))
    scale = 100 / max(len(curves), 1)
    return Costs(of_detections * scale, of_objects * scale)


def _after(values: np.ndarray) -> np.ndarray:
    """Return the sums of the values from each place on, and 0 behind the last."""
    return np.append(np.cumsum(values[::-1])[::-1], 0.0)


def worst_images(
    evidence: Evidence, diagnosis: Diagnosis, costs: Costs, outcome: Outcome, limit: int
) -> list[WorstImage]:
    """Return the images whose mistakes cost most."""
    number = len(evidence.image_ids)
    images = evidence.found.images
    total = np.zeros(number)
    total += np.bincount(images[diagnosis.rows], costs.of_detections, number)
    total += np.bincount(evidence.objects.images, costs.of_objects, number)
    right = np.bincount(images[outcome.rows[outcome.is_right]], minlength=number)
    wrong = np.bincount(images[outcome.rows[~outcome.is_right]], minlength=number)
    missed = np.bincount(evidence.objects.images[outcome.objects[outcome.is_missed]], minlength=number)
    order = np.lexsort((np.arange(number), -total))[:limit]
    return [
        WorstImage(
            int(evidence.image_ids[image]),
            round(float(total[image]), 4),
            int(right[image]),
            int(wrong[image]),
            int(missed[image]),
        )
        for image in order
        if total[image] > 0
    ]


def worst_mistakes(evidence: Evidence, diagnosis: Diagnosis, costs: Costs, limit: int) -> list[Mistake]:
    """Return the mistakes that cost most. Of equally costly ones, larger objects and higher scores come first."""
    missed = np.flatnonzero(diagnosis.is_missed)
    wrong = np.flatnonzero((diagnosis.types != RIGHT) & ~diagnosis.is_ignored)
    cost = np.append(costs.of_detections[wrong], costs.of_objects[missed])
    # A number for those of equal cost
    second = np.append(evidence.scores[diagnosis.rows[wrong]], evidence.objects.areas[missed])
    chosen: list[Mistake] = []
    per_class = max(limit // CLASS_SHARE, 1)
    used: Counter = Counter()
    for place in np.lexsort((-second, -np.round(cost, 9))):
        if len(chosen) == limit or cost[place] <= 0:
            break
        is_detection = place < len(wrong)
        if is_detection:
            at = wrong[place]
            row, other, type_ = diagnosis.rows[at], diagnosis.nearest[at], int(diagnosis.types[at])
            image, class_ = evidence.found.images[row], evidence.found.classes[row]
        else:
            other, type_ = missed[place - len(wrong)], MISS
            image, class_ = evidence.objects.images[other], evidence.objects.classes[other]
        used[class_] += 1
        if used[class_] <= per_class or len(evidence.category_ids) < CLASS_SHARE:
            chosen.append(
                Mistake(
                    ERROR_TYPES[type_],
                    int(evidence.image_ids[image]),
                    round(float(cost[place]), 4),
                    refer_to_detection(evidence, row) if is_detection else None,
                    refer_to_object(evidence, other) if other >= 0 else None,
                )
            )
    return chosen


def find_suspects(
    evidence: Evidence,
    diagnosis: Diagnosis,
    class_scores: list[float | None],
    background_iou: float,
    suspect_score: float | None,
    limit: int,
) -> list[Suspect]:
    """Return what may be errors of the annotations: not more than a third of ``limit`` for each reason.

    Args:
        evidence: Detections and objects.
        diagnosis: What is wrong.
        class_scores: Best threshold of each class.
        background_iou: As for :func:`diagnose`.
        suspect_score: As in ``Settings``.
        limit: Largest number.
    """
    low = np.array([max(one or MIN_SUSPECT_SCORE, MIN_SUSPECT_SCORE) for one in class_scores])
    if suspect_score is not None:
        low[:] = suspect_score
    scores = evidence.scores[diagnosis.rows]
    is_sure = (scores >= low[evidence.found.classes[diagnosis.rows]]) & ~diagnosis.is_ignored
    places = np.argsort(-scores, kind="stable")
    places = places[is_sure[places]]
    each = max(limit // 3, 1)
    return [
        *islice(_unlabelled(evidence, diagnosis, places, background_iou), each),
        *islice(_unseen(evidence, diagnosis, background_iou), each),
        *islice(_of_another_class(evidence, diagnosis, places), each),
    ]


def _unlabelled(
    evidence: Evidence, diagnosis: Diagnosis, places: np.ndarray, background_iou: float
) -> Iterator[Suspect]:
    objects = evidence.objects
    for place in places[(diagnosis.overlap <= background_iou)[places]]:
        row = diagnosis.rows[place]
        image = evidence.found.images[row]
        crowds = objects.of_image(image)
        crowds = crowds[evidence.is_set_aside[crowds]]  # one of any class explains a detection
        inside = overlaps(evidence.found, np.array([row]), objects, crowds, np.ones(len(crowds), bool))
        if (inside <= background_iou).all():
            yield Suspect("unlabelled", int(evidence.image_ids[image]), refer_to_detection(evidence, row), None)


def _unseen(evidence: Evidence, diagnosis: Diagnosis, background_iou: float) -> Iterator[Suspect]:
    objects = evidence.objects
    rows = np.flatnonzero((diagnosis.seen <= background_iou) & ~evidence.is_set_aside)
    for row in rows[np.argsort(-objects.areas[rows], kind="stable")]:
        image_id = int(evidence.image_ids[objects.images[row]])
        yield Suspect("unseen", image_id, None, refer_to_object(evidence, row))


def _of_another_class(evidence: Evidence, diagnosis: Diagnosis, places: np.ndarray) -> Iterator[Suspect]:
    is_other = (diagnosis.types == CLS) & diagnosis.is_mending & (diagnosis.overlap >= SURE_IOU)
    for place in places[is_other[places]]:
        row, other = diagnosis.rows[place], diagnosis.nearest[place]
        image_id = int(evidence.image_ids[evidence.found.images[row]])
        yield Suspect("class", image_id, refer_to_detection(evidence, row), refer_to_object(evidence, other))


def refer_to_detection(evidence: Evidence, row: int) -> DetectionRef:
    """Return what the report says about a detection."""
    found = evidence.found
    return DetectionRef(
        int(found.references[row]),
        int(evidence.category_ids[found.classes[row]]),
        round(float(evidence.scores[row]), 6),
        [round(float(value), 2) for value in found.boxes_xywh[row]],
    )


def refer_to_object(evidence: Evidence, row: int) -> AnnotationRef:
    """Return what the report says about an object."""
    objects = evidence.objects
    return AnnotationRef(
        int(objects.references[row]),
        int(evidence.category_ids[objects.classes[row]]),
        [round(float(value), 2) for value in objects.boxes_xywh[row]],
    )
