"""The inference engines and the formats of a network. All code that lists engines or formats reads these two tables.

An engine is an entry of :data:`BACKENDS` and a module of ``backends/``. A format is an entry of :data:`FORMATS` and a module of
its name in ``ppdet_res2net/export/formats``. ``python -m res2net_runtime.engines`` prints the tables of
``docs/deployment.md``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

__all__ = [
    "BACKENDS",
    "EXPORTED_FORMATS",
    "FORMATS",
    "PRECISIONS",
    "RUN_MODES",
    "Engine",
    "Format",
    "auto_engines",
    "engines_markdown",
    "formats_markdown",
    "runs_to_verify",
]

PRECISIONS = ("fp32", "bf16", "fp16", "int8")


@dataclass(frozen=True)
class Format:
    """A format in which an exported folder may hold the network.

    Attributes:
        keys: Keys of its files in ``infer_cfg.yml``: the graph, and the weights if they are in a separate file.
        suffixes: How the name of the graph may end.
        files: Every file name that it may have. A new export removes them.
        is_exported: Whether ``export_model.py`` writes it.
        description: Its files in words, in Markdown.
        content: What is in them.
    """

    keys: tuple[str, ...]
    suffixes: tuple[str, ...]
    files: tuple[str, ...]
    is_exported: bool
    description: str
    content: str


FORMATS = {
    "paddle": Format(
        keys=("model_file", "params_file"),
        suffixes=(".json", ".pdmodel"),
        files=("model.json", "model.pdmodel", "model.pdiparams", "model.pdiparams.info"),
        is_exported=True,
        description="`model.json` (Paddle 3) or `model.pdmodel` (Paddle 2.6), `model.pdiparams`",
        content="the graph and the weights",
    ),
    "onnx": Format(
        keys=("model_file",),
        suffixes=(".onnx",),
        files=("model.onnx",),
        is_exported=True,
        description="`model.onnx`",
        content="both",
    ),
    "openvino": Format(
        keys=("model_file", "params_file"),
        suffixes=(".xml",),
        files=("model.xml", "model.bin"),
        is_exported=True,
        description="`model.xml`, `model.bin`",
        content="the graph and the weights",
    ),
    "onnx_int8": Format(
        keys=("model_file",),
        suffixes=(".onnx",),
        files=("model_int8.onnx",),
        is_exported=False,
        description="`model_int8.onnx`",
        content='both, see "bfloat16 and int8"',
    ),
}
EXPORTED_FORMATS = tuple(name for name, one in FORMATS.items() if one.is_exported)


def way_to_add(name: str, formats: Iterable[str]) -> str:
    """Return what adds a format to a folder that holds ``formats``, as an instruction for a message.

    An export removes the formats that it is not asked for, so it must be asked for all of them.
    """
    if not FORMATS[name].is_exported:
        return "run 'python -m res2net_runtime.quantize'"
    kept = [one for one in formats if FORMATS[one].is_exported and one != name]
    return f"export with --format {','.join([*kept, name])}"


@dataclass(frozen=True)
class Engine:
    """An inference engine, or one of the ways in which Paddle Inference runs a network.

    Attributes:
        reads: The formats that it reads in each precision that it offers, the preferred format first.
        devices: Where it runs: ``cpu``, ``gpu``.
        auto_devices: Where ``auto`` may choose it.
        module: The module that has to be importable.
        package: Its name for pip, for messages.
        loader: Module of ``backends/`` and name in it: a function of a folder and options that returns the loaded network.
        description: What runs, in Markdown.
        run_modes: PaddleDetection's name (``--run_mode``) for each precision, where it has one.
    """

    reads: Mapping[str, tuple[str, ...]]
    devices: tuple[str, ...]
    auto_devices: tuple[str, ...]
    module: str
    package: str
    loader: str
    description: str
    run_modes: Mapping[str, str] = field(default_factory=dict)

    @property
    def precisions(self) -> tuple[str, ...]:
        """The precisions that it offers."""
        return tuple(self.reads)


_PADDLE = "paddlepaddle (or paddlepaddle-gpu)"

# The fastest first: 'auto' tries them in this order. All give the same detections within the tolerances of
# `export_model.py --verify`; the benchmarks print the times behind the order.
BACKENDS = {
    "openvino": Engine(
        reads={"fp32": ("openvino", "onnx"), "bf16": ("openvino", "onnx"), "int8": ("onnx_int8",)},
        devices=("cpu",),
        auto_devices=("cpu",),
        module="openvino",
        package="openvino",
        loader="openvino_runtime.OpenVINOBackend",
        description="OpenVINO on a CPU",
    ),
    "onnxruntime": Engine(
        reads={"fp32": ("onnx",), "int8": ("onnx_int8",)},
        devices=("cpu",),
        auto_devices=("cpu",),
        module="onnxruntime",
        package="onnxruntime",
        loader="onnx_runtime.OnnxRuntimeBackend",
        description="ONNX Runtime on a CPU",
    ),
    # Comes with Paddle, but sometimes refuses an operator.
    "onednn": Engine(
        reads={"fp32": ("paddle",), "bf16": ("paddle",)},
        devices=("cpu",),
        auto_devices=("cpu",),
        module="paddle",
        package=_PADDLE,
        loader="paddle_inference.PaddleBackend",
        description="Paddle Inference with oneDNN on a CPU",
        run_modes={"fp32": "mkldnn", "bf16": "mkldnn_bf16"},
    ),
    # Works wherever Paddle does, at a fraction of the speed.
    "paddle": Engine(
        reads={"fp32": ("paddle",)},
        devices=("cpu", "gpu"),
        auto_devices=("cpu", "gpu"),
        module="paddle",
        package=_PADDLE,
        loader="paddle_inference.PaddleBackend",
        description="Paddle's own kernels, on a CPU or GPU",
        run_modes={"fp32": "paddle"},
    ),
    # Builds for minutes at the first start, so only on request.
    "tensorrt": Engine(
        reads={"fp32": ("paddle",), "fp16": ("paddle",)},
        devices=("gpu",),
        auto_devices=(),
        module="paddle",
        package=_PADDLE,
        loader="paddle_inference.PaddleBackend",
        description="TensorRT on a GPU; passed through to Paddle Inference, not tested by this project",
        run_modes={"fp32": "trt_fp32", "fp16": "trt_fp16"},
    ),
}

# PaddleDetection's names for a backend with a precision.
RUN_MODES = {
    "auto": ("auto", "fp32"),
    **{mode: (name, precision) for name, one in BACKENDS.items() for precision, mode in one.run_modes.items()},
}


def auto_engines(device: str) -> tuple[str, ...]:
    """Return the engines that ``auto`` tries on ``cpu`` or ``gpu``, the fastest first."""
    return tuple(name for name, engine in BACKENDS.items() if device in engine.auto_devices)


def runs_to_verify(formats: Collection[str], precisions: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield the engine and precision of every run that a verification of exported formats needs.

    These are the runs on a CPU in which an engine reads the format that it prefers.

    Args:
        formats: The formats of a folder.
        precisions: The precisions wanted; those that an engine does not offer are left out.
    """
    for precision in precisions:
        for name, engine in BACKENDS.items():
            if "cpu" in engine.devices and engine.reads.get(precision, ("",))[0] in formats:
                yield name, precision


def engines_markdown() -> str:
    """Return the table of engines in ``docs/deployment.md``."""
    auto = [engine for engine in BACKENDS.values() if engine.auto_devices]
    rows = [
        (
            "`auto`",
            _code(name for name in PRECISIONS if any(name in engine.reads for engine in auto)),
            "any",
            "the fastest that is installed and has its format in the folder",
        )
    ]
    for name, engine in BACKENDS.items():
        modes = f" (`--run_mode` {_code(engine.run_modes.values())})" if engine.run_modes else ""
        formats = dict.fromkeys(one for read in engine.reads.values() for one in read)
        rows.append((f"`{name}`{modes}", _code(engine.reads), _code(formats), engine.description))
    return _table(("`--backend`", "`--precision`", "format", "what runs"), rows)


def formats_markdown() -> str:
    """Return the table of files in ``docs/deployment.md``."""
    rows = [(one.description, f"`{name}`", one.content) for name, one in FORMATS.items()]
    rows.append(("`infer_cfg.yml`", "", "how to use them"))
    return _table(("file", "format", "content"), rows)


def _code(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(cells)} |\n" for cells in (head, *rows)]
    lines.insert(1, "|---" * len(head) + "|\n")
    return "".join(lines)


if __name__ == "__main__":
    print(engines_markdown(), formats_markdown(), sep="\n", end="")
