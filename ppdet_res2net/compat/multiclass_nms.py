"""Multi-class NMS in every execution mode of Paddle."""

from __future__ import annotations

__all__ = ["multiclass_nms"]


def multiclass_nms(boxes, scores, rois_num, **options):
    """NMS per class and image, in eager mode, old static graphs and PIR.

    paddledet's ``ops.multiclass_nms`` (2.6.0) appends an operator of the old intermediate representation whenever it is
    not in eager mode, which Paddle 3's PIR refuses; there the operator's function is called directly.

    Args:
        boxes: (R, C, 4) xyxy float32, rows grouped by image.
        scores: (R, C) float32.
        rois_num: (N,) int32, rows per image.
        **options: ``score_threshold, nms_top_k, keep_top_k, nms_threshold, normalized, nms_eta, background_label``.

    Returns:
        detections (M, 6) of label, score, x1, y1, x2, y2; detections per image (N,) int32.
    """
    import paddle
    from paddle.framework import in_dynamic_or_pir_mode

    if in_dynamic_or_pir_mode():
        names = (
            "score_threshold",
            "nms_top_k",
            "keep_top_k",
            "nms_threshold",
            "normalized",
            "nms_eta",
            "background_label",
        )
        detections, _, num = paddle._C_ops.multiclass_nms3(boxes, scores, rois_num, *[options[n] for n in names])
        return detections, num

    from ppdet.modeling import ops

    detections, num, _ = ops.multiclass_nms(boxes, scores, rois_num=rois_num, return_index=True, **options)
    return detections, num
