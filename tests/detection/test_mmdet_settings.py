"""The settings for what mmdetection does otherwise give its numbers in every engine; the defaults give PaddleDetection's."""

from __future__ import annotations

import importlib.util
import json
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

paddle = pytest.importorskip("paddle")
for package in ("onnx", "onnxruntime", "openvino", "ppdet"):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed", allow_module_level=True)

from ppdet_res2net.config import load_config  # noqa: E402
from ppdet_res2net.detection.agreement import Tolerance, compare_detections  # noqa: E402
from ppdet_res2net.detection.inference import RCNNInference  # noqa: E402
from ppdet_res2net.detection.model import Classes, make_model_info  # noqa: E402
from ppdet_res2net.detection.onnx_detector import make_onnx_model  # noqa: E402
from ppdet_res2net.detection.onnx_regions import Rows, add_proposals, add_roi_features  # noqa: E402
from ppdet_res2net.detection.paddle_graph import save_detector_graph  # noqa: E402
from ppdet_res2net.export.onnx_builder import Graph  # noqa: E402
from ppdet_res2net.ppdet_modules.boxes import ProposalGenerator, RCNNBox, decode_boxes  # noqa: E402
from ppdet_res2net.ppdet_modules.registry import register_modules  # noqa: E402
from ppdet_res2net.ppdet_modules.roi_align import RoIAlign  # noqa: E402
from res2net_runtime import Preprocessor  # noqa: E402
from res2net_runtime.backends.base import EngineOptions  # noqa: E402
from res2net_runtime.backends.paddle_inference import PaddleBackend  # noqa: E402
from res2net_runtime.masks import masks_to_rles  # noqa: E402
from res2net_runtime.model_folder import ModelFiles  # noqa: E402
from res2net_runtime.results import Detections  # noqa: E402
from tests.goldens import mmdet_settings as mmdet  # noqa: E402
from tests.helpers import tiny_detector as tiny  # noqa: E402
from tests.helpers.onnx_engines import ENGINES  # noqa: E402

register_modules()
PROPOSALS = {"exact_min_size": True, "limit_shrinking": True}
ALL = {
    "RPNHead": {
        **tiny.detector_config()["RPNHead"],
        "test_proposal": {**tiny.detector_config()["RPNHead"]["test_proposal"], **PROPOSALS},
    },
    "RCNNBox": {"limit_shrinking": True},
    **{
        head: {"roi_extractor": {**tiny.detector_config()[head]["roi_extractor"], "level_epsilon": 2.5e-7}}
        for head in ("BBoxHead", "MaskHead")
    },
}
TEST_SHAPE = [list(mmdet.IMAGE_HW)]


@pytest.fixture(scope="module")
def golden():
    return json.loads(mmdet.FILE.read_text())


BASES = Path(__file__).parents[2] / "configs" / "res2net" / "_base_"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """A recipe of Mask R-CNN with the two base files for mmdetection's numbers."""
    files = ("runtime", "schedules/1x", "readers/mmdet_reader", "detectors/mask_rcnn_fpn", "detectors/mmdet_heads")
    path = tmp_path_factory.mktemp("recipe") / "recipe.yml"
    path.write_text("_BASE_:\n" + "".join(f"- {BASES}/{name}.yml\n" for name in files))
    return load_config(path)


@pytest.mark.parametrize("reader", ["TrainReader", "EvalReader", "TestReader"])
def test_base_files_prepare_images_as_mmdetection_does(golden, recipe, reader):
    if reader == "TrainReader":
        _, resize, flip, normalize, permute = recipe[reader]["sample_transforms"]
        assert flip == {"RandomFlip": {"prob": 0.5}}
        operators = [{"type": name, **part[name]} for part in (resize, normalize, permute) for name in part]
    else:
        info = make_model_info(recipe, Classes(("a",), (1,)), ("boxes", "scores", "labels", "num"), reader)
        operators = yaml.safe_load(yaml.safe_dump(list(info.preprocess)))  # as infer_cfg.yml holds them
    preprocessor = Preprocessor.from_config(operators)
    assert zlib.crc32(preprocessor.table.tobytes()) == golden["normalized_crc32"]
    result = preprocessor(np.zeros((61, 83, 3), np.uint8))
    assert result["im_shape"].tolist() == [800, 1089]  # and not 1088.52


def test_base_files_set_the_heads(recipe):
    for stage in ("train_proposal", "test_proposal"):
        assert recipe["RPNHead"][stage].items() >= {**PROPOSALS, "min_size": 0.0}.items()
    assert recipe["RCNNBox"] == {"limit_shrinking": True}
    assert {recipe[head]["roi_extractor"]["level_epsilon"] for head in ("BBoxHead", "MaskHead")} == {2.5e-7}


# ---------------------------------------------------------------- proposals


def make_rpn(**settings):
    """Return an RPN whose outputs are the golden's logits and deltas, and the maps that it makes them of.

    The first half of a map's channels holds them and the second half their negatives, because the RPN sets negatives to 0.
    """
    from ppdet.modeling.proposal_generator.rpn_head import RPNHead

    head = RPNHead(
        anchor_generator={
            "anchor_sizes": [[float(stride * mmdet.ANCHOR_SCALE)] for stride in mmdet.STRIDES],
            "aspect_ratios": list(mmdet.RATIOS),
            "strides": [float(stride) for stride in mmdet.STRIDES],
        },
        test_proposal={
            "min_size": 0.0,
            "nms_thresh": mmdet.NMS_THRESHOLD,
            "pre_nms_top_n": mmdet.BEFORE_NMS,
            "post_nms_top_n": mmdet.PROPOSALS,
            "topk_after_collect": True,
            **settings,
        },
        in_channel=30,
    )
    head.eval()
    keep = np.zeros((30, 30, 3, 3), np.float32)
    keep[range(30), range(30), 1, 1] = 1
    select = np.concatenate([np.eye(15), -np.eye(15)], axis=1)[:, :, None, None].astype(np.float32)
    for layer, weight in (
        (head.rpn_feat.rpn_conv, keep),
        (head.rpn_rois_score, select[:3]),
        (head.rpn_rois_delta, select[3:]),
    ):
        layer.weight.set_value(weight)
        layer.bias.set_value(np.zeros(layer.bias.shape, np.float32))
    maps = [np.concatenate([logits, deltas])[None] for logits, deltas in mmdet.make_rpn_outputs()]
    return head, [np.concatenate([values, -values], axis=1) for values in maps]


def propose_eagerly(head, maps):
    cells = [anchors.numpy() for anchors in head.anchor_generator.cell_anchors]
    network = SimpleNamespace(rpn_head=head, cell_anchors=cells)
    network._anchors = lambda *arguments: RCNNInference._anchors(network, *arguments)
    with paddle.no_grad():
        features = [paddle.to_tensor(values) for values in maps]
        boxes, num = RCNNInference._proposals(network, features, paddle.to_tensor(TEST_SHAPE, "float32"))
    assert num.tolist() == [len(boxes)]
    return boxes.numpy()


def propose_as_in_training(head, maps):
    with paddle.no_grad():
        inputs = {"im_shape": paddle.to_tensor(TEST_SHAPE, "float32")}
        (boxes,), num, _ = head([paddle.to_tensor(values) for values in maps], inputs)
    return boxes.numpy()


def propose_in(engine):
    def propose(head, maps):
        graph = Graph()
        features = [graph.input(f"x{i}", [1, 30, *values.shape[2:]]) for i, values in enumerate(maps)]
        im_shape = graph.input("im_shape", ["N", 2])
        cells = [anchors.numpy() for anchors in head.anchor_generator.cell_anchors]
        graph.output("boxes", add_proposals(graph, features, head, cells, im_shape).boxes, ["R", 4], np.float32)
        inputs = {f"x{i}": values for i, values in enumerate(maps)}
        return ENGINES[engine](graph.model("test", "1"), {**inputs, "im_shape": np.float32(TEST_SHAPE)})["boxes"]

    return propose


WAYS = {
    "eager": propose_eagerly,
    "training": propose_as_in_training,
    **{engine: propose_in(engine) for engine in ENGINES},
}


@pytest.mark.parametrize("way", WAYS)
def test_proposals_are_mmdetections(golden, way):
    expected = np.array(golden["proposals"]).reshape(-1, 4)
    smallest = (expected[:, 2:] - expected[:, :2]).min(axis=1)
    assert len(expected) == mmdet.PROPOSALS and (smallest < 1).sum() > 20  # otherwise this shows little
    found = WAYS[way](*make_rpn(**PROPOSALS))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
    for name in PROPOSALS:
        without = WAYS[way](*make_rpn(**{**PROPOSALS, name: False}))
        assert without.shape != expected.shape or np.abs(without - expected).max() > 0.1


def test_an_exact_smallest_size_between_the_two_is_kept_to(golden):
    for way in ("eager", "openvino"):
        boxes = WAYS[way](*make_rpn(**PROPOSALS, min_size=0.3))
        sides = boxes[:, 2:] - boxes[:, :2]
        assert 0.3 <= sides.min() < 1


@pytest.mark.parametrize("settings", [{}, {"min_size": 3.5}, {"exact_min_size": True, "min_size": 1.0}])
@pytest.mark.parametrize("topk_after_collect", [False, True])
def test_other_proposals_are_paddledets_to_the_bit(settings, topk_after_collect):
    from ppdet.modeling.proposal_generator import proposal_generator

    theirs = {name: value for name, value in settings.items() if name != "exact_min_size"}
    numbers = {"pre_nms_top_n": 200, "post_nms_top_n": 50, "topk_after_collect": topk_after_collect}
    head, _ = make_rpn()
    for level, (logits, deltas) in enumerate(mmdet.make_rpn_outputs()):
        anchors = RCNNInference._anchors(
            SimpleNamespace(
                rpn_head=head, cell_anchors=[cells.numpy() for cells in head.anchor_generator.cell_anchors]
            ),
            level,
            paddle.to_tensor(logits[None]),
        )
        inputs = [paddle.to_tensor(values[None]) for values in (logits, deltas)]
        arguments = (*inputs, anchors, paddle.to_tensor(TEST_SHAPE, "float32"))
        found = ProposalGenerator(**numbers, **settings)(*arguments)
        expected = proposal_generator.ProposalGenerator(**numbers, **theirs)(*arguments)
        for mine, other in zip(found[:3], expected[:3]):
            np.testing.assert_array_equal(mine.numpy(), other.numpy())
        assert found[3] == expected[3] == 50


def test_enlarging_boxes_for_the_operator_changes_no_bit():
    plain, enlarged = (make_rpn(exact_min_size=exact, min_size=1.0 - 1e-7 * exact) for exact in (False, True))
    np.testing.assert_array_equal(propose_eagerly(*plain), propose_eagerly(*enlarged))


# ---------------------------------------------------------------- boxes, levels, masks


def test_decoded_boxes_are_mmdetections(golden):
    boxes, deltas = (paddle.to_tensor(values) for values in mmdet.make_deltas())
    expected = np.array(golden["decoded"]).reshape(60, mmdet.CLASSES, 4)
    weights = [1 / deviation for deviation in mmdet.STANDARD_DEVIATIONS]
    height, width = mmdet.IMAGE_HW

    def decode(**settings):
        return decode_boxes(deltas, boxes, weights, **settings).numpy().clip(0, [width, height, width, height])

    np.testing.assert_allclose(decode(limit_shrinking=True), expected, rtol=0, atol=1e-4)
    assert np.abs(decode() - expected).max() > 0.1
    # ppdet's own way to evaluate, which the tests of training runs use
    decoder = RCNNBox(weights, num_classes=mmdet.CLASSES, limit_shrinking=True)
    probabilities = paddle.zeros([60, mmdet.CLASSES + 1])
    shape = paddle.to_tensor(TEST_SHAPE, "float32")
    (found, _), _ = decoder((deltas, probabilities), ([boxes], paddle.to_tensor([60])), shape, paddle.ones([1, 2]))
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-4)


def pool(extractor, maps, boxes, counts):
    with paddle.no_grad():
        return extractor([paddle.to_tensor(values) for values in maps], [paddle.to_tensor(boxes)], counts).numpy()


@pytest.mark.parametrize("engine", ENGINES)
def test_regions_are_pooled_from_the_levels_that_mmdetection_chooses(golden, engine):
    """The value of each map is its level."""
    boxes = mmdet.make_level_boxes()
    maps = [np.full((2, 1, 8, 8), level, np.float32) for level in range(4)]
    counts = paddle.to_tensor([3, len(boxes) - 3], dtype="int32")
    extractor = RoIAlign(2, [0.006] * 4, aligned=True, level_epsilon=2.5e-7)
    found = pool(extractor, maps, boxes, counts)
    assert found[:, 0, 0, 0].round(4).tolist() == golden["levels"]
    without = pool(RoIAlign(2, [0.006] * 4, aligned=True, level_epsilon=0.0), maps, boxes, counts)
    assert without[:, 0, 0, 0].round(4).tolist() != golden["levels"]

    graph = Graph()
    features = [graph.input(f"x{level}", [2, 1, 8, 8]) for level in range(4)]
    rows = Rows(graph.input("boxes", ["R", 4]), graph.input("image", ["R"], np.int64))
    pooled, _, order = add_roi_features(graph, features, rows, extractor)
    graph.output("pooled", pooled, ["R", 1, 2, 2], np.float32)
    graph.output("order", order, ["R"], np.int64)
    inputs = {f"x{level}": values for level, values in enumerate(maps)}
    image = (np.arange(len(boxes)) >= 3).astype(np.int64)
    outputs = ENGINES[engine](graph.model("test", "1"), {**inputs, "boxes": boxes, "image": image})
    np.testing.assert_allclose(outputs["pooled"], found[outputs["order"]], rtol=0, atol=1e-6)


def test_pooling_is_paddledets_to_the_bit_in_both_ways():
    from ppdet.modeling.heads import roi_extractor

    random = np.random.RandomState(0)
    boxes = np.concatenate([mmdet.make_boxes(random, 30), mmdet.make_level_boxes()[:60]])
    counts = paddle.to_tensor([1, 39, 50], dtype="int32")
    maps = [random.randn(3, 2, 64 >> level, 64 >> level).astype("float32") for level in range(4)]
    arguments = (7, [1 / 4, 1 / 8, 1 / 16, 1 / 32])
    expected = pool(roi_extractor.RoIAlign(*arguments, aligned=True), maps, boxes, counts)
    for epsilon in (1e-8, 1.1e-8):  # Paddle's operator, and our own assignment
        found = pool(RoIAlign(*arguments, aligned=True, level_epsilon=epsilon), maps, boxes, counts)
        np.testing.assert_array_equal(found, expected)
    one = pool(roi_extractor.RoIAlign(7, 1 / 4), maps[:1], boxes, counts)
    np.testing.assert_array_equal(pool(RoIAlign(7, 1 / 4), maps[:1], boxes, counts), one)


def test_masks_are_pasted_as_mmdetection_does(golden):
    rles = masks_to_rles(*mmdet.make_masks(), mmdet.IMAGE_HW, 0.5)
    assert [rle["counts"].decode() for rle in rles] == golden["masks"]


# ---------------------------------------------------------------- whole detectors


@pytest.fixture(scope="module")
def detector():
    return tiny.build_ours(tiny.detector_config(settings=ALL))


SIZES = ([(150, 180), (96, 192)], [(1.5, 1.2), (0.8, 0.64)])


def by_image(outputs):
    ends = np.cumsum(outputs["num"])
    return [
        Detections(
            *(outputs[name][start:end] for name in ("boxes", "scores", "labels", "masks")),
            image_hw=tiny.NETWORK_HW,
            label_list=tuple("abcde"),
            category_ids=(1, 2, 3, 4, 5),
        )
        for start, end in zip(ends - outputs["num"], ends)
    ]


@pytest.fixture(scope="module")
def network(detector):
    network = RCNNInference(detector)
    network.eval()
    return network


@pytest.fixture(scope="module")
def exported(network, tmp_path_factory):
    """The static graph, as the runtime's engines want it."""
    path = tmp_path_factory.mktemp("exported")
    files = ModelFiles(save_detector_graph(network, path), path / "model.pdiparams")
    return SimpleNamespace(formats={"paddle": files}, outputs=network.output_names)


def run_paddle(exported, engine, arrays):
    backend = PaddleBackend(exported, EngineOptions(engine, "paddle", "fp32", "cpu", 1, False))
    found = backend.run(arrays)
    backend.close()
    return found


@pytest.mark.parametrize("engine", ["paddle", "onednn", *ENGINES])
def test_every_engine_gives_the_eager_results(detector, network, engine, request):
    inputs = tiny.make_inputs(*SIZES)
    arrays = {name: inputs[name].numpy() for name in ("image", "im_shape", "scale_factor")}
    if engine in ENGINES:
        found = ENGINES[engine](make_onnx_model(network), arrays)
    else:
        found = run_paddle(request.getfixturevalue("exported"), engine, arrays)
    expected = tiny.detect(detector, inputs)
    assert expected["num"].min() >= 3
    agreement = compare_detections(by_image(expected), by_image(found), Tolerance(0.999, 1e-4, 1e-3, 0.0))
    assert agreement.within_tolerance, agreement


def test_training_takes_the_settings():
    train = {**tiny.detector_config()["RPNHead"]["train_proposal"], **PROPOSALS}
    settings = {**ALL, "RPNHead": {**ALL["RPNHead"], "train_proposal": train}}
    detector = tiny.build_ours(tiny.detector_config(settings=settings))
    assert detector.rpn_head.train_proposal.exact_min_size and detector.rpn_head.train_proposal.limit_shrinking
    detector.train()
    losses = detector(tiny.make_training_batch([[(10, 10, 60, 60), (50, 50, 150, 120)], []]))
    assert all(np.isfinite(float(value)) for value in losses.values())
    losses["loss"].backward()
