"""Contender: torchvision's Mask R-CNN on timm's res2net50d, with the benchmark's weights."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

__all__ = ["create_gemm", "create_model", "create_torchvision"]

_TRUNK = "backbone.body."


def create_torchvision(weights: str, threads: int, precision: str, compiled: bool) -> Callable[[np.ndarray], int]:
    """Return a function from an RGB image to the number of masks that were found and encoded.

    Args:
        weights: ``.safetensors`` file with the tensors of the benchmark's detector under our names.
        threads: Threads on the CPU.
        precision: ``fp32``, or ``bf16`` for autocast.
        compiled: Whether trunk and pyramid are compiled, with constants folded. Tensors are channels_last in any case.
    """
    import torch
    from pycocotools import mask

    torch.set_num_threads(threads)
    model = create_model(weights, compiled)

    @torch.inference_mode()
    def run(image: np.ndarray) -> int:
        pixels = torch.from_numpy(image).permute(2, 0, 1).float().div(255)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            (found,) = model([pixels])
        bitmaps = (found["masks"][:, 0] > 0.5).permute(1, 2, 0).numpy().astype(np.uint8)
        return len(mask.encode(np.asfortranarray(bitmaps)))

    return run


def create_model(weights: str, compiled: bool):
    """Return the model, ready for inference; the arguments are those of :func:`create_torchvision`."""
    import timm
    import torch
    from safetensors.torch import load_file
    from torchvision.models.detection import MaskRCNN
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelMaxPool

    class Backbone(torch.nn.Module):
        out_channels = 256

        def __init__(self) -> None:
            super().__init__()
            self.body = timm.create_model("res2net50d", features_only=True, out_indices=(1, 2, 3, 4))
            self.fpn = FeaturePyramidNetwork([256, 512, 1024, 2048], 256, LastLevelMaxPool())

        def forward(self, x):
            return self.fpn(dict(enumerate(self.body(x))))

    tensors = load_file(weights)
    classes = tensors["bbox_head.bbox_score.bias"].numel()  # with the background
    anchors = AnchorGenerator(((32,), (64,), (128,), (256,), (512,)), ((0.5, 1.0, 2.0),) * 5)
    model = MaskRCNN(Backbone(), classes, rpn_anchor_generator=anchors)
    model.roi_heads.box_roi_pool.featmap_names = model.roi_heads.mask_roi_pool.featmap_names = [0, 1, 2, 3]
    model.load_state_dict(_translate(tensors, model.state_dict()))
    model.eval().to(memory_format=torch.channels_last)
    if compiled:
        torch._inductor.config.freezing = True
        model.backbone = torch.compile(model.backbone)
    return model


def _translate(tensors: dict, state: dict) -> dict:
    """Return our tensors under torchvision's names."""
    import torch

    from ppdet_res2net.zoo.keymaps import map_names

    trunk = map_names(name[len(_TRUNK) :] for name in state if name.startswith(_TRUNK))
    result = {}
    for name, target in trunk.items():
        if not name.endswith("num_batches_tracked"):
            result[_TRUNK + name] = tensors[target.name]
    for i in range(4):
        lateral = "neck.fpn_inner_res5_sum" if i == 3 else f"neck.fpn_inner_res{i + 2}_sum_lateral"
        for part in ("weight", "bias"):
            result[f"backbone.fpn.inner_blocks.{i}.0.{part}"] = tensors[f"{lateral}.{part}"]
            result[f"backbone.fpn.layer_blocks.{i}.0.{part}"] = tensors[f"neck.fpn_res{i + 2}_sum.{part}"]
    plain = {
        "rpn.head.conv.0.0": "rpn_head.rpn_feat.rpn_conv",
        "rpn.head.cls_logits": "rpn_head.rpn_rois_score",
        "rpn.head.bbox_pred": "rpn_head.rpn_rois_delta",
        "roi_heads.box_head.fc6": "bbox_head.head.fc6",
        "roi_heads.box_head.fc7": "bbox_head.head.fc7",
        "roi_heads.mask_predictor.conv5_mask": "mask_head.head.upsample.conv5_mask",
        **{f"roi_heads.mask_head.{i}.0": f"mask_head.head.upsample.mask_inter_feat_{i + 1}" for i in range(4)},
    }
    for name, ours in plain.items():
        weight = tensors[f"{ours}.weight"]
        result[f"{name}.weight"] = weight.T if weight.ndim == 2 else weight
        result[f"{name}.bias"] = tensors[f"{ours}.bias"]
    for part in ("weight", "bias"):
        score, delta = (tensors[f"bbox_head.bbox_{name}.{part}"] for name in ("score", "delta"))
        if part == "weight":
            score, delta = score.T, delta.T
        logits = tensors[f"mask_head.mask_fcn_logits.{part}"]
        # torchvision's background is the first class and has boxes and masks too; ours is the last and has none.
        result[f"roi_heads.box_predictor.cls_score.{part}"] = score.roll(1, 0)
        result[f"roi_heads.box_predictor.bbox_pred.{part}"] = torch.cat([torch.zeros_like(delta[:4]), delta])
        result[f"roi_heads.mask_predictor.mask_fcn_logits.{part}"] = torch.cat([torch.zeros_like(logits[:1]), logits])
    counters = {name: value for name, value in state.items() if name.endswith("num_batches_tracked")}
    return {**counters, **result}


def create_gemm(threads: int, precision: str) -> Callable[[np.ndarray], int]:
    """Return a function that multiplies two 4096x4096 matrices, 68.7 G multiply-accumulates, and ignores the image."""
    import torch

    torch.set_num_threads(threads)
    a, b = torch.ones(2, 4096, 4096, dtype=torch.bfloat16 if precision == "bf16" else torch.float32)

    @torch.inference_mode()
    def run(image: np.ndarray) -> int:
        a @ b
        return 0

    return run
