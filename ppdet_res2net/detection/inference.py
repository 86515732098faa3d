"""Inference of ppdet's Faster, Mask and Cascade R-CNN: one definition for evaluation, prediction and export.

paddledet's own inference loops over images and detections in Python, which becomes ``while`` blocks in a static graph. It
pastes masks inside the graph, handles one image at a time, and invents a box where nothing was found. This one has only
dense operators, takes any batch size, and can return empty results. Its results equal paddledet's: see
``tests/detection/test_parity.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import paddle
import paddle.nn.functional as F
from paddle import nn

from ppdet_res2net.compat.empty_arrays import add_spare_class, find_real_rows
from ppdet_res2net.compat.multiclass_nms import multiclass_nms
from ppdet_res2net.compat.onednn_division import divide_out_of_place
from ppdet_res2net.compat.rois_num_type import correct_rois_num_type
from ppdet_res2net.errors import ConfigError
from ppdet_res2net.ppdet_modules.boxes import decode_boxes
from ppdet_res2net.ppdet_modules.rows import count_per_image, image_of_row, rank_in_image

__all__ = ["OUTPUT_NAMES", "BoxStage", "RCNNInference", "original_size"]

OUTPUT_NAMES = ("boxes", "scores", "labels", "masks", "num")
_BOX_HEADS = {"FasterRCNN": "BBoxHead", "MaskRCNN": "BBoxHead", "CascadeRCNN": "CascadeHead"}


class BoxStage(NamedTuple):
    """The layers that classify and move regions once. Cascade R-CNN has several stages, the others have one.

    Attributes:
        head: From the pooled features of regions to their hidden features.
        score: From hidden features to logits (R, C + 1); the last one is the background.
        delta: From hidden features to offsets (R, 4 C), or (R, 4) if the classes share them.
        weights: What the offsets x, y, width and height are divided by.
    """

    head: nn.Layer
    score: nn.Linear
    delta: nn.Linear
    weights: Sequence[float]


class RCNNInference(nn.Layer):
    """The inference side of a ppdet ``FasterRCNN``, ``MaskRCNN`` or ``CascadeRCNN``, whose parameters it shares.

    Args:
        detector: The ppdet model, built with our configuration.

    Raises:
        ConfigError: The detector has a different architecture, or a part that this class does not support.
    """

    def __init__(self, detector: nn.Layer) -> None:
        super().__init__()
        architecture = type(detector).__name__
        if architecture not in _BOX_HEADS:
            *others, last = _BOX_HEADS
            raise ConfigError(
                f"architecture is {architecture}; evaluation, prediction and export support {', '.join(others)} and {last}."
            )
        head_type = type(detector.bbox_head).__name__
        if head_type != _BOX_HEADS[architecture] or getattr(detector.bbox_head, "use_cot", False):
            raise ConfigError(
                f"{architecture}.bbox_head is {head_type}; only {_BOX_HEADS[architecture]} without use_cot is supported."
            )
        self.backbone = detector.backbone
        self.neck = detector.neck
        self.rpn_head = detector.rpn_head
        self.bbox_head = detector.bbox_head
        mask_head: Any = getattr(detector, "mask_head", None)
        # One, none, or one for each stage of a cascade.
        self.mask_heads = nn.LayerList(getattr(mask_head, "stages", [] if mask_head is None else [mask_head]))
        if mask_head is not None and mask_head.share_bbox_feat:
            # C4 heads: the mask features are computed from those of the box head, so this layer calls the box head too.
            self.shared_feature_head = detector.bbox_head.get_head()
        else:
            self.shared_feature_head = None
        self.nms = detector.bbox_post_process.nms
        self.decode = detector.bbox_post_process.decode
        self.box_stages = _box_stages(detector.bbox_head, self.decode.prior_box_var)
        self.cell_anchors = [anchors.numpy() for anchors in detector.rpn_head.anchor_generator.cell_anchors]

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of what ``forward`` returns, in order; Faster R-CNN has no ``masks``."""
        return tuple(name for name in OUTPUT_NAMES if name != "masks" or self.mask_heads)

    def forward(
        self, image: paddle.Tensor, im_shape: paddle.Tensor, scale_factor: paddle.Tensor
    ) -> tuple[paddle.Tensor, ...]:
        """Detect objects.

        Args:
            image: (N, 3, H, W) float32, normalised RGB, padded at the right and the bottom.
            im_shape: (N, 2) float32, height and width before padding.
            scale_factor: (N, 2) float32, network pixels per original pixel, vertical and horizontal.

        Returns:
            boxes: (M, 4) float32, xyxy in pixels of the original image, clipped to it.
            scores: (M,) float32.
            labels: (M,) int32, from 0.
            masks: (M, 28, 28) float32 probabilities inside each box (Mask R-CNN only).
            num: (N,) int32, detections per image. The rows of the other outputs are grouped by image.
        """
        *rows, num, real = self.detect_with_spare_rows(image, im_shape, scale_factor)
        return (*(paddle.gather(t, real) for t in rows), num - 1)

    def detect_with_spare_rows(
        self, image: paddle.Tensor, im_shape: paddle.Tensor, scale_factor: paddle.Tensor
    ) -> tuple[paddle.Tensor, ...]:
        """Detect objects, with one more row per image, so that no tensor is empty: see ``compat/empty_arrays.py``.

        Args:
            image: As for :meth:`forward`; the others, too.
            im_shape: Height and width before padding.
            scale_factor: Network pixels per original pixel.

        Returns:
            What :meth:`forward` returns, with the spare rows, and the indices of the other rows.
        """
        features = self.backbone({"image": image})
        if self.neck is not None:
            features = self.neck(features)
        rois, rois_num = self._proposals(features, im_shape)
        boxes, scores, labels, num = self._detect(features, rois, rois_num, im_shape)
        image_index = image_of_row(num, boxes)
        original_boxes, keep = _to_original(boxes, image_index, im_shape, scale_factor)
        boxes, scores, labels, image_index, original_boxes = (
            paddle.gather(t, keep) for t in (boxes, scores, labels, image_index, original_boxes)
        )
        num = count_per_image(image_index, im_shape)
        masks = [self._masks(features, boxes, labels, num)] if self.mask_heads else []
        return (original_boxes, scores, labels, *masks, num, find_real_rows(scores))

    def _proposals(self, features: list[paddle.Tensor], im_shape: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Run the RPN: rois (R, 4) xyxy in network pixels, grouped by image, and rois per image (N,) int32."""
        head, settings = self.rpn_head, self.rpn_head.test_proposal
        level_rois, level_probs, level_images = [], [], []
        for level, feature in enumerate(head.rpn_feat(features)):
            rois, probs, num = settings.propose(
                head.rpn_rois_score(feature), head.rpn_rois_delta(feature), self._anchors(level, feature), im_shape
            )
            level_rois.append(rois)
            level_probs.append(probs.reshape([-1]))
            num = correct_rois_num_type(num, im_shape[:, 0].cast("int32"))
            level_images.append(image_of_row(num, rois))
        rois, probs, images = (paddle.concat(t) for t in (level_rois, level_probs, level_images))
        # Best first within each image: sort by score, then by image and place in that order, which are unique keys.
        order = paddle.argsort(probs, descending=True)
        rows = paddle.arange(0, paddle.shape(order)[0], dtype="int64")
        order = paddle.gather(order, paddle.argsort(paddle.gather(images, order) * paddle.shape(order)[0] + rows))
        images = paddle.gather(images, order)
        rank = rank_in_image(count_per_image(images, im_shape), images)
        chosen = paddle.nonzero(rank < settings.post_nms_top_n).flatten()
        order, images = paddle.gather(order, chosen), paddle.gather(images, chosen)
        return paddle.gather(rois, order), count_per_image(images, im_shape)

    def _anchors(self, level: int, feature: paddle.Tensor) -> paddle.Tensor:
        """Return the anchors of one level, (H * W * A, 4) xyxy, position by position."""
        generator = self.rpn_head.anchor_generator
        stride = float(generator.strides[level])
        shape = paddle.shape(feature)
        # arange over whole numbers is exact; a float stop value could be rounded
        shift_y = (paddle.arange(0, shape[2], dtype="int64").cast("float32") + generator.offset) * stride
        shift_x = (paddle.arange(0, shape[3], dtype="int64").cast("float32") + generator.offset) * stride
        shift_y, shift_x = paddle.meshgrid(shift_y, shift_x)
        shifts = paddle.stack([shift_x, shift_y, shift_x, shift_y], axis=-1).reshape([-1, 1, 4])
        cell = paddle.to_tensor(self.cell_anchors[level])  # (A, 4)
        return (shifts + cell.unsqueeze(0)).reshape([-1, 4])

    def _detect(
        self, features: list[paddle.Tensor], rois: paddle.Tensor, rois_num: paddle.Tensor, im_shape: paddle.Tensor
    ) -> tuple[paddle.Tensor, paddle.Tensor, paddle.Tensor, paddle.Tensor]:
        """Run box head and NMS: boxes (M, 4) xyxy in network pixels, scores (M,), labels (M,), rows per image (N,).

        One spare row per image goes through NMS and everything after it: see ``compat/empty_arrays.py``.
        """
        head = self.bbox_head
        limits = paddle.gather(im_shape, image_of_row(rois_num, rois))  # (R, 2)
        limits = paddle.concat([limits[:, 1:2], limits[:, 0:1]], axis=1)  # (R, 2) width, height
        limits = paddle.concat([limits, limits], axis=1).unsqueeze(1)  # (R, 1, 4)
        logits: list[paddle.Tensor] = []
        boxes = rois.unsqueeze(1)
        for stage in self.box_stages:
            rois = _boxes_of_best_class(boxes, logits)
            hidden = stage.head(head.roi_extractor(features, [rois], rois_num))
            if getattr(head, "with_pool", False):
                hidden = F.adaptive_avg_pool2d(hidden, output_size=1).squeeze([2, 3])
            logits.append(stage.score(hidden))  # (R, C + 1)
            boxes = decode_boxes(  # (R, C or 1, 4)
                stage.delta(hidden), rois, stage.weights, limit_shrinking=self.decode.limit_shrinking
            )
            boxes = paddle.maximum(paddle.minimum(boxes, limits), paddle.zeros_like(limits))
        probabilities = head.average(logits) if len(logits) > 1 else F.softmax(logits[0])
        probabilities = probabilities[:, :-1]  # (R, C)
        boxes = boxes.expand([-1, head.num_classes, 4])
        boxes, probabilities = add_spare_class(boxes, probabilities, rank_in_image(rois_num, rois) == 0)
        nms = self.nms
        detections, num = multiclass_nms(
            boxes,
            probabilities,
            rois_num,
            score_threshold=nms.score_threshold,
            nms_top_k=nms.nms_top_k,
            keep_top_k=nms.keep_top_k + 1 if nms.keep_top_k >= 0 else nms.keep_top_k,
            nms_threshold=nms.nms_threshold,
            normalized=nms.normalized,
            nms_eta=nms.nms_eta,
            background_label=head.num_classes + 1,  # none of the columns
        )
        detections = detections.reshape([-1, 6])
        labels = detections[:, 0].cast("int32")
        labels = paddle.minimum(labels, paddle.full_like(labels, head.num_classes - 1))  # also valid for spare rows
        return detections[:, 2:], detections[:, 1], labels, num

    def _masks(
        self, features: list[paddle.Tensor], boxes: paddle.Tensor, labels: paddle.Tensor, num: paddle.Tensor
    ) -> paddle.Tensor:
        """Run the mask heads: (M, 28, 28) probabilities of each detection's own class."""
        heads = self.mask_heads
        roi_features = heads[0].roi_extractor(features, [boxes], num)
        if self.shared_feature_head is not None:
            roi_features = self.shared_feature_head(roi_features)
        masks = [F.sigmoid(_mask_logits(head, roi_features, labels)) for head in heads]
        return masks[0] if len(masks) == 1 else paddle.add_n(masks) / len(masks)


def _box_stages(head: nn.Layer, last_weights: Sequence[float]) -> list[BoxStage]:
    """Return the stages of ppdet's ``BBoxHead`` or ``CascadeHead``. The last offsets have weights of the post-processing."""
    if not hasattr(head, "num_cascade_stages"):
        return [BoxStage(head.head, head.bbox_score, head.bbox_delta, last_weights)]
    weights = [*head.bbox_weight[: head.num_cascade_stages - 1], last_weights]
    return [BoxStage(*parts) for parts in zip(head.head.head_list, head.bbox_score_list, head.bbox_delta_list, weights)]


def _boxes_of_best_class(boxes: paddle.Tensor, logits: Sequence[paddle.Tensor]) -> paddle.Tensor:
    """Return a box (R, 4) of each region, from boxes (R, C or 1, 4): that of the best class in the last of ``logits``."""
    if boxes.shape[1] == 1:
        return boxes.squeeze(1)
    best = paddle.argmax(logits[-1][:, :-1], axis=1)
    return paddle.take_along_axis(boxes, best.reshape([-1, 1, 1]).expand([-1, 1, 4]), axis=1).squeeze(1)


def _mask_logits(head: nn.Layer, roi_features: paddle.Tensor, labels: paddle.Tensor) -> paddle.Tensor:
    """Return logits (M, 28, 28) of regions of classes ``labels`` (M,)."""
    mask_features = head.head(roi_features)  # (M, F, 28, 28)
    # The last 1x1 convolution is computed for the detected class only.
    weight = paddle.gather(head.mask_fcn_logits.weight.flatten(1), labels).unsqueeze(1)  # (M, 1, F)
    bias = paddle.gather(head.mask_fcn_logits.bias, labels).reshape([-1, 1, 1])
    side = mask_features.shape[-1]
    logits = paddle.bmm(weight, mask_features.flatten(2)).reshape([-1, side, side])
    return logits + bias


def original_size(im_shape: paddle.Tensor, scale_factor: paddle.Tensor) -> paddle.Tensor:
    """Return height and width of the original images, (N, 2) float32 whole numbers."""
    return paddle.floor(divide_out_of_place(im_shape, scale_factor) + 0.5)


def _to_original(
    boxes: paddle.Tensor, image_index: paddle.Tensor, im_shape: paddle.Tensor, scale_factor: paddle.Tensor
) -> tuple[paddle.Tensor, paddle.Tensor]:
    """Return boxes in pixels of the original image, clipped to it, and the indices of those that are not empty."""
    scale = paddle.gather(scale_factor, image_index)  # (M, 2) vertical, horizontal
    scale = paddle.concat([scale[:, 1:2], scale[:, 0:1]], axis=1)
    size = original_size(im_shape, scale_factor)
    size = paddle.gather(paddle.concat([size[:, 1:2], size[:, 0:1]], axis=1), image_index)
    boxes = divide_out_of_place(boxes, paddle.concat([scale, scale], axis=1))
    boxes = paddle.maximum(paddle.minimum(boxes, paddle.concat([size, size], axis=1)), paddle.zeros_like(boxes))
    extent = boxes[:, 2:] - boxes[:, :2]
    return boxes, paddle.nonzero((extent > 0).all(axis=1)).flatten()
