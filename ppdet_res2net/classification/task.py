"""Training of a classifier: its loader, its losses and its evaluation."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle import nn
from paddle.nn import functional as F

from ppdet_res2net.classification.evaluate import evaluate_network
from ppdet_res2net.classification.model import (
    match_labels,
    preprocessor_of_config,
    trunk_arguments,
)
from ppdet_res2net.commands import command_line
from ppdet_res2net.config import CLASSIFIER, Config, is_classifier
from ppdet_res2net.data.classification.labelled import LabelledImages
from ppdet_res2net.data.classification.loader import LabelledImageLoader
from ppdet_res2net.data.loader import WORKER_TIME_LIMIT_S
from ppdet_res2net.errors import ConfigError
from ppdet_res2net.modeling import Res2NetClassifier
from ppdet_res2net.ppdet_modules.registry import create_dataset, create_from_config
from ppdet_res2net.training.processes import Processes
from ppdet_res2net.training.task import Evaluation, Task
from ppdet_res2net.training.trainer import TrainOptions, TrainResult, run_training
from ppdet_res2net.training.validation_losses import Share, ValidationLosses
from ppdet_res2net.zoo.load import load_pretrained

__all__ = ["ClassificationTask", "create_labelled_images", "train_classifier"]

logger = logging.getLogger(__name__)


def train_classifier(config: Config, options: TrainOptions) -> TrainResult:
    """Train the classifier of a configuration.

    Raises:
        ConfigError, DatasetError, WeightsError: The configuration, the data or the weights are wrong, or do not fit
            together.
        TrainingError: The loss is not finite, or the run's folder cannot be written.
    """
    if not is_classifier(config):
        raise ConfigError(
            f"'{config.name}' describes a {config.get('architecture')}, not a {CLASSIFIER}. Train it with "
            f"ppdet_res2net.detection.task.train, or choose a recipe of configs/res2net/imagenet."
        )
    return run_training(config, ClassificationTask, options)


def create_labelled_images(config: Mapping, key: str) -> LabelledImages:
    """Create and read the dataset that ``config`` describes under ``key``.

    Raises:
        ConfigError: The configuration has no such dataset, or its images have no labels.
        DatasetError: The dataset is missing or wrong.
    """
    dataset = create_dataset(config, key)
    if not isinstance(dataset, LabelledImages):
        raise ConfigError(
            f"{key} is {type(dataset).__name__}, whose images have no labels of their own. Use ClassFolderDataSet, "
            f"ClassListDataSet, CIFARDataSet or ImageNetDataSet."
        )
    dataset.parse_dataset()
    return dataset


class ClassificationTask(Task):
    """A classifier and a dataset of labelled images."""

    score_name = "top-1 accuracy"

    def __init__(self, config: Config, processes: Processes) -> None:
        self._config, self._processes = config, processes
        dataset = create_labelled_images(config, "TrainDataset")
        self.class_names = dataset.class_names
        config.set_num_classes(len(self.class_names), "classes in the training data")
        self._preprocessor = preprocessor_of_config(config)
        self._smoothing = float(config.get("label_smoothing", 0.0))
        if self._smoothing >= 1:
            raise ConfigError(f"label_smoothing is {self._smoothing:g}; it must be below 1, usually 0.1.")
        # These two are made once, by check_evaluation.
        self._evaluated: tuple[LabelledImages, list[int]] | None = None
        self._validation_losses: ValidationLosses | None = None
        self._loss_share = config.get("eval_losses")
        reader = config["TrainReader"]
        self.batch_size = reader.get("batch_size", 1)
        self.loader = LabelledImageLoader.from_reader(
            dataset,
            reader,
            num_workers=config.get("worker_num", 2),
            seed=int(config.get("seed", 0)),
            rank=processes.rank,
            world_size=processes.world_size,
            time_limit_s=config.get("worker_time_limit_s", WORKER_TIME_LIMIT_S),
        )
        self.image_count = len(dataset)
        self.model: Res2NetClassifier = create_from_config(config, CLASSIFIER)

    def losses(self, model: nn.Layer, batch: Mapping[str, Any]) -> dict[str, paddle.Tensor]:
        """Return the cross entropy with the label; for mixed images, with both labels, weighted by their shares."""
        logits = model(batch["image"]).astype("float32")
        loss = self._cross_entropy(logits, batch["label"])
        if "label_share" in batch:
            share = batch["label_share"]
            loss = share * loss + (1 - share) * self._cross_entropy(logits, batch["other_label"])
        return {"loss": loss.mean()}

    def _cross_entropy(self, logits: paddle.Tensor, labels: paddle.Tensor) -> paddle.Tensor:
        """(N, classes), (N,) -> (N,)."""
        if not self._smoothing:
            return F.cross_entropy(logits, labels, reduction="none").flatten()
        targets = F.label_smooth(F.one_hot(labels, logits.shape[1]), epsilon=self._smoothing)
        return -(targets * F.log_softmax(logits)).sum(axis=1)

    def check_evaluation(self) -> None:
        """Read ``EvalDataset``, and match its classes to those of the training data."""
        dataset = create_labelled_images(self._config, "EvalDataset")
        output_of_label = match_labels(self.class_names, len(self.class_names), dataset)
        self._evaluated = dataset, output_of_label
        if self._loss_share:
            seed = int(self._config.get("seed", 0))
            self._validation_losses = ValidationLosses(
                lambda model, batch: self.losses(model, _with_labels_of_outputs(batch, output_of_label)),
                self.model,
                Share(dataset, self._loss_share, seed, self._processes),
                self._make_validation_loader,
                self._processes,
                seed,
            )

    def _make_validation_loader(self, images: Share) -> LabelledImageLoader:
        return LabelledImageLoader(
            images,
            [{"ClassifierInput": self._preprocessor.to_config()}],
            batch_size=self._eval_batch_size,
            shuffle=False,
            drop_last=False,
            num_workers=self._config.get("worker_num", 2),
            seed=0,
        )

    @property
    def _eval_batch_size(self) -> int:
        return (self._config.get("EvalReader") or {}).get("batch_size", self.batch_size)

    def evaluate(self) -> Evaluation:
        """Compute top-1 and top-5 on ``EvalDataset``, and the loss if ``eval_losses`` asks for it."""
        if self._evaluated is None:
            self.check_evaluation()
        assert self._evaluated is not None
        dataset, output_of_label = self._evaluated
        result = evaluate_network(
            self.model,
            dataset,
            output_of_label,
            self.class_names,
            self._preprocessor,
            batch_size=self._eval_batch_size,
            num_workers=self._config.get("worker_num", 2),
            processes=self._processes,
        )
        summary, report = result.summary, result.report
        if self._validation_losses is not None:
            losses = self._validation_losses.compute()
            summary = {**summary, "losses": losses}
            report += f"\n{self._validation_losses.describe(losses)}"
        return Evaluation(summary, report, summary["top1"])

    def load_pretrained(self) -> None:
        """Load ``pretrain_weights``; a network with a frozen part must have them."""
        weights = self._config.get("pretrain_weights")
        if weights:
            logger.info("%s", load_pretrained(self.model, weights))
        elif self.model.backbone.freeze_norm or self.model.backbone.freeze_at >= 0:
            raise ConfigError(
                "Part of Res2Net is frozen (freeze_norm, freeze_at) but there are no pretrain_weights, so its random weights "
                "would never change. Pass -o pretrain_weights=... , or train everything with -o Res2Net.freeze_norm=false "
                "Res2Net.freeze_at=-1."
            )

    def info(self) -> dict[str, Any]:
        """Return what evaluation, prediction and export need besides the weights."""
        norm_type = (self._config.get("Res2Net") or {}).get("norm_type", self._config.get("norm_type", "bn"))
        return {
            "task": "classification",
            "architecture": CLASSIFIER,
            "class_names": list(self.class_names),
            "category_ids": list(range(len(self.class_names))),
            "backbone": trunk_arguments(self.model, norm_type),
            "preprocess": self._preprocessor.to_config(),
        }

    def next_commands(self, weights: str) -> list[str]:
        """Return the commands that evaluate (if there are images for that), classify an image, and export."""
        config = Path(weights).parent / "config.yml"
        evaluation = [command_line("eval", "-c", config, "--weights", Path(weights))]
        return [
            *(evaluation if "EvalDataset" in self._config else []),
            command_line("infer", "--weights", Path(weights), "--infer_img", "IMAGE"),
            command_line("export", "--weights", Path(weights), "--verify"),
        ]


def _with_labels_of_outputs(batch: Mapping[str, Any], output_of_label: Sequence[int]) -> dict[str, Any]:
    """Replace the labels of a validation batch by the outputs that stand for them: its dataset may have another order."""
    labels = np.asarray(output_of_label, np.int64)[np.asarray(batch["label"])]
    return {**batch, "label": paddle.to_tensor(labels)}
