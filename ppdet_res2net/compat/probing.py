"""Functions that the probes of the registry and of ``doctor`` use."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

__all__ = ["export_function", "read_source", "run_in_new_process", "run_with_onednn"]


def run_in_new_process(module: str) -> subprocess.CompletedProcess[str]:
    """Run ``python -m MODULE`` in a new process, which imports from the same folders as this one."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return subprocess.run([sys.executable, "-m", module], capture_output=True, text=True, env=environment)


def read_source(package: str, file: str) -> str:
    """Return the text of a source file of an installed package, without importing the package.

    Args:
        package: Name of the package, such as ``ppdet``.
        file: Path below the package's folder.

    Raises:
        ModuleNotFoundError: The package is not installed.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"No module named '{package}'", name=package)
    return (Path(spec.origin).parent / file).read_text("utf-8")


def export_function(function: Callable, inputs: Sequence, folder: str) -> Path:
    """Write a function as a static graph, ``model.json`` or ``model.pdmodel``, with its weights; return the graph's path.

    Args:
        function: Takes one Paddle tensor per input, and the 4x4 identity matrix; returns tensors. Paddle 2.6 refuses
            models without a weight, so ``function`` has to use the matrix.
        inputs: float32 arrays. The first axis of each may have any size.
        folder: Folder to write to.
    """
    import numpy as np
    import paddle
    from paddle.static import InputSpec

    class Layer(paddle.nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            # Paddle 2.6 rewrites the source of what it traces, and loses the names of enclosing functions.
            self.function = paddle.jit.not_to_static(function)
            identity = paddle.nn.initializer.Assign(np.eye(4, dtype="float32"))
            self.weight = self.create_parameter([4, 4], default_initializer=identity)

        def forward(self, tensors):  # a list: to_static cannot trace *tensors
            return self.function(*tensors, self.weight)

    specs = [InputSpec([None, *array.shape[1:]], "float32", f"x{i}") for i, array in enumerate(inputs)]
    layer = Layer()
    layer.eval()
    paddle.jit.save(paddle.jit.to_static(layer, input_spec=[specs], full_graph=True), f"{folder}/model")
    (graph,) = (path for path in Path(folder).iterdir() if path.suffix in (".json", ".pdmodel"))
    return graph


def run_with_onednn(function: Callable, inputs: Sequence) -> list:
    """Export a function with ``export_function``, run the graph on a CPU with oneDNN, and return its outputs as arrays."""
    import paddle

    from res2net_runtime.backends.paddle_quirks import keep_thread_counts

    with tempfile.TemporaryDirectory() as folder:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            graph = export_function(function, inputs, folder)
        settings = paddle.inference.Config(str(graph), f"{folder}/model.pdiparams")
        settings.disable_glog_info()
        settings.enable_mkldnn()
        with keep_thread_counts(paddle):
            predictor = paddle.inference.create_predictor(settings)
            for name, array in zip(predictor.get_input_names(), inputs):
                predictor.get_input_handle(name).copy_from_cpu(array)
            predictor.run()
            return [predictor.get_output_handle(name).copy_to_cpu() for name in predictor.get_output_names()]
