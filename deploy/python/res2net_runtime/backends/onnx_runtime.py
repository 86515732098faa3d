"""ONNX Runtime on a CPU."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from res2net_runtime.backends.base import EngineOptions, NetworkFolder, check_outputs
from res2net_runtime.backends.graphs import check_graph
from res2net_runtime.backends.native_errors import import_engine, loading, running

__all__ = ["OnnxRuntimeBackend"]

_LOG_ERRORS_ONLY = 3


class OnnxRuntimeBackend:
    """A :class:`~res2net_runtime.backends.Backend` on ``onnxruntime``.

    Args:
        folder: The exported model.
        options: The format and the number of threads are used.

    Raises:
        BackendError: ONNX Runtime is missing, or refuses the model.
    """

    def __init__(self, folder: NetworkFolder, options: EngineOptions) -> None:
        onnxruntime = import_engine("onnxruntime")
        self.engine = options.engine
        model_path = folder.formats[options.format].model_path
        self.description = f"ONNX Runtime {onnxruntime.__version__} ({options.precision}, {options.device})"
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = options.cpu_threads
        settings.inter_op_num_threads = 1
        settings.log_severity_level = _LOG_ERRORS_ONLY
        with loading(self.description, model_path):
            if not options.trust_graph:
                check_graph(folder.formats[options.format], options.format)
            self._session = onnxruntime.InferenceSession(str(model_path), settings, providers=["CPUExecutionProvider"])
        self._output_names = list(folder.outputs)
        check_outputs(self._output_names, [output.name for output in self._session.get_outputs()], model_path)
        self._input_names = [value.name for value in self._session.get_inputs()]

    def run(self, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the outputs of one batch; see :class:`~res2net_runtime.backends.Backend`."""
        with running(self.description, batch):
            values = self._session.run(self._output_names, {name: batch[name] for name in self._input_names})
        return dict(zip(self._output_names, values))

    def close(self) -> None:
        """Free the network."""
        self._session = None
