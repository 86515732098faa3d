"""Check a network's files before an engine reads them: only what the exporter writes is accepted.

Engines trust their files: Paddle has operators that read and write files and run Python, and it runs a network whose weights
have other sizes than the graph says. So a graph is first read here, as plain data. An engine gets it only if its operators are
known, the values that they use exist, and the weights have the sizes that the graph says.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from res2net_runtime.backends.graphs.errors import GraphError, UnknownOperatorError
from res2net_runtime.engines import FORMATS

if TYPE_CHECKING:
    from res2net_runtime.model_folder import ModelFiles

__all__ = ["GraphError", "UnknownOperatorError", "check_graph"]

# Ending of a graph's name -> the module that checks it. Only the one that is needed is imported.
_CHECKS = {".json": "paddle_json", ".pdmodel": "paddle_program", ".onnx": "onnx_model", ".xml": "openvino_xml"}


def check_graph(files: ModelFiles, format_name: str) -> None:
    """Check a graph, and the sizes of its weights.

    Args:
        files: The graph and the weights.
        format_name: A key of :data:`~res2net_runtime.engines.FORMATS`.

    Raises:
        GraphError: The files are damaged, or hold something that the exporter does not write.
        OSError: They cannot be read.
    """
    suffix, suffixes = files.model_path.suffix, FORMATS[format_name].suffixes
    if suffix not in suffixes:  # engines choose their parser by it
        raise GraphError(f"its name does not end in {' or '.join(suffixes)}, as those of format {format_name} do")
    module = importlib.import_module(f"{__name__}.{_CHECKS[suffix]}")
    check: Callable[[ModelFiles], None] = module.check
    check(files)
