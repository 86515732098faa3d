"""Choose the inference engine, and load the network into it."""

from __future__ import annotations

import importlib
import importlib.util
import logging
from collections.abc import Callable, Sequence

from res2net_runtime.backends.base import Backend, EngineOptions, NetworkFolder
from res2net_runtime.backends.cpu import available_cores, check_threads, has_bfloat16
from res2net_runtime.backends.stepping_down import SteppingDownBackend
from res2net_runtime.engines import BACKENDS, PRECISIONS, auto_engines, way_to_add
from res2net_runtime.errors import BackendError

__all__ = ["create_backend"]

logger = logging.getLogger(__name__)


def create_backend(
    folder: NetworkFolder,
    backend: str,
    precision: str,
    device: str,
    cpu_threads: int | None,
    trust_graph: bool = False,
    winograd: bool = True,
) -> Backend:
    """Load a model into an inference engine.

    Args:
        folder: The exported model.
        backend: A key of :data:`~res2net_runtime.backends.BACKENDS`, or ``"auto"``: the fastest that is installed and
            runs this model.
        precision: One of :data:`~res2net_runtime.backends.PRECISIONS`; int8 takes a model that
            ``res2net_runtime.quantize`` has prepared.
        device: ``"cpu"``, ``"gpu"`` or ``"gpu:<index>"``.
        cpu_threads: Threads of the network on a CPU, or None for one per available core.
        trust_graph: Whether the graph goes to the engine unchecked.
        winograd: Whether OpenVINO may compute large convolutions with Winograd's algorithm, in float32.

    Raises:
        BackendError: A name is unknown, the combination does not exist, the folder does not hold the format
            that the engine reads, the engine is not installed, or it refuses the model.
        ValueError: ``cpu_threads`` is beyond any use.
    """
    if backend != "auto" and backend not in BACKENDS:
        raise BackendError(f"Unknown backend '{backend}'. Choose one of: auto, {', '.join(BACKENDS)}.")
    if cpu_threads is not None:
        check_threads(cpu_threads)
    device = device.lower()
    kind, _, index = device.partition(":")
    if not (device == "cpu" or kind == "gpu" and (device == "gpu" or index.isdigit())):
        raise BackendError(f"Unknown device '{device}'. Choose cpu, gpu or gpu:<index>.")
    if backend != "auto" and kind not in BACKENDS[backend].devices:
        raise BackendError(
            f"Backend '{backend}' runs on {' and '.join(BACKENDS[backend].devices)} only. Choose that device (--device), "
            "or another backend."
        )
    if precision not in PRECISIONS:
        raise BackendError(f"Unknown precision '{precision}'. Choose one of: {', '.join(PRECISIONS)}.")
    names = auto_engines(kind) if backend == "auto" else (backend,)
    names = tuple(name for name in names if precision in BACKENDS[name].reads)
    if not names:
        offered = "; ".join(f"{name}: {', '.join(engine.precisions)}" for name, engine in BACKENDS.items())
        raise BackendError(
            f"Backend '{backend}' on device '{device}' has no precision '{precision}'. Choose one of: {offered}."
        )
    if backend == "auto" and precision == "bf16" and has_bfloat16() is False:
        logger.warning("This CPU has no bfloat16 instructions, so bf16 would be slower than fp32. Running in fp32.")
        return create_backend(folder, "auto", "fp32", device, cpu_threads, trust_graph, winograd)

    if backend != "auto":
        _require_format(folder, backend, precision)

    def opener(name: str) -> Callable[[], Backend]:
        options = EngineOptions(
            engine=name,
            format=_readable_formats(folder, name, precision)[0],
            precision=precision,
            device=device,
            cpu_threads=cpu_threads or available_cores(),
            may_simulate=backend != "auto",
            trust_graph=trust_graph,
            winograd=winograd,
        )
        return lambda: _load(folder, options)

    if backend == "auto":
        return SteppingDownBackend([opener(name) for name in _usable_engines(folder, names, precision)])
    return opener(backend)()


def _load(folder: NetworkFolder, options: EngineOptions) -> Backend:
    module, _, name = BACKENDS[options.engine].loader.partition(".")
    loader = getattr(importlib.import_module(f"res2net_runtime.backends.{module}"), name)
    backend: Backend = loader(folder, options)
    return backend


def _readable_formats(folder: NetworkFolder, name: str, precision: str) -> list[str]:
    """Return the formats of the folder that an engine can read in a precision, the preferred one first."""
    return [one for one in BACKENDS[name].reads[precision] if one in folder.formats]


def _require_format(folder: NetworkFolder, name: str, precision: str) -> None:
    if not _readable_formats(folder, name, precision):
        formats = BACKENDS[name].reads[precision]
        raise BackendError(
            f"Backend '{name}' reads {' or '.join(formats)} in {precision}, but the model folder '{folder.path}' holds "
            f"{', '.join(folder.formats)}. To add the format, {way_to_add(formats[0], folder.formats)}, or choose another "
            "backend."
        )


def _usable_engines(folder: NetworkFolder, names: Sequence[str], precision: str) -> list[str]:
    """Return the engines that are installed and read a format of the folder; log how to get faster ones."""
    usable: list[str] = []
    for name in names:
        is_installed = importlib.util.find_spec(BACKENDS[name].module) is not None
        is_readable = bool(_readable_formats(folder, name, precision))
        if is_installed and is_readable:
            usable.append(name)
        elif not usable:
            steps = [] if is_installed else [f"pip install {BACKENDS[name].package}"]
            steps += [] if is_readable else [way_to_add(BACKENDS[name].reads[precision][0], folder.formats)]
            logger.info("The faster engine '%s' could be used after: %s", name, " and ".join(steps))
    if usable:
        return usable
    readers = [name for name in names if _readable_formats(folder, name, precision)]
    packages = ", ".join(dict.fromkeys(BACKENDS[name].package for name in readers))
    ways = dict.fromkeys(way_to_add(BACKENDS[name].reads[precision][0], folder.formats) for name in names)
    raise BackendError(
        f"No installed engine runs the model in '{folder.path}' (formats: {', '.join(folder.formats)}) in "
        f"{precision}. "
        + (
            f"Install a package that does: {packages}."
            if packages
            else f"To add a suitable format, {' or '.join(ways)}."
        )
    )
