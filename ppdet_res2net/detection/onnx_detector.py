"""A whole detector as an ONNX model, with the same inputs, outputs and numbers as the Paddle graph."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from paddle import nn

import ppdet_res2net
from ppdet_res2net.detection.inference import BoxStage, RCNNInference
from ppdet_res2net.detection.onnx_regions import (
    Rows,
    add_best_per_image,
    add_decode,
    add_image_mask,
    add_proposals,
    add_roi_features,
)
from ppdet_res2net.errors import ExportError
from ppdet_res2net.export.onnx_builder import Graph, Value, integers
from ppdet_res2net.export.onnx_layers import add_feature_pyramid, add_linear, add_mask_logits, add_trunk

__all__ = ["make_onnx_model"]

_BOX_FEATURES = {"BBoxHead": "TwoFCHead", "CascadeHead": "CascadeTwoFCHead"}


def make_onnx_model(network: RCNNInference) -> onnx.ModelProto:
    """Write a detector with its weights as an ONNX model.

    Raises:
        ExportError: A part of the detector cannot be written as ONNX; the message names it.
    """
    _check_parts(network)
    graph = Graph()
    image = graph.input("image", ["N", 3, "H", "W"])
    im_shape = graph.input("im_shape", ["N", 2])
    scale_factor = graph.input("scale_factor", ["N", 2])

    features = add_feature_pyramid(graph, add_trunk(graph, image, network.backbone), network.neck)
    proposals = add_proposals(graph, features, network.rpn_head, network.cell_anchors, im_shape)
    rows, scores, labels = _add_detections(graph, features, proposals, network, im_shape)
    if network.mask_heads:  # before empty boxes are dropped, because it replaces the rows
        masks, rows = _add_masks(graph, features, rows, labels, list(network.mask_heads))
    boxes, index = _add_original_boxes(graph, rows, im_shape, scale_factor)

    graph.output("boxes", graph.gather(boxes, index), ["M", 4], np.float32)
    graph.output("scores", graph.gather(scores, index), ["M"], np.float32)
    graph.output("labels", graph.cast(graph.gather(labels, index), np.int32), ["M"], np.int32)
    if network.mask_heads:
        side = network.mask_heads[0].roi_extractor.resolution * 2
        graph.output("masks", graph.gather(masks, index), ["M", side, side], np.float32)
    image_of_row = graph.gather(rows.image, index)
    of_image = graph.cast(add_image_mask(graph, image_of_row, im_shape), np.int64)
    num = graph.op("ReduceSum", of_image, integers(1), keepdims=0)
    graph.output("num", graph.cast(num, np.int32), ["N"], np.int32)
    return graph.model("ppdet_res2net", ppdet_res2net.__version__)


def _check_parts(network: RCNNInference) -> None:
    """Refuse parts that this module would write incorrectly."""
    head, nms, proposals = network.bbox_head, network.nms, network.rpn_head.test_proposal
    box_head = type(head).__name__
    parts = {
        "backbone": (type(network.backbone).__name__, "Res2Net"),
        "neck": (type(network.neck).__name__, "FPN"),
        f"{box_head}.head": (type(head.head).__name__, _BOX_FEATURES[box_head]),
        f"{box_head}.with_pool": (getattr(head, "with_pool", False), False),
        "RPNHead.test_proposal.eta": (proposals.eta, 1.0),
        "BBoxPostProcess.nms.nms_eta": (nms.nms_eta, 1.0),
        "BBoxPostProcess.nms.nms_top_k": (nms.nms_top_k, -1),
        "BBoxPostProcess.nms.normalized": (nms.normalized, True),
    }
    for mask_head in network.mask_heads:
        parts["MaskHead.head"] = (type(mask_head.head).__name__, "MaskFeat")
        parts["MaskHead.share_bbox_feat"] = (mask_head.share_bbox_feat, False)
    for name, (value, known) in parts.items():
        if value != known:
            raise ExportError(
                f"{name} is {value!r}, and only {known!r} can be written as ONNX. Export this model with --format paddle."
            )
    if nms.keep_top_k < 1:
        raise ExportError(
            f"BBoxPostProcess.nms.keep_top_k is {nms.keep_top_k}; ONNX needs a limit of at least 1. Set one with -o, or "
            f"export with --format paddle."
        )


def _add_detections(
    graph: Graph, features: list[Value], proposals: Rows, network: RCNNInference, im_shape: Value
) -> tuple[Rows, Value, Value]:
    """Add box head and suppression: detections, scores (M,), labels (M,) int64; grouped by image, best first."""
    head, nms = network.bbox_head, network.nms
    rows, scores, boxes = _add_box_stages(graph, features, proposals, network, im_shape)
    scores = graph.slice(scores, 1, 0, head.num_classes)  # (R, C), without the background

    # The classes form the batch, because each has boxes of its own; the images take the place of the classes.
    boxes = graph.op("Transpose", boxes, perm=[2, 0, 1])  # (C or 1, R, 4)
    if len(network.box_stages[-1].delta.bias) < 4 * head.num_classes:  # the classes share their boxes
        boxes = graph.op("Expand", boxes, integers(head.num_classes, 1, 1))
    scores = graph.unsqueeze(graph.op("Transpose", scores, perm=[1, 0]), 1)  # (C, 1, R)
    of_image = graph.unsqueeze(add_image_mask(graph, rows.image, im_shape), 0)  # (1, N, R)
    scores = graph.op("Where", of_image, scores, np.float32(-1))  # (C, N, R)
    kept = graph.op(
        "NonMaxSuppression",
        boxes,
        scores,
        integers(nms.keep_top_k),  # the limit for all classes together, so no class needs more
        np.array([nms.nms_threshold], np.float32),
        np.array([nms.score_threshold], np.float32),
    )  # (S, 3) class, image, row
    scores = graph.op("GatherND", scores, kept)  # (S,)
    label, image, row = (graph.reshape(graph.slice(kept, 1, i, i + 1), -1) for i in range(3))
    # Engines disagree about the maximum over no rows, so there is always one row, which belongs to no image.
    scores = graph.concat(scores, np.array([-1], np.float32))
    image = graph.concat(image, integers(-1))
    by_image = graph.op("Where", add_image_mask(graph, image, im_shape), graph.unsqueeze(scores, 0), np.float32(-1))
    best, index = add_best_per_image(graph, by_image, nms.keep_top_k)  # (N, k)
    pairs = graph.op("Transpose", graph.op("NonZero", best > np.float32(-0.5)), perm=[1, 0])  # (M, 2)
    index = graph.op("GatherND", index, pairs)  # (M,)
    label, row = graph.gather(label, index), graph.gather(row, index)
    label_and_row = graph.concat(graph.unsqueeze(label, 1), graph.unsqueeze(row, 1), axis=1)
    rows = Rows(graph.op("GatherND", boxes, label_and_row), graph.gather(image, index))
    return rows, graph.gather(scores, index), label


def _add_box_stages(
    graph: Graph, features: list[Value], rows: Rows, network: RCNNInference, im_shape: Value
) -> tuple[Rows, Value, Value]:
    """Add the stages of the box head: regions of the last one, probabilities (R, C + 1), boxes (R, 4, C or 1)."""
    head = network.bbox_head
    totals: list[Value] = []  # sums of logits or probabilities, up to each stage
    averages_logits = getattr(head, "averaged", None) == "logits"
    for number, stage in enumerate(network.box_stages, 1):
        pooled, rows, order = add_roi_features(graph, features, rows, head.roi_extractor)
        hidden = graph.op("Flatten", pooled)
        for layer in (stage.head.fc6, stage.head.fc7):
            hidden = add_linear(graph, hidden, layer, relu=True)
        logits = add_linear(graph, hidden, stage.score)
        scores = logits if averages_logits else graph.op("Softmax", logits, axis=1)
        totals.append(graph.gather(totals[-1], order) + scores if totals else scores)
        boxes = graph.unsqueeze(rows.boxes, 2)
        deltas = _add_deltas(graph, hidden, stage)
        boxes = add_decode(graph, deltas, boxes, axis=1, limit_shrinking=network.decode.limit_shrinking)
        limits = graph.gather(graph.gather(im_shape, integers(1, 0, 1, 0), axis=1), rows.image)
        boxes = graph.op("Max", graph.op("Min", boxes, graph.unsqueeze(limits, 2)), np.float32(0))  # (R, 4, C or 1)
        if number < len(network.box_stages):
            rows = Rows(_add_boxes_of_best_class(graph, boxes, logits, stage), rows.image)
    mean = totals[-1] / float(len(totals)) if len(totals) > 1 else totals[-1]
    return rows, graph.op("Softmax", mean, axis=1) if averages_logits else mean, boxes


def _add_boxes_of_best_class(graph: Graph, boxes: Value, logits: Value, stage: BoxStage) -> Value:
    """Return a box (R, 4) of each region, from boxes (R, 4, C or 1): that of the class with the highest logit."""
    num_classes = len(stage.delta.bias) // 4
    if num_classes == 1:
        return graph.reshape(boxes, -1, 4)
    best = graph.op("ArgMax", graph.slice(logits, 1, 0, num_classes), axis=1, keepdims=1)  # (R, 1)
    return graph.op("GatherND", graph.op("Transpose", boxes, perm=[0, 2, 1]), best, batch_dims=1)


def _add_deltas(graph: Graph, hidden: Value, stage: BoxStage) -> Value:
    """Add box deltas (R, 4, C or 1) in units of the boxes. Vectorised kernels are faster with the many classes last."""
    weight, bias = (tensor.numpy().astype(np.float64) for tensor in (stage.delta.weight, stage.delta.bias))
    num_classes = len(bias) // 4
    weight, bias = (
        (array.reshape(-1, num_classes, 4) / np.array(stage.weights)).swapaxes(1, 2).reshape(len(array), -1)
        for array in (weight, bias[None])
    )
    deltas = graph.op("Gemm", hidden, weight.astype(np.float32), bias[0].astype(np.float32))
    return graph.reshape(deltas, -1, 4, num_classes)


def _add_original_boxes(graph: Graph, rows: Rows, im_shape: Value, scale_factor: Value) -> tuple[Value, Value]:
    """Return boxes in pixels of the original image, clipped to it, and the indices of those that are not empty."""
    size = graph.op("Floor", im_shape / scale_factor + 0.5)
    scale, limits = (
        graph.gather(graph.gather(value, integers(1, 0, 1, 0), axis=1), rows.image) for value in (scale_factor, size)
    )
    boxes = graph.op("Max", graph.op("Min", rows.boxes / scale, limits), np.float32(0))
    extent = graph.slice(boxes, 1, 2, 4) - graph.slice(boxes, 1, 0, 2)
    smallest = graph.op("ReduceMin", extent, axes=[1], keepdims=0)
    return boxes, graph.where_true(smallest > np.float32(0))


def _add_masks(
    graph: Graph, features: list[Value], rows: Rows, labels: Value, heads: Sequence[nn.Layer]
) -> tuple[Value, Rows]:
    """Add the mask heads: (M, side, side) probabilities of each detection's own class, and the boxes they belong to."""
    pooled, ordered, order = add_roi_features(graph, features, rows, heads[0].roi_extractor)
    labels = graph.gather(labels, order)
    first, *others = (graph.op("Sigmoid", add_mask_logits(graph, pooled, labels, head)) for head in heads)
    masks = sum(others, first) / float(len(heads)) if others else first
    back = graph.op("ScatterElements", order, order, graph.arange(graph.shape(order, 0)))
    return graph.gather(masks, back), ordered.take(back)
