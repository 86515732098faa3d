"""The device that a run uses."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import paddle

from ppdet_res2net.compat.host_memory import keep_freed_memory
from ppdet_res2net.training.threads import choose_threads, set_threads

__all__ = ["select_device"]

logger = logging.getLogger(__name__)


def select_device(config: Mapping) -> str:
    """Choose ``gpu:<index>`` or ``cpu``, as ``use_gpu`` says and the machine allows; prepare it and return its name.

    On a CPU, Paddle computes with as many threads as :func:`~ppdet_res2net.training.threads.choose_threads` says.
    """
    device = "cpu"
    if config.get("use_gpu", True):
        if paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count() > 0:
            device = f"gpu:{paddle.distributed.ParallelEnv().device_id}"
        else:
            why = "sees no GPU" if paddle.is_compiled_with_cuda() else "is built without GPU support"
            logger.info("running on the CPU: use_gpu is set, but this Paddle %s", why)
    if device == "cpu":
        keep_freed_memory()
        set_threads(choose_threads(config))
    paddle.set_device(device)
    return device
