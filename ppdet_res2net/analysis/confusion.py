"""Which class is taken for which, and which objects are missed, at one score."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np

from ppdet_res2net.analysis.error_schema import Breakdown, Confusion, ConfusionMatrix, Group
from ppdet_res2net.analysis.evidence import Evidence, overlaps
from ppdet_res2net.analysis.scoring import Matching

__all__ = ["Outcome", "break_down", "confuse", "decide"]

SMALL_PX, MEDIUM_PX = 32**2, 96**2
TALL, WIDE = 0.75, 1.33  # width by height, as in tidecv


@dataclass(frozen=True)
class Outcome:
    """What detections from a score on say about the objects.

    Attributes:
        score: The score.
        rows: int (N,): rows of the detections that count, by image and falling score.
        is_right: bool (N,).
        objects: int (M,): rows of the objects that count.
        is_missed: bool (M,).
    """

    score: float
    rows: np.ndarray
    is_right: np.ndarray
    objects: np.ndarray
    is_missed: np.ndarray


def decide(evidence: Evidence, matching: Matching, score: float) -> Outcome:
    """Return which detections are right and which objects are missed from a score on."""
    rows = np.flatnonzero(~matching.is_set_aside & (evidence.scores >= score))
    rows = rows[np.lexsort((-evidence.scores[rows], evidence.found.images[rows]))]
    objects = np.flatnonzero(~evidence.is_set_aside)
    taken = matching.taken[rows]
    return Outcome(score, rows, taken >= 0, objects, ~np.isin(objects, taken))


def confuse(evidence: Evidence, outcome: Outcome, iou: float, max_image_ids: int) -> ConfusionMatrix:
    """Count which class is taken for which; see :class:`ConfusionMatrix` for the rules."""
    found, objects = evidence.found, evidence.objects
    background = len(evidence.category_ids)
    cells: dict[tuple[int, int], Counter] = defaultdict(Counter)
    for row in outcome.rows[outcome.is_right]:
        cells[found.classes[row], found.classes[row]][found.images[row]] += 1
    wrong = _by_image(outcome.rows[~outcome.is_right], found.images)
    missed = _by_image(outcome.objects[outcome.is_missed], objects.images)
    for image in wrong.keys() | missed.keys():
        rows, others = wrong.get(image, []), missed.get(image, [])
        free = overlaps(found, np.array(rows, np.int64), objects, np.array(others, np.int64))
        is_free = np.ones(len(others), bool)
        for place, row in enumerate(rows):
            truth = background
            if len(others):
                best = int((free[place] * is_free).argmax())
                if is_free[best] and free[place, best] >= iou:
                    truth, is_free[best] = objects.classes[others[best]], False
            cells[truth, found.classes[row]][image] += 1
        for other in np.array(others, np.int64)[is_free]:
            cells[objects.classes[other], background][image] += 1
    ids = [*evidence.category_ids.tolist(), None]
    listed = []
    for (truth, taken), images in sorted(cells.items()):
        most = sorted(images.items(), key=lambda item: (-item[1], item[0]))[:max_image_ids]
        image_ids = [int(evidence.image_ids[image]) for image, _ in most]
        listed.append(Confusion(ids[truth], ids[taken], sum(images.values()), image_ids))
    return ConfusionMatrix(iou, outcome.score, listed)


def break_down(evidence: Evidence, outcome: Outcome) -> list[Breakdown]:
    """Count missed objects and wrong detections by size, aspect and crowding."""
    found, objects = evidence.found, evidence.objects
    crowding = _count_neighbours(evidence, outcome)
    sides = []
    for regions, rows, neighbours in ((objects, outcome.objects, crowding[0]), (found, outcome.rows, crowding[1])):
        width, height = regions.boxes_xywh[rows, 2], regions.boxes_xywh[rows, 3]
        aspect = width / np.maximum(height, 1e-9)
        sides.append(
            {
                "size": np.digitize(regions.areas[rows], (SMALL_PX, MEDIUM_PX)),
                "aspect": np.digitize(aspect, (TALL, WIDE), right=True),
                "crowding": np.digitize(neighbours, (1, 3)),
            }
        )
    names = {
        "size": ("small", "medium", "large"),
        "aspect": ("tall", "square", "wide"),
        "crowding": ("alone", "1 to 2", "3 or more"),
    }
    return [
        Breakdown(
            by,
            [
                Group(
                    name,
                    int((sides[0][by] == place).sum()),
                    int((outcome.is_missed & (sides[0][by] == place)).sum()),
                    int((sides[1][by] == place).sum()),
                    int((~outcome.is_right & (sides[1][by] == place)).sum()),
                )
                for place, name in enumerate(names[by])
            ],
        )
        for by in names
    ]


def _by_image(rows: np.ndarray, images: np.ndarray) -> dict[int, list[int]]:
    grouped: dict[int, list[int]] = {}
    for row, image in zip(rows.tolist(), images[rows].tolist()):
        grouped.setdefault(image, []).append(row)
    return grouped


def _count_neighbours(evidence: Evidence, outcome: Outcome) -> tuple[np.ndarray, np.ndarray]:
    """Return how many objects' boxes overlap that of each object and detection, without the one that it is itself or is on."""
    objects = _by_image(outcome.objects, evidence.objects.images)
    counts = []
    for regions, rows in ((evidence.objects, outcome.objects), (evidence.found, outcome.rows)):
        count = np.zeros(len(rows), np.int64)
        start = 0
        for image, of_image in _by_image(rows, regions.images).items():
            others = evidence.objects.boxes_xywh[objects.get(image, [])]
            count[start : start + len(of_image)] = _overlap(regions.boxes_xywh[of_image], others).sum(axis=1)
            start += len(of_image)
        counts.append(np.maximum(count - 1, 0))
    return counts[0], counts[1]


def _overlap(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    start = np.maximum(boxes[:, None, :2], others[None, :, :2])
    end = np.minimum((boxes[:, :2] + boxes[:, 2:])[:, None], (others[:, :2] + others[:, 2:])[None])
    return (end > start).all(axis=2)
