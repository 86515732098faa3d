"""From the network's numbers to boxes: ppdet's ``ProposalGenerator`` and ``RCNNBox``, with settings for mmdetection's ways."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import paddle
from paddle.vision.ops import generate_proposals

__all__ = ["MAX_LOG_SCALE", "ProposalGenerator", "RCNNBox", "decode_boxes"]

# The logarithm of the most by which a box may grow.
MAX_LOG_SCALE = math.log(1000 / 16)
# generate_proposals does not keep boxes with a side below one pixel, so they are enlarged for it. A power of two changes no
# bit of the result.
_ENLARGEMENT = 2.0**40


class ProposalGenerator:
    """ppdet's class of this name with two more settings.

    Args:
        pre_nms_top_n: Best boxes of a level that go through NMS.
        post_nms_top_n: Best boxes of an image that are returned.
        nms_thresh: Overlap above which the worse of two boxes is dropped.
        min_size: Smallest width and height of a box in pixels. Below 1 it counts as 1, unless ``exact_min_size`` is set.
        eta: Factor of ``nms_thresh`` after each box.
        topk_after_collect: Limit the boxes after NMS by ``pre_nms_top_n`` instead of ``post_nms_top_n``, level by level.
        exact_min_size: Take ``min_size`` as it is; 0 keeps all boxes that are not empty. mmdetection does this.
        limit_shrinking: Let boxes shrink by no more than they may grow, which is 62.5 times. mmdetection does this.
    """

    def __init__(
        self,
        pre_nms_top_n: int = 12000,
        post_nms_top_n: int = 2000,
        nms_thresh: float = 0.5,
        min_size: float = 0.1,
        eta: float = 1.0,
        topk_after_collect: bool = False,
        exact_min_size: bool = False,
        limit_shrinking: bool = False,
    ) -> None:
        self.pre_nms_top_n = pre_nms_top_n
        self.post_nms_top_n = post_nms_top_n
        self.nms_thresh = nms_thresh
        self.min_size = min_size
        self.eta = eta
        self.topk_after_collect = topk_after_collect
        self.exact_min_size = exact_min_size
        self.limit_shrinking = limit_shrinking

    @property
    def least_side_px(self) -> float:
        """Smallest width and height of a proposal."""
        return max(self.min_size, 1 / _ENLARGEMENT if self.exact_min_size else 1.0)

    def propose(
        self, scores: paddle.Tensor, deltas: paddle.Tensor, anchors: paddle.Tensor, im_shape: paddle.Tensor
    ) -> tuple[paddle.Tensor, paddle.Tensor, paddle.Tensor]:
        """Return the proposals of one level of the pyramid, after NMS and grouped by image.

        Args:
            scores: (N, A, H, W) logits.
            deltas: (N, 4 A, H, W).
            anchors: (H, W, A, 4) or (H * W * A, 4) xyxy in network pixels.
            im_shape: (N, 2) height and width of the images without padding.

        Returns:
            Boxes (R, 4) xyxy, logits (R, 1), and the number of boxes of each image (N,) int32.
        """
        if self.limit_shrinking:
            deltas = _limit_shrinking(deltas, (1.0, 1.0, 1.0, 1.0))
        factor = _ENLARGEMENT if self.least_side_px < 1 else 1.0
        if factor != 1:
            anchors, im_shape = anchors * factor, im_shape * factor
        boxes, kept_scores, num = generate_proposals(
            scores,
            deltas,
            im_shape,
            anchors,
            paddle.ones_like(anchors),
            pre_nms_top_n=self.pre_nms_top_n,
            post_nms_top_n=self.pre_nms_top_n if self.topk_after_collect else self.post_nms_top_n,
            nms_thresh=self.nms_thresh,
            min_size=self.least_side_px * factor,
            eta=self.eta,
            return_rois_num=True,
        )
        return boxes if factor == 1 else boxes * (1 / factor), kept_scores, num

    def __call__(
        self, scores: paddle.Tensor, bbox_deltas: paddle.Tensor, anchors: paddle.Tensor, im_shape: paddle.Tensor
    ) -> tuple[paddle.Tensor, paddle.Tensor, paddle.Tensor, int]:
        """Return what :meth:`propose` returns and ``post_nms_top_n``, as ppdet's RPN expects."""
        return (*self.propose(scores, bbox_deltas, anchors, im_shape), self.post_nms_top_n)


class RCNNBox:
    """ppdet's class of this name with one more setting.

    Args:
        prior_box_var: Factors of the deltas: one over their standard deviations.
        code_type: Not used by ppdet.
        box_normalized: Not used by ppdet.
        num_classes: Object classes.
        export_onnx: ppdet's own way to ONNX.
        limit_shrinking: Let boxes shrink by no more than they may grow, which is 62.5 times. mmdetection does this.
    """

    __shared__ = ["num_classes", "export_onnx"]

    def __init__(
        self,
        prior_box_var: Sequence[float] = (10.0, 10.0, 5.0, 5.0),
        code_type: str = "decode_center_size",
        box_normalized: bool = False,
        num_classes: int = 80,
        export_onnx: bool = False,
        limit_shrinking: bool = False,
    ) -> None:
        self.prior_box_var = prior_box_var
        self.limit_shrinking = limit_shrinking
        self._settings = (prior_box_var, code_type, box_normalized, num_classes, export_onnx)

    def __call__(
        self, bbox_head_out: tuple, rois: tuple, im_shape: paddle.Tensor, scale_factor: paddle.Tensor
    ) -> tuple:
        """Return boxes and scores as ppdet does, in its own way of evaluating."""
        from ppdet.modeling.layers import RCNNBox as PaddleDetectionRCNNBox

        if self.limit_shrinking:
            bbox_head_out = (_limit_shrinking(bbox_head_out[0], self.prior_box_var), *bbox_head_out[1:])
        return PaddleDetectionRCNNBox(*self._settings)(bbox_head_out, rois, im_shape, scale_factor)


def decode_boxes(
    deltas: paddle.Tensor, boxes: paddle.Tensor, weights: Sequence[float], *, limit_shrinking: bool = False
) -> paddle.Tensor:
    """Return the boxes (R, K, 4) that deltas (R, 4 K) make of boxes (R, 4), all xyxy.

    Args:
        deltas: Shift and logarithm of the scale, times ``weights``.
        boxes: What they are relative to.
        weights: One over the standard deviation of each of the four.
        limit_shrinking: As in :class:`RCNNBox`.
    """
    from ppdet.modeling.bbox_utils import delta2bbox

    return delta2bbox(_limit_shrinking(deltas, weights) if limit_shrinking else deltas, boxes, weights)


def _limit_shrinking(deltas: paddle.Tensor, weights: Sequence[float]) -> paddle.Tensor:
    """Return deltas (R, 4 K) or (N, 4 A, H, W) whose logarithms of scales are not below -MAX_LOG_SCALE."""
    anything = np.finfo(np.float32).min
    least = np.array([anything, anything, -MAX_LOG_SCALE * weights[2], -MAX_LOG_SCALE * weights[3]], np.float32)
    least = np.tile(least, deltas.shape[1] // 4).reshape(1, -1, *[1] * (deltas.ndim - 2))
    return paddle.maximum(deltas, paddle.to_tensor(least, dtype=deltas.dtype))
