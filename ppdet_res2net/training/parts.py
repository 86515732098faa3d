"""What training steps need: the task with its model and data, the schedule, the optimizer and the step itself."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ppdet_res2net.config import Config
from ppdet_res2net.data.seeds import Purpose
from ppdet_res2net.errors import ConfigError
from ppdet_res2net.ppdet_modules.registry import create_from_config
from ppdet_res2net.training.freezing import freeze_parts
from ppdet_res2net.training.optimizer import build_optimizer
from ppdet_res2net.training.processes import Processes
from ppdet_res2net.training.recompute import recompute_blocks
from ppdet_res2net.training.schedule import scale_learning_rate
from ppdet_res2net.training.step import TrainStep, seed_everything
from ppdet_res2net.training.task import Task
from ppdet_res2net.zoo.load import trunk_metadata

__all__ = ["CreateTask", "Parts", "build_parts", "load_starting_weights"]

logger = logging.getLogger(__name__)

CreateTask = Callable[[Config, Processes], Task]


@dataclass(frozen=True)
class Parts:
    """The parts that run steps.

    Attributes:
        task: Model, data and losses.
        schedule: The learning rate.
        optimizer: The optimizer, which asks the schedule for its rate.
        step: One step of training.
        batches_per_step: Batches whose gradients are averaged into one step.
        steps_per_epoch: Steps of an epoch.
        images_per_step: Images of a step, in all processes.
    """

    task: Task
    schedule: Any
    optimizer: Any
    step: TrainStep
    batches_per_step: int
    steps_per_epoch: int
    images_per_step: int


def build_parts(
    config: Config,
    create_task: CreateTask,
    processes: Processes,
    device: str,
    resources: contextlib.ExitStack,
    amp: bool = False,
    schedule: Any = None,
) -> Parts:
    """Build what the steps of a configuration need.

    Args:
        config: The configuration.
        create_task: Builds the task.
        processes: The processes that train together.
        device: ``cpu`` or ``gpu:<index>``, which has been selected.
        resources: Closes the loader at the end.
        amp: Use mixed precision even if the configuration does not ask for it.
        schedule: The learning rate, instead of the configuration's.

    Raises:
        ConfigError, DatasetError: A setting or the dataset is wrong.
    """
    seed_everything(int(config.get("seed", 0)), Purpose.MODEL)
    task = create_task(config, processes)
    resources.callback(task.loader.close)
    # Refuses a model with another backbone now, rather than when the first checkpoint is written.
    trunk_metadata(task.model)
    processes.synchronize_norms(task.model, config.get("norm_type", "bn"), device)
    if config.get("freeze"):
        freeze_parts(task.model, config["freeze"])
    if config.get("print_params", False):
        sizes = [(math.prod(p.shape), not p.stop_gradient) for p in task.model.parameters()]
        whole, trained = sum(size for size, _ in sizes), sum(size for size, is_trained in sizes if is_trained)
        logger.info("the model has %.3f million parameters, of which %.3f are trained", whole / 1e6, trained / 1e6)

    if config.get("recompute_backbone", False):
        recompute_blocks(task.model)
    batches_per_step = config.get("accumulate_steps", 1)
    drop_last = config["TrainReader"].get("drop_last", True)
    steps_per_epoch = (math.floor if drop_last else math.ceil)(len(task.loader) / batches_per_step)
    images_per_step = task.batch_size * processes.world_size * batches_per_step
    if not steps_per_epoch:
        raise ConfigError(
            f"accumulate_steps is {batches_per_step}, but an epoch has {len(task.loader)} batches: no step "
            f"would be complete. Pass a smaller accumulate_steps, or -o TrainReader.drop_last=false."
        )
    if schedule is None:
        rates = scale_learning_rate(config, images_per_step, steps_per_epoch)
        schedule = create_from_config({**config, "LearningRate": rates}, "LearningRate")(steps_per_epoch)
    optimizer = build_optimizer(config, schedule, task.model)
    step = TrainStep(task, optimizer, config, processes, device, amp)
    return Parts(task, schedule, optimizer, step, batches_per_step, steps_per_epoch, images_per_step)


def load_starting_weights(config: Config, task: Task) -> None:
    """Load the weights that a new run starts from.

    Raises:
        ConfigError: Parts are frozen, but there are no weights.
        WeightsError: The weights cannot be loaded.
    """
    if config.get("freeze") and not config.get("pretrain_weights"):
        raise ConfigError(
            "freeze needs pretrain_weights: the frozen parts would stay random. Set them, or freeze=null."
        )
    task.load_pretrained()
