"""Paddle tensors with one element as Python numbers, on NumPy 2.4 and later."""

from __future__ import annotations

__all__ = ["accept_one_element_tensors_as_numbers"]


def accept_one_element_tensors_as_numbers() -> None:
    """Let ``int(t)``, ``float(t)`` and ``range(t)`` take a Paddle tensor of shape [1], as Paddle documents.

    Paddle checks that there is one element and then calls ``int(np.array(t))``; NumPy 2.4 turned its warning about
    that for arrays of shape [1] into an error. paddledet's RPN head loops over ``range(paddle.slice(...))``, so that no
    R-CNN runs. Versions: Paddle <= 3.3.1 with NumPy >= 2.4; does nothing where the conversion works.
    """
    import paddle

    try:
        int(paddle.ones([1], dtype="int64"))
        return
    except TypeError:
        pass
    for name, convert in (("__int__", int), ("__float__", float), ("__index__", int), ("__long__", int)):
        if hasattr(paddle.Tensor, name):
            setattr(paddle.Tensor, name, _converter(convert))


def _converter(convert: type):
    def to_number(tensor):
        if tensor.size != 1:
            raise TypeError(f"only a tensor with one element can become a Python number, got shape {tensor.shape}")
        return convert(tensor.item())

    return to_number
