"""The training loop: the same for every task."""

from __future__ import annotations

import contextlib
import itertools
import logging
import shlex
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from paddle.utils import unique_name

from ppdet_res2net.commands import program
from ppdet_res2net.compat.statistics_warning import drop_statistics_warning
from ppdet_res2net.config import Config, save_config
from ppdet_res2net.config.interval import interval_in_steps
from ppdet_res2net.errors import ConfigError, TrainingError
from ppdet_res2net.training.batch_size import fit_batch_size
from ppdet_res2net.training.checkpoint import checkpoint_base
from ppdet_res2net.training.device import select_device
from ppdet_res2net.training.ema import WeightAverage
from ppdet_res2net.training.loggers.choice import check_loggers, choose_loggers, open_loggers
from ppdet_res2net.training.parts import CreateTask, build_parts, load_starting_weights
from ppdet_res2net.training.processes import join_processes
from ppdet_res2net.training.run_folder import RunFolder
from ppdet_res2net.training.run_log import RunLog
from ppdet_res2net.training.run_state import Position, RunState
from ppdet_res2net.training.signals import StopRequest, stop_on_signals
from ppdet_res2net.training.step import StepReport
from ppdet_res2net.training.summary import describe_run
from ppdet_res2net.training.task import Evaluation
from res2net_runtime.console import ending_on_signals

__all__ = ["TrainOptions", "TrainResult", "run_training"]

logger = logging.getLogger(__name__)

AUTO = "auto"  # given instead of a checkpoint: continue the newest one in the run's folder


@dataclass(frozen=True)
class TrainOptions:
    """Choices made for one run rather than in the configuration.

    Attributes:
        resume: Checkpoint to continue. ``auto`` continues the newest undamaged one in the run's folder, if there is one.
        evaluate: Evaluate every ``eval_interval`` (default: at every snapshot) and at the end, and keep the best weights as
            ``best_model``.
        amp: Train in mixed precision; needs a GPU.
        use_vdl: Write VisualDL scalars.
        max_steps: Write ``model_final`` and stop after this many steps in total.
        memory_share: Choose the batch size whose steps take at most this share of the memory; None: the configuration's.
    """

    resume: str | None = None
    evaluate: bool = False
    amp: bool = False
    use_vdl: bool = False
    max_steps: int | None = None
    memory_share: float | None = None


@dataclass(frozen=True)
class TrainResult:
    """How a run ended.

    Attributes:
        run_dir: Folder with the checkpoints, the configuration and the logs.
        signal: Number of the signal that ended the run, or None. After a signal, resume from the checkpoint ``interrupted``.
        steps: Steps done in total, including those before a resume.
        metrics: Figures of the last evaluation, or None.
    """

    run_dir: Path
    signal: int | None
    steps: int
    metrics: dict | None

    @property
    def interrupted(self) -> bool:
        """Whether a signal ended the run."""
        return self.signal is not None


def run_training(config: Config, create_task: CreateTask, options: TrainOptions) -> TrainResult:
    """Train the task that ``create_task`` builds from a configuration.

    All random numbers follow from ``seed`` and the step, so a resumed run continues as if it had never stopped.

    Raises:
        ConfigError, DatasetError, WeightsError: A setting, the dataset, or the weights are wrong.
        TrainingError: The loss is not finite, or the run's folder cannot be written.
    """
    with unique_name.guard():  # gives parameters, and the optimizer's state, the same names in every process
        with contextlib.ExitStack() as resources:
            resources.enter_context(drop_statistics_warning())
            return Trainer(config, create_task, options, resources).run()


class Trainer:
    """One run; see :func:`run_training`."""

    def __init__(
        self,
        config: Config,
        create_task: CreateTask,
        options: TrainOptions,
        resources: contextlib.ExitStack,
    ) -> None:
        self.config, self.options = config, options
        self.processes = join_processes()
        self.device = select_device(config)
        self.folder = RunFolder(Path(config.get("save_dir", "output")) / config.name)
        resources.callback(self.folder.close)
        self.run_dir = self.folder.path
        self.log = RunLog(self.run_dir, config.get("log_iter", 20), self.device, self.processes.is_first)
        resources.callback(self.log.close)
        if options.memory_share is not None:
            continued = None
            if options.resume is not None:
                continued = self.run_dir if options.resume == AUTO else Path(options.resume).parent
            with ending_on_signals():  # Paddle sets handlers of its own, which print C++ stacks
                config = self.config = fit_batch_size(
                    config,
                    create_task,
                    self.processes,
                    self.device,
                    options.memory_share,
                    amp=options.amp,
                    continued=continued,
                )
        parts = build_parts(config, create_task, self.processes, self.device, resources, options.amp)
        self.task, self.schedule, self.optimizer, self.step = parts.task, parts.schedule, parts.optimizer, parts.step
        self.batches_per_step, self.steps_per_epoch = parts.batches_per_step, parts.steps_per_epoch
        self.images_per_step = parts.images_per_step
        if options.evaluate:
            self.task.check_evaluation()
        self.total_steps = self.steps_per_epoch * config["epoch"]
        if options.max_steps is not None:
            if options.max_steps < 1:
                raise ConfigError(f"--max_steps is {options.max_steps}; it must be 1 or more.")
            self.total_steps = min(self.total_steps, options.max_steps)

        interval = config.get("eval_interval") or config.get("snapshot_epoch", 1)
        self.eval_steps = interval_in_steps(interval, self.steps_per_epoch)

        self.average = WeightAverage(self.task.model, config) if config.get("use_ema", False) else None
        self.state = RunState(
            config, self.task, self.step, self.schedule, self.average, self.steps_per_epoch, self.images_per_step
        )
        self.position = Position()
        self._batches: Iterator[dict] | None = None  # the rest of the current epoch
        self._open_folder()

    def _open_folder(self) -> None:
        """Load the checkpoint or the pretrained weights, and prepare the run's folder."""
        checkpoint = self.options.resume
        if checkpoint == AUTO:
            (checkpoint, *_) = self.processes.gather(self._find_newest() if self.processes.is_first else None)
        if checkpoint is not None:
            is_auto = self.options.resume == AUTO
            self.position = self.state.load(checkpoint, None if is_auto else self.total_steps)
            if is_auto and self._has_stopped_early():
                self.total_steps = self.position.steps
        else:
            load_starting_weights(self.config, self.task)
        names, loggers = choose_loggers(self.config, self.options.use_vdl), None
        if self.processes.is_first:
            check_loggers(names)  # fails before an earlier run is moved aside
            if checkpoint is not None and Path(checkpoint).resolve().parent == self.run_dir.resolve():
                self.folder.open()
            else:
                self.folder.start_afresh()
            save_config(self.config, self.run_dir / "config.yml")
            loggers = open_loggers(names, self.run_dir, self.config, self.position.steps)
        self.log.open(self.total_steps, self.steps_per_epoch, self.config["epoch"], loggers)

    def _find_newest(self) -> str | None:
        newest = None
        if self.run_dir.is_dir():
            self.folder.open()
            newest = self.folder.find_newest()
            self.folder.close()
        logger.info(
            "-r auto: %s", f"continuing {newest}" if newest else f"no checkpoint in {self.run_dir}, starting a new run"
        )
        return str(newest) if newest else None

    def run(self) -> TrainResult:
        """Train to the end, or until a signal arrives."""
        logger.info(
            "training %s on %s: %d images, %d epochs of %d steps of %d images\nrun folder %s",
            self.config.name,
            self.device,
            self.task.image_count,
            self.config["epoch"],
            self.steps_per_epoch,
            self.images_per_step,
            self.run_dir,
        )
        started = time.perf_counter()
        with stop_on_signals() as stop:
            is_complete = self._run_epochs(stop)
            if not is_complete:
                checkpoint = shlex.quote(str(checkpoint_base(self._save("interrupted"))))
                name = stop.signal.name if stop.signal else "a signal in another process"
                logger.warning("interrupted by %s; continue with -r %s or -r auto", name, checkpoint)
        self.log.finish(is_complete)
        if self.processes.is_first:
            seconds = time.perf_counter() - started
            logger.info("%s", describe_run(self.run_dir, self.position, self.task, seconds, is_complete))
        number = None if is_complete else stop.signal or signal.SIGTERM
        return TrainResult(self.run_dir, number, self.position.steps, self.position.metrics)

    def _run_epochs(self, stop: StopRequest) -> bool:
        """Run to the end, and return True; or return False as soon as a stop is requested."""
        position = self.position
        if position.steps >= self.total_steps and not position.snapshot_is_due:
            logger.info("nothing is left to train")
            self._save("model_final")  # the run may have been killed just before it was written
        while position.steps < self.total_steps or position.snapshot_is_due:
            if not position.snapshot_is_due and not self._run_part(stop):
                return False
            position.snapshot_is_due = not self._snapshot(stop)
            if position.snapshot_is_due:
                return False
            if position.steps < self.total_steps and self._has_stopped_early():
                gainless = position.evaluations_without_gain
                logger.info("no better %s in %d evaluations: stopping early", self.task.score_name, gainless)
                self.total_steps = position.steps
                self._save("model_final")
            elif self._any_wants_to_stop(stop) and position.steps < self.total_steps:
                return False
        return True

    def _run_part(self, stop: StopRequest) -> bool:
        """Run to the end of the epoch, or to an evaluation within it; return whether that is done."""
        epoch, start = divmod(self.position.steps, self.steps_per_epoch)
        if self.average is not None and start == 0:
            self.average.begin_epoch(epoch)
        self.task.model.train()
        loader = self.task.loader
        if self._batches is None:
            self._batches = loader.epoch(epoch, start * self.batches_per_step)
        for step_in_epoch in range(start, self.steps_per_epoch):
            count = min(self.batches_per_step, len(loader) - step_in_epoch * self.batches_per_step)
            lr = self.optimizer.get_lr()
            batches = itertools.islice(self._batches, count)
            report = self.step.run(batches, count, self.position.steps, bool(stop))
            if not report.is_finite:
                self._skip(report, epoch, lr)
            elif self.average is not None:
                self.average.update()
            self.schedule.step()
            self.position.steps += 1
            if report.is_finite:
                losses, norm = report.losses, report.grad_norm
                self.log.step(self.position.steps, epoch, losses, lr, report.images, report.data_s, norm)
            if step_in_epoch + 1 == self.steps_per_epoch:
                self._batches = None
            if self._batches is None or self.position.steps >= self.total_steps or self._evaluation_is_due():
                break  # even after a signal: what is due here comes first, or is the first thing that a resumed run does
            if report.stop or (stop and self.processes.world_size == 1):
                return False
            self._save_within_epoch()
        return True

    def _evaluation_is_due(self) -> bool:
        """Whether an evaluation follows the last step. It depends on the number of the step alone, also after a resume."""
        steps = self.position.steps
        return self.options.evaluate and (steps % self.eval_steps == 0 or steps >= self.total_steps)

    def _has_stopped_early(self) -> bool:
        patience = self.config.get("early_stop_patience")
        return bool(patience and self.position.evaluations_without_gain >= patience)

    def _any_wants_to_stop(self, stop: StopRequest) -> bool:
        return bool(self.processes.sum(np.array([float(bool(stop))]))[0])

    def _skip(self, report: StepReport, epoch: int, lr: float) -> None:
        """Continue after a step whose loss or gradient was not finite, or stop if there were too many."""
        position, allowed = self.position, self.config.get("max_nonfinite_steps", 0)
        details = "; ".join(self.processes.gather(report.local))
        what = (
            f"The loss or a gradient is not finite at step {position.steps + 1} (epoch {epoch + 1} of "
            f"{self.config['epoch']}): {details}; gradient norm {report.grad_norm}; learning rate {lr:g}."
        )
        position.skipped_steps += 1
        if position.skipped_steps <= allowed:
            logger.warning("%s This step was left out (%d of at most %d).", what, position.skipped_steps, allowed)
            self.log.write({"kind": "skipped", "step": position.steps + 1, "lr": lr, "what": details})
            return
        before = f" Before it, max_nonfinite_steps={allowed} was used up." if allowed else ""
        raise TrainingError(
            f"{what}{before} The checkpoints in '{self.run_dir}' are intact. Usual causes: the learning rate is too high for "
            f"the batch size (see the last lines of train.log), normalization is frozen without pretrained weights, or wrong "
            f"boxes in these images ({program('check-dataset')})."
        )

    def _save_within_epoch(self) -> None:
        interval = self.config.get("snapshot_steps")
        if interval and self.position.steps % interval == 0:
            with self.log.paused():
                self._save("last")

    def _snapshot(self, stop: StopRequest) -> bool:
        """Evaluate and save if due; return False if a signal arrived before the evaluation was done."""
        position = self.position
        epochs, rest = divmod(position.steps, self.steps_per_epoch)
        if position.steps >= self.total_steps:
            name = "model_final"
        elif not rest and epochs % self.config.get("snapshot_epoch", 1) == 0:
            name = str(epochs - 1)
        elif self._evaluation_is_due():
            name = "last"
        else:
            return True
        with self.log.paused():
            if self._evaluation_is_due():
                position.snapshot_is_due = True
                self._save(name)  # an evaluation that fails must not cost the steps before it
                if not self._evaluate(stop, name):
                    return False
            position.snapshot_is_due = False
            self._save(name)
        return True

    def _evaluate(self, stop: StopRequest, name: str) -> bool:
        """Evaluate, and save the best model; return False if a signal arrived before that was done.

        Args:
            stop: Whether a signal has arrived.
            name: The checkpoint with the weights that are evaluated.
        """
        results: list[Evaluation] = []
        if self._any_wants_to_stop(stop):
            return False
        # Several processes must stop together, so they finish an evaluation once it has begun.
        run = stop.run if self.processes.world_size == 1 else lambda function: function() or True
        try:
            with self.average.applied() if self.average is not None else contextlib.nullcontext():
                if not run(lambda: results.append(self.task.evaluate())):
                    return False
            self._note_evaluation(results[0])
        except BaseException as error:  # raised again: it only adds where the weights are
            base = self.run_dir / name
            logger.error(
                "the evaluation after step %d failed (%s). No weights are lost: they are in %s.pdparams.\n"
                "To repeat the evaluation and go on: train again with -r %s. To use the weights as they are: -o %s",
                self.position.steps,
                type(error).__name__,
                base,
                shlex.quote(str(base)),
                shlex.quote(f"weights={base}"),
            )
            raise
        return True

    def _note_evaluation(self, result: Evaluation) -> None:
        """Report an evaluation, and save the best model."""
        position = self.position
        position.snapshot_is_due = False
        position.metrics, position.metrics_step = result.summary, position.steps
        self.log.note_evaluation(position.steps, result)
        position.evaluations_without_gain += 1
        if result.score > position.best_score:
            position.best_score, position.best_step = result.score, position.steps
            position.evaluations_without_gain = 0
            self._save("best_model")
            logger.info("best %s so far: %.4f; saved as best_model", self.task.score_name, result.score)

    def _save(self, name: str) -> Path:
        path = self.run_dir / f"{name}.pdparams"
        if self.processes.is_first:
            self.state.save(self.run_dir, name, self.position)
            logger.info("saved %s", path)
            self.folder.prune(self.config.get("keep_checkpoints"))
        return path
