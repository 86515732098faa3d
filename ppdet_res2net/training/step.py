"""One training step: losses, gradients and an update of the weights."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import paddle
from paddle import nn

from ppdet_res2net.data.seeds import Purpose, seed_generators
from ppdet_res2net.errors import ConfigError
from ppdet_res2net.training.processes import Processes
from ppdet_res2net.training.task import Task
from ppdet_res2net.training.threads import choose_threads, set_threads

__all__ = ["StepReport", "TrainStep", "seed_everything", "to_tensors"]


@dataclass(frozen=True)
class StepReport:
    """Results of one step.

    Attributes:
        losses: Every loss term and their sum ``loss``, averaged over the batches and processes.
        grad_norm: Norm of all gradients together, before clipping. None with loss scaling, which makes it meaningless.
        is_finite: Whether losses and gradients are finite. If not, the weights were left unchanged.
        local: Losses and images of each batch of this process, as text; empty if all is finite.
        images: Number of images in all processes.
        data_s: Seconds spent waiting for batches.
        stop: Whether any process wants to stop.
    """

    losses: dict[str, float]
    grad_norm: float | None
    is_finite: bool
    local: str
    images: int
    data_s: float
    stop: bool


def seed_everything(seed: int, purpose: Purpose, *place: int) -> None:
    """Seed every generator that models and heads draw from: Paddle's, NumPy's and Python's."""
    paddle.seed(int(seed_generators(seed, purpose, *place)[0]))


class TrainStep:
    """Runs training steps. The random numbers of a step follow from the seed, the step and the rank.

    Args:
        task: Model and losses.
        optimizer: Updates the weights.
        config: ``seed``, ``cpu_threads``, ``amp``, ``amp_dtype``, ``amp_level``, ``init_loss_scaling``, ``custom_white_list``,
            ``custom_black_list``, ``find_unused_parameters``, ``max_nonfinite_steps``.
        processes: The processes that train together.
        device: ``cpu`` or ``gpu:<index>``.
        amp: Use mixed precision even if the configuration does not ask for it.

    Raises:
        ConfigError: Mixed precision is requested on a CPU, or with an unknown type.
    """

    def __init__(
        self, task: Task, optimizer, config: Mapping, processes: Processes, device: str, amp: bool = False
    ) -> None:
        self.task, self.optimizer, self.processes, self.device = task, optimizer, processes, device
        self.threads = choose_threads(config)
        self.model = processes.wrap(task.model, config.get("find_unused_parameters", False))
        self.seed = int(config.get("seed", 0))
        self.amp_dtype = _amp_dtype(config, device) if amp or config.get("amp", False) else None
        self._operators = {
            key: config[key] for key in ("custom_white_list", "custom_black_list") if config.get(key) is not None
        }
        self.scaler = paddle.amp.GradScaler(
            enable=self.amp_dtype == "float16", init_loss_scaling=float(config.get("init_loss_scaling", 1024.0))
        )
        self._may_skip = config.get("max_nonfinite_steps", 0) > 0
        self._parameters = [p for p in task.model.parameters() if not p.stop_gradient]

    def run(self, batches: Iterable[dict], count: int, step: int, stop: bool) -> StepReport:
        """Train on the batches of one step.

        Args:
            batches: Batches whose gradients are averaged.
            count: Number of batches.
            step: Number of the step, from 0.
            stop: Whether this process wants to stop. All processes learn of it.
        """
        if self.device == "cpu":
            set_threads(self.threads)  # at each step, since anything that runs between two may have changed it
        statistics = _clone_statistics(self.task.model) if self._may_skip else {}
        names, rows, local, images, data_s = [], [], [], 0, 0.0
        waiting_since = time.perf_counter()
        for index, batch in enumerate(batches):
            data_s += time.perf_counter() - waiting_since
            seed_everything(self.seed, Purpose.STEP, step, index, self.processes.rank)
            losses = self._backward(batch, count, is_last=index == count - 1)
            names = list(losses)
            rows.append(paddle.stack([losses[name].detach().astype("float32").reshape([]) for name in names]))
            local.append(self.task.describe(batch))
            images += len(batch["im_id"])
            waiting_since = time.perf_counter()
        if self.scaler.is_enable():
            self.scaler.unscale_(self.optimizer)
        norm = self._grad_norm()
        # One transfer for all numbers that this process needs from the device.
        numbers = paddle.concat([paddle.stack(rows).flatten(), norm.reshape([1])]).numpy()
        per_batch = numbers[:-1].reshape(count, len(names))
        # With a loss scale, gradients overflow while the scaler looks for it; it skips those steps itself.
        scaled = self.scaler.is_enable()
        grad_norm = None if scaled else float(numbers[-1])
        sums = self.processes.sum(
            np.concatenate([per_batch.mean(axis=0), [0.0 if scaled else numbers[-1], images, stop]]).astype(np.float64)
        )
        is_finite = bool(np.isfinite(sums).all())
        if is_finite:
            self.scaler.step(self.optimizer)
        else:
            state = self.task.model.state_dict()
            for name, before in statistics.items():
                state[name].set_value(before)
        self.scaler.update()  # also after a step that was left out; otherwise the scaler refuses to unscale the next one
        self.optimizer.clear_grad()
        return StepReport(
            losses=dict(zip(names, (sums[: len(names)] / self.processes.world_size).tolist())),
            grad_norm=grad_norm,
            is_finite=is_finite,
            local="" if is_finite else _describe(local, names, per_batch),
            images=int(sums[-2]),
            data_s=data_s,
            stop=bool(sums[-1]),
        )

    def _backward(self, batch: dict, count: int, is_last: bool) -> dict[str, paddle.Tensor]:
        inputs = {name: to_tensors(value) for name, value in batch.items()}
        autocast: contextlib.AbstractContextManager = contextlib.nullcontext()
        no_sync = contextlib.nullcontext()
        if self.amp_dtype:
            autocast = paddle.amp.auto_cast(dtype=self.amp_dtype, level="O1", **self._operators)
        if not is_last and self.processes.world_size > 1:
            no_sync = self.model.no_sync()  # the processes exchange gradients once per step
        with no_sync:
            with autocast, _wrong_shapes_as_config_errors():
                losses = self.task.losses(self.model, inputs)
            self.scaler.scale(losses["loss"] / count if count > 1 else losses["loss"]).backward()
        return losses

    def _grad_norm(self) -> paddle.Tensor:
        squares = [p.grad.astype("float32").square().sum() for p in self._parameters if p.grad is not None]
        return paddle.add_n(squares).sqrt()


@contextlib.contextmanager
def _wrong_shapes_as_config_errors() -> Iterator[None]:
    """Tell which settings to look at if the parts of a model do not fit together, which only Paddle's operators notice."""
    try:
        yield
    except ValueError as error:
        reason = str(error).strip().partition("\n")[0]
        if not reason.startswith("(InvalidArgument)"):
            raise
        raise ConfigError(
            f"the losses of this model cannot be computed, because its parts do not fit together: {reason[:400]} Compare "
            "the sizes and channels of the parts in the recipe: for instance, the resolution of roi_extractor must be that of "
            "the head, and mask_resolution twice the resolution of MaskHead.roi_extractor."
        ) from error


def _describe(images: list[str], names: list[str], per_batch: np.ndarray) -> str:
    """Describe the loss terms and the images of every batch."""
    lines = []
    for of_batch, values in zip(images, per_batch):
        terms = ", ".join(f"{name} {value:g}" for name, value in zip(names, values))
        lines.append(f"{terms} ({of_batch})")
    return "; ".join(lines)


def _clone_statistics(model: nn.Layer) -> dict[str, paddle.Tensor]:
    """Copy the statistics of batch normalization, which a forward pass changes without any gradient."""
    return {
        name: tensor.clone() for name, tensor in model.state_dict().items() if name.endswith(("._mean", "._variance"))
    }


def _amp_dtype(config: Mapping, device: str) -> Literal["float16", "bfloat16"]:
    if not device.startswith("gpu"):
        raise ConfigError(
            "Mixed precision was requested, but training runs on a CPU, where Paddle has none: it would change nothing. "
            "Leave out --amp, or pass -o amp=false."
        )
    dtype = config.get("amp_dtype", "float16")
    if dtype not in ("float16", "bfloat16"):
        raise ConfigError(f"amp_dtype is {dtype!r}; choose float16 or bfloat16.")
    return dtype


def to_tensors(value: Any) -> Any:
    """Convert arrays, and lists of arrays, to tensors; polygons stay unchanged."""
    if isinstance(value, np.ndarray):
        return paddle.to_tensor(value)
    if isinstance(value, list) and all(isinstance(part, np.ndarray) for part in value):
        return [paddle.to_tensor(part) for part in value]
    return value
