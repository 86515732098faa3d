"""OpenVINO's format, made from the ONNX model."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from ppdet_res2net.files import check_space

if TYPE_CHECKING:
    from ppdet_res2net.export.folder import NetworkWriter

__all__ = ["PACKAGES", "write"]

PACKAGES = ("onnx", "openvino")


def write(folder: Path, network: NetworkWriter) -> dict[str, str]:
    """Write the graph and the weights; returns their names."""
    import openvino

    with tempfile.TemporaryDirectory(dir=folder) as directory:
        onnx_path = Path(directory) / "model.onnx"
        onnx_path.write_bytes(network.onnx_bytes)
        check_space(folder, onnx_path.stat().st_size)
        openvino.save_model(openvino.convert_model(str(onnx_path)), str(folder / "model.xml"), compress_to_fp16=False)
    return {"model_file": "model.xml", "params_file": "model.bin"}
