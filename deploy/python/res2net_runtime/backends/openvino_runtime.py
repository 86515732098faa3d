"""OpenVINO on a CPU, in float32, bfloat16 or int8."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from res2net_runtime.backends.base import EngineOptions, NetworkFolder, check_outputs
from res2net_runtime.backends.cpu import find_narrow_isa_limit, warn_of_simulated_bfloat16
from res2net_runtime.backends.graphs import check_graph
from res2net_runtime.backends.native_errors import import_engine, loading, running
from res2net_runtime.backends.openvino_winograd import rewrite_convolutions
from res2net_runtime.errors import BackendError

if TYPE_CHECKING:
    import openvino

__all__ = ["OpenVINOBackend", "read_network"]

# Precision of the operators that are not quantised. OpenVINO's own default is bfloat16 on CPUs that have it.
_PRECISION_HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}


class OpenVINOBackend:
    """A :class:`~res2net_runtime.backends.Backend` on ``openvino``.

    Args:
        folder: The exported model.
        options: The format, the precision, the number of threads and ``winograd`` are used.

    Raises:
        BackendError: OpenVINO is missing, or refuses the model, or the CPU lacks the precision.
    """

    def __init__(self, folder: NetworkFolder, options: EngineOptions) -> None:
        limit = find_narrow_isa_limit()
        if options.precision == "bf16" and limit:
            # First of all, because oneDNN reads the variable only once. OpenVINO (2026.4) still uses what it hides: some
            # networks do not compile, others give wrong results or damage the process, which crashes later.
            raise BackendError(
                f"ONEDNN_MAX_CPU_ISA={limit} hides instructions that OpenVINO's bfloat16 needs. Unset the variable, or "
                f"choose precision fp32."
            )
        openvino = import_engine("openvino")
        self.engine = options.engine
        files = folder.formats[options.format]
        model_path = files.model_path
        version = openvino.__version__.partition("-")[0]  # without the build's number
        self.description = f"OpenVINO {version} ({options.precision}, {options.device})"
        core = openvino.Core()
        is_simulated = options.precision == "bf16" and "BF16" not in core.get_property(
            "CPU", "OPTIMIZATION_CAPABILITIES"
        )
        if is_simulated and not options.may_simulate:
            raise BackendError(
                f"OpenVINO {version} would have to simulate bfloat16 on this CPU. Choose precision fp32."
            )
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": options.cpu_threads,
            "INFERENCE_PRECISION_HINT": _PRECISION_HINTS[options.precision],
        }
        least_side_px = folder.least_side_px
        with loading(self.description, model_path):
            if not options.trust_graph:
                check_graph(files, options.format)
            network = read_network(core, str(model_path), least_side_px, files.params_path)
            if options.winograd and options.precision == "fp32":
                rewrite_convolutions(network, least_side_px)
            model = core.compile_model(network, "CPU", settings)
        if options.precision == "bf16" and model.get_property("INFERENCE_PRECISION_HINT") != openvino.Type.bf16:
            raise BackendError(
                f"OpenVINO {version} cannot compute in bfloat16 on this CPU, not even by simulation. Choose precision fp32."
            )
        if is_simulated:
            warn_of_simulated_bfloat16("OpenVINO")
        self._output_names = list(folder.outputs)
        names = {name for output in model.outputs for name in output.get_names()}
        check_outputs(self._output_names, sorted(names), model_path)
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


def read_network(
    core: openvino.Core, model: str | bytes, least_side_px: int, weights: Path | None = None
) -> openvino.Model:
    """Read a model, and tell OpenVINO the smallest size of its images.

    OpenVINO handles unknown sizes as ranges. With a lower bound it can see that a map of the pyramid, once doubled, has the
    same range of sizes as the map it is added to, and it adds them in place. Otherwise it copies both.

    Args:
        core: OpenVINO.
        model: The path of a model, or the bytes of an ONNX model.
        least_side_px: Smallest height and width of an image.
        weights: The file of the weights, if they are in one of their own.
    """
    import openvino

    network = core.read_model(model) if weights is None else core.read_model(model, str(weights))
    shapes = {}
    for value in network.inputs:
        shape = value.get_partial_shape()
        if "image" in value.get_names() and len(shape) == 4:
            sides = (openvino.Dimension(least_side_px, -1) if side.is_dynamic else side for side in list(shape)[2:])
            shapes[value] = openvino.PartialShape([shape[0], shape[1], *sides])
    network.reshape(shapes)
    return network
