"""OpenVINO on a CPU, in float32, bfloat16 or int8."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from res2net_runtime.backends.base import EngineOptions, check_names
from res2net_runtime.backends.cpu import warn_if_bfloat16_is_simulated
from res2net_runtime.backends.native_errors import import_engine, loading, running
from res2net_runtime.errors import BackendError
from res2net_runtime.model_folder import ModelFolder

if TYPE_CHECKING:
    import openvino

__all__ = ["OpenVINOBackend", "set_least_side"]

# Of what is not quantised. OpenVINO's default follows the CPU: bfloat16 where it has it.
_PRECISION_HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}


class OpenVINOBackend:
    """A :class:`~res2net_runtime.backends.Backend` on ``openvino``.

    Args:
        folder: The exported model.
        options: Format, precision and number of threads count.

    Raises:
        BackendError: OpenVINO is missing, or refuses the model, or the CPU lacks the precision.
    """

    def __init__(self, folder: ModelFolder, options: EngineOptions) -> None:
        openvino = import_engine("openvino")
        model_path = folder.formats[options.format].model_path
        version = openvino.__version__.partition("-")[0]  # without the build's number
        self.description = f"OpenVINO {version} ({options.precision}, {options.device})"
        core = openvino.Core()
        with loading(self.description, model_path):
            network = core.read_model(str(model_path))
            set_least_side(network, folder.least_side_px)
            model = core.compile_model(
                network,
                "CPU",
                {
                    "PERFORMANCE_HINT": "LATENCY",
                    "INFERENCE_NUM_THREADS": options.cpu_threads,
                    "INFERENCE_PRECISION_HINT": _PRECISION_HINTS[options.precision],
                },
            )
        if options.precision == "bf16":
            if model.get_property("INFERENCE_PRECISION_HINT") != openvino.Type.bf16:
                raise BackendError(
                    f"This CPU has neither bfloat16 instructions (avx512_bf16 or amx_bf16) nor what OpenVINO {version} "
                    "simulates them with. Choose precision fp32."
                )
            warn_if_bfloat16_is_simulated("OpenVINO")
        self._output_names = list(folder.outputs)
        names = {name for output in model.outputs for name in output.get_names()}
        check_names(self._output_names, sorted(names), model_path)
        self._input_names = [value.get_any_name() for value in model.inputs]
        self._request = model.create_infer_request()

    def run(self, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the outputs of one batch; see :class:`~res2net_runtime.backends.Backend`."""
        with running(self.description, batch):
            self._request.infer({name: batch[name] for name in self._input_names}, share_inputs=True)
            return {name: self._request.get_tensor(name).data.copy() for name in self._output_names}

    def close(self) -> None:
        """Free the network."""
        self._request = None


def set_least_side(network: openvino.Model, side_px: int) -> None:
    """Say that images are not smaller than padding makes them.

    Shapes are ranges to OpenVINO. Those of a doubled map of the pyramid (at least 8 pixels) and of the one that it is
    added to (at least 1) then become the same; where they differ, it copies the largest maps twice.
    """
    from openvino import Dimension, PartialShape

    for value in network.inputs:
        batch, *others = value.get_partial_shape()
        if "image" in value.get_names() and others[-1].is_dynamic:
            least = Dimension(side_px, -1)
            network.reshape({value: PartialShape([batch, others[0], least, least])})
