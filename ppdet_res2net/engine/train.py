"""Training of a detector, over ppdet's heads, losses, optimizer and schedule builders."""

from __future__ import annotations

import contextlib
import logging
import math
import random
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import paddle
from paddle.utils import unique_name

from ppdet_res2net.data.loader import TrainLoader
from ppdet_res2net.detection import create_from_config
from ppdet_res2net.engine.checkpoint import load_training_state, save_checkpoint
from ppdet_res2net.engine.config import Config, save_config
from ppdet_res2net.engine.detector import Classes, create_coco_dataset, select_device
from ppdet_res2net.engine.evaluate import evaluate as evaluate_detector
from ppdet_res2net.engine.run_log import RunLog
from ppdet_res2net.errors import ConfigError, TrainingError
from ppdet_res2net.zoo.checkpoint import load_detector, load_pretrained, trunk_metadata

__all__ = ["TrainResult", "train"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainResult:
    """How a run ended.

    Attributes:
        run_dir: Folder with the checkpoints, the configuration and the logs.
        interrupted: A signal ended it; ``interrupted.pdparams`` is the checkpoint to resume from.
        steps: Steps done in all, those before a resume included.
        metrics: Figures of the last evaluation, or None.
    """

    run_dir: Path
    interrupted: bool
    steps: int
    metrics: dict | None


def train(
    config: Config,
    *,
    resume: str | None = None,
    evaluate: bool = False,
    amp: bool = False,
    use_vdl: bool = False,
    max_steps: int | None = None,
) -> TrainResult:
    """Train the detector of a configuration.

    Everything random follows from ``seed`` and the step, so a run that is resumed goes on as if it had not stopped.

    Args:
        config: The configuration; ``save_dir/<its name>`` becomes the run's folder.
        resume: A checkpoint to continue.
        evaluate: Evaluate at every snapshot and at the end, and keep the best weights as ``best_model``.
        amp: Mixed precision: float16 on a GPU, bfloat16 on a CPU.
        use_vdl: Write VisualDL scalars.
        max_steps: Stop, with ``model_final`` written, after this many steps in all.

    Raises:
        ConfigError, DatasetError, WeightsError: Something that was asked for does not fit.
        TrainingError: The loss is not finite, or the run's folder cannot be written.
    """
    with unique_name.guard():  # parameter names, and with them the optimizer's, are the same in every process
        return _Trainer(config, resume, evaluate, amp, use_vdl, max_steps).run()


class _Trainer:
    def __init__(
        self, config: Config, resume: str | None, evaluate: bool, amp: bool, use_vdl: bool, max_steps: int | None
    ) -> None:
        _refuse_what_is_not_supported(config)
        self.config, self.evaluates = config, evaluate
        self.device = select_device(config)
        self.seed = int(config.get("seed", 0))
        self._seed_step(0)
        dataset = create_coco_dataset(config, "TrainDataset")
        self.classes = Classes(tuple(dataset.class_names), tuple(dataset.category_ids))
        _set_num_classes(config, self.classes, dataset.annotation_path)

        reader = config["TrainReader"]
        self.loader = TrainLoader(
            dataset,
            reader.get("sample_transforms", []),
            reader.get("batch_transforms", []),
            batch_size=reader.get("batch_size", 1),
            shuffle=reader.get("shuffle", True),
            drop_last=reader.get("drop_last", True),
            num_workers=config.get("worker_num", 2),
            seed=self.seed,
            num_classes=config["num_classes"],
        )
        self.num_images = len(dataset)
        self.steps_per_epoch = len(self.loader)
        self.total_steps = self.steps_per_epoch * config["epoch"]
        if max_steps is not None:
            if max_steps < 1:
                raise ConfigError(f"--max_steps is {max_steps}; it must be 1 or more.")
            self.total_steps = min(self.total_steps, max_steps)

        self.model = create_from_config(config, config["architecture"])
        trunk_metadata(self.model)  # refuses another backbone now, rather than when the first checkpoint is written
        self.schedule = create_from_config(config, "LearningRate")(self.steps_per_epoch)
        self.optimizer = create_from_config(config, "OptimizerBuilder")(self.schedule, self.model)
        low = "float16" if self.device.startswith("gpu") else "bfloat16"
        self.amp_dtype = low if amp or config.get("amp", False) else None
        self.scaler = paddle.amp.GradScaler(enable=self.amp_dtype == "float16")

        self.done_steps, self.best_ap, self.metrics = 0, -1.0, None
        if resume:
            self._resume(resume)
        else:
            self._start_from_pretrained()
        self.run_dir = Path(config.get("save_dir", "output")) / config.name
        use_vdl = use_vdl or config.get("use_vdl", False)
        self.log = RunLog(self.run_dir, self.total_steps, config.get("log_iter", 20), self.device, use_vdl)
        save_config(config, self.run_dir / "config.yml")

    def run(self) -> TrainResult:
        logger.info(
            "training %s on %s: %d images, %d steps of %d images, run folder %s",
            self.config.name,
            self.device,
            self.num_images,
            self.total_steps,
            self.config["TrainReader"].get("batch_size", 1),
            self.run_dir,
        )
        interrupted = False
        try:
            with _signals_noted() as signals:
                while self.done_steps < self.total_steps and not interrupted:
                    interrupted = self._run_epoch(signals)
                if interrupted:
                    path = self._save("interrupted")
                    logger.warning("interrupted by %s; continue with -r %s", signals[0], path.with_suffix(""))
        finally:
            self.loader.close()
            self.log.close()
        return TrainResult(self.run_dir, interrupted, self.done_steps, self.metrics)

    def _run_epoch(self, signals: list[str]) -> bool:
        """Run the rest of the current epoch; return whether a signal ended it."""
        epoch, start = divmod(self.done_steps, self.steps_per_epoch)
        self.model.train()
        waiting_since = time.perf_counter()
        for batch in self.loader.epoch(epoch, start):
            data_s = time.perf_counter() - waiting_since
            lr = self.optimizer.get_lr()
            losses = self._train_step(batch, lr)
            self.done_steps += 1
            self.log.step(self.done_steps, epoch, losses, lr, len(batch["im_id"]), data_s)
            if self.done_steps >= self.total_steps:
                break  # also after a signal: the run is complete
            if signals:
                return True
            waiting_since = time.perf_counter()
        is_end = self.done_steps >= self.total_steps
        if is_end or (epoch + 1) % self.config.get("snapshot_epoch", 1) == 0:
            with self.log.paused():
                if self.evaluates:
                    self._evaluate()
                self._save("model_final" if is_end else str(epoch))
        return bool(signals) and not is_end

    def _train_step(self, batch: dict, lr: float) -> dict[str, float]:
        self._seed_step(self.done_steps)
        inputs = {name: _to_tensors(value) for name, value in batch.items()}
        autocast = (
            paddle.amp.auto_cast(dtype=self.amp_dtype, level="O1") if self.amp_dtype else contextlib.nullcontext()
        )
        with autocast:
            losses = self.model(inputs)
        values = {name: float(value) for name, value in losses.items()}
        if not all(math.isfinite(value) for value in values.values()):
            terms = ", ".join(f"{name} {value:g}" for name, value in values.items())
            ids = ", ".join(str(int(i)) for i in np.asarray(batch["im_id"]).reshape(-1))
            raise TrainingError(
                f"The loss is not finite at step {self.done_steps} (epoch {self.done_steps // self.steps_per_epoch}): "
                f"{terms}; learning rate {lr:g}; image ids {ids}. The checkpoints in '{self.run_dir}' are intact. Usual "
                f"causes: a learning rate too high for the batch size, frozen normalization without pretrained weights, "
                f"or wrong boxes in these images."
            )
        self.scaler.scale(losses["loss"]).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.clear_grad()
        self.schedule.step()
        return values

    def _seed_step(self, step: int) -> None:
        """Make the samplers of the heads a function of the seed and the step."""
        value = (self.seed * 1_000_003 + step) % 2**31
        paddle.seed(value)
        np.random.seed(value)
        random.seed(value)

    def _evaluate(self) -> None:
        result = evaluate_detector(self.model, self.config, self.classes)
        self.metrics = result.summary
        logger.info("evaluation after step %d:\n%s", self.done_steps, result.report)
        self.log.write({"kind": "eval", "step": self.done_steps, **result.summary})
        ap = result.summary["bbox"]["AP"]
        if ap > self.best_ap:
            self.best_ap = ap
            self._save("best_model")
            logger.info("best box AP so far: %.4f; saved as best_model", ap)

    def _save(self, name: str) -> Path:
        info = {
            "config": self.config.name,
            "architecture": self.config["architecture"],
            "class_names": list(self.classes.names),
            "category_ids": [int(i) for i in self.classes.category_ids],
            "step": self.done_steps,
            "metrics": self.metrics,
        }
        position = {
            "steps": self.done_steps,
            "steps_per_epoch": self.steps_per_epoch,
            "best_ap": self.best_ap,
            "metrics": self.metrics,
            "seed": self.seed,
            "scaler": self.scaler.state_dict() if self.amp_dtype == "float16" else None,
        }
        path = save_checkpoint(self.run_dir, name, self.model, info, self.optimizer.state_dict(), position)
        logger.info("saved %s", path)
        return path

    def _resume(self, checkpoint: str) -> None:
        tensors, plain, position = load_training_state(checkpoint)
        if position["steps_per_epoch"] != self.steps_per_epoch:
            raise ConfigError(
                f"Cannot resume from '{checkpoint}': its run had {position['steps_per_epoch']} steps per epoch, this one "
                f"has {self.steps_per_epoch}. Use the same dataset and batch size, or start from its weights with "
                f"-o pretrain_weights={checkpoint}."
            )
        if position["steps"] >= self.total_steps:
            raise ConfigError(
                f"Cannot resume from '{checkpoint}': it has done {position['steps']} steps, and this run ends after "
                f"{self.total_steps}. Train longer with a larger epoch (or --max_steps), or use the weights as they are."
            )
        load_detector(self.model, checkpoint)
        self.optimizer.set_state_dict({**{k: paddle.to_tensor(v) for k, v in tensors.items()}, **plain})
        if position["scaler"] and self.amp_dtype == "float16":
            self.scaler.load_state_dict(position["scaler"])
        self.done_steps, self.best_ap, self.metrics = position["steps"], position["best_ap"], position["metrics"]
        if position["seed"] != self.seed:
            raise ConfigError(
                f"Cannot resume from '{checkpoint}': its run has seed {position['seed']}, the configuration {self.seed}. "
                f"Pass -o seed={position['seed']}."
            )
        logger.info("resumed %s after step %d", checkpoint, self.done_steps)

    def _start_from_pretrained(self) -> None:
        weights = self.config.get("pretrain_weights")
        if weights:
            logger.info("%s", load_pretrained(self.model, weights))
            return
        backbone = getattr(self.model, "backbone", None)
        if getattr(backbone, "freeze_norm", False) and not getattr(backbone, "allow_frozen_random_norm", False):
            raise ConfigError(
                "Res2Net.freeze_norm is set but there are no pretrain_weights: frozen normalization with random weights "
                "makes the activations explode, and the loss becomes nan. Pass -o pretrain_weights=... , or train "
                "normalization too with -o Res2Net.freeze_norm=false Res2Net.freeze_at=-1."
            )


def _refuse_what_is_not_supported(config: Config) -> None:
    """Refuse PaddleDetection's settings that would otherwise change nothing without a word."""
    for key, supported in {"use_ema": False, "amp_level": "O1"}.items():
        if config.get(key, supported) != supported:
            raise ConfigError(f"{key} is {config[key]!r}, but only {supported!r} is supported. Pass -o {key}={supported}.")
    world_size = paddle.distributed.get_world_size()
    if world_size > 1:
        raise ConfigError(
            f"Training was started in {world_size} processes, but runs in one. Start it without paddle.distributed.launch."
        )


def _set_num_classes(config: Config, classes: Classes, annotation_path: str) -> None:
    """Take the number of classes from the data, and say so."""
    if config.get("num_classes") != len(classes.names):
        logger.warning(
            "num_classes is set to %d, the number of categories in '%s'; the configuration says %s",
            len(classes.names),
            annotation_path,
            config.get("num_classes"),
        )
        config["num_classes"] = len(classes.names)


def _to_tensors(value):
    """Arrays, and arrays in lists, as tensors; polygons stay as they are."""
    if isinstance(value, np.ndarray):
        return paddle.to_tensor(value)
    if isinstance(value, list) and all(isinstance(part, np.ndarray) for part in value):
        return [paddle.to_tensor(part) for part in value]
    return value


@contextlib.contextmanager
def _signals_noted() -> Iterator[list[str]]:
    """Note SIGINT and SIGTERM instead of dying, so that the current step ends and a checkpoint is written."""
    noted: list[str] = []

    def note(number, frame) -> None:
        if noted and number == signal.SIGINT:
            raise KeyboardInterrupt  # the second Ctrl-C means it
        noted.append(signal.Signals(number).name)
        logger.warning("%s: saving a checkpoint after this step; once more to stop at once", noted[-1])

    try:
        previous = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not in the main thread, where signals cannot be handled
        previous = {}
    try:
        yield noted
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
