"""Saves all that the next steps depend on in a checkpoint, and loads it again."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import paddle
from paddle.optimizer.lr import LRScheduler

from ppdet_res2net.config import Config, dump_config
from ppdet_res2net.config.yaml_io import parse_yaml
from ppdet_res2net.errors import ConfigError, Res2NetError, WeightsError
from ppdet_res2net.training.changes import advance_schedule, list_changes, list_changes_of_network
from ppdet_res2net.training.checkpoint import (
    TrainingState,
    checkpoint_base,
    load_training_state,
    read_checkpoint_info,
    save_checkpoint,
)
from ppdet_res2net.training.ema import WeightAverage
from ppdet_res2net.training.machine import describe_machine, list_differences, list_versions
from ppdet_res2net.training.step import TrainStep
from ppdet_res2net.training.task import Task
from ppdet_res2net.zoo.formats import load_weights_file
from ppdet_res2net.zoo.load import check_dialect, load_into, trunk_metadata
from ppdet_res2net.zoo.weights import read_weights
from res2net_runtime.texts import clip

__all__ = ["Position", "RunState"]

logger = logging.getLogger(__name__)


@dataclass
class Position:
    """How far a run has got.

    The random numbers of a step follow from the seed and the number of the step, so no generator has a state to keep.

    Attributes:
        steps: Number of steps done.
        best_score: Best score of all evaluations; -1 before the first one.
        best_step: Number of steps done before that evaluation.
        metrics: Figures of the last evaluation.
        metrics_step: Number of steps done before that evaluation.
        evaluations_without_gain: Number of evaluations since the best one.
        skipped_steps: Number of steps left out because a loss or gradient was not finite.
        snapshot_is_due: Whether the evaluation after these steps has not been done yet.
    """

    steps: int = 0
    best_score: float = -1.0
    best_step: int = 0
    metrics: dict | None = None
    metrics_step: int = 0
    evaluations_without_gain: int = 0
    skipped_steps: int = 0
    snapshot_is_due: bool = False


# What a checkpoint's plain data consists of; some of it is missing in those of older versions.
_FORM: dict[str, type] = {
    **dict.fromkeys(("position", "optimizer", "scaler", "versions"), dict),
    **dict.fromkeys(("steps_per_epoch", "images_per_step", "seed", "world_size"), int),
    "config": str,
}
_OPTIONAL_FORM: dict[str, type] = {"machine": dict, "average": dict}


def check_form(checkpoint: str, saved: object) -> None:
    """Check that a checkpoint's plain data has the types that :meth:`RunState.save` writes; a checksum does not say that.

    Raises:
        WeightsError: It has not; the message names the part.
    """
    wrong = None if isinstance(saved, dict) else "values"
    if isinstance(saved, dict):
        form = {**_FORM, **{key: kind for key, kind in _OPTIONAL_FORM.items() if key in saved}}
        wrong = next((key for key, kind in form.items() if not isinstance(saved.get(key), kind)), None)
    if isinstance(saved, dict) and wrong is None:
        fresh = dataclasses.asdict(Position())
        position = saved["position"]
        wrong = next((f"position.{clip(key)}" for key in position if key not in fresh), None) or next(
            (
                f"position.{key}"
                for key, value in fresh.items()
                if not _is_like(position.get(key, value), value) or isinstance(value, int) and position.get(key, 0) < 0
            ),
            None,
        )
    if wrong is not None:
        raise WeightsError(
            f"'{checkpoint}.pdstate' is damaged: '{wrong}' is not what a run writes. Resume from an earlier checkpoint."
        )


def _is_like(value: object, model: object) -> bool:
    """Whether a value of a position has the type of another one; None stands for figures that may be missing."""
    if model is None:
        return value is None or isinstance(value, dict)
    if isinstance(model, bool) or isinstance(value, bool):
        return isinstance(model, bool) and isinstance(value, bool)
    return isinstance(value, (int, float) if isinstance(model, float) else int)


@dataclass
class RunState:
    """The parts of a run that change while it trains, and what a checkpoint must match to be resumed."""

    config: Config
    task: Task
    step: TrainStep
    schedule: LRScheduler
    average: WeightAverage | None
    steps_per_epoch: int
    images_per_step: int

    def save(self, run_dir: Path, name: str, position: Position) -> Path:
        """Write a checkpoint. With a moving average, ``NAME.pdparams`` holds the average."""
        optimizer, plain = {}, {}
        for key, value in self.step.optimizer.state_dict().items():
            if isinstance(value, paddle.Tensor):
                optimizer[key] = value.numpy()
            else:
                plain[key] = value
        weights = {name: tensor.numpy() for name, tensor in self.task.model.state_dict().items()}
        tensors = {"optimizer": optimizer}
        values = {
            "position": dataclasses.asdict(position),
            "steps_per_epoch": self.steps_per_epoch,
            "images_per_step": self.images_per_step,
            "seed": self.step.seed,
            "trained": self._trained,
            "optimizer": plain,
            "scaler": self.step.scaler.state_dict(),
            "world_size": self.step.processes.world_size,
            "config": dump_config(self.config),
            "versions": list_versions(),
            "machine": describe_machine(self.step.device, self.step.threads),
        }
        if self.average is not None:
            tensors["average"], values["average"] = self.average.state()
            tensors["weights"], weights = weights, self.average.weights()
        metrics = position.metrics if position.metrics_step == position.steps else None  # those of these weights only
        info = {"config": self.config.name, "step": position.steps, "metrics": metrics, **self.task.info()}
        state = TrainingState(values, tensors)
        return save_checkpoint(run_dir, name, weights, trunk_metadata(self.task.model), info, state)

    def load(self, checkpoint: str, total_steps: int | None) -> Position:
        """Load a checkpoint.

        Args:
            checkpoint: Path of the checkpoint.
            total_steps: Steps of the run; None accepts a checkpoint that has done all of them.

        Raises:
            ConfigError: Its run had other data, classes, seed, batches or another optimizer, or no step is left to do.
            WeightsError: It is damaged, or does not fit the model.
        """
        state = load_training_state(checkpoint)
        saved = state.values
        check_form(checkpoint, saved)
        self._check(checkpoint, state)
        position = Position(**saved["position"])
        if total_steps is not None and position.steps >= total_steps and not position.snapshot_is_due:
            raise ConfigError(
                f"Cannot resume from '{checkpoint}': it has done {position.steps} steps, and this run ends after "
                f"{total_steps}. Train longer with a larger epoch (or --max_steps), or use the weights as they are."
            )
        weights = read_weights(checkpoint)
        check_dialect(weights, self.task.model)
        # All tensors of the file, which this package wrote: no trunk has to be found in it.
        file = Path(f"{checkpoint_base(checkpoint)}.pdparams")
        load_into(self.task.model, load_weights_file(file), source=weights.source)
        try:
            self._load_rest(checkpoint, state, position)
        except (
            ArithmeticError,
            AssertionError,
            AttributeError,
            LookupError,
            RuntimeError,
            TypeError,
            ValueError,
        ) as error:
            if isinstance(error, Res2NetError):
                raise
            raise WeightsError(
                f"The state of '{checkpoint}' does not fit the run: {clip(str(error), 300)}. Resume from another one, or "
                f"start from its weights with -o pretrain_weights={checkpoint}."
            ) from error
        self._tell_differences(checkpoint, saved)
        self._tell_changes(saved, position)
        logger.info("resumed %s after step %d", checkpoint, position.steps)
        return position

    def _load_rest(self, checkpoint: str, state: TrainingState, position: Position) -> None:
        """Load the moving average, the schedule and the optimizer. Paddle checks little of what an optimizer gets."""
        saved = state.values
        if self.average is not None:
            load_into(self.task.model, state.tensors["weights"], source=f"the state of '{checkpoint}'")
            self.average.set_state(state.tensors["average"], saved["average"])
        advance_schedule(self.schedule, position.steps)
        tensors = {key: paddle.to_tensor(array) for key, array in state.tensors.get("optimizer", {}).items()}
        plain = {**saved["optimizer"], "LR_Scheduler": self.schedule.state_dict()}
        self.step.optimizer.set_state_dict({**tensors, **plain})
        if self.step.scaler.is_enable() and saved["scaler"]:
            self.step.scaler.load_state_dict(saved["scaler"])

    def _check(self, checkpoint: str, state: TrainingState) -> None:
        saved = state.values
        fresh = f"start from its weights with -o pretrain_weights={checkpoint}"
        changes = list_changes_of_network(_settings(saved), self._settings)
        if changes:
            lines = "".join(f"\n  {change}" for change in changes)
            raise ConfigError(
                f"Cannot resume from '{checkpoint}': the network is not that of its run, so its weights would mean something "
                f"else:{lines}\nRestore these settings, or {fresh}."
            )
        if saved["steps_per_epoch"] != self.steps_per_epoch or saved["images_per_step"] != self.images_per_step:
            raise ConfigError(
                f"Cannot resume from '{checkpoint}': its run had {saved['steps_per_epoch']} steps per epoch of "
                f"{saved['images_per_step']} images, this one has {self.steps_per_epoch} of {self.images_per_step}. Use "
                f"the same dataset and the same batch size x processes x accumulate_steps, or {fresh}."
            )
        if saved["seed"] != self.step.seed:
            raise ConfigError(
                f"Cannot resume from '{checkpoint}': its run has seed {saved['seed']}, the configuration "
                f"{self.step.seed}. Pass -o seed={saved['seed']}."
            )
        info = read_checkpoint_info(checkpoint)
        assert info is not None  # load_training_state has checked the file
        had, has = _classes(info), _classes(self.task.info())
        if had != has:
            lost, new = ([pair for pair in one if pair not in other] for one, other in ((had, has), (has, had)))
            difference = f"missing: {lost}; new: {new}" if lost or new else "their order differs"
            raise ConfigError(
                f"Cannot resume from '{checkpoint}': its classes are not those of the data ({difference}). Correct the "
                f"annotations, or {fresh}."
            )
        if ("average" in saved) != (self.average is not None):
            raise ConfigError(
                f"Cannot resume from '{checkpoint}': use_ema was {str('average' in saved).lower()} in its run. Pass "
                f"-o use_ema={str('average' in saved).lower()}."
            )
        if self.average is not None and set(state.tensors["average"]) != set(self.average.names):
            raise ConfigError(
                f"Cannot resume from '{checkpoint}': its moving average covers {len(state.tensors['average'])} tensors, the "
                f"configuration asks for {len(self.average.names)}. Use the ema_black_list and ema_filter_no_grad of its "
                f"run, or {fresh}."
            )
        new_parts = sorted(
            set(self._trained) - set(saved.get("trained", self._trained))
        )  # version 0.1.0 did not record it
        if new_parts:
            raise ConfigError(
                f"Cannot resume from '{checkpoint}': its run did not train {len(new_parts)} of the parameters "
                f"({new_parts[0]}, ...), so their optimizer state is missing. Restore freeze and freeze_at of its run (more "
                f"may be frozen), or {fresh}."
            )
        before, now = (_optimizer_type(settings) for settings in (_settings(saved), self.config))
        if before != now:
            raise ConfigError(
                f"Cannot resume from '{checkpoint}': its optimizer is {before}, the configuration asks for {now}, which "
                f"keeps other state. Pass -o OptimizerBuilder.optimizer.type={before}, or {fresh}."
            )

    @property
    def _trained(self) -> list[str]:
        """The names of the parameters that are trained."""
        return [name for name, parameter in self.task.model.named_parameters() if not parameter.stop_gradient]

    @property
    def _settings(self) -> dict[str, Any]:
        """The configuration in the form in which a checkpoint keeps it."""
        return _settings({"config": dump_config(self.config)})

    def _tell_changes(self, saved: dict, position: Position) -> None:
        changes = list_changes(_settings(saved), self._settings)
        if changes:
            lines = "".join(f"\n  {change}" for change in changes)
            logger.warning(
                "settings have changed since step %d; the new ones apply from here on:%s", position.steps, lines
            )

    def _tell_differences(self, checkpoint: str, saved: dict) -> None:
        machine = describe_machine(self.step.device, self.step.threads)
        differences = [
            *list_differences(saved["versions"], list_versions()),
            *list_differences(saved.get("machine", {}), machine),  # version 0.1.0 did not record it
        ]
        if differences:
            logger.warning(
                "'%s' was written under other conditions: %s. Training continues, but its weights will not equal those of an "
                "uninterrupted run bit for bit",
                checkpoint,
                ", ".join(differences),
            )
        if saved["world_size"] != self.step.processes.world_size:
            logger.warning(
                "'%s' was written by %d processes, this run has %d: the batches stay the same, but the heads' random samples "
                "differ",
                checkpoint,
                saved["world_size"],
                self.step.processes.world_size,
            )


def _settings(saved: dict) -> dict[str, Any]:
    """Return the configuration that a checkpoint was saved with."""
    return cast("dict[str, Any]", parse_yaml(saved["config"], "the checkpoint's configuration"))


def _optimizer_type(settings: Mapping[str, Any]) -> str:
    builder = settings.get("OptimizerBuilder") or {}
    return str((builder.get("optimizer") or {}).get("type", "Momentum"))  # ppdet's default


def _classes(info: dict) -> list[str]:
    return [f"{i} {name}" for i, name in zip(info["category_ids"], info["class_names"])]
