"""Known defects of Paddle's inference library, each with its reason and the versions in which it was seen.

The exporter must avoid one of them: many operators fail on arrays without elements, which occur when nothing is
found. Some raise an exception, and some end the process. Seen in 3.3.1 with oneDNN: ``concat`` ends it with SIGSEGV;
``conv2d``, ``conv2d_transpose``, ``reshape``, ``transpose``, ``split``, ``softmax``, ``clip``, ``where`` and
multiplication by a constant raise. Seen in 2.6.2: ``concat`` ends it with and without oneDNN; ``split``, ``slice`` and
``take_along_axis`` end it with oneDNN; convolutions raise. ``gather`` works everywhere, so a graph keeps a spare row
until a final ``gather`` drops it.

One defect has no workaround: ``Predictor.run`` holds Python's interpreter lock until it is done (seen in 3.3.1), so no
other thread can prepare the next image meanwhile. OpenVINO and ONNX Runtime release the lock.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import os
import threading
import warnings
import zlib  # noqa: F401  (must come before paddle: see import_paddle)
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from res2net_runtime.backends.native_errors import import_engine
from res2net_runtime.engines import BACKENDS
from res2net_runtime.errors import BackendError

__all__ = [
    "call_onednn_method",
    "check_model_format",
    "enable_memory_reuse",
    "enable_onednn",
    "import_paddle",
    "keep_thread_counts",
]

logger = logging.getLogger(__name__)

# Files in paddle/libs, and their functions that get and set the number of threads. OpenMP comes first: as long as nobody
# has set MKL's number, MKL uses OpenMP's.
_THREAD_LIBRARIES = (
    ("*iomp5*", "omp_get_max_threads", "omp_set_num_threads"),
    ("*mklml*", "MKL_Get_Max_Threads", "MKL_Set_Num_Threads"),
)
_thread_counts_lock = threading.Lock()


def import_paddle() -> ModuleType:
    """Import paddle without the side effects of its import on the process.

    Three side effects are undone. Importing Paddle sets ``OMP_NUM_THREADS=1`` in the environment, which child processes
    and libraries that are loaded later obey. It gives the root logger a handler and the level INFO, after which
    ``logging.basicConfig`` does nothing. It warns that ccache is missing, which only matters to those who compile
    operators. All were seen in 3.3.1; the first is ``__bootstrap__`` in ``paddle/base/__init__.py``.

    Paddle 2.6.2 exports its own zlib symbols; libraries loaded after it that decompress data then crash.
    Python's zlib, imported at the top of this module, must therefore be loaded first.
    """
    package = BACKENDS["paddle"].package
    environment, root = dict(os.environ), logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="No ccache found")
            paddle = import_engine("paddle", package)
            import_engine("paddle.inference", package)
        _thread_counts(paddle)  # OpenMP reads OMP_NUM_THREADS once: here, as it does after a plain import
    finally:
        for name in os.environ.keys() | environment.keys():
            if name not in environment:
                del os.environ[name]
            elif os.environ.get(name) != environment[name]:
                os.environ[name] = environment[name]
        root.handlers[:] = handlers
        root.setLevel(level)
    return paddle


@contextmanager
def keep_thread_counts(paddle: ModuleType) -> Iterator[None]:
    """Restore the numbers of threads of OpenMP and MKL, which Paddle Inference changes for the whole process.

    Creating a predictor sets them to the predictor's number and leaves them there. Running it sets them again, and then
    to 1. Some results depend on the number of threads, such as the gradients of convolutions, so everything else that
    computes with Paddle would then give different last bits. Seen in 3.3.1 (``AnalysisPredictor::ZeroCopyRun`` and
    ``platform::SetNumThreads``). All threads share MKL's number; a lock keeps two predictors from restoring each
    other's.
    """
    with _thread_counts_lock:
        before = _thread_counts(paddle)
        try:
            yield
        finally:
            for library, count in before.items():
                library.set_count(count)


class _ThreadLibrary:
    """A library that divides work among threads; of Paddle's builds, only those for x86 contain the ones known here."""

    def __init__(self, path: Path, getter: str, setter: str) -> None:
        library = ctypes.PyDLL(str(path))  # Paddle's own copy: it is loaded once per process
        self.get_count = getattr(library, getter)
        self.set_count = getattr(library, setter)


@functools.lru_cache(maxsize=1)
def _thread_libraries(paddle: ModuleType) -> tuple[_ThreadLibrary, ...]:
    folder = Path(str(paddle.__file__)).parent / "libs"
    return tuple(
        _ThreadLibrary(path, getter, setter)
        for pattern, getter, setter in _THREAD_LIBRARIES
        for path in sorted(folder.glob(pattern))
    )


def _thread_counts(paddle: ModuleType) -> dict[_ThreadLibrary, int]:
    return {library: library.get_count() for library in _thread_libraries(paddle)}


def is_pir(model_path: Path) -> bool:
    """Return whether a graph is in the format of Paddle 3 (PIR, ``.json``) or of Paddle 2 (``.pdmodel``)."""
    return model_path.suffix == ".json"


def check_model_format(paddle: ModuleType, model_path: Path) -> None:
    """Refuse a graph of Paddle 3 under Paddle 2, which would fail in native code without a useful message."""
    if is_pir(model_path) and int(paddle.__version__.split(".")[0]) == 2:
        raise BackendError(
            f"'{model_path}' was exported by Paddle 3, but the installed Paddle is {paddle.__version__}. "
            "Install paddlepaddle>=3, or export the model again with the installed version."
        )


def enable_memory_reuse(config: Any, model_path: Path) -> None:
    """Let intermediate tensors share memory, if Paddle can do that.

    Under PIR on a CPU the pass does not exist, and asking for it makes creating the predictor raise "Not find
    predictor_id ... memory_optimize_pass". Seen in Paddle 3.3.1; graphs of Paddle 2 (2.6.2) are not affected.
    """
    if is_pir(model_path):
        logger.debug("Memory optimisation is not available for PIR graphs; '%s' runs without it.", model_path)
        return
    config.enable_memory_optim()


def enable_onednn(config: Any) -> None:
    """Turn oneDNN on.

    A Paddle that was built without oneDNN, as for some ARM machines, would only write this to its own log and run its slow
    kernels.
    """
    call_onednn_method(config, "enable")
    if not config.mkldnn_enabled():
        raise BackendError(
            "The installed Paddle was built without oneDNN. Choose another backend, for instance openvino or "
            "onnxruntime."
        )


def call_onednn_method(config: Any, verb: str, suffix: str = "") -> None:
    """Call ``config.<verb>_onednn<suffix>()``, which is called ``<verb>_mkldnn<suffix>()`` in Paddle 2.6."""
    name = f"{verb}_onednn{suffix}"
    if not hasattr(config, name):
        name = f"{verb}_mkldnn{suffix}"
    getattr(config, name)()
