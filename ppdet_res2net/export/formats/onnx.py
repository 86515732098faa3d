"""ONNX: one file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ppdet_res2net.export.folder import NetworkWriter

__all__ = ["PACKAGES", "write"]

PACKAGES = ("onnx",)


def write(folder: Path, network: NetworkWriter) -> dict[str, str]:
    """Write the model; returns its name."""
    (folder / "model.onnx").write_bytes(network.onnx_bytes)
    return {"model_file": "model.onnx"}
