"""Crowd flags in paddledet's matching of anchors and proposals."""

from __future__ import annotations

import functools
import inspect

__all__ = ["accept_integer_crowd_flags"]


def accept_integer_crowd_flags() -> None:
    """Let paddledet match boxes in images that hold crowds besides single objects (``load_crowd: true``).

    ``label_box`` (ppdet/modeling/proposal_generator/target.py) multiplies the dataset's int32 flags with a float32
    tensor, which Paddle 3 refuses ("Type promotion only support calculations between floating-point numbers"). The
    flags are cast first. Versions: paddledet <= 2.6.0 on Paddle 3.
    """
    from ppdet.modeling.proposal_generator import target

    original = target.label_box
    signature = inspect.signature(original)

    @functools.wraps(original)
    def label_box(*args, **kwargs):
        call = signature.bind(*args, **kwargs)
        if call.arguments.get("is_crowd") is not None:
            call.arguments["is_crowd"] = call.arguments["is_crowd"].cast("float32")
        return original(*call.args, **call.kwargs)

    target.label_box = label_box
