"""Multi-class NMS in every execution mode of Paddle."""

from __future__ import annotations

from ppdet_res2net.compat.defect import Defect

__all__ = ["DEFECT", "multiclass_nms"]

_OPTIONS = (
    "score_threshold",
    "nms_top_k",
    "keep_top_k",
    "nms_threshold",
    "normalized",
    "nms_eta",
    "background_label",
)


def multiclass_nms(boxes, scores, rois_num, **options):
    """NMS per class and image, in eager mode, old static graphs and PIR.

    Outside eager mode, paddledet's ``ops.multiclass_nms`` appends an operator of the old intermediate representation,
    which Paddle 3's PIR refuses. There, this calls the operator's function directly.

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
        detections, _, num = paddle._C_ops.multiclass_nms3(boxes, scores, rois_num, *[options[n] for n in _OPTIONS])
        return detections, num

    from ppdet.modeling import ops

    detections, num, _ = ops.multiclass_nms(boxes, scores, rois_num=rois_num, return_index=True, **options)
    return detections, num


def _is_present() -> bool:
    import paddle

    from ppdet_res2net.compat.ppdet_import import import_ppdet_quietly

    import_ppdet_quietly()
    from ppdet.modeling import ops

    paddle.enable_static()
    try:
        with paddle.static.program_guard(paddle.static.Program()):
            boxes, scores = paddle.static.data("boxes", [5, 2, 4]), paddle.static.data("scores", [5, 2])
            counts = paddle.static.data("counts", [1], "int32")
            ops.multiclass_nms(boxes, scores, 0.1, 5, 5, rois_num=counts, return_index=True)
    except TypeError:
        return True
    finally:
        paddle.disable_static()
    return False


DEFECT = Defect(
    name="multiclass_nms",
    what="paddledet's multi-class NMS appends an operator of Paddle 2, which graphs of Paddle 3 refuse",
    versions={"paddledet": "<=2.6.0", "paddle": ">=3.0"},
    reference="multiclass_nms in ppdet/modeling/ops.py of paddledet 2.6.0",
    applied="in the inference side of R-CNNs",
    is_present=_is_present,
)
