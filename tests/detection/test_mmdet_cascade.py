"""Cascade R-CNN of mmdetection, from its own names, against what its own code finds with them.

The goldens are those of ``test_mmdet_detectors.py``. The two cascades differ in their masks only, so one is enough.
"""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

paddle = pytest.importorskip("paddle")
if importlib.util.find_spec("ppdet") is None:
    pytest.skip("paddledet is not installed", allow_module_level=True)

from ppdet_res2net.config import load_config  # noqa: E402
from ppdet_res2net.detection.model import EagerBackend, make_model_info  # noqa: E402
from res2net_runtime import Predictor  # noqa: E402
from tests.helpers.mmdet_detectors import (  # noqa: E402
    CLASSES,
    GOLDEN,
    create_detector,
    differences,
    make_config,
    write_photos,
)

CASCADE, CASCADE_MASK = (f"mmdet/cascade-{mask}rcnn_res2net-101_fpn_20e_coco" for mask in ("", "mask-"))
RECIPE = "mmdet_cascade_mask_rcnn_res2net101_fpn_20e_coco"
WITH_MASKS = 16  # of 100 detections
FOUND = [photo["found"] for photo in GOLDEN["models"][CASCADE_MASK]["photos"]]


@pytest.fixture(scope="module")
def detector():
    return create_detector(CASCADE_MASK, make_config(CASCADE_MASK))


@pytest.fixture
def find(detector, tmp_path, monkeypatch):
    """Find with the current settings what is on a photo. Three mask heads on 100 detections would take most of the time."""

    def run(number, mask_heads):
        monkeypatch.setattr(detector.bbox_post_process.nms, "keep_top_k", WITH_MASKS if mask_heads else 100)
        backend = EagerBackend(detector)
        backend._network.mask_heads = paddle.nn.LayerList(list(detector.mask_head.stages)[:mask_heads])
        info = make_model_info(make_config(CASCADE_MASK), CLASSES, backend.output_names, "TestReader")
        return Predictor.over(info, backend)(write_photos(tmp_path)[number])

    return run


def best_of(found):
    """The first of the detections, which are in the order of their scores."""
    assert found["scores"] == sorted(found["scores"], reverse=True)
    return {**found, **{key: found[key][:WITH_MASKS] for key in ("boxes", "scores", "labels", "masks")}}


def test_masks_are_those_of_mmdetection(find):
    assert not differences(find(0, mask_heads=3), best_of(FOUND[0]))


def test_boxes_are_those_of_mmdetection(find):
    assert len(FOUND[0]["scores"]) == 100 and len(set(FOUND[0]["labels"])) > 3
    assert not differences(find(0, mask_heads=0), FOUND[0])
    # Further down on the other photo, the last bit of a score, and so the number of threads, decides which box stays.
    assert not differences(find(1, mask_heads=0)[:WITH_MASKS], best_of(FOUND[1]))


def test_the_cascade_without_masks_is_the_same_detector():
    for with_masks, without in zip(FOUND, (photo["found"] for photo in GOLDEN["models"][CASCADE]["photos"])):
        for key in ("boxes", "scores", "labels"):
            np.testing.assert_allclose(with_masks[key], without[key], rtol=0, atol=1e-3)
    masks, boxes = (load_config(RECIPE.replace("mask_rcnn", kind)) for kind in ("mask_rcnn", "rcnn"))
    assert boxes["CascadeRCNN"] == {
        key: value for key, value in masks["CascadeRCNN"].items() if not key.startswith("mask_")
    }
    own = {"CascadeRCNN", "MaskHead", "CascadeMaskHead", "MaskFeat", "MaskAssigner", "MaskPostProcess"}
    own |= {"weights", "pretrain_weights", "TrainDataset", "EvalDataset"}
    assert {key: boxes[key] for key in boxes if key not in own} == {key: masks[key] for key in masks if key not in own}


def test_the_mean_of_probabilities_is_seen(find, detector, monkeypatch):
    monkeypatch.setattr(detector.bbox_head, "averaged", "probabilities")
    assert len(differences(find(0, mask_heads=0), FOUND[0])) > 50


def test_paddledets_weights_of_the_last_stage_are_seen(find, detector, monkeypatch):
    monkeypatch.setattr(detector.bbox_post_process.decode, "prior_box_var", [30.0, 30.0, 15.0, 15.0])
    assert len(differences(find(0, mask_heads=0), FOUND[0])) > 50


def test_one_mask_head_is_seen(find):
    wrong = differences(find(0, mask_heads=1), best_of(FOUND[0]))
    assert len(wrong) > WITH_MASKS / 2 and all(one.startswith("another mask") for one in wrong)
