"""Faster and Mask R-CNN of mmdetection, from its own names, against what its own code finds with them.

The goldens were made by ``tests/goldens/mmdet_detectors.py`` with mmdetection's configurations, test pipeline and operators.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path

import numpy as np
import pytest

paddle = pytest.importorskip("paddle")
for package in ("onnx", "openvino", "ppdet"):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed", allow_module_level=True)

from ppdet_res2net.config import load_config  # noqa: E402
from ppdet_res2net.detection.inference import RCNNInference  # noqa: E402
from ppdet_res2net.detection.model import create_predictor, make_model_info  # noqa: E402
from ppdet_res2net.detection.onnx_detector import make_onnx_model  # noqa: E402
from ppdet_res2net.errors import WeightsError  # noqa: E402
from ppdet_res2net.ppdet_modules.registry import create_from_config  # noqa: E402
from ppdet_res2net.zoo.catalog import get_model_spec, list_models  # noqa: E402
from ppdet_res2net.zoo.keymaps import map_names  # noqa: E402
from ppdet_res2net.zoo.load import load_weights  # noqa: E402
from ppdet_res2net.zoo.weights import Weights  # noqa: E402
from res2net_runtime import Predictor  # noqa: E402
from tests.goldens.source_names import checksum, mmdet_detector_shapes  # noqa: E402
from tests.goldens.synthetic import (  # noqa: E402
    sample,
    without_random_weights,
)
from tests.helpers.mmdet_detectors import (  # noqa: E402
    CLASSES,
    GOLDEN,
    create_detector,
    differences,
    make_config,
    write_photos,
)
from tests.helpers.onnx_engines import run_openvino  # noqa: E402

FASTER, MASK = (f"mmdet/{kind}-rcnn_res2net-101_fpn_2x_coco" for kind in ("faster", "mask"))


@pytest.fixture(scope="module")
def config():
    return make_config(MASK)


@pytest.fixture(scope="module")
def detector(config):
    return create_detector(MASK, config)


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> list[Path]:
    return write_photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def watched(detector, config, photos):
    """What the detector finds on each photo, and what its parts compute on the way."""
    outputs: dict[str, np.ndarray] = {}

    def keep_levels(kind: str, first: int):
        return lambda _, __, maps: outputs.update(
            {f"{kind}{level}": one.numpy() for level, one in enumerate(maps, first)}
        )

    def keep(kind: str):
        return lambda _, __, out: outputs.__setitem__(kind, out.numpy())

    rpn, box = detector.rpn_head, detector.bbox_head
    handles = [
        detector.backbone.register_forward_post_hook(keep_levels("c", 2)),
        detector.neck.register_forward_post_hook(keep_levels("p", 2)),
        rpn.rpn_rois_score.register_forward_post_hook(keep("rpn_score6")),  # the last level stays
        rpn.rpn_rois_delta.register_forward_post_hook(keep("rpn_delta6")),
        box.roi_extractor.register_forward_pre_hook(lambda _, given: outputs.update(proposals=given[1][0].numpy())),
        box.bbox_score.register_forward_post_hook(keep("box_score")),
        box.bbox_delta.register_forward_post_hook(keep("box_delta")),
    ]
    predictor = create_predictor(detector, config, CLASSES, "TestReader")
    results = []
    for photo in photos:
        found = predictor(photo)
        results.append((found, dict(outputs)))
    for handle in handles:
        handle.remove()
    return results


def test_all_detectors_have_mmdetections_tensors():
    names = [name for name in list_models("mmdet") if get_model_spec(name).task == "detector"]
    assert set(names) == set(GOLDEN["models"])
    for name in names:
        shapes = mmdet_detector_shapes(get_model_spec(name))
        assert checksum(shapes) == GOLDEN["models"][name]["names_crc32"], "the original has other tensors"
        targets = [target.name for target in map_names(shapes).values()]
        assert len(set(targets)) == len(targets)
        assert all(
            target.startswith(("backbone.", "neck.fpn_", "rpn_head.rpn_", "bbox_", "mask_")) for target in targets
        )


@pytest.mark.parametrize("number", [0, 1])
def test_parts_compute_what_mmdetection_computes(watched, number):
    golden = GOLDEN["models"][MASK]["photos"][number]["outputs"]
    for name, array in watched[number][1].items():
        short = MASK.partition("/")[2]
        ours = sample(f"{short}/{number}/{name}", array)
        assert ours["shape"] == golden[name]["shape"], name
        # Proposals with almost the same score may change places; their statistics do not depend on that.
        keys = ("mean", "std") if name.startswith(("proposals", "box_")) else ("mean", "std", "values")
        for key in keys:
            error = np.abs(np.subtract(ours[key], golden[name][key])).max()
            assert error < 1e-4 * golden[name]["std"], (name, key)


@pytest.mark.parametrize("number", [0, 1])
def test_mask_rcnn_finds_what_mmdetection_finds(watched, number):
    golden = GOLDEN["models"][MASK]["photos"][number]["found"]
    assert len(golden["masks"]) == len(golden["scores"]) == 100 and len(set(golden["labels"])) > 3
    assert not differences(watched[number][0], golden)


@pytest.fixture(scope="module")
def faster():
    return create_detector(FASTER, make_config(FASTER))


@pytest.fixture
def find(faster, photos):
    """Find with the current settings of the Faster R-CNN what is on the photo that has all of its classes."""

    def run(config=None):
        return create_predictor(faster, config or make_config(FASTER), CLASSES, "TestReader")(photos[1])

    return run


FASTER_FINDS = GOLDEN["models"][FASTER]["photos"][1]["found"]


def test_faster_rcnn_finds_what_mmdetection_finds(find):
    assert not differences(find(), FASTER_FINDS)


@pytest.mark.parametrize(
    "part, setting, wrong",
    [
        ("rpn_head.test_proposal", "exact_min_size", False),
        ("rpn_head.test_proposal", "limit_shrinking", False),
        ("bbox_post_process.decode", "limit_shrinking", False),
    ],
)
def test_a_wrong_setting_of_a_head_is_seen(find, faster, monkeypatch, part, setting, wrong):
    owner = faster
    for step in part.split("."):
        owner = getattr(owner, step)
    assert getattr(owner, setting) != wrong
    monkeypatch.setattr(owner, setting, wrong)
    assert differences(find(), FASTER_FINDS)


@pytest.mark.parametrize("setting, wrong", [("round_size", False), ("interp", 2)])
def test_a_wrong_setting_of_the_images_is_seen(find, setting, wrong):
    changed = make_config(FASTER)
    resize = next(operator["Resize"] for operator in changed["TestReader"]["sample_transforms"] if "Resize" in operator)
    assert resize[setting] != wrong
    resize[setting] = wrong
    assert differences(find(changed), FASTER_FINDS)


def test_the_exported_graph_finds_the_same(faster, photos):
    model = make_onnx_model(RCNNInference(faster))

    class Backend:
        engine = description = "OpenVINO"
        output_names = tuple(output.name for output in model.graph.output)

        def run(self, batch):
            return run_openvino(model, dict(batch))

    info = make_model_info(make_config(FASTER), CLASSES, Backend.output_names, "TestReader")
    assert not differences(Predictor.over(info, Backend())(photos[1]), FASTER_FINDS)


@pytest.mark.parametrize(
    "recipe, expected",
    [
        (
            "mmdet_faster_rcnn_res2net101_fpn_2x_coco",
            "a Mask R-CNN of 80 classes; the model is .*, a Faster R-CNN of 80 classes. Nothing was loaded. "
            "Use its recipe, '-c mmdet_mask_rcnn_res2net101_fpn_2x_coco'",
        ),
        ("mask_rcnn_res2net101_vd_26w_4s_fpn_2x_coco", "Use its recipe, '-c mmdet_mask_rcnn_res2net101_fpn_2x_coco'"),
    ],
)
def test_another_recipe_refuses_the_file(detector, recipe, expected):
    config = load_config(recipe, ["use_gpu=false", "pretrain_weights=null"])
    with without_random_weights():
        other = create_from_config(config, config["architecture"])
    spec = get_model_spec(MASK)
    tensors = {name: tensor.numpy() for name, tensor in detector.state_dict().items()}
    weights = Weights(MASK, tensors, (spec.dialect,), "they are published so", spec)
    with pytest.raises(WeightsError, match=expected):
        load_weights(other, weights)
    # Somebody's own detector, which he trained with mmdetection, has no record.
    unknown = dataclasses.replace(weights, spec=None)
    with pytest.raises(
        WeightsError, match="of mmdetection's Mask R-CNN, it is '-c mmdet_mask_rcnn_res2net101_fpn_2x_coco'"
    ):
        load_weights(other, unknown)
