"""The processes of a distributed run: how many there are, and how they communicate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle
from paddle import distributed, nn

from ppdet_res2net.compat.gloo_timeout import meet
from ppdet_res2net.errors import ConfigError

__all__ = ["ALONE", "Processes", "join_processes"]


@dataclass(frozen=True)
class Processes:
    """This process, as one of those that train together.

    Attributes:
        rank: Number of this process, from 0.
        world_size: Number of processes.
    """

    rank: int = 0
    world_size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes and reports."""
        return self.rank == 0

    def wrap(self, model: nn.Layer, find_unused_parameters: bool = False) -> nn.Layer:
        """Return a layer whose gradients are averaged over the processes."""
        if self.world_size == 1:
            return model
        return paddle.DataParallel(model, find_unused_parameters=find_unused_parameters)

    def synchronize_norms(self, model: nn.Layer, norm_type: str, device: str) -> None:
        """With ``norm_type: sync_bn``, let ppdet's heads compute statistics over all processes, as our trunk does.

        Raises:
            ConfigError: The processes run on a CPU, where Paddle lacks the operator.
        """
        if self.world_size == 1 or norm_type != "sync_bn":
            return
        if not device.startswith("gpu"):
            raise ConfigError(
                f"norm_type is sync_bn, but {self.world_size} processes run on a CPU, where Paddle cannot synchronize "
                f"statistics: each process would have its own. Pass -o norm_type=bn, or norm_type=gn, which needs none."
            )
        for name, part in model.named_children():
            if name != "backbone":
                setattr(model, name, nn.SyncBatchNorm.convert_sync_batchnorm(part))

    def sum(self, values: np.ndarray) -> np.ndarray:
        """Return the sum of an array over all processes, element by element."""
        if self.world_size == 1:
            return values
        meet(self.world_size)
        total = paddle.to_tensor(values)
        distributed.all_reduce(total)
        return total.numpy()

    def gather(self, value: Any) -> list:
        """Return the values of all processes in the order of their ranks; every process gets them."""
        if self.world_size == 1:
            return [value]
        meet(self.world_size)
        values: list = []
        distributed.all_gather_object(values, value)
        return values


ALONE = Processes()


def join_processes() -> Processes:
    """Join the processes that ``paddle.distributed.launch`` has started. Without the launcher, this process is alone."""
    if distributed.get_world_size() > 1 and not distributed.is_initialized():
        distributed.init_parallel_env()
    return Processes(distributed.get_rank(), distributed.get_world_size())
