"""Whole detectors against paddledet's own modules under equal weights: detections, masks, losses and gradients."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

paddle = pytest.importorskip("paddle")
if importlib.util.find_spec("ppdet") is None:
    pytest.skip("paddledet is not installed", allow_module_level=True)

from paddle import inference  # noqa: E402

from ppdet_res2net.detection.inference import RCNNInference  # noqa: E402
from ppdet_res2net.detection.paddle_graph import save_detector_graph  # noqa: E402
from ppdet_res2net.errors import ConfigError  # noqa: E402
from res2net_runtime.backends.paddle_quirks import keep_thread_counts  # noqa: E402
from res2net_runtime.masks import masks_to_bitmaps  # noqa: E402
from tests.helpers import tiny_detector as tiny  # noqa: E402

ONE_IMAGE = ([(150, 180)], [(1.5, 1.5)])
TWO_EQUAL = ([(150, 180)] * 2, [(1.5, 1.5)] * 2)
TWO_DIFFERENT = ([(150, 180), (96, 192)], [(1.5, 1.2), (0.8, 0.64)])
# Seen: 0. A pixel whose value equals the threshold bit for bit may be set or not on a different machine.
MAX_DIFFERENT_PIXELS = 3

GN_HEADS = {
    "FPN": {"norm_type": "gn"},
    "BBoxHead": {
        "head": "XConvNormHead",
        "roi_extractor": {"resolution": 7, "sampling_ratio": 0, "aligned": True},
        "bbox_assigner": "BBoxAssigner",
    },
    "XConvNormHead": {"num_convs": 1, "conv_dim": 32, "out_channel": 64, "norm_type": "gn"},
    "MaskFeat": {"num_convs": 1, "out_channel": 32, "norm_type": "gn"},
}
CASCADE_GN_HEADS = {
    "CascadeHead": {"head": "CascadeXConvNormHead"},
    "CascadeXConvNormHead": GN_HEADS["XConvNormHead"],
}
VARIETIES = {
    "mask-fpn": {},
    "faster-fpn": {"architecture": "FasterRCNN"},
    "mask-one-class": {"num_classes": 1},
    "mask-gn-heads": {"settings": GN_HEADS},
    "mask-c4": {"layout": "c4"},
    "faster-c4": {"architecture": "FasterRCNN", "layout": "c4"},
    "mask-cascade": {"architecture": "CascadeRCNN"},
    "cascade-boxes-per-class": {
        "architecture": "CascadeRCNN",
        "settings": {"CascadeRCNN": {"mask_head": None}, "CascadeHead": {"reg_class_agnostic": False}},
    },
    "mask-cascade-gn-heads": {"architecture": "CascadeRCNN", "settings": CASCADE_GN_HEADS},
}


@pytest.fixture(scope="module")
def pair_of():
    """Both models of a variety, ours first, built once."""
    made = {}

    def get(variety):
        if variety not in made:
            config = tiny.detector_config(**VARIETIES[variety])
            ours = tiny.build_ours(config)
            made[variety] = ours, tiny.build_paddledets(config, ours)
        return made[variety]

    return get


def assert_equal_detections(found, expected):
    np.testing.assert_array_equal(found["num"], expected["num"])
    np.testing.assert_array_equal(found["labels"], expected["labels"])
    np.testing.assert_allclose(found["scores"], expected["scores"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(found["boxes"], expected["boxes"], rtol=0, atol=1e-4)


def count_different_pixels(found, bitmaps):
    """Return how many pixels differ between our pasted masks and paddledet's in-graph ones, and how many paddledet sets."""
    ours = masks_to_bitmaps(found["masks"], found["boxes"], bitmaps.shape[1:], 0.5)
    return (ours != (bitmaps == 1)).sum(), (bitmaps == 1).sum()


def test_the_two_detectors_are_of_different_classes(pair_of):
    ours, theirs = pair_of("mask-c4")
    parts = (
        *(lambda m: m.backbone, lambda m: m.bbox_head.head, lambda m: m.mask_head.mask_assigner),
        *(lambda m: m.bbox_head.roi_extractor, lambda m: m.mask_head.roi_extractor),
        *(lambda m: m.rpn_head.train_proposal, lambda m: m.bbox_post_process.decode),
    )
    for get in parts:
        assert type(get(ours)).__module__.startswith("ppdet_res2net.")
        assert type(get(theirs)).__module__.startswith("ppdet.")


@pytest.mark.parametrize("sizes", [ONE_IMAGE, TWO_EQUAL], ids=["one", "two"])
@pytest.mark.parametrize("variety", VARIETIES)
def test_detections_and_masks_are_paddledets(pair_of, variety, sizes):
    ours, theirs = pair_of(variety)
    inputs = tiny.make_inputs(*sizes)
    found, expected = tiny.detect(ours, inputs), tiny.detect_as_paddledet(theirs, inputs)
    assert found["num"].min() >= 3  # otherwise this compares almost nothing
    assert_equal_detections(found, expected)
    if variety.startswith("mask"):
        different, total = count_different_pixels(found, expected["bitmaps"])
        assert total > 500
        assert different <= MAX_DIFFERENT_PIXELS
    else:
        assert "masks" not in found


@pytest.mark.parametrize("variety", ["mask-fpn", "faster-fpn", "mask-c4", "mask-cascade"])
def test_images_of_different_size_in_a_batch(pair_of, variety):
    ours, theirs = pair_of(variety)
    inputs = tiny.make_inputs(*TWO_DIFFERENT)
    found = tiny.detect(ours, inputs)
    assert found["num"].min() >= 3
    # paddledet pastes the second image's masks into the first one's size, so its reference is one image at a time.
    ends = np.cumsum(found["num"])
    for i, (start, end) in enumerate(zip(ends - found["num"], ends)):
        alone = {name: value[i : i + 1] for name, value in inputs.items()}
        expected = tiny.detect_as_paddledet(theirs, alone)
        part = {name: value[start:end] for name, value in found.items() if name != "num"}
        np.testing.assert_array_equal(part["labels"], expected["labels"])
        np.testing.assert_allclose(part["scores"], expected["scores"], rtol=0, atol=1e-5)
        np.testing.assert_allclose(part["boxes"], expected["boxes"], rtol=0, atol=1e-3)
        if "masks" in part:
            different, total = count_different_pixels(part, expected["bitmaps"])
            assert total > 500
            assert different <= MAX_DIFFERENT_PIXELS


@pytest.mark.parametrize("variety", ["mask-fpn", "faster-fpn", "mask-c4", "mask-cascade"])
def test_no_detection_in_any_image(variety):
    config = tiny.detector_config(**VARIETIES[variety])
    model = tiny.build_ours(config)
    find_nothing(model, background=1e4)
    found = tiny.detect(model, tiny.make_inputs(*TWO_DIFFERENT))
    assert found["num"].tolist() == [0, 0]
    assert found["boxes"].shape == (0, 4)
    assert found["scores"].shape == found["labels"].shape == (0,)
    if "mask" in variety:
        side = config["mask_resolution"]
        assert found["masks"].shape == (0, side, side)


@pytest.mark.parametrize(
    "variety, empty",
    [("mask-fpn", 0), ("mask-fpn", 1), ("mask-fpn", 2), ("faster-fpn", 0), ("mask-c4", 0), ("mask-cascade", 1)],
)
def test_one_image_without_detections_changes_nothing_for_the_others(variety, empty):
    ours = tiny.build_ours(tiny.detector_config(**VARIETIES[variety]))
    find_nothing(ours, background=4.0)  # where the features are zero, every class stays below the score threshold
    three = tiny.make_inputs([(150, 180)] * 3, [(1.5, 1.5)] * 3)
    full = tiny.detect(ours, three)
    black = dict(three, image=three["image"].clone())
    black["image"][empty] = 0
    found = tiny.detect(ours, black)
    expected_num = full["num"].copy()
    expected_num[empty] = 0
    assert full["num"].min() > 0
    np.testing.assert_array_equal(found["num"], expected_num)
    kept = np.repeat(np.arange(3), full["num"]) != empty
    for name in set(found) - {"num"}:
        np.testing.assert_allclose(found[name], full[name][kept], rtol=0, atol=1e-4)


def find_nothing(model, background):
    for layer in getattr(model.bbox_head, "bbox_score_list", None) or [model.bbox_head.bbox_score]:
        bias = np.zeros(layer.bias.shape, "float32")
        bias[-1] = background
        layer.bias.set_value(bias)


def test_only_known_detectors_can_be_served(pair_of):
    with pytest.raises(ConfigError, match="architecture is Linear; .* support FasterRCNN, MaskRCNN and CascadeRCNN"):
        RCNNInference(paddle.nn.Linear(1, 1))
    ours, _ = pair_of("mask-fpn")
    head, ours.bbox_head = ours.bbox_head, paddle.nn.Linear(1, 1)
    try:
        with pytest.raises(
            ConfigError, match="MaskRCNN.bbox_head is Linear; only BBoxHead without use_cot is supported"
        ):
            RCNNInference(ours)
    finally:
        ours.bbox_head = head


# ---------------------------------------------------------------- exported


@pytest.fixture(scope="module", params=["mask-fpn", "mask-c4", "mask-cascade"])
def exported(request, pair_of, tmp_path_factory):
    """The eager model and the folder of its static graph."""
    model, _ = pair_of(request.param)
    graph = RCNNInference(model)
    graph.eval()
    folder = tmp_path_factory.mktemp(request.param)
    save_detector_graph(graph, folder)
    return model, folder


@pytest.fixture
def kept_threads():
    """Restore the number of Paddle's threads, which its predictors change, for the tests after this one."""
    with keep_thread_counts(paddle):
        yield


@pytest.mark.usefixtures("kept_threads")
@pytest.mark.parametrize("onednn", [False, True])
def test_the_exported_graph_gives_the_eager_results(exported, onednn):
    model, folder = exported
    program = "model.json" if (folder / "model.json").is_file() else "model.pdmodel"
    config = inference.Config(str(folder / program), str(folder / "model.pdiparams"))
    config.disable_glog_info()
    if onednn:
        config.enable_mkldnn()
    elif hasattr(config, "disable_mkldnn"):
        config.disable_mkldnn()
    predictor = inference.create_predictor(config)
    for sizes in (ONE_IMAGE, TWO_DIFFERENT):
        inputs = tiny.make_inputs(*sizes)
        expected = tiny.detect(model, inputs)
        for name in predictor.get_input_names():
            predictor.get_input_handle(name).copy_from_cpu(inputs[name].numpy())
        predictor.run()
        outputs = [predictor.get_output_handle(name).copy_to_cpu() for name in predictor.get_output_names()]
        found = dict(zip(RCNNInference(model).output_names, outputs))
        np.testing.assert_array_equal(found["num"], expected["num"])
        np.testing.assert_array_equal(found["labels"], expected["labels"])
        np.testing.assert_allclose(found["scores"], expected["scores"], rtol=0, atol=1e-4)
        np.testing.assert_allclose(found["boxes"], expected["boxes"], rtol=0, atol=1e-2)
        if "masks" in expected:
            np.testing.assert_allclose(found["masks"], expected["masks"], rtol=0, atol=1e-3)


# ---------------------------------------------------------------- training

OBJECTS = [[(10, 10, 60, 60), (50, 50, 150, 120)], [(20, 20, 90, 90)]]


@pytest.mark.parametrize(
    "variety",
    ["mask-fpn", "faster-fpn", "mask-one-class", "mask-gn-heads", "mask-c4", "mask-cascade", "cascade-boxes-per-class"],
)
def test_losses_and_gradients_are_paddledets(variety):
    frozen = {"Res2Net": {**tiny.detector_config()["Res2Net"], "freeze_at": 0}}
    options = dict(VARIETIES[variety])
    if "c4" not in variety:
        options["settings"] = {**options.get("settings", {}), **frozen}
    config = tiny.detector_config(**options)
    ours = tiny.build_ours(config)
    for layer in getattr(ours.bbox_head, "bbox_delta_list", []):
        # Otherwise the regions of the second and third stage have no objects.
        layer.weight.set_value(layer.weight * 0.02)
        layer.bias.set_value(layer.bias * 0)
    theirs = tiny.build_paddledets(config, ours)
    batch = tiny.make_training_batch(OBJECTS)
    losses = []
    for model in (ours, theirs):
        model.train()
        loss = model(dict(batch))
        loss["loss"].backward()
        losses.append({name: float(value) for name, value in loss.items()})
    assert losses[0].keys() == losses[1].keys()
    assert all(np.isfinite(value) and value > 0 for value in losses[0].values())
    for name, value in losses[0].items():
        assert value == pytest.approx(losses[1][name], rel=1e-6)
    expected = dict(theirs.named_parameters())
    worst = 0.0
    for name, parameter in ours.named_parameters():
        reference = expected[name].grad
        if parameter.grad is None or reference is None:
            assert parameter.grad is None and reference is None, name
            continue
        scale = float(reference.abs().max()) or 1.0
        worst = max(worst, float((parameter.grad - reference).abs().max()) / scale)
    assert worst <= 1e-4
    if "c4" not in variety:
        assert ours.backbone.res2.blocks[0].branch2a.conv.weight.grad is None
        assert ours.backbone.res3.blocks[0].branch2a.conv.weight.grad is not None


@pytest.mark.parametrize(
    "layout, objects",
    [
        ("fpn", [OBJECTS[0], []]),
        ("fpn", [[], OBJECTS[0]]),
        ("fpn", [[], []]),
        ("fpn", [OBJECTS[1]]),
        ("fpn", [[]]),
        ("c4", [[], []]),
    ],
)
def test_training_with_images_without_objects(layout, objects):
    model = tiny.build_ours(tiny.detector_config(layout=layout))
    model.train()
    loss = model(tiny.make_training_batch(objects))
    assert all(np.isfinite(float(value)) for value in loss.values())
    if not any(objects):
        assert float(loss["loss_mask"]) == float(loss["loss_bbox_reg"]) == float(loss["loss_rpn_reg"]) == 0
    loss["loss"].backward()
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            assert np.isfinite(parameter.grad.numpy()).all(), name
