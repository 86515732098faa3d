"""Paddle's own format, of Paddle 3 (``.json``) or 2.6 (``.pdmodel``)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ppdet_res2net.export.folder import NetworkWriter

__all__ = ["PACKAGES", "write"]

PACKAGES = ()


def write(folder: Path, network: NetworkWriter) -> dict[str, str]:
    """Write the graph and the weights; returns their names."""
    return {"model_file": network.save_paddle(folder).name, "params_file": "model.pdiparams"}
