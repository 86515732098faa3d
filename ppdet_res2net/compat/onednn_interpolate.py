"""oneDNN's interpolation under PIR."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ppdet_res2net.compat.defect import Defect
from ppdet_res2net.compat.overlay import ModuleView
from ppdet_res2net.compat.probing import run_with_onednn

__all__ = ["DEFECT", "upsample_without_interpolate"]


@contextlib.contextmanager
def upsample_without_interpolate() -> Iterator[None]:
    """While active, ppdet's FPN doubles its maps by copying pixels instead of by ``interpolate``: the same numbers.

    oneDNN's ``interpolate`` under PIR refuses a list of scales ("ConvertPirAttribute2RuntimeAttribute not support
    ArrayAttribute<DoubleAttribute>"). oneDNN is on by default there, so no FPN runs on a CPU.
    """
    from ppdet.modeling.necks import fpn

    original = fpn.F

    def interpolate(x, size=None, scale_factor=None, mode="nearest", **options):
        if mode != "nearest" or scale_factor != 2.0 or size is not None or options:
            return original.interpolate(x, size=size, scale_factor=scale_factor, mode=mode, **options)
        return _double(x)

    fpn.F = ModuleView(original, interpolate=interpolate)
    try:
        yield
    finally:
        fpn.F = original


def _double(x):
    """Repeat each pixel of a map (N, C, H, W) in both directions: (N, C, 2 H, 2 W)."""
    import paddle

    shape = paddle.shape(x)
    channels = x.shape[1]
    x = x.unsqueeze(-1).unsqueeze(-3)  # (N, C, H, 1, W, 1)
    x = x.expand([-1, -1, -1, 2, -1, 2])
    return x.reshape([shape[0], channels, shape[2] * 2, shape[3] * 2])


def _is_present() -> bool:
    import numpy as np
    from paddle.nn import functional

    def double(x, identity):
        return functional.interpolate(x, scale_factor=2.0, mode="nearest") * identity[0, 0]

    try:
        run_with_onednn(double, [np.ones((1, 3, 4, 4), np.float32)])
    except NotImplementedError:
        return True
    return False


DEFECT = Defect(
    name="onednn_interpolate",
    what="oneDNN refuses interpolation by a list of scales, so no exported FPN runs on a CPU",
    versions={"paddle": ">=3.0"},
    reference="fluid/framework/new_executor/instruction/onednn/onednn_instruction.cc of Paddle 3.3.1",
    applied="while a model is exported for Paddle",
    is_present=_is_present,
)
