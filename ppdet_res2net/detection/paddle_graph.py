"""The static graph that Paddle Inference runs."""

from __future__ import annotations

from pathlib import Path

import paddle
from paddle.static import InputSpec

from ppdet_res2net.compat.onednn_interpolate import upsample_without_interpolate
from ppdet_res2net.compat.tracing_warnings import drop_tracing_warnings
from ppdet_res2net.detection.inference import RCNNInference

__all__ = ["save_paddle_graph"]


def save_paddle_graph(network: RCNNInference, folder: Path) -> Path:
    """Write the graph and ``model.pdiparams``; returns the path of the graph, whose name depends on Paddle's version."""
    specs = [
        InputSpec([None, 3, None, None], "float32", "image"),
        InputSpec([None, 2], "float32", "im_shape"),
        InputSpec([None, 2], "float32", "scale_factor"),
    ]
    with upsample_without_interpolate(), drop_tracing_warnings():
        static = paddle.jit.to_static(network, input_spec=specs, full_graph=True)
        paddle.jit.save(static, str(folder / "model"))
    return next(path for path in (folder / "model.json", folder / "model.pdmodel") if path.is_file())
