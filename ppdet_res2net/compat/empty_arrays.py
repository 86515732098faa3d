"""Arrays without elements, which occur when nothing is found."""

from __future__ import annotations

from ppdet_res2net.compat.defect import Defect
from ppdet_res2net.compat.probing import run_with_onednn

__all__ = ["DEFECT", "add_spare_class", "find_real_rows"]

_SPARE_BOX = (0.0, 0.0, 16.0, 16.0)  # lies in every image, in network pixels
_SPARE_SCORE = 2.0  # above every probability


def add_spare_class(boxes, probabilities, is_first):
    """Give one region of each image a box of an extra class, which always survives NMS and suppresses nothing.

    In some versions of Paddle, many operators refuse arrays without rows, and some end the process. The spare box keeps
    the arrays behind NMS from being empty; ``find_real_rows`` leaves it out again at the very end.

    Args:
        boxes: (R, C, 4) float32 xyxy, per region and class.
        probabilities: (R, C) float32.
        is_first: (R,) bool, whether a region is the first of its image.

    Returns:
        boxes (R, C + 1, 4) and probabilities (R, C + 1).
    """
    import numpy as np
    import paddle

    rows = paddle.shape(boxes)[0]
    spare = is_first.cast("float32").unsqueeze(1) * _SPARE_SCORE  # (R, 1)
    spare_box = paddle.to_tensor(np.array([[_SPARE_BOX]], np.float32)).expand([rows, 1, 4])
    return paddle.concat([boxes, spare_box], axis=1), paddle.concat([probabilities, spare], axis=1)


def find_real_rows(scores):
    """Return the indices (M,) int64 of the rows that are not spare ones.

    Use ``paddle.gather`` to select them: a slice without rows ends the process in Paddle 2.6.2 with oneDNN.
    """
    import paddle

    return paddle.nonzero(scores < _SPARE_SCORE).flatten()


def _is_present() -> bool:
    import numpy as np
    from paddle.nn import functional

    def convolve(x, identity):
        return functional.conv2d(x, identity.reshape([4, 4, 1, 1]))

    maps = np.zeros((1, 4, 8, 8), np.float32)
    run_with_onednn(convolve, [maps])  # must work with rows; otherwise the error below would say nothing about rows
    try:
        run_with_onednn(convolve, [maps[:0]])
    except ValueError:
        return True
    return False


DEFECT = Defect(
    name="empty_arrays",
    what="convolutions and other operators refuse arrays without rows, and some end the process",
    versions={"paddle": ">=2.6"},
    reference="seen in Paddle 2.6.2 and 3.3.1 (conv2d, concat, split, slice and others); no upstream report is known",
    applied="in the inference side of R-CNNs",
    is_present=_is_present,
)
