"""Boxes in an ONNX graph: anchors, proposals, pooling of regions, suppression.

The number of images is free: the rows of all images are kept together, with the image index of each row. ONNX's
NonMaxSuppression takes boxes (batch, rows, 4) and scores (batch, class, rows). Where boxes are shared, pyramid levels or
images take the place of the classes; rows that do not belong to a level or image get a score below the threshold there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from paddle import nn

from ppdet_res2net.export.onnx_builder import Graph, Value, integers
from ppdet_res2net.export.onnx_layers import add_conv
from ppdet_res2net.ppdet_modules.boxes import MAX_LOG_SCALE
from ppdet_res2net.ppdet_modules.roi_align import PADDLE_LEVEL_EPSILON

__all__ = ["Rows", "add_best_per_image", "add_decode", "add_image_mask", "add_proposals", "add_roi_features"]

_ABSENT = np.array([-1e30], np.float32)  # a logit that no network produces
_NOT_ABSENT = np.array([-1e29], np.float32)


class Rows(NamedTuple):
    """Boxes of all images.

    Attributes:
        boxes: (R, 4) float32 xyxy in network pixels.
        image: (R,) int64, the image of each row.
    """

    boxes: Value
    image: Value

    def take(self, index: Value) -> Rows:
        """Return the rows that ``index`` selects."""
        graph = self.boxes.graph
        return Rows(graph.gather(self.boxes, index), graph.gather(self.image, index))


def add_proposals(
    graph: Graph,
    features: Sequence[Value],
    head: nn.Layer,
    cell_anchors: Sequence[np.ndarray],
    im_shape: Value,
) -> Rows:
    """Add ppdet's RPN as it is at inference. The rows are grouped by image, best first."""
    settings, generator = head.test_proposal, head.anchor_generator
    per_level = [
        _add_level_candidates(graph, feature, head, cells, float(stride), float(generator.offset))
        for feature, cells, stride in zip(features, cell_anchors, generator.strides)
    ]
    scores, boxes = (graph.concat(*parts, axis=1) for parts in zip(*per_level))  # (N, K), (N, K, 4)
    limits = graph.unsqueeze(_width_height_twice(graph, im_shape), 1)  # (N, 1, 4)
    boxes = graph.op("Max", graph.op("Min", boxes, limits), np.float32(0))
    extent = graph.slice(boxes, 2, 2, 4) - graph.slice(boxes, 2, 0, 2)
    smallest = graph.op("ReduceMin", extent, axes=[2], keepdims=0)  # (N, K) the shorter side
    scores = graph.op("Where", smallest >= np.float32(settings.least_side_px), scores, _ABSENT)

    levels = [
        graph.op("Expand", integers(level), graph.shape(part_scores, 1))
        for level, (part_scores, _) in enumerate(per_level)
    ]
    is_of_level = graph.op(
        "Equal", graph.unsqueeze(graph.concat(*levels), 0), np.arange(len(levels), dtype=np.int64)[:, None]
    )  # (L, K)
    count = settings.pre_nms_top_n if settings.topk_after_collect else settings.post_nms_top_n
    kept = graph.op(
        "NonMaxSuppression",
        boxes,
        graph.op("Where", graph.unsqueeze(is_of_level, 0), graph.unsqueeze(scores, 1), _ABSENT),  # (N, L, K)
        integers(count),
        np.array([settings.nms_thresh], np.float32),
        _NOT_ABSENT,
    )  # (S, 3) image, level, candidate
    kept = graph.gather(kept, integers(0, 2), axis=1)  # (S, 2)
    nothing = graph.op("Expand", _ABSENT, graph.op("Shape", scores))
    scores = graph.op("ScatterND", nothing, kept, graph.op("GatherND", scores, kept))
    best, index = add_best_per_image(graph, scores, settings.post_nms_top_n)
    pairs = graph.op("Transpose", graph.op("NonZero", best > _NOT_ABSENT), perm=[1, 0])  # (R, 2) image, rank
    image = graph.reshape(graph.slice(pairs, 1, 0, 1), -1)
    index = graph.op("GatherND", index, pairs)
    image_and_index = graph.concat(graph.unsqueeze(image, 1), graph.unsqueeze(index, 1), axis=1)
    return Rows(graph.op("GatherND", boxes, image_and_index), image)


def _add_level_candidates(
    graph: Graph, feature: Value, head: nn.Layer, cell_anchors: np.ndarray, stride: float, offset: float
) -> tuple[Value, Value]:
    """Return the best anchors of one level, best first: logits (N, k) and decoded boxes (N, k, 4)."""
    hidden = add_conv(graph, feature, head.rpn_feat.rpn_conv, relu=True)
    anchors = len(cell_anchors)
    scores = add_conv(graph, hidden, head.rpn_rois_score)
    scores = graph.reshape(graph.op("Transpose", scores, perm=[0, 2, 3, 1]), 0, -1)  # (N, H W A)
    deltas = add_conv(graph, hidden, head.rpn_rois_delta)
    deltas = graph.op("Transpose", deltas, perm=[0, 2, 3, 1])
    deltas = graph.op("Reshape", deltas, graph.concat(graph.shape(feature, 0), integers(-1, 4)))  # (N, H W A, 4)
    scores, index = add_best_per_image(graph, scores, head.test_proposal.pre_nms_top_n)
    deltas = graph.op("GatherND", deltas, graph.unsqueeze(index, 2), batch_dims=1)  # (N, k, 4)

    place = graph.op("Div", index, integers(anchors))  # number of the position, counted row by row
    width = graph.shape(hidden, 3)
    shift_x = (graph.cast(graph.op("Mod", place, width), np.float32) + offset) * stride
    shift_y = (graph.cast(graph.op("Div", place, width), np.float32) + offset) * stride
    shift = graph.concat(graph.unsqueeze(shift_x, 2), graph.unsqueeze(shift_y, 2), axis=2)
    cells = graph.gather(cell_anchors.astype(np.float32), graph.op("Mod", index, integers(anchors)))
    boxes = graph.concat(shift, shift, axis=2) + cells  # (N, k, 4)
    return scores, add_decode(graph, deltas, boxes, limit_shrinking=head.test_proposal.limit_shrinking)


def add_decode(graph: Graph, deltas: Value, boxes: Value, axis: int = -1, *, limit_shrinking: bool) -> Value:
    """Apply deltas to boxes, which are broadcast to them.

    Args:
        graph: The graph.
        deltas: Shifts and logarithms of scales.
        boxes: What they are relative to.
        axis: The axis that holds the four numbers of each.
        limit_shrinking: As in :class:`~ppdet_res2net.ppdet_modules.boxes.RCNNBox`.
    """
    top_left, bottom_right = _halves(graph, boxes, axis)
    size = bottom_right - top_left
    centre = top_left + size * 0.5
    shift, log_scale = _halves(graph, deltas, axis)
    centre = shift * size + centre
    log_scale = graph.op("Min", log_scale, np.float32(MAX_LOG_SCALE))
    if limit_shrinking:
        log_scale = graph.op("Max", log_scale, np.float32(-MAX_LOG_SCALE))
    half = graph.op("Exp", log_scale) * size * 0.5
    return graph.concat(centre - half, centre + half, axis=axis)


def _halves(graph: Graph, value: Value, axis: int) -> tuple[Value, Value]:
    """Return the first two and the last two of four entries along an axis."""
    first, last = graph.ops("Split", value, outputs=2, axis=axis)
    return first, last


def add_best_per_image(graph: Graph, scores: Value, count: int) -> tuple[Value, Value]:
    """Return the ``count`` best of (N, K), or all K if there are fewer: scores and indices (N, k), best first."""
    k = graph.op("Min", graph.shape(scores, 1), integers(count))
    best, index = graph.ops("TopK", scores, k, outputs=2, axis=1)
    return best, index


def add_image_mask(graph: Graph, image: Value, im_shape: Value) -> Value:
    """Return which rows belong to which image: bool (N, R)."""
    images = graph.unsqueeze(graph.arange(graph.shape(im_shape, 0)), 1)  # (N, 1)
    return graph.op("Equal", images, graph.unsqueeze(image, 0))


def add_roi_features(
    graph: Graph, features: Sequence[Value], rows: Rows, extractor: nn.Layer
) -> tuple[Value, Rows, Value]:
    """Pool the features of regions, each from the pyramid level that fits its size.

    Use the returned boxes from here on. In bfloat16, OpenVINO keeps in float32 only what reaches an output without a
    convolution or matrix product on the way. Boxes that only RoiAlign uses would be rounded, by whole pixels.

    Returns:
        Features (R, C, side, side), ordered by level; the boxes in the same order; the row of each, (R,) int64.
    """
    first, last = extractor.start_level, extractor.end_level
    corners = (graph.slice(rows.boxes, 1, i, i + 2) for i in (0, 2))
    size = graph.op("Sub", *reversed(list(corners)))
    area = graph.op("ReduceProd", size, axes=[1], keepdims=0)
    least_areas = extractor.least_areas
    if least_areas is None:
        scale = graph.op("Sqrt", area) / float(extractor.canonical_size) + PADDLE_LEVEL_EPSILON
        level = graph.op("Floor", graph.op("Log", scale) / float(np.log(2)) + float(extractor.canconical_level))
        level = graph.op("Clip", level, np.float32(first + 2), np.float32(last + 2))
    else:
        reaches = graph.cast(graph.unsqueeze(area, 1) >= least_areas, np.float32)
        level = graph.op("ReduceSum", reaches, integers(1), keepdims=0) + float(first + 2)
    pooled, parts, order = [], [], []
    for i in range(first, last + 1):
        index = graph.where_true(graph.op("Equal", level, np.float32(i + 2)))
        part = rows.take(index)
        pooled.append(
            graph.op(
                "RoiAlign",
                features[i],
                part.boxes,
                part.image,
                coordinate_transformation_mode="half_pixel" if extractor.aligned else "output_half_pixel",
                mode="avg",
                output_height=extractor.resolution,
                output_width=extractor.resolution,
                sampling_ratio=max(extractor.sampling_ratio, 0),
                spatial_scale=float(extractor.spatial_scale[i]),
            )
        )
        parts.append(part)
        order.append(index)
    ordered = Rows(*(graph.concat(*values) for values in zip(*parts)))
    return graph.concat(*pooled), ordered, graph.concat(*order)


def _width_height_twice(graph: Graph, height_width: Value) -> Value:
    """Turn (N, 2) height, width into (N, 4) width, height, width, height."""
    return graph.gather(height_width, integers(1, 0, 1, 0), axis=1)
