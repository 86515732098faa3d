"""ONNX and OpenVINO: equal numbers to the eager model's, batches, empty results, and parts that cannot be written."""

from __future__ import annotations

import importlib.util
import re
import sys

import numpy as np
import pytest
import yaml

from tests.helpers.training_runs import image_files, make_config

paddle = pytest.importorskip("paddle")
for package in ("onnx", "onnxruntime", "openvino", "ppdet"):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed", allow_module_level=True)

from ppdet_res2net.detection.agreement import Tolerance, compare_detections  # noqa: E402
from ppdet_res2net.detection.export import export_model  # noqa: E402
from ppdet_res2net.detection.inference import RCNNInference  # noqa: E402
from ppdet_res2net.detection.onnx_detector import make_onnx_model  # noqa: E402
from ppdet_res2net.errors import ExportError  # noqa: E402
from ppdet_res2net.export.onnx_layers import add_trunk  # noqa: E402
from ppdet_res2net.modeling import Res2Net  # noqa: E402
from res2net_runtime import Predictor  # noqa: E402
from res2net_runtime.backends.openvino_runtime import read_network  # noqa: E402
from res2net_runtime.results import Detections  # noqa: E402
from tests.helpers import tiny_detector as tiny  # noqa: E402
from tests.helpers.onnx_engines import ENGINES  # noqa: E402
from tests.helpers.runtime_toys import compile_in_bfloat16  # noqa: E402

ONE_IMAGE = ([(150, 180)], [(1.5, 1.5)])
TWO_DIFFERENT = ([(150, 180), (96, 192)], [(1.5, 1.2), (0.8, 0.64)])
CASCADES = {
    "cascade with boxes per class": (
        "CascadeRCNN",
        {"CascadeRCNN": {"mask_head": None}, "CascadeHead": {"reg_class_agnostic": False}},
    ),
    "cascade as in mmdetection": (
        "CascadeRCNN",
        {
            "CascadeRCNN": {"mask_head": "CascadeMaskHead"},
            "CascadeHead": {"averaged": "logits"},
            "CascadeMaskHead": {
                "head": "MaskFeat",
                "roi_extractor": {"resolution": 14, "sampling_ratio": 0, "aligned": True},
                "mask_assigner": "MaskAssigner",
            },
        },
    ),
}
STRICT = Tolerance(0.999, 1e-4, 1e-3, 0.0)


@pytest.fixture(scope="module")
def pair_of():
    """A tiny detector of an architecture and its ONNX model, made once."""
    made = {}

    def get(name):
        if name not in made:
            architecture, settings = CASCADES.get(name, (name, None))
            detector = tiny.build_ours(tiny.detector_config(architecture, settings=settings))
            made[name] = detector, make_onnx_model(inference_of(detector))
        return made[name]

    return get


def inference_of(detector):
    network = RCNNInference(detector)
    network.eval()
    return network


def network_inputs(inputs):
    return {name: inputs[name].numpy() for name in ("image", "im_shape", "scale_factor")}


def by_image(outputs):
    ends = np.cumsum(outputs["num"])
    return [
        Detections(
            boxes_xyxy=outputs["boxes"][start:end],
            scores=outputs["scores"][start:end],
            labels=outputs["labels"][start:end],
            masks=outputs["masks"][start:end] if "masks" in outputs else None,
            image_hw=tiny.NETWORK_HW,
            label_list=tuple("abcde"),
            category_ids=(1, 2, 3, 4, 5),
        )
        for start, end in zip(ends - outputs["num"], ends)
    ]


@pytest.mark.parametrize("sizes", [ONE_IMAGE, TWO_DIFFERENT], ids=["one", "two"])
@pytest.mark.parametrize("architecture", ["MaskRCNN", "FasterRCNN"])
@pytest.mark.parametrize("engine", ENGINES)
def test_detections_are_those_of_the_eager_model(pair_of, engine, architecture, sizes):
    detector, model = pair_of(architecture)
    inputs = tiny.make_inputs(*sizes)
    expected = tiny.detect(detector, inputs)
    found = ENGINES[engine](model, network_inputs(inputs))
    assert expected["num"].min() >= 3
    np.testing.assert_array_equal(found["num"], expected["num"])
    assert {name: (array.dtype, array.shape) for name, array in found.items()} == {
        name: (array.dtype, array.shape) for name, array in expected.items()
    }
    agreement = compare_detections(by_image(expected), by_image(found), STRICT)
    assert agreement.within_tolerance, agreement


@pytest.mark.parametrize(
    "name, engine",
    [("cascade with boxes per class", "onnxruntime"), *(("cascade as in mmdetection", e) for e in ENGINES)],
)
def test_detections_of_a_cascade_are_those_of_the_eager_model(pair_of, name, engine):
    detector, model = pair_of(name)
    inputs = tiny.make_inputs(*TWO_DIFFERENT)
    expected = tiny.detect(detector, inputs)
    found = ENGINES[engine](model, network_inputs(inputs))
    assert expected["num"].min() >= 3
    agreement = compare_detections(by_image(expected), by_image(found), STRICT)
    assert agreement.within_tolerance, agreement


def test_openvino_knows_that_maps_of_the_pyramid_have_one_shape(pair_of):
    # It copies them where it does not.
    import openvino

    def shapes_added(least_side_px):
        model = pair_of("MaskRCNN")[1].SerializeToString()
        operators = read_network(openvino.Core(), model, least_side_px).get_ops()
        doubled = (op.output(0) for op in operators if op.get_type_name() == "Interpolate")
        sums = [next(iter(value.get_target_inputs())).get_node() for value in doubled]
        return sorted(sorted({str(value.get_partial_shape()) for value in node.input_values()}) for node in sums)

    assert [len(shapes) for shapes in shapes_added(1)] == [2, 2, 2]
    assert shapes_added(32) == [[f"[?,32,{side}..,{side}..]"] for side in (2, 4, 8)]


def test_openvino_keeps_boxes_in_float32_where_it_computes_in_bfloat16(pair_of):
    import openvino

    network = openvino.Core().read_model(pair_of("MaskRCNN")[1].SerializeToString())
    compiled = compile_in_bfloat16(network)

    def precision(node):
        return node.get_rt_info()["outputPrecisions"].value.split(",")[0]

    poolings = [
        node for node in compiled.get_runtime_model().get_ops()
        if node.get_rt_info()["layerType"].value == "ROIAlign"
    ]  # fmt: skip
    assert len(poolings) == 8 and {precision(node) for node in poolings} == {"bf16"}
    for node in poolings:
        boxes = node.input_value(1).get_node()
        if boxes.get_rt_info()["layerType"].value == "Reorder":  # from another precision, for instance
            boxes = boxes.input_value(0).get_node()
        assert precision(boxes) == "f32", boxes


@pytest.mark.parametrize("engine", ENGINES)
def test_images_without_detections(engine):
    detector = tiny.build_ours(tiny.detector_config())
    # Where the features are zero, every class stays below the score threshold.
    detector.bbox_head.bbox_score.bias.set_value(paddle.to_tensor([0.0] * 5 + [4.0]))
    model = make_onnx_model(inference_of(detector))
    inputs = network_inputs(tiny.make_inputs([(150, 180)] * 3, [(1.5, 1.5)] * 3))
    full = ENGINES[engine](model, inputs)
    assert full["num"].min() > 0
    inputs["image"][1] = 0
    found = ENGINES[engine](model, inputs)
    assert found["num"].tolist() == [full["num"][0], 0, full["num"][2]]
    agreement = compare_detections(by_image(full)[::2], by_image(found)[::2], STRICT)
    assert agreement.within_tolerance, agreement
    inputs["image"][:] = 0
    found = ENGINES[engine](model, inputs)
    assert found["num"].tolist() == [0, 0, 0]
    assert found["boxes"].shape == (0, 4) and found["masks"].shape == (0, 28, 28)
    assert found["scores"].shape == found["labels"].shape == (0,)


@pytest.mark.parametrize(
    "options",
    [
        {"variant": "a", "dialect": "official"},
        {"variant": "d", "dialect": "paddle", "width": 26},
        {"variant": "d", "dialect": "mmdet"},
        {"variant": "c", "dialect": "ppdet", "scales": 3},
        {"variant": "b", "dialect": "official", "groups": 4},
        {"depth": "dla60", "width": 4, "dialect": "official", "groups": 2},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
@pytest.mark.parametrize("engine", ENGINES)
def test_every_kind_of_trunk(engine, options):
    from ppdet_res2net.export.onnx_builder import Graph

    paddle.seed(0)
    trunk = Res2Net(**{"depth": [2, 1, 1, 1], "width": 8, **options})
    for name, buffer in trunk.named_buffers():  # statistics that folding cannot get right by chance
        buffer.set_value(paddle.rand(buffer.shape) + (0.5 if name.endswith("_variance") else -0.5))
    trunk.eval()
    graph = Graph()
    for i, feature in enumerate(add_trunk(graph, graph.input("image", ["N", 3, "H", "W"]), trunk)):
        graph.output(f"c{i + 2}", feature, ["N", "C", "h", "w"], np.float32)
    size = (64, 96) if trunk.is_dla else (72, 104)  # 13 columns at stride 8
    image = np.random.default_rng(0).standard_normal((2, 3, *size)).astype("float32")
    found = ENGINES[engine](graph.model("test", "1"), {"image": image})
    with paddle.no_grad():
        expected = [feature.numpy() for feature in trunk(paddle.to_tensor(image))]
    for actual, feature in zip(found.values(), expected):
        np.testing.assert_allclose(actual, feature, rtol=1e-5, atol=2e-5 * feature.std())


REFUSALS = {
    "c4": ({"layout": "c4"}, "neck is 'NoneType', and only 'FPN' can be written as ONNX.*--format paddle"),
    "dcn": (
        {"settings": {"Res2Net": {"dcn_v2_stages": [3]}}},
        r"Deformable convolution \(Res2Net.dcn_v2_stages\) has no ONNX operator.*--format paddle",
    ),
    "gn": (
        {"settings": {"Res2Net": {"norm_type": "gn"}}},
        r"GroupNorm \(Res2Net.norm_type\) cannot be written as ONNX; only BatchNorm can",
    ),
    "gn-neck": ({"settings": {"FPN": {"norm_type": "gn"}}}, "FPN.norm_type and FPN.has_extra_convs cannot"),
    "gn-mask": (
        {"settings": {"MaskFeat": {"norm_type": "gn"}}},
        r"ConvNormLayer \(norm_type of a head\) cannot be written as ONNX; only plain convolutions can",
    ),
    "eta": (
        {"settings": {"BBoxPostProcess": {"nms": {"name": "MultiClassNMS", "nms_eta": 0.9}}}},
        "BBoxPostProcess.nms.nms_eta is 0.9, and only 1.0 can be written",
    ),
    "all": (
        {"settings": {"BBoxPostProcess": {"nms": {"name": "MultiClassNMS", "keep_top_k": -1}}}},
        "keep_top_k is -1; ONNX needs a limit of at least 1",
    ),
}


@pytest.mark.parametrize("arguments, message", REFUSALS.values(), ids=REFUSALS)
def test_what_cannot_be_written_is_named(arguments, message):
    from ppdet_res2net.ppdet_modules.registry import create_from_config

    config = tiny.detector_config(**arguments)
    detector = create_from_config(config, config["architecture"])
    detector.eval()
    with pytest.raises(ExportError, match=message):
        make_onnx_model(inference_of(detector))


def test_a_folder_with_every_format_is_verified_in_each(detecting, demo_data, tmp_path, caplog):
    config = make_config(tmp_path / "no_data", tmp_path, f"weights={detecting}")
    images = [str(file) for file in image_files(demo_data)[:2]]
    with caplog.at_level("INFO"):
        folder = export_model(
            config, str(tmp_path), formats=["openvino", "paddle", "onnx"], verify=True, verify_images=images
        )
    assert len(re.findall(r"verified with .*:\n    2 images", caplog.text)) == 4  # four engines
    description = yaml.safe_load((folder / "infer_cfg.yml").read_text())
    assert description["formats"]["onnx"] == {"model_file": "model.onnx"}
    assert description["formats"]["openvino"] == {"model_file": "model.xml", "params_file": "model.bin"}
    assert list(description["formats"]) == ["paddle", "onnx", "openvino"]
    assert {"onnx", "openvino", "paddle", "ppdet_res2net"} == set(description["versions"])

    folder = export_model(config, str(tmp_path), formats=["openvino"])
    assert {file.name for file in folder.iterdir()} == {"infer_cfg.yml", "model.xml", "model.bin"}
    with Predictor(folder, batch_size=2) as predictor:
        assert "OpenVINO" in predictor.description
        assert all(len(found) > 5 for found in predictor(images))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"formats": ["onx"]}, "There is no format 'onx'; choose one of paddle, onnx, openvino. Did you mean 'onnx'"),
        ({"formats": []}, "No format was given; choose some of paddle, onnx, openvino"),
        ({"verify_precisions": ["fp8"]}, "There is no precision 'fp8'; choose one of fp32, bf16"),
    ],
)
def test_unknown_names(detecting, tmp_path, options, message):
    config = make_config(tmp_path / "no_data", tmp_path, f"weights={detecting}")
    with pytest.raises(ExportError, match=message):
        export_model(config, str(tmp_path), **options)


def test_a_missing_package_is_named_before_anything_is_written(detecting, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    config = make_config(tmp_path / "no_data", tmp_path, f"weights={detecting}")
    with pytest.raises(ExportError, match="--format openvino needs the package openvino.*pip install openvino"):
        export_model(config, str(tmp_path / "out"), formats=["openvino"])
    assert not (tmp_path / "out").exists()
