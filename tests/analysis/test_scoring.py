"""COCO's figures and matches equal pycocotools', and those of faster-coco-eval."""

from __future__ import annotations

import builtins
import copy

import numpy as np
import pytest

from ppdet_res2net.analysis.class_eval import boundary_of
from ppdet_res2net.analysis.scoring import score, score_boundaries
from ppdet_res2net.errors import SetupError
from tests.helpers.analysis import coco_eval, evidence_of
from tests.helpers.made_detections import make_annotations, make_results

NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
# Few images with many objects, so that more than 100 detections of a class are in an image; classes without objects
CASES = {
    "usual": (1, {}),
    "crowded": (5, {"images": 4, "classes": 1, "objects": 90}),
    "rare": (4, {"images": 3, "classes": 20}),
}


@pytest.fixture(scope="module", params=CASES)
def made(request):
    seed, options = CASES[request.param]
    content = make_annotations(seed, **options)
    return content, make_results(content, seed)


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_figures_and_matches_equal_pycocotools(made, kind):
    content, results = made
    expected, evidence = coco_eval(content, results, kind), evidence_of(content, results, kind)
    scored, matching = score(evidence, 0.5)
    order = np.argsort(evidence.category_ids)  # pycocotools sorts the classes
    assert np.array_equal(scored.precision[:, :, order], expected.eval["precision"])
    assert np.array_equal(scored.recall[:, order], expected.eval["recall"])
    figures = scored.figures()
    assert [-1 if figures[name] is None else figures[name] for name in NAMES] == pytest.approx(expected.stats, abs=1e-6)

    matches = {}  # place in the results -> (IoU thresholds that it passes, ids of objects, IoU thresholds where it is ignored)
    for one in expected.evalImgs:
        if one is not None and one["aRng"] == [0, 1e10]:
            for place, id_ in enumerate(one["dtIds"]):
                matches[id_ - 1] = (one["dtMatches"][:, place], one["dtIgnore"][:, place])
    rows = {int(reference): row for row, reference in enumerate(evidence.found.references)}
    assert set(np.flatnonzero(matching.is_counted)) == {rows[place] for place in matches}
    for place, (ids, ignored) in matches.items():
        row = rows[place]
        assert np.array_equal(matching.is_ignored[row], ignored)
        assert np.array_equal(matching.is_right[row], (ids > 0) & ~ignored.astype(bool))
        taken = matching.taken[row]
        assert (evidence.objects.references[taken] if taken >= 0 else 0) == (0 if ignored[0] else ids[0])


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_the_fast_evaluation_gives_the_same(made, kind):
    pytest.importorskip("faster_coco_eval", reason="faster-coco-eval is not installed")
    evidence = evidence_of(*made, kind)
    (usual, matches), (fast, fast_matches) = score(evidence, 0.5), score(evidence, 0.5, is_fast=True)
    assert usual.precision == pytest.approx(fast.precision, abs=1e-15)
    assert np.array_equal(usual.recall, fast.recall)
    for name, column in vars(matches).items():
        assert np.array_equal(column, getattr(fast_matches, name)), name


def test_boundary_figures_equal_those_of_faster_coco_eval(made):
    content, results = copy.deepcopy(made)
    package = pytest.importorskip("faster_coco_eval", reason="faster-coco-eval is not installed")
    truth = package.COCO({**content, "annotations": [dict(one) for one in content["annotations"]]})
    # faster-coco-eval has an order of its own for equal scores.
    for place, one in enumerate(results):
        one["score"] -= place * 1e-7
    found = truth.loadRes([{key: value for key, value in one.items() if key != "bbox"} for one in results])
    expected = package.COCOeval_faster(truth, found, "boundary", print_function=lambda text: None)
    expected.evaluate()
    expected.accumulate()
    evidence = evidence_of(content, results, "segm")
    order = np.argsort(evidence.category_ids)
    for is_fast in (False, True):
        scored = score_boundaries(evidence, is_fast=is_fast)
        assert scored.precision[:, :, order] == pytest.approx(expected.eval["precision"], abs=1e-15)
        assert np.array_equal(scored.recall[:, order], expected.eval["recall"])


def test_another_iou_than_coco_s_counts_in_the_matches_only():
    content = make_annotations(1)
    evidence = evidence_of(content, make_results(content, 1), "bbox")
    (half, at_half), (less, at_less) = score(evidence, 0.5), score(evidence, 0.3)
    assert np.array_equal(half.precision, less.precision)
    assert np.array_equal(at_half.is_right, at_less.is_right)
    assert (at_less.taken >= 0).sum() > (at_half.taken >= 0).sum()


def test_a_mask_s_boundary_is_at_its_outline_and_at_the_edge_of_the_image():
    from pycocotools import mask as mask_utils

    bitmap = np.zeros((100, 100), np.uint8, order="F")
    bitmap[:, 40:80] = 1
    edge = mask_utils.decode(boundary_of(mask_utils.encode(bitmap)))
    assert edge[50, 40:80].tolist() == [1] * 3 + [0] * 34 + [1] * 3  # 2 % of the diagonal of 141 pixels
    assert edge[:3, 40:80].all() and edge[-3:, 40:80].all() and not edge[3:-3, 43:77].any()


def test_a_mask_without_pixels_has_no_boundary():
    from pycocotools import mask as mask_utils

    empty = mask_utils.encode(np.zeros((10, 10), np.uint8, order="F"))
    assert mask_utils.area(boundary_of(empty)) == 0


def test_the_fast_evaluation_names_its_extra(monkeypatch):
    def refuse(name, *args, real=builtins.__import__, **kwargs):
        if name.startswith("faster_coco_eval"):
            raise ImportError("No module named 'faster_coco_eval'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    content = make_annotations(1)
    with pytest.raises(
        SetupError, match=r"Install it with pip install 'ppdet-res2net\[fast-eval\]', or leave out --fast_eval"
    ):
        score(evidence_of(content, make_results(content, 1), "bbox"), 0.5, is_fast=True)
