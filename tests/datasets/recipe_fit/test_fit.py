"""What is said about a recipe that does not fit its data; and every shipped recipe fits itself."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

import numpy as np
import pytest

from ppdet_res2net.cli.main import main
from ppdet_res2net.config import is_classifier, load_config
from ppdet_res2net.datasets.recipe_fit import Anchors, FitSettings, examine_fit, warn_of_scales
from ppdet_res2net.detection.recipe_fit import fit_settings
from ppdet_res2net.detection.task import train
from tests.helpers.datasets import shared_data
from tests.helpers.training_runs import make_config, messages, overrides_for

ROOT = Path(__file__).resolve().parents[3]
RECIPES = sorted(path for path in (ROOT / "configs" / "res2net").rglob("*.yml") if "_base_" not in path.parts)
ANCHORS = Anchors.from_settings({"anchor_sizes": [[16], [32], [64]], "strides": [4, 8, 16]})
FULL_SIZE = "TrainReader.sample_transforms.1.Resize.target_size=[600,800]"


def _resize(*size: int) -> dict:
    return {"sample_transforms": [{"Resize": {"target_size": list(size), "keep_ratio": True}}]}


def _squares(*sides: float) -> np.ndarray:
    return np.array([(96 - side / 2, 96 - side / 2, 96 + side / 2, 96 + side / 2) for side in sides])


def _fit(boxes: np.ndarray, reader: dict | None = None):
    return examine_fit(
        boxes, np.tile([200, 200], (len(boxes), 1)), FitSettings({"TrainReader": reader or {}}, ANCHORS, 0.7)
    )


def test_objects_are_sorted_by_why_no_anchor_overlaps_them():
    thin = np.array([(20.0, 90, 180, 94)])
    fit = _fit(np.concatenate([_squares(32, 64, 33, 16, 100, 120, 8, 60), thin, _squares(40)]))
    assert (fit.too_large, fit.too_small, fit.other_shape) == pytest.approx((0.2, 0.1, 0.1))
    assert fit.uncovered == pytest.approx(0.4) and fit.below_positive == pytest.approx(0.5)  # 40 against 32: 0.64
    assert fit.below_stride == 0 and fit.objects == 10
    (finding,) = fit.findings()
    assert finding.problem.code == "anchors-too-small"
    assert finding.detail.startswith("20% of 10 objects. In TrainReader, 90% of all have sides of ")
    assert "; the largest anchor has 64 px; for instance -o RPNHead.anchor_generator.anchor_sizes=[[" in finding.detail


def test_sizes_are_those_after_resizing():
    boxes = _squares(100, 110, 120)
    assert _fit(boxes).too_large == 1
    halved = _fit(boxes, _resize(100, 100))
    assert halved.uncovered == 0 and halved.factor == (0.5, 0.5, 0.5)
    tiny = _fit(boxes, _resize(14, 14))
    assert tiny.too_small == 1 and [finding.problem.code for finding in tiny.findings()] == ["anchors-too-large"]
    assert tiny.to_dict()["uncovered"] == 1


def test_without_objects_or_anchors_there_is_nothing_to_compare():
    assert _fit(np.zeros((0, 4))) is None
    assert examine_fit(_squares(9), np.array([(200, 200)]), FitSettings({"TrainReader": {}})) is None
    assert examine_fit(_squares(9), np.array([(200, 200)]), FitSettings({}, ANCHORS)) is None


def test_readers_that_resize_differently():
    readers = {"TrainReader": {}, "EvalReader": _resize(128, 128), "TestReader": _resize(500, 800)}
    (finding,) = warn_of_scales(np.array([(600, 800)] * 3), FitSettings(readers))
    assert finding.problem.code == "reader-sizes-differ"
    assert finding.detail == "images of 800x600 pixels have about 128x96 in EvalReader, but 800x600 in TrainReader"
    assert warn_of_scales(np.array([(96, 128)]), FitSettings({**readers, "TestReader": {}})) == []
    assert warn_of_scales(np.zeros((0, 2)), FitSettings(readers)) == []


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_the_readers_of_a_shipped_recipe_agree(recipe):
    config = load_config(recipe)
    if is_classifier(config):
        pytest.skip("a classifier's images are resized by ClassifierInput")
    for size in ((480, 640), (640, 480), (600, 800), (1080, 1920), (3000, 4000), (128, 128)):
        assert warn_of_scales(np.array([size]), fit_settings(config)) == []


def test_check_dataset_compares_a_recipe_with_its_data(demo_data, tmp_path, capsys):
    words = ["check-dataset", "-c", "demo_mask_rcnn", "--skip_images", "--json", str(tmp_path / "found.json")]
    overrides = overrides_for(demo_data, tmp_path)
    assert main([*words, "-o", *overrides, "EvalReader.sample_transforms.1.Resize.target_size=[400,400]"]) == 0
    text = capsys.readouterr().out
    assert "  sizes    resized by TrainReader (x1.33), 90% of the objects have sides of " in text
    assert "  sizes    resized by EvalReader (x4.17), 90% of the objects have sides of " in text
    assert "  anchors  from 16 to 80 px. " in text
    assert "1 reader whose images have another size than those in training [reader-sizes-differ]" in text
    assert re.search(r"images of \d+x\d+ pixels have about \d+x\d+ in EvalReader, but \d+x\d+ in TrainReader", text)
    first, second = json.loads((tmp_path / "found.json").read_text())["datasets"]
    assert first["fit"]["reader"] == "TrainReader" and second["fit"]["reader"] == "EvalReader"
    assert first["fit"]["anchor_px"] == [16, 80] and 0 <= first["fit"]["uncovered"] < 0.2 < second["fit"]["too_large"]
    assert "reader-sizes-differ" in [problem["code"] for problem in first["problems"]]


def test_check_dataset_without_a_recipe_compares_nothing(demo_data, capsys):
    file = str(demo_data / "annotations" / "instances_val2017.json")
    assert main(["check-dataset", "--annotations", file, "--skip_images", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["datasets"][0]["fit"] is None


def test_training_warns(demo_data, tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    settings = ["RPNHead.anchor_generator.anchor_sizes=[[2],[3],[4],[5]]", FULL_SIZE]
    train(make_config(demo_data, tmp_path, *settings, "TrainReader.batch_size=1"), max_steps=1)
    said = messages(caplog)
    assert "reader whose images have another size than those in training: images of " in said
    assert "recipe whose anchors are too small for many objects: 100% of " in said
    assert "'ppdet-res2net check-dataset -c' says more" in said
    caplog.clear()
    train(make_config(demo_data, tmp_path / "as_it_is"), max_steps=1)
    assert "another size" not in messages(caplog) and "anchors" not in messages(caplog)


def test_the_nuts_at_full_size_are_too_large_for_the_demo():
    nuts = shared_data("nuts")
    settings = ["TrainDataset.image_dir=train", "TrainDataset.anno_path=annotations/instances_train.json"]
    config = load_config("demo_mask_rcnn", [f"TrainDataset.dataset_dir={nuts}", *settings, FULL_SIZE])
    content = json.loads((nuts / "annotations" / "instances_train.json").read_text())
    boxes = np.array([one["bbox"] for one in content["annotations"]], float)
    boxes[:, 2:] += boxes[:, :2]
    fit = examine_fit(boxes, np.tile([600, 800], (len(boxes), 1)), fit_settings(config))
    assert fit.too_large == pytest.approx(0.57, abs=0.005)
