"""TIDE's figures equal those of tidecv 1.0.1, for boxes and masks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ppdet_res2net.analysis.tide import diagnose, share_errors
from tests.helpers.analysis import evidence_of
from tests.helpers.made_detections import make_annotations, make_results

GOLDENS = json.loads(Path(__file__).with_name("tide.json").read_text("utf-8"))


@pytest.mark.parametrize("golden", GOLDENS, ids=lambda one: f"{one['seed']}-{one['kind']}")
def test_figures_equal_tidecv(golden):
    content = make_annotations(golden["seed"], **golden["options"])
    evidence = evidence_of(content, make_results(content, golden["seed"]), golden["kind"])
    iou, background_iou = golden["iou"], golden["background_iou"]
    shares = share_errors(evidence, diagnose(evidence, iou, background_iou), iou, background_iou)
    assert shares.ap_points == pytest.approx(golden["ap"], abs=1e-9)
    assert shares.lost_points == pytest.approx(golden["errors"], abs=1e-9)
    assert shares.special_points == pytest.approx(golden["special"], abs=1e-9)
    assert shares.counts == golden["counts"]


def test_the_goldens_have_every_type_of_error():
    assert all(any(golden["counts"][name] for golden in GOLDENS) for name in GOLDENS[0]["counts"])
    assert all(any(golden["errors"][name] > 0.1 for golden in GOLDENS) for name in GOLDENS[0]["errors"])


def test_without_detections_everything_is_missed():
    content = make_annotations(1)
    evidence = evidence_of(content, [], "bbox")
    shares = share_errors(evidence, diagnose(evidence, 0.5, 0.1), 0.5, 0.1)
    assert shares.ap_points == 0.0
    assert shares.counts["Miss"] == sum(not one["iscrowd"] for one in content["annotations"])
