"""The convolutional parts of a detector as ONNX nodes, rewritten where that is exact and faster.

No rewrite changes the function, except for the order of float32 sums:

- BatchNorm is folded into the convolution before it.
- The 2x2 deconvolution of the mask head becomes a matrix product at each position, with four times the channels. The
  channels are moved to their pixels only after the last layer, which is computed for the detected class alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

import numpy as np
from paddle import Tensor, nn

from ppdet_res2net.errors import ExportError
from ppdet_res2net.export.onnx_builder import Graph, Value
from ppdet_res2net.modeling.blocks import Bottle2neck, ConvNorm
from ppdet_res2net.modeling.dla import DLATree
from ppdet_res2net.modeling.res2net import Res2Net, Res2NetStage

__all__ = ["add_conv", "add_feature_pyramid", "add_linear", "add_mask_logits", "add_trunk"]


def add_conv(graph: Graph, x: Value, conv: nn.Conv2D, relu: bool = False) -> Value:
    """Add a convolution with its bias.

    Raises:
        ExportError: ``conv`` is a different kind of layer, for instance a convolution with normalisation.
    """
    if not isinstance(conv, nn.Conv2D):
        raise ExportError(
            f"{type(conv).__name__} (norm_type of a head) cannot be written as ONNX; only plain convolutions can. Export "
            f"this model with --format paddle."
        )
    bias = None if conv.bias is None else conv.bias.numpy()
    stride, padding = _single(conv._stride), _single(conv._padding)
    return _add_conv(graph, x, conv.weight.numpy(), bias, stride, padding, conv._groups, relu)


def _add_conv(
    graph: Graph,
    x: Value,
    weight: np.ndarray,
    bias: np.ndarray | None,
    stride: int = 1,
    padding: int = 0,
    groups: int = 1,
    relu: bool = False,
) -> Value:
    x = graph.op(
        "Conv",
        x,
        weight,
        bias,
        kernel_shape=list(weight.shape[2:]),
        strides=[stride] * 2,
        pads=[padding] * 4,
        group=groups,
    )
    return graph.op("Relu", x) if relu else x


def add_linear(graph: Graph, x: Value, linear: nn.Linear, relu: bool = False) -> Value:
    """Add a linear layer. Paddle stores its weight as (in, out)."""
    x = graph.op("Gemm", x, linear.weight.numpy(), linear.bias.numpy())
    return graph.op("Relu", x) if relu else x


def add_trunk(graph: Graph, x: Value, trunk: Res2Net) -> list[Value]:
    """Add the trunk. Return the feature maps of its ``return_idx``."""
    for layer in cast("Iterable[ConvNorm]", trunk.res1):
        x = _add_conv_norm(graph, x, layer)
    if trunk.maxpool is not None:
        x = graph.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    features = []
    for i, stage in enumerate(trunk.stages):
        x = _add_tree(graph, x, stage) if isinstance(stage, DLATree) else _add_stage(graph, x, stage)
        if i in trunk.return_idx:
            features.append(x)
    return features


def _add_stage(graph: Graph, x: Value, stage: Res2NetStage) -> Value:
    for block in cast("Iterable[Bottle2neck]", stage.blocks):
        x = _add_block(graph, x, block)
    return x


def _add_tree(graph: Graph, x: Value, tree: DLATree, joined: Sequence[Value] = ()) -> Value:
    pooled = x if tree.pool is None else graph.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    if tree.passes_input:
        joined = [*joined, pooled]
    if isinstance(tree.tree1, DLATree):
        first = _add_tree(graph, x, tree.tree1)
        return _add_tree(graph, first, cast("DLATree", tree.tree2), [*joined, first])
    shortcut = pooled if tree.project is None else _add_conv_norm(graph, pooled, tree.project)
    first = _add_block(graph, x, tree.tree1, shortcut)
    second = _add_block(graph, first, cast("Bottle2neck", tree.tree2))
    return _add_conv_norm(graph, graph.concat(second, first, *joined, axis=1), tree.root)


def _add_block(graph: Graph, x: Value, block: Bottle2neck, shortcut: Value | None = None) -> Value:
    splits = graph.ops("Split", _add_conv_norm(graph, x, block.branch2a), outputs=block.scales, axis=1)
    outputs: list[Value] = []
    for i, layer in enumerate(cast("Iterable[ConvNorm]", block.branch2b)):
        part = splits[i] if i == 0 or block.is_stage_block else splits[i] + outputs[-1]
        outputs.append(_add_conv_norm(graph, part, layer))
    outputs.append(_add_average_pool(graph, splits[-1], block.pool) if block.pools_last_split else splits[-1])
    residual = _add_conv_norm(graph, graph.concat(*outputs, axis=1), block.branch2c)
    if shortcut is None:
        shortcut = _add_projection(graph, x, block.branch1) if block.has_projection else x
    return graph.op("Relu", residual + shortcut)


def _add_projection(graph: Graph, x: Value, branch: nn.Sequential | ConvNorm) -> Value:
    if isinstance(branch, ConvNorm):
        return _add_conv_norm(graph, x, branch)
    return _add_conv_norm(graph, _add_average_pool(graph, x, branch.pool), branch.conv)


def _add_average_pool(graph: Graph, x: Value, pool: nn.AvgPool2D) -> Value:
    return graph.op(
        "AveragePool",
        x,
        kernel_shape=[_single(pool.ksize)] * 2,
        strides=[_single(pool.stride)] * 2,
        pads=[_single(pool.padding)] * 4,
        ceil_mode=int(pool.ceil_mode),
        count_include_pad=int(not pool.exclusive),
    )


def _add_conv_norm(graph: Graph, x: Value, layer: ConvNorm) -> Value:
    weight, bias = _folded(layer)
    conv = layer.conv
    return _add_conv(graph, x, weight, bias, _single(conv._stride), _single(conv._padding), conv._groups, layer.relu)


def _folded(layer: ConvNorm) -> tuple[np.ndarray, np.ndarray]:
    """Return weight and bias of a convolution with its BatchNorm folded in, computed in float64."""
    if layer.deformable:
        raise ExportError(
            "Deformable convolution (Res2Net.dcn_v2_stages) has no ONNX operator that the inference engines run. Export "
            "this model with --format paddle."
        )
    norm = layer.norm
    if not isinstance(norm, (nn.BatchNorm2D, nn.SyncBatchNorm)):
        raise ExportError(
            f"{type(norm).__name__} (Res2Net.norm_type) cannot be written as ONNX; only BatchNorm can. Export this model "
            f"with --format paddle."
        )
    weight, scale, offset, mean, variance = (
        cast("Tensor", tensor).numpy().astype(np.float64)  # Paddle's types allow None for scale and offset
        for tensor in (layer.conv.weight, norm.weight, norm.bias, norm._mean, norm._variance)
    )
    factor = scale / np.sqrt(variance + norm._epsilon)
    folded = weight * factor[:, None, None, None]
    return folded.astype(np.float32), (offset - mean * factor).astype(np.float32)


def add_feature_pyramid(graph: Graph, features: Sequence[Value], neck: nn.Layer) -> list[Value]:
    """Add ppdet's FPN as R-CNNs use it: the extra level takes every second pixel of the last one."""
    if neck.norm_type is not None or neck.has_extra_convs:
        raise ExportError(
            "FPN.norm_type and FPN.has_extra_convs cannot be written as ONNX. Export this model with --format paddle."
        )
    laterals = [add_conv(graph, x, conv) for x, conv in zip(features, neck.lateral_convs)]
    for level in range(len(laterals) - 1, 0, -1):
        doubled = graph.op(
            "Resize",
            laterals[level],
            None,
            np.array([1, 1, 2, 2], np.float32),
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )
        laterals[level - 1] = laterals[level - 1] + doubled
    outputs = [add_conv(graph, x, conv) for x, conv in zip(laterals, neck.fpn_convs)]
    if neck.extra_stage:
        outputs.append(graph.op("MaxPool", outputs[-1], kernel_shape=[1, 1], strides=[2, 2]))
    return outputs


def _single(size: Any) -> int:
    """Return a stride, padding or kernel size that is the same in both directions, as Paddle stores it."""
    return int(size[0]) if isinstance(size, (list, tuple)) else int(size)


def add_mask_logits(graph: Graph, pooled: Value, labels: Value, head: nn.Layer) -> Value:
    """Add ppdet's mask head.

    Args:
        graph: The graph.
        pooled: Features of the regions, (M, C, side, side).
        labels: Their classes, (M,).
        head: ppdet's ``MaskHead``.

    Returns:
        The logits of each region's own class, (M, 2 side, 2 side).
    """
    layers = list(head.head.upsample)
    *convs, deconv = (layer for layer in layers if not isinstance(layer, nn.ReLU))
    for conv in convs:
        pooled = add_conv(graph, pooled, conv, relu=True)
    # (in, out, 2, 2); the stride is 2, so that each output pixel comes from one input pixel
    weight, bias = deconv.weight.numpy(), deconv.bias.numpy()
    channels, side = weight.shape[1], head.roi_extractor.resolution
    # Channels last. Otherwise an engine would transpose the result, which is four times as large.
    pooled = graph.op("Transpose", pooled, perm=[0, 2, 3, 1])
    pooled = graph.reshape(pooled, -1, side * side, weight.shape[0])
    weight = weight.transpose(0, 2, 3, 1).reshape(weight.shape[0], -1)
    hidden = graph.op("Relu", graph.op("MatMul", pooled, weight) + np.tile(bias, 4))  # (M, side side, 4 C)
    hidden = graph.reshape(hidden, -1, 4 * side * side, channels)
    weights = head.mask_fcn_logits.weight.numpy().reshape(head.num_classes, channels, 1)
    biases = head.mask_fcn_logits.bias.numpy().reshape(head.num_classes, 1, 1)
    logits = graph.op("MatMul", hidden, graph.gather(weights, labels)) + graph.gather(biases, labels)
    logits = graph.op("Transpose", graph.reshape(logits, -1, side, side, 2, 2), perm=[0, 1, 3, 2, 4])
    return graph.reshape(logits, -1, 2 * side, 2 * side)
