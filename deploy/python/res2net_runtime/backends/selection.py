"""Which inference engines there are, and which one ``auto`` takes."""

from __future__ import annotations

import importlib
import importlib.util
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from res2net_runtime.backends.base import Backend, EngineOptions
from res2net_runtime.backends.cpu import available_cores, has_bfloat16
from res2net_runtime.backends.stepping_down import SteppingDownBackend
from res2net_runtime.errors import BackendError
from res2net_runtime.model_folder import ModelFolder

__all__ = ["BACKENDS", "PRECISIONS", "Engine", "create_backend"]

logger = logging.getLogger(__name__)

PRECISIONS = ("fp32", "bf16", "fp16", "int8")


@dataclass(frozen=True)
class Engine:
    """An inference engine, or one of the ways of Paddle Inference to run a network.

    Attributes:
        formats: Formats of the network that it reads, the preferred one first; for int8 it is another.
        precisions: What it offers.
        devices: Where it runs.
        package: The module that has to be installed.
        loader: Module and name of the class that is called with a folder and options.
    """

    formats: tuple[str, ...]
    precisions: tuple[str, ...]
    devices: tuple[str, ...]
    package: str
    loader: str


BACKENDS = {
    "paddle": Engine(("paddle",), ("fp32",), ("cpu", "gpu"), "paddle", "paddle_inference.PaddleBackend"),
    "onednn": Engine(("paddle",), ("fp32", "bf16"), ("cpu",), "paddle", "paddle_inference.PaddleBackend"),
    "tensorrt": Engine(("paddle",), ("fp32", "fp16"), ("gpu",), "paddle", "paddle_inference.PaddleBackend"),
    "onnxruntime": Engine(("onnx",), ("fp32", "int8"), ("cpu",), "onnxruntime", "onnx_runtime.OnnxRuntimeBackend"),
    "openvino": Engine(
        ("openvino", "onnx"), ("fp32", "bf16", "int8"), ("cpu",), "openvino", "openvino_runtime.OpenVINOBackend"
    ),
}

# What 'auto' tries, the fastest first. All give the same detections within the tolerances of
# `export_model.py --verify`; `benchmarks/inference.py` prints the times behind the order.
_PREFERENCE = {
    "cpu": (
        "openvino",
        "onnxruntime",
        "onednn",  # comes with Paddle, and refuses an operator now and then
        "paddle",  # works wherever Paddle does, at a fraction of the speed
    ),
    "gpu": ("paddle",),  # TensorRT builds for minutes at the first start: only on request
}


def create_backend(folder: ModelFolder, backend: str, precision: str, device: str, cpu_threads: int | None) -> Backend:
    """Load a model into an inference engine.

    Args:
        folder: The exported model.
        backend: A key of :data:`BACKENDS`, or ``"auto"``: the fastest that is installed and runs this model.
        precision: One of :data:`PRECISIONS`; int8 takes a model that ``res2net_runtime.quantize`` has prepared.
        device: ``"cpu"``, ``"gpu"`` or ``"gpu:<index>"``.
        cpu_threads: Threads of the network on a CPU, or None for one per available core.

    Raises:
        BackendError: A name is unknown, the combination does not exist, the folder does not hold the format
            that the engine reads, the engine is not installed, or it refuses the model.
    """
    if backend != "auto" and backend not in BACKENDS:
        raise BackendError(f"Unknown backend '{backend}'. Choose auto, {', '.join(BACKENDS)}.")
    device = device.lower()
    kind, _, index = device.partition(":")
    if not (device == "cpu" or kind == "gpu" and (device == "gpu" or index.isdigit())):
        raise BackendError(f"Unknown device '{device}'. Choose cpu, gpu or gpu:<index>.")
    if backend != "auto" and kind not in BACKENDS[backend].devices:
        raise BackendError(
            f"Backend '{backend}' runs on {BACKENDS[backend].devices[0]} only. Pass that as device (--device), "
            "or choose another backend."
        )
    names = _PREFERENCE[kind] if backend == "auto" else (backend,)
    names = [name for name in names if precision in BACKENDS[name].precisions]
    if not names:
        offered = "; ".join(f"{name}: {', '.join(engine.precisions)}" for name, engine in BACKENDS.items())
        raise BackendError(
            f"Backend '{backend}' on device '{device}' has no precision '{precision}'. Choose one of: {offered}."
        )
    if backend == "auto" and precision == "bf16" and has_bfloat16() is False:
        logger.warning(
            "This CPU has no bfloat16 instructions, without which bf16 is slower than fp32: running in fp32."
        )
        return create_backend(folder, "auto", "fp32", device, cpu_threads)

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
        )
        return lambda: _load(folder, options)

    if backend == "auto":
        return SteppingDownBackend([opener(name) for name in _usable_engines(folder, names, precision)])
    return opener(backend)()


def _load(folder: ModelFolder, options: EngineOptions) -> Backend:
    module, _, name = BACKENDS[options.engine].loader.partition(".")
    loader = getattr(importlib.import_module(f"res2net_runtime.backends.{module}"), name)
    return loader(folder, options)


def _formats(name: str, precision: str) -> tuple[str, ...]:
    """Return the formats that an engine reads, the preferred one first."""
    return ("onnx_int8",) if precision == "int8" else BACKENDS[name].formats


def _readable_formats(folder: ModelFolder, name: str, precision: str) -> list[str]:
    return [one for one in _formats(name, precision) if one in folder.formats]


def _how_to_get(format_name: str) -> str:
    if format_name == "onnx_int8":
        return "python -m res2net_runtime.quantize"
    return f"export_model.py --format {format_name}"


def _require_format(folder: ModelFolder, name: str, precision: str) -> None:
    if not _readable_formats(folder, name, precision):
        formats = _formats(name, precision)
        raise BackendError(
            f"Backend '{name}' reads {' or '.join(formats)} in {precision}, and the model folder '{folder.path}' "
            f"holds {', '.join(folder.formats)}. Make it with {_how_to_get(formats[0])}, or choose another backend."
        )


def _usable_engines(folder: ModelFolder, names: Sequence[str], precision: str) -> list[str]:
    """Return the engines that are installed and read a format of the folder; say how to have faster ones."""
    usable: list[str] = []
    for name in names:
        package = BACKENDS[name].package
        is_installed = importlib.util.find_spec(package) is not None
        is_readable = bool(_readable_formats(folder, name, precision))
        if is_installed and is_readable:
            usable.append(name)
        elif not usable:
            steps = [] if is_installed else [f"pip install {package}"]
            steps += [] if is_readable else [_how_to_get(_formats(name, precision)[0])]
            logger.info("The faster engine '%s' could be used after: %s", name, " and ".join(steps))
    if usable:
        return usable
    readers = [name for name in names if _readable_formats(folder, name, precision)]
    packages = ", ".join(dict.fromkeys(BACKENDS[name].package for name in readers))
    formats = dict.fromkeys(_formats(name, precision)[0] for name in names)
    raise BackendError(
        f"No installed engine runs the model in '{folder.path}' (formats: {', '.join(folder.formats)}) in "
        f"{precision}. "
        + (
            f"Install one of the packages that do: {packages}."
            if packages
            else f"Add a format with {' or '.join(_how_to_get(one) for one in formats)}."
        )
    )
