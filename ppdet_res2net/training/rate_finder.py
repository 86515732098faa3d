"""The learning-rate range test (Smith, 2017): the rate rises from step to step, and the loss tells which rates work.

The steps are those of training, with its data, losses and optimizer, from the weights that training starts from. Nothing of
them is kept.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from paddle.optimizer.lr import LambdaDecay
from paddle.utils import unique_name

from ppdet_res2net.compat.statistics_warning import drop_statistics_warning
from ppdet_res2net.config import Config
from ppdet_res2net.errors import TrainingError
from ppdet_res2net.files import save_figure, save_text
from ppdet_res2net.training.device import select_device
from ppdet_res2net.training.parts import CreateTask, Parts, build_parts, load_starting_weights
from ppdet_res2net.training.processes import join_processes
from ppdet_res2net.training.run_log import LINE_INTERVAL_S
from res2net_runtime.console import ending_on_signals

__all__ = ["DEFAULT_STEPS", "RateCurve", "find_learning_rate"]

logger = logging.getLogger(__name__)

DEFAULT_STEPS = 100
LOWEST_RATE, HIGHEST_RATE = 1e-6, 10.0
_DIVERGED = 4.0  # times the lowest loss before
_RECENT = 5  # steps whose mean decides this
_LEAST_STEPS = 5  # for a slope that means anything
_LEAST_FALL = 0.05  # a smaller share of the first loss is noise


@dataclass(frozen=True)
class RateCurve:
    """The losses of a range test.

    Attributes:
        rates: The learning rate of each step.
        losses: The loss of each step.
        has_diverged: Whether the loss rose so far that the test ended early.
    """

    rates: Sequence[float]
    losses: Sequence[float]
    has_diverged: bool

    @property
    def smoothed(self) -> np.ndarray:
        """The mean loss of the steps around each one: a tenth of all steps."""
        losses, reach = np.asarray(self.losses), max(1, len(self.losses) // 20)
        return np.array([losses[max(0, i - reach) : i + reach + 1].mean() for i in range(len(losses))])

    @property
    def lowest(self) -> int:
        """The step with the lowest smoothed loss."""
        return int(np.argmin(self.smoothed))

    @property
    def steepest_rate(self) -> float | None:
        """The rate at which the smoothed loss falls fastest; None if it never falls clearly."""
        if len(self.losses) < _LEAST_STEPS:
            return None
        smoothed = self.smoothed
        if self.lowest < 2 or smoothed[self.lowest] > (1 - _LEAST_FALL) * smoothed[0]:
            return None
        slopes = np.gradient(smoothed, np.log10(self.rates))
        return float(self.rates[int(np.argmin(slopes[: self.lowest + 1]))])

    @property
    def tenth_of_lowest(self) -> float | None:
        """A tenth of the rate with the lowest smoothed loss; None if the loss never falls clearly."""
        return None if self.steepest_rate is None else float(self.rates[self.lowest]) / 10

    @property
    def suggestion(self) -> float | None:
        """A tenth of the rate with the lowest loss, with two digits."""
        return None if self.tenth_of_lowest is None else float(f"{self.tenth_of_lowest:.1e}")


def find_learning_rate(
    config: Config, create_task: CreateTask, *, steps: int = DEFAULT_STEPS, amp: bool = False
) -> RateCurve:
    """Run a range test; write ``lr_finder.json`` and ``lr_finder.png`` to the run's folder, and say what they suggest.

    The rates go from :data:`LOWEST_RATE` to :data:`HIGHEST_RATE`. The test ends early when the loss is not finite, or when
    the mean of the last steps exceeds four times the lowest one.

    Args:
        config: The configuration of the run.
        create_task: Builds the task.
        steps: Steps at most.
        amp: Use mixed precision even if the configuration does not ask for it.

    Raises:
        ConfigError, DatasetError, WeightsError: A setting, the dataset, or the weights are wrong.
        TrainingError: No rate lowers the loss, or the files cannot be written.
    """
    processes = join_processes()
    device = select_device(config)
    factor = (HIGHEST_RATE / LOWEST_RATE) ** (1 / max(1, steps - 1))
    schedule = LambdaDecay(LOWEST_RATE, lambda step: factor**step)
    with unique_name.guard(), contextlib.ExitStack() as resources:
        resources.enter_context(drop_statistics_warning())
        parts = build_parts(config, create_task, processes, device, resources, amp, schedule)
        load_starting_weights(config, parts.task)
        resources.enter_context(ending_on_signals())  # Paddle sets handlers of its own, which print C++ stacks
        logger.info(
            "learning-rate range test of %s on %s: %d steps of %d images, from %g to %g",
            config.name,
            device,
            steps,
            parts.images_per_step,
            LOWEST_RATE,
            HIGHEST_RATE,
        )
        curve = _sweep(parts, steps)
    folder = Path(config.get("save_dir", "output")) / config.name
    if processes.is_first:
        _write(curve, folder, config.name, parts.images_per_step)
    if curve.suggestion is None:
        raise TrainingError(
            f"No learning rate lowered the loss by more than {_LEAST_FALL:.0%}, so none is suggested. Look at "
            f"'{folder / 'lr_finder.png'}'. Usual causes: too few steps for this batch size (--max_steps {2 * steps} takes "
            "more), or weights that have learned this data already."
        )
    logger.info(
        "%sthe loss is lowest at %.2g, and falls fastest at %.2g; see %s\n"
        "to train with a tenth of the former, for %d images per step: -o LearningRate.base_lr=%g",
        f"stopped after {len(curve.rates)} steps, as the loss diverged: " if curve.has_diverged else "",
        curve.rates[curve.lowest],
        curve.steepest_rate,
        folder / "lr_finder.png",
        parts.images_per_step,
        curve.suggestion,
    )
    return curve


def _sweep(parts: Parts, steps: int) -> RateCurve:
    """Run the steps, until the loss diverges."""
    rates: list[float] = []
    losses: list[float] = []
    lowest, last_line = math.inf, time.monotonic()
    parts.task.model.train()
    batches = _endless(parts)
    for step in range(steps):
        rate = parts.optimizer.get_lr()
        report = parts.step.run(
            itertools.islice(batches, parts.batches_per_step), parts.batches_per_step, step, stop=False
        )
        if not report.is_finite:
            return RateCurve(rates, losses, has_diverged=True)
        rates.append(rate)
        losses.append(report.losses["loss"])
        if time.monotonic() - last_line >= LINE_INTERVAL_S:
            last_line = time.monotonic()
            logger.info("step %d/%d: lr %.2g, loss %.4f", step + 1, steps, rate, losses[-1])
        if len(losses) >= _RECENT:
            recent = sum(losses[-_RECENT:]) / _RECENT
            if recent > _DIVERGED * lowest:
                return RateCurve(rates, losses, has_diverged=True)
            lowest = min(lowest, recent)
        parts.schedule.step()
    return RateCurve(rates, losses, has_diverged=False)


def _endless(parts: Parts) -> Iterator[dict]:
    """Yield the batches of complete steps, epoch after epoch."""
    for epoch in itertools.count():
        count = len(parts.task.loader) // parts.batches_per_step * parts.batches_per_step
        yield from itertools.islice(parts.task.loader.epoch(epoch), count or None)


def _write(curve: RateCurve, folder: Path, name: str, images_per_step: int) -> None:
    values = {
        "config": name,
        "images_per_step": images_per_step,
        "suggestion": curve.suggestion,
        "steepest": curve.steepest_rate,
        "tenth_of_lowest": curve.tenth_of_lowest,
        "diverged": curve.has_diverged,
        "lr": list(curve.rates),
        "loss": list(curve.losses),
        "smoothed_loss": curve.smoothed.tolist(),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(
            f"The folder '{folder}' cannot be written: {error}. Pass another one with -o save_dir=FOLDER."
        ) from error
    save_text(folder / "lr_finder.json", json.dumps(values, indent=1) + "\n", TrainingError)
    if curve.losses:
        _draw(curve, folder / "lr_finder.png", f"{name}, {images_per_step} images per step")


def _draw(curve: RateCurve, target: Path, title: str) -> None:
    from matplotlib.figure import Figure  # not pyplot, which would select a display backend

    figure = Figure(figsize=(8, 5))
    axes = figure.add_subplot()
    axes.set(title=title, xlabel="learning rate", ylabel="loss", xscale="log")
    axes.grid(alpha=0.3)
    axes.plot(curve.rates, curve.losses, ".", markersize=3, alpha=0.5, label="each step")
    axes.plot(curve.rates, curve.smoothed, label="smoothed")
    axes.set_ylim(0, 1.5 * float(curve.smoothed[: curve.lowest + 1].max()))
    for rate, label, style in (
        (curve.steepest_rate, "steepest", "--"),
        (curve.tenth_of_lowest, "a tenth of the lowest", ":"),
    ):
        if rate is not None:
            axes.axvline(rate, linestyle=style, color="black", label=f"{label}: {rate:.2g}")
    axes.legend()
    save_figure(figure, target, dpi=110, error_class=TrainingError)
