"""Zero-dimensional tensors in paddledet."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ppdet_res2net.compat.defect import Defect
from ppdet_res2net.compat.overlay import ModuleView

__all__ = ["DEFECT", "accept_zero_dim_in_concat"]


def accept_zero_dim_in_concat() -> None:
    """Let paddledet's modules concatenate 0-D tensors, as they were written for Paddle before 2.5.

    Since Paddle 2.5, indexing a tensor gives a 0-D tensor (before: shape [1]), which ``paddle.concat`` refuses.
    paddledet 2.6.0 concatenates such tensors in RPN proposals, the box and mask samplers and box post-processing, so
    training, evaluation and export of every R-CNN stop. One change fixes all of these: inside ``ppdet.modeling``, the
    name ``paddle`` refers to a view of paddle whose ``concat`` turns 0-D tensors into tensors of shape [1].
    """
    import paddle

    def concat(x: Sequence, axis: int = 0, name: str | None = None):
        """``paddle.concat``, with 0-D tensors turned into tensors of shape [1]."""
        if isinstance(x, (list, tuple)):
            x = [t.reshape([1]) if isinstance(t, paddle.Tensor) and t.ndim == 0 else t for t in x]
        return paddle.concat(x, axis=axis, name=name)

    view = ModuleView(paddle, concat=concat)
    for name, module in list(sys.modules.items()):
        if name.startswith("ppdet.modeling") and getattr(module, "paddle", None) is paddle:
            vars(module)["paddle"] = view


def _is_present() -> bool:
    import paddle

    counts = paddle.to_tensor([1, 2])
    try:
        return paddle.concat([counts[0], counts[1]]).shape != [2]
    except ValueError:
        return True


DEFECT = Defect(
    name="zero_dim",
    what="paddledet concatenates 0-D tensors, which Paddle refuses: no R-CNN trains, evaluates or exports",
    versions={"paddledet": "<=2.6.0", "paddle": ">=2.5"},
    reference="ppdet/modeling/proposal_generator/rpn_head.py and others; later sources slice [0:1] instead of indexing [0]",
    applied="after paddledet is imported",
    is_present=_is_present,
)
