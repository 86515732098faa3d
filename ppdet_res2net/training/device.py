"""The device that a run uses."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import paddle

from ppdet_res2net.commands import program
from ppdet_res2net.compat.host_memory import keep_freed_memory
from ppdet_res2net.config import Config
from ppdet_res2net.errors import SetupError
from ppdet_res2net.training.threads import choose_threads, set_threads

__all__ = ["select_device"]

logger = logging.getLogger(__name__)


def select_device(config: Mapping) -> str:
    """Choose ``gpu:<index>`` or ``cpu``; prepare it and return its name.

    That is the :attr:`~ppdet_res2net.config.Config.device` of the configuration, if it has one. Otherwise it is a GPU, if
    ``use_gpu`` says so and there is one. On a CPU, Paddle computes with as many threads as
    :func:`~ppdet_res2net.training.threads.choose_threads` says.

    Raises:
        SetupError: The device was asked for by name, and there is no such GPU.
    """
    asked = config.device if isinstance(config, Config) else None
    device = "cpu"
    if asked is not None:
        device = _find(asked)
    elif config.get("use_gpu", True):
        missing = _why_no_gpu()
        if missing:
            logger.info("running on the CPU: use_gpu is set, but this Paddle %s", missing)
        else:
            device = f"gpu:{paddle.distributed.ParallelEnv().device_id}"
    if device == "cpu":
        keep_freed_memory()
        set_threads(choose_threads(config))
    paddle.set_device(device)
    return device


def _find(asked: str) -> str:
    """Return the full name of a device that was asked for."""
    if asked == "cpu":
        return asked
    missing = _why_no_gpu()
    if missing:
        raise SetupError(
            f"--device is {asked}, but this Paddle {missing}. Pass --device cpu, or install Paddle for GPUs; "
            f"'{program('doctor')}' shows what is installed."
        )
    environment = paddle.distributed.ParallelEnv()
    _, colon, index = asked.partition(":")
    if not colon:
        return f"gpu:{environment.device_id}"
    if environment.world_size > 1:
        raise SetupError(
            f"--device is {asked}, but {environment.world_size} processes run, each on a GPU of its own. Choose the GPUs with "
            "the launcher: python -m paddle.distributed.launch --gpus 0,1 ..."
        )
    count = paddle.device.cuda.device_count()
    if int(index) >= count:
        raise SetupError(
            f"--device is {asked}, but this process sees {count} GPU{'s'[: count != 1]}, numbered from 0. Pass one of them; "
            "CUDA_VISIBLE_DEVICES limits which ones a process sees."
        )
    return asked


def _why_no_gpu() -> str:
    """Return why no GPU can be used; "" if one can."""
    if not paddle.is_compiled_with_cuda():
        return "is built without GPU support"
    return "" if paddle.device.cuda.device_count() > 0 else "sees no GPU"
