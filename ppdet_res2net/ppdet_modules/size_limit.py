"""A limit for the size of models, so that no line of a recipe takes all memory."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Iterator
from typing import Any

from paddle import nn

from ppdet_res2net.errors import ConfigError

__all__ = ["MOST_WEIGHTS", "limit_weights"]

# 2 GB of float32, and three times as much in training. The largest published Res2Net detector has 0.1 billion.
MOST_WEIGHTS = 500_000_000
# Two threads that build models would each restore what the other has put in place.
_ONE_AT_A_TIME = threading.RLock()


@contextlib.contextmanager
def limit_weights(most: int = MOST_WEIGHTS) -> Iterator[None]:
    """Refuse to create layers with more than this many weights together, before the one too many takes its memory.

    Widths, depths and numbers of classes are each within their limits; only their product shows how large a model is.

    Raises:
        ConfigError: The limit is reached.
    """
    count = 0

    def create_within_limit(layer: nn.Layer, shape: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal count
        count += math.prod(int(side) for side in shape)
        if count > most:
            raise ConfigError(
                f"The model has more than {most:,} weights, the most that a recipe may ask for; the last part was a "
                f"{type(layer).__name__} of {' x '.join(map(str, shape))}. Choose a smaller width, depth or number of channels."
            )
        return create(layer, shape, *args, **kwargs)

    layer_class: Any = nn.Layer  # its method is replaced for a while, which types do not allow
    with _ONE_AT_A_TIME:
        create = layer_class.create_parameter
        layer_class.create_parameter = create_within_limit
        try:
            yield
        finally:
            layer_class.create_parameter = create
