"""Confusions, costs and suspects: small scenes with a known answer, and costs computed again the long way."""

from __future__ import annotations

import numpy as np
import pytest

from ppdet_res2net.analysis.confusion import break_down, confuse, decide
from ppdet_res2net.analysis.mistakes import costs_of, find_suspects, worst_images, worst_mistakes
from ppdet_res2net.analysis.scoring import score
from ppdet_res2net.analysis.tide import CLS, LOC, RIGHT, diagnose
from tests.helpers.analysis import evidence_of
from tests.helpers.made_detections import make_annotations, make_results


def outcome_of(evidence, low):
    return decide(evidence, score(evidence, 0.5)[1], low)


def scene(objects, detections, kind="bbox"):
    """Return evidence of an image. Objects: class, box, is crowd. Detections: class, box, score."""
    images = [{"id": 7, "file_name": "a.png", "width": 200, "height": 200}]
    categories = [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]
    annotations = [
        {"id": 50 + place, "image_id": 7, "category_id": class_, "bbox": box, "area": box[2] * box[3], "iscrowd": crowd}
        for place, (class_, box, crowd) in enumerate(objects)
    ]
    results = [{"image_id": 7, "category_id": c, "bbox": box, "score": s} for c, box, s in detections]
    return evidence_of({"images": images, "categories": categories, "annotations": annotations}, results, kind)


A, B, FAR = [10, 10, 40, 40], [100, 10, 40, 40], [100, 120, 40, 40]


def cells_of(evidence, low=0.5):
    matrix = confuse(evidence, outcome_of(evidence, low), 0.5, 20)
    return {(cell.truth, cell.found): cell.count for cell in matrix.cells}


def test_the_confusion_matrix_counts_right_wrong_background_and_missed():
    evidence = scene([(1, A, 0), (2, B, 0), (2, FAR, 0)], [(1, A, 0.9), (1, B, 0.8), (2, [10, 120, 40, 40], 0.7)])
    assert cells_of(evidence) == {(1, 1): 1, (2, 1): 1, (2, None): 1, (None, 2): 1}


def test_a_right_detection_keeps_its_object_from_a_wrong_one_with_a_higher_score():
    evidence = scene([(1, A, 0)], [(2, A, 0.9), (1, A, 0.6)])
    assert cells_of(evidence) == {(1, 1): 1, (None, 2): 1}


def test_detections_below_the_score_and_in_crowds_do_not_count():
    evidence = scene([(1, A, 0), (1, B, 1)], [(1, A, 0.4), (1, B, 0.9)])
    assert cells_of(evidence) == {(1, None): 1}


def test_the_diagonal_holds_the_right_detections_and_every_object_is_in_its_row():
    content = make_annotations(2, images=30)
    evidence = evidence_of(content, make_results(content, 2), "segm")
    outcome = outcome_of(evidence, 0.3)
    cells = confuse(evidence, outcome, 0.5, 2).cells
    assert sum(cell.count for cell in cells if cell.truth == cell.found) == outcome.is_right.sum()
    for place, category in enumerate(evidence.category_ids):
        assert sum(cell.count for cell in cells if cell.truth == category) == evidence.count_objects()[place]
    assert sum(cell.count for cell in cells if cell.found is not None) == len(outcome.rows)
    assert max(len(cell.image_ids) for cell in cells) == 2


def test_groups_by_size_aspect_and_crowding():
    touching = [30, 30, 40, 40]
    objects = [(1, [0, 0, 10, 40], 0), (1, [60, 60, 50, 50], 0), (1, [100, 100, 20, 20], 0), (2, [0, 150, 150, 40], 0)]
    evidence = scene(objects, [(1, [60, 60, 50, 50], 0.9), (2, touching, 0.8)])
    groups = {
        (breakdown.by, group.name): (group.objects, group.missed, group.detections, group.wrong)
        for breakdown in break_down(evidence, outcome_of(evidence, 0.5))
        for group in breakdown.groups
    }
    assert groups["size", "small"] == (2, 2, 0, 0)
    assert groups["size", "medium"] == (2, 1, 2, 1)
    assert groups["aspect", "tall"] == (1, 1, 0, 0)
    assert groups["aspect", "wide"] == (1, 1, 0, 0)
    assert groups["crowding", "alone"] == (2, 2, 1, 1)
    assert groups["crowding", "1 to 2"] == (2, 1, 1, 0)


def area_below(classes, scores, is_right, objects):
    """Return the mean area below the curves, in points; a class without objects does not count."""
    areas = []
    for class_ in np.flatnonzero(objects):
        order = np.argsort(-scores[classes == class_], kind="stable")
        right = is_right[classes == class_][order]
        precision = np.cumsum(right) / np.arange(1, len(right) + 1)
        areas.append(precision[right].sum() / objects[class_])
    return 100 * np.mean(areas)


def test_costs_are_what_mending_one_mistake_gains():
    content = make_annotations(2, images=12)
    results = make_results(content, 2)
    for place, one in enumerate(results):
        one["score"] -= (
            place * 1e-6 if one["score"] > 0.5 else -place * 1e-6
        )  # no equal scores, whose order is arbitrary
    evidence = evidence_of(content, results, "bbox")
    diagnosis = diagnose(evidence, 0.5, 0.1)
    costs = costs_of(evidence, diagnosis)
    rows, types, kept = diagnosis.rows, diagnosis.types, ~diagnosis.is_ignored
    classes, scores, objects = evidence.found.classes[rows], evidence.scores[rows], evidence.count_objects()
    base = area_below(classes[kept], scores[kept], types[kept] == RIGHT, objects)
    assert {int(type_) for type_ in types[diagnosis.is_mending]} == {CLS, LOC}
    for place in range(len(rows)):
        if types[place] == RIGHT or diagnosis.is_ignored[place]:
            assert costs.of_detections[place] == 0
            continue
        keep, right, mended = kept.copy(), types == RIGHT, classes.copy()
        if diagnosis.is_mending[place]:
            right[place], mended[place] = True, evidence.objects.classes[diagnosis.nearest[place]]
        else:
            keep[place] = False
        gained = area_below(mended[keep], scores[keep], right[keep], objects) - base
        assert costs.of_detections[place] == pytest.approx(gained, abs=1e-9)
    for other in np.flatnonzero(diagnosis.is_missed):
        found = (
            np.append(classes[kept], evidence.objects.classes[other]),
            np.append(scores[kept], 2.0),
            np.append(types[kept] == RIGHT, True),
        )
        assert costs.of_objects[other] == pytest.approx(area_below(*found, objects) - base, abs=1e-9)


def test_the_worst_images_and_mistakes_come_first_and_costs_add_up():
    content = make_annotations(2, images=30)
    evidence = evidence_of(content, make_results(content, 2), "bbox")
    diagnosis = diagnose(evidence, 0.5, 0.1)
    costs = costs_of(evidence, diagnosis)
    images = worst_images(evidence, diagnosis, costs, outcome_of(evidence, 0.5), 100)
    assert [one.cost_points for one in images] == sorted((one.cost_points for one in images), reverse=True)
    total = costs.of_detections.sum() + costs.of_objects.sum()
    assert sum(one.cost_points for one in images) == pytest.approx(total, abs=0.01)
    mistakes = worst_mistakes(evidence, diagnosis, costs, 10)
    assert len(mistakes) == 10
    assert [one.cost_points for one in mistakes] == sorted((one.cost_points for one in mistakes), reverse=True)


def test_a_mistake_names_detection_and_object():
    evidence = scene([(1, A, 0), (2, B, 0)], [(2, A, 0.9), (2, B, 0.8)])
    diagnosis = diagnose(evidence, 0.5, 0.1)
    (mistake,) = worst_mistakes(evidence, diagnosis, costs_of(evidence, diagnosis), 10)
    # Class 2 loses half of its precision; class 1 loses everything.
    assert (mistake.type, mistake.image_id, mistake.cost_points) == ("Cls", 7, 75.0)
    assert (mistake.detection.index, mistake.detection.category_id, mistake.detection.bbox_xywh) == (0, 2, A)
    assert (mistake.annotation.id, mistake.annotation.category_id) == (50, 1)


def suspects_of(objects, detections):
    evidence = scene(objects, detections)
    found = find_suspects(evidence, diagnose(evidence, 0.5, 0.1, 0.05), [0.6, None], 0.1, None, 60)
    return [(one.reason, one.detection and one.detection.score, one.annotation and one.annotation.id) for one in found]


def test_suspects():
    assert suspects_of([(1, A, 0)], [(1, A, 0.9), (1, FAR, 0.7), (1, FAR, 0.55), (2, [100, 10, 5, 5], 0.5)]) == [
        ("unlabelled", 0.7, None),
        ("unlabelled", 0.5, None),
    ]
    assert suspects_of([(1, A, 0), (2, B, 0)], [(1, A, 0.9), (2, B, 0.04)]) == [("unseen", None, 51)]
    assert suspects_of([(1, A, 0)], [(2, A, 0.9)]) == [("class", 0.9, 50)]
    # A crowd of any class, and a detection of the right class
    assert suspects_of([(1, A, 0), (2, B, 1)], [(1, A, 0.9), (1, B, 0.9), (2, A, 0.8)]) == []
