"""Run an ONNX model in memory, in each engine that reads it."""

from __future__ import annotations

import numpy as np

__all__ = ["ENGINES", "run_onnxruntime", "run_openvino"]


def run_onnxruntime(model, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the outputs by name."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs)))


def run_openvino(model, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the outputs by name, computed in float32."""
    import openvino

    compiled = openvino.compile_model(
        openvino.Core().read_model(model.SerializeToString()), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    outputs = compiled(inputs)
    names = [output.name for output in model.graph.output]
    return {name: outputs[name] for name in names}


ENGINES = {"onnxruntime": run_onnxruntime, "openvino": run_openvino}
