"""PaddleDetection's three published detectors: ours, from our recipes, under their keys."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("paddle")
if importlib.util.find_spec("ppdet") is None:
    pytest.skip("paddledet is not installed", allow_module_level=True)

GOLDENS = Path(__file__).parents[1] / "goldens"

from ppdet_res2net import get_model_spec, list_models, modeling  # noqa: E402
from ppdet_res2net.config import load_config  # noqa: E402
from ppdet_res2net.errors import WeightsError  # noqa: E402
from ppdet_res2net.ppdet_modules.registry import create_from_config  # noqa: E402
from ppdet_res2net.zoo.load import load_pretrained, load_weights, save_weights_file, trunk_metadata  # noqa: E402
from tests.goldens.source_names import checksum  # noqa: E402
from tests.goldens.synthetic import make_tensor, run_detector, sample, without_random_weights  # noqa: E402

GOLDEN = json.loads((GOLDENS / "ppdet_detectors.json").read_text())["models"]
RECIPES = {
    "ppdet/faster_rcnn_res2net50_vb_26w_4s_fpn_1x_coco": "faster_rcnn_res2net50_vb_26w_4s_fpn_1x_coco",
    "ppdet/mask_rcnn_res2net50_vb_26w_4s_fpn_2x_coco": "mask_rcnn_res2net50_vb_26w_4s_fpn_2x_coco",
    "ppdet/mask_rcnn_res2net50_vd_26w_4s_fpn_2x_coco": ("mask_rcnn_res2net50_vd_26w_4s_fpn_2x_coco_ppdet_dialect_eval"),
}
FASTER, MASK, MASK_VD = RECIPES


@pytest.fixture(autouse=True, scope="module")
def quick_models():
    with without_random_weights():
        yield


def create(name: str, *overrides: str):
    config = load_config(RECIPES[name], ["pretrain_weights=null", *overrides])
    model = create_from_config(config, config["architecture"])
    model.eval()
    return model


def state_shapes(model) -> dict[str, tuple[int, ...]]:
    return {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}


def synthetic_weights(model) -> dict[str, np.ndarray]:
    return {key: make_tensor(key, shape) for key, shape in state_shapes(model).items()}


def test_all_published_detectors_have_a_recipe():
    assert set(RECIPES) == {name for name in list_models("ppdet") if get_model_spec(name).task == "detector"}


@pytest.mark.parametrize("name", RECIPES)
def test_detector_equals_the_original(name, tmp_path):
    model = create(name)
    assert checksum(state_shapes(model)) == GOLDEN[name]["names_crc32"], "the original has other tensors"
    parameters = sum(
        int(np.prod(s)) for key, s in state_shapes(model).items() if not key.endswith(("_mean", "_variance"))
    )
    assert parameters == GOLDEN[name]["parameters"] == get_model_spec(name).parameters
    # The published file's name: the dialect is known from it.
    path = tmp_path / get_model_spec(name).file_names[0]
    save_weights_file(path, synthetic_weights(model))
    report = load_weights(model, path)
    assert len(report.matched) == len(model.state_dict())
    for output, array in run_detector(model).items():
        golden = GOLDEN[name]["outputs"][output]
        ours = sample(f"{name}/{output}", array)
        assert ours["shape"] == golden["shape"]
        assert np.abs(np.subtract(ours["values"], golden["values"])).max() < 1e-4 * golden["std"], output


@pytest.fixture(scope="module")
def faster_weights():
    return synthetic_weights(create(FASTER))


def test_weights_of_the_other_dialect_are_refused(tmp_path):
    published = get_model_spec(MASK_VD).file_names[0]
    plain = create(MASK_VD)
    save_weights_file(tmp_path / published, synthetic_weights(plain))
    # Under a different file name, the shortcuts without a pool still show the dialect.
    (tmp_path / "renamed.pdparams").write_bytes((tmp_path / published).read_bytes())
    model = create(MASK_VD, "Res2Net.dialect=paddle")
    for file, reason in ((published, f"published as {MASK_VD}"), ("renamed.pdparams", "no pooled shortcuts")):
        with pytest.raises(WeightsError, match=reason) as caught:
            load_weights(model, tmp_path / file)
        assert "-o Res2Net.dialect=ppdet" in str(caught.value)


def test_a_detector_for_other_classes_keeps_its_last_layers(tmp_path, faster_weights):
    save_weights_file(tmp_path / "coco.pdparams", faster_weights)
    model = create(FASTER, "num_classes=3")
    before = model.bbox_head.bbox_score.weight.numpy()
    report = load_pretrained(model, tmp_path / "coco.pdparams")
    assert report.allowed == {
        "the detector has a different number of classes": tuple(
            f"bbox_head.bbox_{layer}.{leaf}" for layer in ("score", "delta") for leaf in ("weight", "bias")
        )
    }
    assert (model.bbox_head.bbox_score.weight.numpy() == before).all()
    assert (model.rpn_head.rpn_rois_score.bias.numpy() == faster_weights["rpn_head.rpn_rois_score.bias"]).all()
    with pytest.raises(WeightsError, match="a Faster R-CNN of 80 classes; the model is .* a Faster R-CNN of 3 classes"):
        load_weights(model, tmp_path / "coco.pdparams")


def test_pretraining_takes_the_trunk_and_evaluation_refuses_it(tmp_path, faster_weights):
    trunk = {key: array for key, array in faster_weights.items() if key.startswith("backbone.")}
    save_weights_file(tmp_path / "trunk.pdparams", trunk)
    model = create(FASTER)
    assert len(load_pretrained(model, tmp_path / "trunk.pdparams").matched) == len(trunk)
    assert (model.backbone.res1.conv1.conv.weight.numpy() == trunk["backbone.res1.conv1.conv.weight"]).all()
    with pytest.raises(WeightsError, match="need the weights of a whole detector"):
        load_weights(model, tmp_path / "trunk.pdparams")


def test_the_trunk_comes_out_of_a_detector(tmp_path, faster_weights):
    path = tmp_path / get_model_spec(FASTER).file_names[0]
    save_weights_file(path, faster_weights)
    model = modeling.Res2Net(dialect="ppdet")
    report = load_pretrained(model, path)
    assert len(report.matched) == len(model.state_dict())
    assert set(report.allowed) == {"a detector's other parts are not used by a trunk"}


def test_saved_detectors_tell_their_dialect(tmp_path, faster_weights):
    official = create(FASTER, "Res2Net.dialect=official")
    save_weights_file(tmp_path / "model_final.pdparams", faster_weights, trunk_metadata(official))
    load_weights(official, tmp_path / "model_final")  # the suffix may be left off
    with pytest.raises(WeightsError, match="official dialect .the file says so."):
        load_weights(create(FASTER, "Res2Net.dialect=paddle"), tmp_path / "model_final")
