"""A tiny Faster, Mask or Cascade R-CNN through ppdet's registry, once with our modules and once with paddledet's own."""

from __future__ import annotations

import contextlib
import copy
import functools
import json
from collections.abc import Iterator
from unittest import mock

import numpy as np
import paddle
from paddle import nn

from ppdet_res2net.modeling.initial_values import without_initial_values
from ppdet_res2net.ppdet_modules.registry import create_from_config, register_modules

NETWORK_HW = (160, 192)
# Standard deviations for the outputs of the deciding layers, with which an untrained model finds varied objects.
_OUTPUT_STD = {
    "rpn_head.rpn_rois_score": 2.0,
    "bbox_head.bbox_score": 2.0,
    "bbox_head.bbox_delta": 1.0,
    "mask_head.mask_fcn_logits": 2.0,
    **{f"bbox_head.bbox_score_stage{stage}": 2.0 for stage in range(3)},
    **{f"bbox_head.bbox_delta_stage{stage}": 1.0 for stage in range(3)},
    **{f"mask_head.stages.{stage}.mask_fcn_logits": 2.0 for stage in range(3)},
}
_ANCHOR_SIZES = (16, 32, 64, 128, 256)


def detector_config(
    architecture: str = "MaskRCNN", num_classes: int = 5, layout: str = "fpn", settings: dict | None = None
) -> dict:
    """Return the configuration of a tiny detector.

    Args:
        architecture: ``MaskRCNN``, ``FasterRCNN`` or ``CascadeRCNN``; the last one has masks, and ``fpn``.
        num_classes: Foreground classes.
        layout: ``fpn``, or ``c4``: no neck, and the last stage of the trunk as the heads' shared features.
        settings: Module name -> arguments that replace or add to those chosen here.
    """
    fpn = layout == "fpn"
    config = {
        "architecture": architecture,
        "num_classes": num_classes,
        "mask_resolution": 28 if fpn else 8,
        architecture: {
            "backbone": "Res2Net",
            "neck": "FPN" if fpn else None,
            "rpn_head": "RPNHead",
            "bbox_head": "BBoxHead",
            "bbox_post_process": "BBoxPostProcess",
        },
        "Res2Net": {
            "depth": [1, 1, 1, 1],
            "width": 8,
            "variant": "d",
            "dialect": "ppdet",
            "freeze_norm": False,
            "freeze_at": -1,
        },
        "FPN": {"out_channel": 32},
        "RPNHead": {
            "anchor_generator": {
                "aspect_ratios": [0.5, 1.0, 2.0],
                "anchor_sizes": [[size] for size in _ANCHOR_SIZES] if fpn else [list(_ANCHOR_SIZES)],
                "strides": [4, 8, 16, 32, 64] if fpn else [16],
            },
            "rpn_target_assign": {"batch_size_per_im": 256, "use_random": False},
            "train_proposal": _proposals(fpn, before=300, after=200 if fpn else 24),
            "test_proposal": _proposals(fpn, before=200, after=100 if fpn else 24),
        },
        "BBoxHead": {
            "head": "TwoFCHead" if fpn else "Res2NetC5",
            "roi_extractor": {"resolution": 7 if fpn else 8, "sampling_ratio": 0, "aligned": True},
            "bbox_assigner": "BBoxAssigner",
            "with_pool": not fpn,
        },
        "BBoxAssigner": {"batch_size_per_im": 64 if fpn else 16, "use_random": False},
        "TwoFCHead": {"out_channel": 64},
        "BBoxPostProcess": {
            "decode": "RCNNBox",
            "nms": {
                "name": "MultiClassNMS",
                "keep_top_k": 20,
                "score_threshold": 0.05,
                "nms_threshold": 0.5,
            },
        },
    }
    if not fpn:
        config["Res2Net"].update(return_idx=[2], num_stages=3)
        config["Res2NetC5"] = {"width": 8, "variant": "b"}
    if architecture == "CascadeRCNN":
        head = config.pop("BBoxHead")
        del head["with_pool"]
        config["CascadeHead"] = {**head, "head": "CascadeTwoFCHead"}
        config["CascadeTwoFCHead"] = config.pop("TwoFCHead")
        config["BBoxPostProcess"]["decode"] = {"name": "RCNNBox", "prior_box_var": [30.0, 30.0, 15.0, 15.0]}
        config[architecture]["bbox_head"] = "CascadeHead"
    if architecture != "FasterRCNN":
        config[architecture].update(mask_head="MaskHead", mask_post_process="MaskPostProcess")
        config["MaskHead"] = {
            "head": "MaskFeat",
            "roi_extractor": {"resolution": 14 if fpn else 8, "sampling_ratio": 0, "aligned": True},
            "mask_assigner": "MaskAssigner",
            "share_bbox_feat": not fpn,
        }
        config["MaskFeat"] = {"num_convs": 2 if fpn else 0, "out_channel": 32}
    for module, arguments in (settings or {}).items():
        config[module] = {**config.get(module, {}), **arguments}
    return config


def _proposals(fpn: bool, before: int, after: int) -> dict:
    return {
        "min_size": 0.0,
        "nms_thresh": 0.7,
        "pre_nms_top_n": before,
        "post_nms_top_n": after,
        "topk_after_collect": fpn,
    }


@contextlib.contextmanager
def paddledet_modules() -> Iterator[None]:
    """While active, paddledet's own classes are where this package has replaced them: in the registry, and in its heads."""
    register_modules()
    from ppdet.core.config.schema import extract_schema
    from ppdet.core.workspace import global_config
    from ppdet.modeling import layers
    from ppdet.modeling.architectures import cascade_rcnn
    from ppdet.modeling.backbones import res2net
    from ppdet.modeling.heads import bbox_head, cascade_head, mask_head, roi_extractor
    from ppdet.modeling.proposal_generator import proposal_generator, rpn_head, target_layer

    originals = (
        *(res2net.Res2Net, res2net.Res2NetC5, target_layer.MaskAssigner, layers.RCNNBox),
        *(roi_extractor.RoIAlign, proposal_generator.ProposalGenerator),
        *(cascade_rcnn.CascadeRCNN, cascade_head.CascadeHead),
    )
    replaced = {cls.__name__: global_config[cls.__name__] for cls in originals}
    global_config.update({cls.__name__: extract_schema(cls) for cls in originals})
    try:
        with contextlib.ExitStack() as stack:
            for head in (bbox_head, cascade_head, mask_head):
                stack.enter_context(mock.patch.object(head, "RoIAlign", roi_extractor.RoIAlign))
            stack.enter_context(mock.patch.object(rpn_head, "ProposalGenerator", proposal_generator.ProposalGenerator))
            yield
    finally:
        global_config.update(replaced)


@contextlib.contextmanager
def paddledet_depth(depths: list[int]) -> Iterator[None]:
    """While active, depth 50 of paddledet's Res2Net, which takes no list, has these numbers of blocks."""
    from ppdet.modeling.backbones.res2net import Res2Net_cfg

    original = Res2Net_cfg[50]
    Res2Net_cfg[50] = depths
    try:
        yield
    finally:
        Res2Net_cfg[50] = original


def build_ours(config: dict, seed: int = 0) -> nn.Layer:
    """Build the detector with our modules, in evaluation mode, with weights that detect something."""
    with without_initial_values():
        model = create_from_config(config, config["architecture"])
    load_equal_weights(model, _weights(json.dumps(config), seed))
    model.eval()
    paddle.seed(seed)
    return model


@functools.lru_cache(maxsize=6)  # drawing them takes most of the time, and tests of one file build the same detectors
def _weights(config: str, seed: int) -> dict[str, np.ndarray]:
    """Return weights for a configuration in JSON."""
    paddle.seed(seed)
    model = create_from_config(json.loads(config), json.loads(config)["architecture"])
    model.eval()
    hooks = []
    for name, layer in model.named_sublayers():
        if name in _OUTPUT_STD:
            hooks.append(layer.register_forward_post_hook(functools.partial(_standardize, _OUTPUT_STD[name])))
    with paddle.no_grad():
        model(make_inputs([(150, 180)], [(1.5, 1.5)], seed=1))
    for hook in hooks:
        hook.remove()
    return {name: tensor.numpy() for name, tensor in model.state_dict().items()}


def _standardize(std: float, layer: nn.Layer, inputs: tuple, output: paddle.Tensor) -> paddle.Tensor:
    """Set weight and bias of a layer so that every channel of this output has mean 0 and the given deviation."""
    axes = [axis for axis in range(output.ndim) if axis != 1]
    scale = std / output.std(axes)  # (C,)
    scales_of_weight = scale if layer.weight.ndim == 2 else scale.reshape([-1, 1, 1, 1])
    layer.weight.set_value(layer.weight * scales_of_weight)
    layer.bias.set_value((layer.bias - output.mean(axes)) * scale)
    return layer.forward(*inputs)


def build_paddledets(config: dict, weights_of: nn.Layer) -> nn.Layer:
    """Build the same detector with paddledet's own modules and the weights of the model that ``build_ours`` made."""
    config = copy.deepcopy(config)
    depths = config["Res2Net"].pop("depth")
    config["Res2Net"].pop("dialect")
    with paddledet_modules(), paddledet_depth(depths), without_initial_values():
        model = create_from_config(config, config["architecture"])
    load_equal_weights(model, weights_of.state_dict())
    model.eval()
    return model


def load_equal_weights(model: nn.Layer, state: dict) -> None:
    """Load ``state``, tensors or arrays, into ``model``. Their names and shapes must be equal."""
    shapes = {(name, *tensor.shape) for name, tensor in model.state_dict().items()}
    expected = {(name, *tensor.shape) for name, tensor in state.items()}
    if shapes != expected:
        raise ValueError(f"state dicts differ in {sorted(shapes ^ expected)}")
    model.set_state_dict({name: np.asarray(value) for name, value in state.items()})


def make_inputs(
    im_shapes: list[tuple[float, float]], scale_factors: list[tuple[float, float]], seed: int = 0
) -> dict[str, paddle.Tensor]:
    """Return the inputs of a detector for inference, with one image of noise per entry of the two lists."""
    rng = np.random.RandomState(seed)
    image = rng.randn(len(im_shapes), 3, *NETWORK_HW).astype("float32")
    for picture, (height, width) in zip(image, im_shapes):
        picture[:, int(height) :], picture[:, :, int(width) :] = 0, 0
    return {
        "image": paddle.to_tensor(image),
        "im_shape": paddle.to_tensor(np.asarray(im_shapes, "float32")),
        "scale_factor": paddle.to_tensor(np.asarray(scale_factors, "float32")),
        "im_id": paddle.arange(len(im_shapes)),
    }


def make_training_batch(boxes: list[list[tuple]], seed: int = 0) -> dict[str, object]:
    """Return a training batch with these boxes (x0, y0, x1, y1) per image; each object fills its box as an octagon."""
    count = len(boxes)
    batch = make_inputs([(150, 180)] * count, [(1.5, 1.5)] * count, seed)
    batch["gt_bbox"] = [paddle.to_tensor(np.asarray(one, "float32").reshape(-1, 4)) for one in boxes]
    batch["gt_class"] = [paddle.to_tensor(np.arange(len(one), dtype="int32").reshape(-1, 1) % 2) for one in boxes]
    batch["is_crowd"] = [paddle.zeros([len(one), 1], "int32") for one in boxes]
    batch["gt_poly"] = [[[octagon(*box)] for box in one] for one in boxes]
    return batch


def octagon(x0: float, y0: float, x1: float, y1: float) -> list[float]:
    """Return the polygon x, y, x, y, ... that cuts a quarter off every side of a box at both ends."""
    u, v = (x1 - x0) / 4, (y1 - y0) / 4
    points = [
        (x0 + u, y0),
        (x1 - u, y0),
        (x1, y0 + v),
        (x1, y1 - v),
        (x1 - u, y1),
        (x0 + u, y1),
        (x0, y1 - v),
    ]
    return [float(value) for point in [*points, (x0, y0 + v)] for value in point]


def detect(model: nn.Layer, inputs: dict) -> dict[str, np.ndarray]:
    """Run our inference graph on a detector; arrays by output name."""
    from ppdet_res2net.detection.inference import RCNNInference

    graph = RCNNInference(model)
    graph.eval()
    with paddle.no_grad():
        outputs = graph(inputs["image"], inputs["im_shape"], inputs["scale_factor"])
    return {name: tensor.numpy() for name, tensor in zip(graph.output_names, outputs)}


def detect_as_paddledet(model: nn.Layer, inputs: dict) -> dict[str, np.ndarray]:
    """Run paddledet's own inference; return the arrays of :func:`detect`, with ``bitmaps`` of image size instead of masks.

    Boxes that it marks as empty (label -1) and the one that it invents where nothing was found (score 0) are left out.
    """
    with paddle.no_grad():
        outputs = {name: value.numpy() for name, value in model(inputs).items()}
    rows = outputs["bbox"]
    real = (rows[:, 0] >= 0) & (rows[:, 1] > 0)
    image = np.repeat(np.arange(len(outputs["bbox_num"])), outputs["bbox_num"])
    found = {
        "boxes": rows[real, 2:],
        "scores": rows[real, 1],
        "labels": rows[real, 0].astype("int32"),
        "num": np.bincount(image[real], minlength=len(outputs["bbox_num"])).astype("int32"),
    }
    if "mask" in outputs and len(outputs["mask"]) == len(rows):
        found["bitmaps"] = outputs["mask"][real]
    return found
