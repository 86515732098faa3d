"""Paddle tensors with one element as Python numbers, on NumPy 2.4 and later."""

from __future__ import annotations

from ppdet_res2net.compat.defect import Defect

__all__ = ["DEFECT", "accept_one_element_tensors_as_numbers"]


def accept_one_element_tensors_as_numbers() -> None:
    """Let ``int(t)``, ``float(t)`` and ``range(t)`` take a Paddle tensor of shape [1], as Paddle documents.

    Paddle checks that there is one element and then calls ``int(np.array(t))``. NumPy 2.4 turned its warning about
    arrays of shape [1] into an error. paddledet's RPN head loops over ``range(paddle.slice(...))``, so no R-CNN runs.
    Does nothing if the conversion works.
    """
    if not _is_present():
        return
    import paddle

    for name, convert in (("__int__", int), ("__float__", float), ("__index__", int), ("__long__", int)):
        if hasattr(paddle.Tensor, name):
            setattr(paddle.Tensor, name, _converter(convert))


def _converter(convert: type):
    def to_number(tensor):
        if tensor.size != 1:
            raise TypeError(f"only a tensor with one element can become a Python number, got shape {tensor.shape}")
        return convert(tensor.item())

    return to_number


def _is_present() -> bool:
    import paddle

    try:
        int(paddle.ones([1], dtype="int64"))
    except TypeError:
        return True
    return False


DEFECT = Defect(
    name="one_element",
    what="Paddle tensors of shape [1] do not convert to Python numbers, but paddledet's RPN head relies on it",
    versions={"paddle": "<=3.3.1", "numpy": ">=2.4"},
    reference="paddle/base/dygraph/math_op_patch.py of Paddle 3.3.1",
    applied="after paddledet is imported",
    is_present=_is_present,
)
