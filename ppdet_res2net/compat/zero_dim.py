"""Zero-dimensional tensors in paddledet."""

from __future__ import annotations

import sys
import types
from collections.abc import Sequence

__all__ = ["accept_zero_dim_in_concat"]


def accept_zero_dim_in_concat() -> None:
    """Let paddledet's modules concatenate 0-D tensors, as it was written for Paddle before 2.5.

    Since Paddle 2.5 indexing a tensor gives a 0-D tensor (before: shape [1]), and ``paddle.concat`` refuses those.
    paddledet 2.6.0 does it in RPN proposals, the box and mask samplers and box post-processing, so that training,
    evaluation and export of every R-CNN stop. It is one defect, mended once: the name ``paddle`` inside ``ppdet.modeling``
    refers to a view of paddle whose ``concat`` lifts 0-D inputs to shape [1]. Paddle itself stays as it is.

    Versions: paddledet <= 2.6.0 on Paddle >= 2.5. Upstream: later sources of ppdet/modeling/proposal_generator/rpn_head.py
    slice ``[0:1]`` instead of indexing ``[0]``; no release on the package index has that.
    """
    import paddle

    view = _PaddleView(paddle)
    for name, module in list(sys.modules.items()):
        if name.startswith("ppdet.modeling") and getattr(module, "paddle", None) is paddle:
            module.paddle = view


class _PaddleView(types.ModuleType):
    """Everything that paddle has, looked up there at each use, but with a ``concat`` that takes 0-D tensors."""

    def __init__(self, paddle: types.ModuleType) -> None:
        super().__init__(paddle.__name__, paddle.__doc__)
        self.__dict__["_paddle"] = paddle

    def __getattr__(self, name: str):
        return getattr(self.__dict__["_paddle"], name)

    def concat(self, x: Sequence, axis: int = 0, name: str | None = None):
        """``paddle.concat`` with 0-D tensors lifted to shape [1]."""
        paddle = self.__dict__["_paddle"]
        if isinstance(x, (list, tuple)):
            x = [t.reshape([1]) if isinstance(t, paddle.Tensor) and t.ndim == 0 else t for t in x]
        return paddle.concat(x, axis=axis, name=name)
