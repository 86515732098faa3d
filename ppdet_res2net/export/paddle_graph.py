"""Networks as the static graph that Paddle Inference runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import paddle
from paddle import nn
from paddle.static import InputSpec

from ppdet_res2net.compat.out_warning import drop_out_warning
from ppdet_res2net.compat.tracing_warnings import drop_tracing_warnings
from ppdet_res2net.files import check_space

__all__ = ["save_paddle_graph"]

_HEADER_BYTES = 1024  # of a tensor in the file; more than it needs


def save_paddle_graph(network: nn.Layer, folder: Path, inputs: Sequence[InputSpec]) -> Path:
    """Write the graph and ``model.pdiparams``.

    Args:
        network: The network, in evaluation mode.
        folder: Where they are written.
        inputs: Shape, type and name of each input, in the order of the arguments of ``forward``.

    Returns:
        The path of the graph: its name depends on Paddle's version.

    Raises:
        OSError: There is not enough space.
    """
    tensors = network.state_dict().values()
    check_space(folder, sum(tensor.size * tensor.element_size() + _HEADER_BYTES for tensor in tensors))
    drop_out_warning()
    # Paddle would rewrite the source of every function first, for control flow that depends on tensors. These networks have
    # none, so the graph is the same, and rewriting takes most of the time.
    paddle.jit.not_to_static(type(network).forward)
    with drop_tracing_warnings():
        static = paddle.jit.to_static(network, input_spec=list(inputs), full_graph=True)
        paddle.jit.save(static, str(folder / "model"))
    return next(path for path in (folder / "model.json", folder / "model.pdmodel") if path.is_file())
