"""A detector as Paddle's static graph."""

from __future__ import annotations

from pathlib import Path

from paddle import nn
from paddle.static import InputSpec

from ppdet_res2net.compat.onednn_interpolate import upsample_without_interpolate
from ppdet_res2net.export.paddle_graph import save_paddle_graph

__all__ = ["save_detector_graph"]


def save_detector_graph(network: nn.Layer, folder: Path) -> Path:
    """Write a detector; return the graph's path.

    Args:
        network: Takes the inputs of :meth:`~ppdet_res2net.detection.inference.RCNNInference.forward`; in evaluation mode.
        folder: Where it is written, as :func:`~ppdet_res2net.export.paddle_graph.save_paddle_graph` does.
    """
    inputs = [
        InputSpec([None, 3, None, None], "float32", "image"),
        InputSpec([None, 2], "float32", "im_shape"),
        InputSpec([None, 2], "float32", "scale_factor"),
    ]
    with upsample_without_interpolate():
        return save_paddle_graph(network, folder, inputs)
