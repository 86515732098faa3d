"""The device that a command line asks for."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import paddle
import pytest

from ppdet_res2net.config import Config
from ppdet_res2net.errors import SetupError
from ppdet_res2net.training.device import select_device


@pytest.fixture
def machine(monkeypatch):
    """Pretend to have this many GPUs; returns the devices that Paddle was set to."""
    chosen: list[str] = []

    def pretend(gpus: int, world_size: int = 1, has_cuda: bool = True) -> list[str]:
        monkeypatch.setattr(paddle, "is_compiled_with_cuda", lambda: has_cuda)
        monkeypatch.setattr(paddle.device.cuda, "device_count", lambda: gpus)
        environment = SimpleNamespace(device_id=2, world_size=world_size)
        monkeypatch.setattr(paddle.distributed, "ParallelEnv", lambda: environment)
        monkeypatch.setattr(paddle, "set_device", chosen.append)
        return chosen

    return pretend


def _config(device: str | None, **settings) -> Config:
    config = Config(settings, Path("recipe.yml"))
    config.device = device
    return config


@pytest.mark.parametrize(
    "device, settings, expected",
    [
        ("cpu", {}, "cpu"),
        ("cpu", {"use_gpu": True}, "cpu"),
        ("gpu", {"use_gpu": False}, "gpu:2"),  # that of the launcher, or 0
        ("gpu:1", {"use_gpu": False}, "gpu:1"),
        (None, {"use_gpu": False}, "cpu"),
        (None, {}, "gpu:2"),
    ],
)
def test_the_command_line_decides_before_the_recipe(machine, device, settings, expected):
    chosen = machine(gpus=3)
    assert select_device(_config(device, **settings)) == expected
    assert chosen == [expected]


def test_a_gpu_that_was_asked_for_must_be_there(machine):
    machine(gpus=0, has_cuda=False)
    with pytest.raises(
        SetupError, match=r"--device is gpu, but this Paddle is built without GPU support\. Pass --device cpu"
    ):
        select_device(_config("gpu"))
    machine(gpus=0)
    with pytest.raises(SetupError, match="--device is gpu:0, but this Paddle sees no GPU"):
        select_device(_config("gpu:0"))
    machine(gpus=1)
    with pytest.raises(SetupError, match="--device is gpu:1, but this process sees 1 GPU, numbered from 0"):
        select_device(_config("gpu:1"))
    machine(gpus=2, world_size=2)
    with pytest.raises(SetupError, match=r"but 2 processes run, each on a GPU of its own\. Choose .*--gpus 0,1"):
        select_device(_config("gpu:1"))
    assert select_device(_config("gpu")) == "gpu:2"
