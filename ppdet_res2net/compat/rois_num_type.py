"""The type of the counts that ``generate_proposals`` returns under PIR."""

from __future__ import annotations

from ppdet_res2net.compat.defect import Defect

__all__ = ["DEFECT", "correct_rois_num_type"]


def correct_rois_num_type(rois_num, int32_like):
    """Declare the counts that ``generate_proposals`` returns as int32, which is their real type.

    Under PIR the result is declared float32. The next operator is compiled for float32 and stops with "The type of data
    we are trying to retrieve (float32) does not match". In eager mode the argument is returned unchanged.

    Args:
        rois_num: (N,) the operator's third result.
        int32_like: Any int32 tensor of shape (N,).
    """
    import paddle

    if not paddle.in_dynamic_mode() and rois_num.dtype == paddle.float32:
        rois_num.set_type(int32_like.type())
    return rois_num


def _is_present() -> bool:
    import paddle
    from paddle.vision.ops import generate_proposals

    paddle.enable_static()
    try:
        with paddle.static.program_guard(paddle.static.Program()):
            shapes = ([1, 3, 4, 4], [1, 12, 4, 4], [1, 2], [4, 4, 3, 4], [4, 4, 3, 4])
            scores, deltas, size, anchors, variances = (
                paddle.static.data(f"x{i}", shape) for i, shape in enumerate(shapes)
            )
            proposals = generate_proposals(scores, deltas, size, anchors, variances, return_rois_num=True)
            return proposals[2].dtype != paddle.int32
    finally:
        paddle.disable_static()


DEFECT = Defect(
    name="rois_num_type",
    what="static graphs declare the counts of generate_proposals as float32 although they are int32, and then do not run",
    versions={"paddle": ">=3.0"},
    reference="paddle.vision.ops.generate_proposals, seen in Paddle 3.3.1; no upstream report is known",
    applied="in the exported graph of R-CNNs",
    is_present=_is_present,
)
