"""Models without initial values, for weights that are read from a file."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from paddle.nn import initializer

__all__ = ["without_initial_values"]

# Two threads that build models would each restore what the other has put in place.
_ONE_AT_A_TIME = threading.RLock()


@contextlib.contextmanager
def without_initial_values() -> Iterator[None]:
    """Let Paddle fill new weights with NaN, since drawing random numbers takes most of the time in which it builds a model.

    Only for models of which every tensor is loaded afterwards. NaN would show in all results if one was not.
    """
    nan = initializer.Constant(float("nan"))

    def fill(self: initializer.Initializer, weights: Any, block: Any = None) -> Any:
        return nan.forward(weights, block)

    base: Any = initializer.Initializer  # its method is replaced for a while, which types do not allow
    with _ONE_AT_A_TIME:
        draw = base.__call__
        base.__call__ = fill
        try:
            yield
        finally:
            base.__call__ = draw
