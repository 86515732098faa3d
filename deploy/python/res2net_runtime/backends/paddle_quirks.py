"""Known defects of Paddle's inference library, each with its reason and the versions in which it was seen.

One cannot be worked around here, and the exporter must avoid it: many operators fail on arrays without
elements, as they occur where nothing is found, and some end the process. Seen in 3.3.1 with oneDNN:
``concat`` dies of SIGSEGV; ``conv2d``, ``conv2d_transpose``, ``reshape``, ``transpose``, ``split``,
``softmax``, ``clip``, ``where`` and multiplication by a constant raise. Seen in 2.6.2: ``concat`` dies with
and without oneDNN, ``split``, ``slice`` and ``take_along_axis`` die with it, convolutions raise. ``gather``
works everywhere, so a graph keeps a spare row until a last ``gather`` drops it.

Another cannot be mended at all: ``Predictor.run`` holds Python's interpreter lock until it is done (seen in
3.3.1), so no other thread prepares the next image meanwhile. OpenVINO and ONNX Runtime release it.
"""

from __future__ import annotations

import logging
import sys
import warnings
import zlib  # noqa: F401  (must come before paddle: see import_paddle)
from pathlib import Path
from types import ModuleType
from typing import Any

from res2net_runtime.backends.native_errors import import_engine
from res2net_runtime.errors import BackendError

__all__ = [
    "call_onednn_method",
    "check_model_format",
    "enable_memory_reuse",
    "enable_onednn",
    "import_paddle",
]

logger = logging.getLogger(__name__)


def import_paddle() -> ModuleType:
    """Import paddle.

    Paddle 2.6.2 exports its own zlib symbols; libraries loaded after it that decompress data then crash.
    Python's zlib, imported at the top of this module, must therefore be loaded first. Paddle 3.3.1 warns that
    there is no ccache, which only matters to those who compile operators.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="No ccache found")
        for module in ("paddle", "paddle.inference"):
            import_engine(module, "paddlepaddle (or paddlepaddle-gpu)")
    return sys.modules["paddle"]


def is_pir(model_path: Path) -> bool:
    """Return whether a graph is in the format of Paddle 3 (PIR, ``.json``) or of Paddle 2 (``.pdmodel``)."""
    return model_path.suffix == ".json"


def check_model_format(paddle: ModuleType, model_path: Path) -> None:
    """Refuse a graph of Paddle 3 under Paddle 2, which would fail in native code without a useful message."""
    if is_pir(model_path) and int(paddle.__version__.split(".")[0]) == 2:
        raise BackendError(
            f"'{model_path}' was exported by Paddle 3 and the installed Paddle is {paddle.__version__}. "
            "Install paddlepaddle>=3, or export the model again with the installed version."
        )


def enable_memory_reuse(config: Any, model_path: Path) -> None:
    """Let intermediate tensors share memory, where Paddle can do it.

    Under PIR on a CPU the pass does not exist, and asking for it makes creating the predictor raise "Not find
    predictor_id ... memory_optimize_pass". Seen in Paddle 3.3.1; graphs of Paddle 2 (2.6.2) are not affected.
    """
    if is_pir(model_path):
        logger.debug("Memory optimisation is not available for PIR graphs; '%s' runs without it.", model_path)
        return
    config.enable_memory_optim()


def enable_onednn(config: Any) -> None:
    """Turn oneDNN on.

    A Paddle that was built without it, as for some ARM machines, only says so in its own log and would run
    its slow kernels.
    """
    call_onednn_method(config, "enable")
    if not config.mkldnn_enabled():
        raise BackendError(
            "The installed Paddle was built without oneDNN. Choose another backend, for instance openvino or "
            "onnxruntime."
        )


def call_onednn_method(config: Any, verb: str, suffix: str = "") -> None:
    """Call ``config.<verb>_onednn<suffix>()``, which Paddle 2.6 knows as ``<verb>_mkldnn<suffix>()``."""
    name = f"{verb}_onednn{suffix}"
    if not hasattr(config, name):
        name = f"{verb}_mkldnn{suffix}"
    getattr(config, name)()
