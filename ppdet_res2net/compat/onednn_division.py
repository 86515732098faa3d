"""oneDNN's division under PIR."""

from __future__ import annotations

from ppdet_res2net.compat.defect import Defect
from ppdet_res2net.compat.probing import run_with_onednn

__all__ = ["DEFECT", "divide_out_of_place"]


def divide_out_of_place(x, y):
    """Return ``x / y`` without overwriting ``x``.

    oneDNN's division under PIR writes its result into the memory of ``x`` even where ``x`` is used again later: mask
    features were pooled from boxes in the wrong coordinates, without any error. Dividing a copy of ``x`` is exact.
    """
    return (x + 0.0) / y


def _is_present() -> bool:
    import numpy as np

    def divide(x, y, identity):
        x = x.matmul(identity)
        quotient = x / y
        return quotient, x + quotient * 0  # x is needed after the division

    x = np.arange(1, 25, dtype=np.float32).reshape(6, 4)
    _, later = run_with_onednn(divide, [x, np.full_like(x, 2)])
    return not np.array_equal(later, x)


DEFECT = Defect(
    name="onednn_division",
    what="oneDNN's division overwrites its first operand even where that is used again: wrong results without an error",
    versions={"paddle": ">=3.0"},
    reference="seen in Paddle 3.3.1; no upstream report is known",
    applied="in the exported graph of R-CNNs",
    is_present=_is_present,
)
