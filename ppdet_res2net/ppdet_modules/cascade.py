"""ppdet's Cascade R-CNN with settings for what mmdetection's computes otherwise."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import paddle
import paddle.nn.functional as F
from paddle import nn
from ppdet.core.workspace import create
from ppdet.modeling.architectures.cascade_rcnn import CascadeRCNN as PaddleDetectionCascadeRCNN
from ppdet.modeling.heads.cascade_head import CascadeHead as PaddleDetectionCascadeHead
from ppdet.modeling.heads.mask_head import MaskHead

from ppdet_res2net.compat.cascade_ignored import leave_out_ignored
from ppdet_res2net.ppdet_modules.roi_align import RoIAlign

__all__ = ["CascadeHead", "CascadeMaskHead", "CascadeRCNN"]

_WEIGHTS = ((10.0, 10.0, 5.0, 5.0), (20.0, 20.0, 10.0, 10.0), (30.0, 30.0, 15.0, 15.0))


class CascadeHead(PaddleDetectionCascadeHead):
    """ppdet's class of this name with one more setting. It also keeps what each stage was trained on.

    Args:
        head, in_channel, roi_extractor, bbox_assigner, num_classes, bbox_weight, num_cascade_stages, bbox_loss,
            reg_class_agnostic, stage_loss_weights, loss_normalize_pos, add_gt_as_proposals: As in ppdet.
        averaged: What the mean of all stages is taken of, ``probabilities`` or ``logits``. mmdetection takes logits. Training
            does not depend on it.
    """

    __shared__ = ["num_classes", "num_cascade_stages"]
    __inject__ = ["bbox_assigner", "bbox_loss"]

    def __init__(
        self,
        head: nn.Layer,
        in_channel: int,
        roi_extractor: Mapping | None = None,
        bbox_assigner: Any = "BBoxAssigner",
        num_classes: int = 80,
        bbox_weight: Sequence[Sequence[float]] = _WEIGHTS,
        num_cascade_stages: int = 3,
        bbox_loss: Any = None,
        reg_class_agnostic: bool = True,
        stage_loss_weights: Sequence[float] | None = None,
        loss_normalize_pos: bool = False,
        add_gt_as_proposals: Sequence[bool] = (True, False, False),
        averaged: str = "probabilities",
    ) -> None:
        super().__init__(
            head,
            in_channel,
            RoIAlign(**(roi_extractor or {})),
            self._assign,
            num_classes,
            bbox_weight,
            num_cascade_stages,
            bbox_loss,
            reg_class_agnostic,
            stage_loss_weights,
            loss_normalize_pos,
            add_gt_as_proposals,
        )
        self.averaged = averaged
        self.assigned_stages: list[tuple] = []
        self._assigner = bbox_assigner

    @classmethod
    def from_config(cls, cfg: Mapping, input_shape: Sequence[Any]) -> dict[str, Any]:
        """Return the parts that depend on the features, as ppdet asks for them."""
        head = create(cfg["head"], input_shape=input_shape)
        return {
            "roi_extractor": _pooling_settings(cfg, input_shape),
            "head": head,
            "in_channel": head.out_shape[0].channels,
        }

    def forward(
        self, body_feats: Any = None, rois: Any = None, rois_num: Any = None, inputs: Any = None
    ) -> tuple[Any, Any]:
        """Return what ppdet's class returns. In training, ``assigned_stages`` then has regions, counts and targets of each."""
        self.assigned_stages = []
        return super().forward(body_feats, rois, rois_num, inputs)

    def _assign(self, *args: Any, **kwargs: Any) -> tuple:
        rois, rois_num, targets = self._assigner(*args, **kwargs)
        self.assigned_stages.append(leave_out_ignored(rois, rois_num, targets, self.num_classes))
        return self.assigned_stages[-1]

    def get_prediction(self, head_out_list: list) -> tuple:
        """Return scores, offsets and regions of the last stage, in ppdet's own way of evaluating."""
        _, deltas, rois = head_out_list[-1]
        return self.average([scores for scores, _, _ in head_out_list]), deltas, rois

    def average(self, logits: Sequence[paddle.Tensor]) -> paddle.Tensor:
        """Return probabilities (R, C + 1) from the logits (R, C + 1) of each stage."""
        if self.averaged == "logits":
            return F.softmax(paddle.add_n(list(logits)) / len(logits))
        return paddle.add_n([F.softmax(one) for one in logits]) / len(logits)


class CascadeMaskHead(nn.Layer):
    """A mask head for each stage of Cascade R-CNN, as in mmdetection. ppdet has one for all of them.

    Each is trained on the regions of its own stage. Their probabilities are averaged.

    Args:
        head: Creates the layers before the last one. It is called once for each stage.
        roi_extractor: Arguments of the pooling.
        mask_assigner: Makes the masks that are learned.
        num_classes: Object classes.
        num_cascade_stages: Number of heads.
    """

    __shared__ = ["num_classes", "num_cascade_stages"]
    __inject__ = ["mask_assigner"]

    share_bbox_feat = False

    def __init__(
        self,
        head: Callable[[], nn.Layer],
        roi_extractor: Mapping | None = None,
        mask_assigner: Any = "MaskAssigner",
        num_classes: int = 80,
        num_cascade_stages: int = 3,
    ) -> None:
        super().__init__()
        pooling = RoIAlign(**(roi_extractor or {}))
        stages = [MaskHead(head(), pooling, mask_assigner, num_classes) for _ in range(num_cascade_stages)]
        self.stages = nn.LayerList(stages)

    @classmethod
    def from_config(cls, cfg: Mapping, input_shape: Sequence[Any]) -> dict[str, Any]:
        """Return the parts that depend on the features, as ppdet asks for them."""
        return {
            "roi_extractor": _pooling_settings(cfg, input_shape),
            "head": functools.partial(create, cfg["head"], input_shape=input_shape),
        }

    def losses(self, features: Any, assigned_stages: Sequence[tuple], weights: Sequence[float], inputs: Any) -> dict:
        """Return the loss of every stage, times its weight.

        Args:
            features: The maps of the pyramid.
            assigned_stages: Regions, counts and targets of each stage, as :class:`CascadeHead` keeps them.
            weights: Of each stage.
            inputs: The batch.
        """
        losses = {}
        for number, (head, (rois, rois_num, targets), weight) in enumerate(zip(self.stages, assigned_stages, weights)):
            loss = head(features, rois, rois_num, inputs, targets)["loss_mask"]
            losses[f"loss_mask_stage{number}"] = loss * weight
        return losses

    def forward(self, body_feats: Any, rois: Any, rois_num: Any, inputs: Any) -> paddle.Tensor:
        """Return the masks of detections, in ppdet's own way of evaluating."""
        masks = [head(body_feats, rois, rois_num, inputs) for head in self.stages]
        return paddle.add_n(masks) / len(masks)


class CascadeRCNN(PaddleDetectionCascadeRCNN):
    """ppdet's class of this name, which also trains :class:`CascadeMaskHead`."""

    def _forward(self) -> tuple:
        if not (self.training and isinstance(self.mask_head, CascadeMaskHead)):
            return super()._forward()
        features = self.backbone(self.inputs)
        if self.neck is not None:
            features = self.neck(features)
        rois, rois_num, rpn_losses = self.rpn_head(features, self.inputs)
        head = self.bbox_head
        box_losses, _ = head(features, rois, rois_num, self.inputs)
        mask_losses = self.mask_head.losses(features, head.assigned_stages, head.stage_loss_weights, self.inputs)
        return rpn_losses, box_losses, mask_losses


def _pooling_settings(cfg: Mapping, input_shape: Sequence[Any]) -> dict[str, Any]:
    """Return the arguments of the pooling, with the scales of the maps."""
    return {**(cfg["roi_extractor"] or {}), **RoIAlign.from_config(cfg, input_shape)}
