"""Chooses the batch size by memory: the largest one whose steps take no more than a share of what is free."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import paddle

from ppdet_res2net.config import Config, load_config
from ppdet_res2net.errors import ConfigError, TrainingError
from ppdet_res2net.training.free_memory import free_memory_bytes
from ppdet_res2net.training.memory_probe import MemoryProbe
from ppdet_res2net.training.parts import CreateTask
from ppdet_res2net.training.probe_steps import Measured
from ppdet_res2net.training.processes import Processes

__all__ = ["Choice", "choose_by_memory", "fit_batch_size"]

logger = logging.getLogger(__name__)

TIME_LIMIT_S = 300.0
_GROWTH = 4  # at most so many times the last size
_LEAST_STEPS = 500  # of a run: larger batches make fewer of them
_MOST = 1024
_GIB = 2**30
# One of these is chosen, so that small differences of what is free change nothing.
_SIZES = sorted({2**power for power in range(11)} | {3 * 2**power for power in range(9)})


@dataclass(frozen=True)
class Choice:
    """A batch size, and why.

    Attributes:
        batch_size: The images per batch.
        measured: What was measured, in this order.
        reason: Why it is not larger.
    """

    batch_size: int
    measured: Sequence[Measured]
    reason: str


def fit_batch_size(
    config: Config,
    create_task: CreateTask,
    processes: Processes,
    device: str,
    share: float,
    *,
    amp: bool = False,
    continued: Path | None = None,
) -> Config:
    """Return the configuration with a measured ``TrainReader.batch_size``, or with that of the run that is continued.

    The learning rate is then scaled, as for any ``base_batch_size``: a configuration without one gets the images per step
    that its rate was meant for.

    Args:
        config: The configuration.
        create_task: Builds the task.
        processes: The processes that train together: one.
        device: ``cpu`` or ``gpu:<index>``.
        share: The share of the free memory that steps may take.
        amp: Use mixed precision even if the configuration does not ask for it.
        continued: Folder of the run that is continued.

    Raises:
        ConfigError: Several processes train together, or the system does not say how much memory is free.
        TrainingError: Not even one image fits.
    """
    recorded = continued / "config.yml" if continued is not None else None
    if recorded is not None and recorded.is_file():
        return _as_recorded(config, recorded)
    if processes.world_size > 1:
        raise ConfigError(
            f"--batch_size auto measures one process, but {processes.world_size} train together. Run it with one for some "
            "steps, and pass the number that it chooses: --batch_size N."
        )
    free = paddle.device.cuda.get_device_properties(device).total_memory if device != "cpu" else free_memory_bytes()
    if free is None:
        raise ConfigError(
            "--batch_size auto needs to know how much memory is free, which this system does not say. Pass a number."
        )
    limit = int(share * free)
    before = config["TrainReader"].get("batch_size", 1)
    what = "memory of the GPU" if device != "cpu" else "free memory"
    logger.info("--batch_size auto: steps may take %.2f GiB, %.0f%% of the %s", limit / _GIB, 100 * share, what)
    with MemoryProbe(config, create_task, device, amp) as probe:
        choice = choose_by_memory(probe.measure, limit, lambda one: _most_images(config, one))
    if choice.batch_size == 0:
        raise TrainingError(
            f"--batch_size auto: not even one image per batch fits: {choice.reason}. Make the images of TrainReader smaller, "
            "set recompute_backbone=true, or allow a larger share, such as --batch_size 0.9."
        )
    rows = [
        f"  {one.batch_size:4d} images: {one.memory_bytes / _GIB:6.2f} GiB, {one.step_s:.2f} s per step, "
        f"{one.batch_size / one.step_s:.2f} images/s"
        for one in choice.measured
    ]
    is_same = choice.batch_size == before
    change = ", as in the recipe" if is_same else f" instead of {before}"
    logger.info("batch size %d%s: %s\n%s", choice.batch_size, change, choice.reason, "\n".join(rows))
    changed = copy.deepcopy(config)
    changed["TrainReader"]["batch_size"] = choice.batch_size
    changed.setdefault("base_batch_size", before * config.get("accumulate_steps", 1))
    return changed


def choose_by_memory(
    measure: Callable[[int, float], Measured | None],
    limit_bytes: int,
    most_images: Callable[[Measured], tuple[int, str]],
    time_limit_s: float = TIME_LIMIT_S,
) -> Choice:
    """Choose a batch size.

    The first two sizes are 1 and 2. The line through the last two predicts the memory of larger ones. The largest that should
    fit is measured next, but at most four times the last one.

    Args:
        measure: Measures a batch size within some seconds; None if it does not fit.
        limit_bytes: The memory that steps may take.
        most_images: Returns the largest sensible batch size and its reason, from the measurement of one image.
        time_limit_s: Seconds for all measurements together.
    """
    measured: list[Measured] = []
    most, why_most = _MOST, ""
    size, deadline = 1, time.monotonic() + time_limit_s
    while True:
        began = time.monotonic()
        one = measure(size, deadline - began)
        if one is None:
            last = measured[-1].batch_size if measured else 0
            return Choice(last, measured, f"{size} took more time or memory than there is")
        measured.append(one)
        if one.memory_bytes > limit_bytes:
            return Choice(_between(measured, limit_bytes), measured, f"{size} take {_in_gib(one.memory_bytes)}")
        if size == 1:
            most, why_most = most_images(one)
        larger = [other for other in sorted({*_SIZES, most}) if size < other <= most]
        if not larger:
            return Choice(size, measured, why_most)
        fitting = [other for other in larger if _predict(measured, other) <= limit_bytes]
        if not fitting:
            needs = _in_gib(_predict(measured, larger[0]))
            return Choice(size, measured, f"{larger[0]} would take about {needs}")
        following = max(other for other in fitting if other <= size * (_GROWTH if len(measured) > 1 else 2))
        now = time.monotonic()
        if now + (now - began) * following / size > deadline:
            return Choice(size, measured, f"to measure {following} would take longer than {time_limit_s:.0f} s in all")
        size = following


def _between(measured: Sequence[Measured], limit_bytes: int) -> int:
    """Return the largest batch size below the last one that should fit, on the line to the one before; 0 if none was before."""
    last = measured[-1].batch_size
    before = measured[-2].batch_size if len(measured) > 1 else 0
    sizes = [size for size in _SIZES if before < size < last and _predict(measured, size) <= limit_bytes]
    return max([before, *sizes])


def _predict(measured: Sequence[Measured], batch_size: int) -> float:
    """Return the bytes on the line through the last two measurements; for one alone, its own, so that 2 is tried."""
    last = measured[-1]
    if len(measured) == 1:
        return last.memory_bytes
    before = measured[-2]
    slope = (last.memory_bytes - before.memory_bytes) / (last.batch_size - before.batch_size)
    return last.memory_bytes + max(0.0, slope) * (batch_size - last.batch_size)


def _in_gib(number: float) -> str:
    return f"{number / _GIB:.2f} GiB"


def _most_images(config: Mapping, one: Measured) -> tuple[int, str]:
    """Return the largest sensible batch size, and why: a run should have enough steps, and an epoch at least one."""
    accumulated = config.get("accumulate_steps", 1)
    before = config["TrainReader"].get("batch_size", 1)
    enough = config["epoch"] * one.epoch_batches // (_LEAST_STEPS * accumulated)
    most = min(max(before, enough, 1), one.epoch_batches // accumulated, _MOST)
    if most == _MOST:
        return most, "larger ones are not tried"
    return most, (
        f"with more than {most}, a run of {config['epoch']} epochs of {one.epoch_batches} images would have fewer than "
        f"{_LEAST_STEPS} steps"
    )


def _as_recorded(config: Config, run_config: Path) -> Config:
    """Return the configuration with the batch size of a run's ``config.yml``."""
    recorded = load_config(run_config)
    changed = copy.deepcopy(config)
    changed["TrainReader"]["batch_size"] = recorded["TrainReader"].get("batch_size", 1)
    if "base_batch_size" in recorded:
        changed["base_batch_size"] = recorded["base_batch_size"]
    logger.info("--batch_size auto: %d, as in the run that is continued", changed["TrainReader"]["batch_size"])
    return changed
