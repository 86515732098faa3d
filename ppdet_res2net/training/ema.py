"""The exponential moving average of the weights, under PaddleDetection's keys."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping

import numpy as np
import paddle
from paddle import nn

from ppdet_res2net.errors import ConfigError

__all__ = ["WeightAverage"]

# How the decay grows with the number of updates, as in PaddleDetection.
_DECAYS = {
    "normal": lambda decay, updates: decay,
    "threshold": lambda decay, updates: min(decay, (1 + updates) / (10 + updates)),
    "exponential": lambda decay, updates: decay * (1 - math.exp(-(updates + 1) / 2000)),
}
_CONSTANT_STATE = ("_mean", "_variance")  # batch normalization changes these without any gradient


class WeightAverage:
    """Moving average of weights and statistics.

    The average is the weighted mean of the models after each step. Dividing by the sum of all factors makes it right from
    the first step on, however the decay grows. PaddleDetection corrects the sum as if the decay had always had its last
    value; both agree after some hundred steps.

    Args:
        model: The model.
        config: ``ema_decay``, ``ema_decay_type``, ``cycle_epoch``, ``ema_black_list``, ``ema_filter_no_grad``.

    Attributes:
        names: The tensors that are averaged.

    Raises:
        ConfigError: A setting is out of range.
    """

    def __init__(self, model: nn.Layer, config: Mapping) -> None:
        self._model = model
        self._decay = float(config.get("ema_decay", 0.9998))
        kind = config.get("ema_decay_type", "threshold")
        if not 0 <= self._decay < 1:
            raise ConfigError(f"ema_decay is {self._decay:g}; it must be at least 0 and below 1.")
        if kind not in _DECAYS:
            raise ConfigError(f"ema_decay_type is {kind!r}; choose one of {', '.join(_DECAYS)}.")
        self._decay_at = _DECAYS[kind]
        self._cycle_epochs = config.get("cycle_epoch", -1)
        skipped = tuple(config.get("ema_black_list") or ())
        only_trained = config.get("ema_filter_no_grad", False)
        self.names = [
            name
            for name, tensor in model.state_dict().items()
            if tensor.is_floating_point()
            and not any(part in name for part in skipped)
            and not (only_trained and tensor.stop_gradient and not name.endswith(_CONSTANT_STATE))
        ]
        self._restart()

    def _restart(self) -> None:
        state = self._model.state_dict()
        self._sums = {name: paddle.zeros_like(state[name]) for name in self.names}
        for tensor in self._sums.values():
            tensor.stop_gradient = True
        self._total = 0.0
        self._updates = 0

    def begin_epoch(self, epoch: int) -> None:
        """Start again every ``cycle_epoch`` epochs. Called at the start of each epoch."""
        if self._cycle_epochs > 0 and epoch > 0 and epoch % self._cycle_epochs == 0:
            self._restart()

    @paddle.no_grad()
    def update(self) -> None:
        """Add the model's weights after a step."""
        decay = self._decay_at(self._decay, self._updates)
        state = self._model.state_dict()
        for name, total in self._sums.items():
            total.scale_(decay)
            total.add_(state[name] * (1 - decay))
        self._total = decay * self._total + (1 - decay)
        self._updates += 1

    def weights(self) -> dict[str, np.ndarray]:
        """Return the averaged weights, and the model's own for those that are not averaged."""
        state = {name: tensor.numpy() for name, tensor in self._model.state_dict().items()}
        if self._updates:
            factor = np.float32(1 / self._total)
            state.update({name: total.numpy() * factor for name, total in self._sums.items()})
        return state

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Give the model the averaged weights while the context is active."""
        own = {name: tensor.numpy() for name, tensor in self._model.state_dict().items()}
        _assign(self._model, self.weights())
        try:
            yield
        finally:
            _assign(self._model, own)

    def state(self) -> tuple[dict[str, np.ndarray], dict]:
        """Return what resuming needs: tensors and plain data."""
        tensors = {name: total.numpy() for name, total in self._sums.items()}
        return tensors, {"total": self._total, "updates": self._updates}

    def set_state(self, tensors: Mapping[str, np.ndarray], values: Mapping) -> None:
        """Load what :meth:`state` has returned."""
        for name, total in self._sums.items():
            total.set_value(tensors[name])
        self._total, self._updates = values["total"], values["updates"]


def _assign(model: nn.Layer, arrays: Mapping[str, np.ndarray]) -> None:
    for name, tensor in model.state_dict().items():
        tensor.set_value(arrays[name])
