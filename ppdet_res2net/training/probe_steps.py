"""The steps that :mod:`~ppdet_res2net.training.memory_probe` measures."""

from __future__ import annotations

import contextlib
import copy
import gc
import itertools
import time
from dataclasses import dataclass

import paddle
from paddle.utils import unique_name

from ppdet_res2net.compat.statistics_warning import drop_statistics_warning
from ppdet_res2net.config import Config
from ppdet_res2net.training.device import select_device
from ppdet_res2net.training.ema import WeightAverage
from ppdet_res2net.training.parts import CreateTask, build_parts, load_starting_weights
from ppdet_res2net.training.processes import ALONE
from ppdet_res2net.training.run_log import peak_memory_mib

__all__ = ["Measured", "run_steps"]

_BATCHES = 8  # of which the one with the largest images is taken
_STEPS = 2  # the optimizer has all its state from the second one on


@dataclass(frozen=True)
class Measured:
    """What steps of one batch size took.

    Attributes:
        batch_size: Images per batch.
        memory_bytes: Peak memory: of the GPU if there is one, else of the process.
        step_s: Seconds of a step, without the time to read the images.
        epoch_batches: Batches of this size in an epoch.
    """

    batch_size: int
    memory_bytes: int
    step_s: float
    epoch_batches: int


def run_steps(config: Config, create_task: CreateTask, device: str, amp: bool, batch_size: int) -> Measured:
    """Run steps of a batch size, as training does, and measure them.

    Args:
        config: The configuration.
        create_task: Builds the task.
        device: ``cpu`` or ``gpu:<index>``.
        amp: Use mixed precision even if the configuration does not ask for it.
        batch_size: Images per batch.
    """
    config = copy.deepcopy(config)
    config.device = device
    config["worker_num"] = 0
    config["TrainReader"]["batch_size"] = batch_size
    select_device(config)
    gc.collect()  # the model of the last measurement
    with unique_name.guard(), contextlib.ExitStack() as resources:
        resources.enter_context(drop_statistics_warning())
        parts = build_parts(config, create_task, ALONE, device, resources, amp)
        load_starting_weights(config, parts.task)
        average = WeightAverage(parts.task.model, config) if config.get("use_ema", False) else None
        parts.task.model.train()
        batches = itertools.islice(parts.task.loader.epoch(0), _BATCHES)
        batch = max(batches, key=lambda batch: batch["image"].nbytes)
        for step in range(_STEPS):
            begin = time.perf_counter()
            parts.step.run([batch] * parts.batches_per_step, parts.batches_per_step, step, stop=False)
            if average is not None:
                average.update()
            step_s = time.perf_counter() - begin
        return Measured(parts.task.batch_size, _peak_bytes(device), step_s, len(parts.task.loader))


def _peak_bytes(device: str) -> int:
    if device.startswith("gpu"):
        return paddle.device.cuda.max_memory_reserved()  # with what lies unused between the tensors
    peak = peak_memory_mib(device)
    assert peak is not None  # the training process has found out how much memory is free, so this is Linux
    return int(peak * 2**20)
