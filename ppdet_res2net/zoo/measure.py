"""Measure the cost of classifiers on this machine: parameters, multiply-accumulates and latency."""

from __future__ import annotations

import itertools
import os
import statistics
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import yaml
from paddle import nn

from ppdet_res2net.errors import ConfigError, did_you_mean
from ppdet_res2net.files import save_figure
from ppdet_res2net.modeling import Res2NetClassifier
from ppdet_res2net.zoo.model_spec import ModelSpec

__all__ = ["Measurement", "as_text", "measure_network", "measure_specs", "measure_sweep", "plot_accuracy"]

_WARM_UPS = 2
_LINE_INCHES = 0.17  # height of one name in the list beside the plot
_SWEPT = ("depth", "width", "scales", "groups", "variant", "dialect")


@dataclass(frozen=True)
class Measurement:
    """The cost of a network for one image.

    Attributes:
        name: Name of the network.
        parameters: Trainable numbers, frozen ones included.
        macs: Multiply-accumulates of convolutions and linear layers.
        latency_ms: Median time of an eager forward pass with one image.
        top1: Published top-1 accuracy in percent, or None.
    """

    name: str
    parameters: int
    macs: int
    latency_ms: float
    top1: float | None = None


def measure_network(name: str, network: nn.Layer, size_px: int, runs: int, top1: float | None = None) -> Measurement:
    """Measure a network on an image of zeros, on the current device.

    Args:
        name: Name for the result.
        network: Takes images (1, 3, size_px, size_px); its outputs are ignored.
        size_px: Height and width of the image.
        runs: Number of timed forward passes.
        top1: Published accuracy for the result, in percent.
    """
    macs = 0

    def count(layer: nn.Layer, _: paddle.Tensor, output: paddle.Tensor) -> paddle.Tensor:
        nonlocal macs
        if isinstance(layer, nn.Conv2D):
            macs += int(np.prod(output.shape)) * int(np.prod(layer.weight.shape[1:]))
        elif isinstance(layer, nn.Linear):
            macs += int(np.prod(layer.weight.shape))
        return output

    image = paddle.zeros([1, 3, size_px, size_px])
    network.eval()
    with paddle.no_grad():
        hooks = [layer.register_forward_post_hook(count) for layer in network.sublayers()]
        network(image)
        for hook in hooks:
            hook.remove()
        times = [_forward_s(network, image) for _ in range(_WARM_UPS + runs)][_WARM_UPS:]
    # Paddle lists the running statistics of normalization among the parameters.
    names = (item for item in network.named_parameters() if not item[0].endswith(("._mean", "._variance")))
    parameters = sum(int(np.prod(parameter.shape)) for _, parameter in names)
    return Measurement(name, parameters, macs, 1000 * statistics.median(times), top1)


def _forward_s(network: nn.Layer, image: paddle.Tensor) -> float:
    started = time.perf_counter()
    network(image).numpy()  # waits for the device
    return time.perf_counter() - started


def measure_specs(specs: Iterable[ModelSpec], size_px: int = 224, runs: int = 5) -> Iterator[Measurement]:
    """Measure the classifiers among published models, with random weights. Other models are left out."""
    for spec in specs:
        if spec.task == "classifier":
            network = Res2NetClassifier(spec.num_classes, **spec.architecture)
            yield measure_network(spec.name, network, size_px, runs, spec.metrics.get("top1"))


def measure_sweep(path: str | os.PathLike[str], size_px: int = 224, runs: int = 5) -> Iterator[Measurement]:
    """Measure every combination of the values in a YAML file.

    Args:
        path: A mapping from arguments of ``Res2Net`` (``depth``, ``width``, ``scales``, ``groups``, ``variant``,
            ``dialect``) to lists of values, and optionally ``num_classes``.
        size_px: Height and width of the image.
        runs: Number of timed forward passes for each network.

    Raises:
        ConfigError: The file is wrong, or ``Res2Net`` refuses a combination.
    """
    values, num_classes = _read_sweep(Path(path))
    for combination in itertools.product(*values.values()):
        options = dict(zip(values, combination))
        name = " ".join(f"{key}={value}" for key, value in options.items())
        try:
            network = Res2NetClassifier(num_classes, **options)
        except ConfigError as error:
            raise ConfigError(f"'{path}', {name}: {error}") from error
        yield measure_network(name, network, size_px, runs)


def _read_sweep(path: Path) -> tuple[dict[str, list[Any]], int]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"The sweep '{path}' cannot be read: {error}. Pass a YAML file.") from error
    example = "Example: {depth: [50, [2, 2, 2, 2]], width: [14, 26], scales: [4, 8]}"
    if not isinstance(content, Mapping) or not content:
        raise ConfigError(f"The sweep '{path}' must hold a mapping from arguments to lists of values. {example}")
    values = {key: value for key, value in content.items() if key != "num_classes"}
    for key, value in values.items():
        if key not in _SWEPT:
            raise ConfigError(
                f"The sweep '{path}' has the unknown key '{key}'; expected some of {', '.join(_SWEPT)} and num_classes."
                f"{did_you_mean(key, _SWEPT)}"
            )
        if not isinstance(value, list) or not value:
            raise ConfigError(f"The sweep '{path}' has {key}: {value!r}; expected a list of values. {example}")
    return values, content.get("num_classes", 1000)


def as_text(measurements: Sequence[Measurement]) -> str:
    """Return a table for a terminal."""
    width = max(len("model"), *(len(m.name) for m in measurements))
    lines = [f"{'model':{width}}    params      MACs  latency   top-1"]
    for m in measurements:
        top1 = "-" if m.top1 is None else f"{m.top1:.2f} %"
        lines.append(
            f"{m.name:{width}}  {m.parameters / 1e6:6.2f} M  {m.macs / 1e9:6.2f} G  {m.latency_ms:4.0f} ms  {top1:>7}".rstrip()
        )
    return "\n".join(lines)


def plot_accuracy(measurements: Sequence[Measurement], target: str | os.PathLike[str]) -> None:
    """Plot published top-1 accuracy over measured latency; without accuracies, multiply-accumulates over latency.

    The points are numbered, and a list beside the plot names them, because names at the points would overlap.

    Raises:
        ConfigError: The picture cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    has_accuracy = any(m.top1 is not None for m in measurements)
    shown = [m for m in measurements if m.top1 is not None] if has_accuracy else measurements
    figure = Figure(figsize=(11, max(6, _LINE_INCHES * len(shown))), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for number, m in enumerate(shown, start=1):
        height = m.macs / 1e9 if m.top1 is None else m.top1
        axes.plot(m.latency_ms, height, "o", label=f"{number}  {m.name}")
        axes.annotate(str(number), (m.latency_ms, height), xytext=(4, 4), textcoords="offset points", fontsize=8)
    figure.legend(loc="outside right upper", fontsize=7)
    axes.set_xlabel("latency of one image (ms)")
    axes.set_ylabel("published top-1 (%)" if has_accuracy else "multiply-accumulates (G)")
    axes.grid(alpha=0.3)
    save_figure(figure, target, dpi=150, error_class=ConfigError)
