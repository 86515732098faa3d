"""Operators whose static graphs Paddle's CPU inference cannot run."""

from __future__ import annotations

import contextlib
import types
from collections.abc import Iterator

__all__ = ["correct_rois_num_type", "divide_out_of_place", "upsample_without_interpolate"]


def correct_rois_num_type(rois_num, int32_like):
    """Declare the counts that ``generate_proposals`` returns as int32, which they are.

    Under PIR the operator's result is declared float32, so that the next operator is compiled for float32 and stops
    with "The type of data we are trying to retrieve (float32) does not match". Versions: Paddle 3.0 to 3.3.1, static
    graphs only; returns its argument unchanged elsewhere.

    Args:
        rois_num: (N,) the operator's third result.
        int32_like: Any int32 tensor of shape (N,).
    """
    import paddle

    if not paddle.in_dynamic_mode() and rois_num.dtype == paddle.float32:
        rois_num.set_type(int32_like.type())
    return rois_num


@contextlib.contextmanager
def upsample_without_interpolate() -> Iterator[None]:
    """While active, ppdet's FPN doubles its maps by copying pixels instead of by ``interpolate``: the same numbers.

    oneDNN's ``interpolate`` under PIR refuses a list of scales ("ConvertPirAttribute2RuntimeAttribute not support
    ArrayAttribute<DoubleAttribute>"), so that Paddle 3.3.1, where oneDNN is on by default, cannot run any FPN on a
    CPU. Used while a graph is exported.
    """
    from ppdet.modeling.necks import fpn

    original = fpn.F
    fpn.F = _FunctionalView(original)
    try:
        yield
    finally:
        fpn.F = original


class _FunctionalView(types.ModuleType):
    """``paddle.nn.functional`` with nearest upsampling by two written as copies."""

    def __init__(self, functional: types.ModuleType) -> None:
        super().__init__(functional.__name__, functional.__doc__)
        self.__dict__["_functional"] = functional

    def __getattr__(self, name: str):
        return getattr(self.__dict__["_functional"], name)

    def interpolate(self, x, size=None, scale_factor=None, mode="nearest", **options):
        import paddle

        if mode != "nearest" or scale_factor != 2.0 or size is not None or options:
            return self.__dict__["_functional"].interpolate(
                x, size=size, scale_factor=scale_factor, mode=mode, **options
            )
        shape = paddle.shape(x)
        channels = x.shape[1]
        x = x.unsqueeze(-1).unsqueeze(-3)  # (N, C, H, 1, W, 1)
        x = x.expand([-1, -1, -1, 2, -1, 2])
        return x.reshape([shape[0], channels, shape[2] * 2, shape[3] * 2])


def divide_out_of_place(x, y):
    """``x / y`` whose result never overwrites ``x``.

    oneDNN's division under PIR writes its result into the memory of ``x`` even where ``x`` is used again later: seen
    with Paddle 3.3.1 as mask features pooled from boxes in the wrong coordinates. Dividing a copy of ``x`` is exact.
    """
    return (x + 0.0) / y
