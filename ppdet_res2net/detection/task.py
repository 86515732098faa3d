"""Training of a detector with ppdet's heads, losses, optimizer and schedule builders."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import paddle
from paddle import nn

from ppdet_res2net.commands import command_line
from ppdet_res2net.config import Config
from ppdet_res2net.data.coco import COCODataSet
from ppdet_res2net.data.loader import WORKER_TIME_LIMIT_S, BatchLoader
from ppdet_res2net.detection.evaluate import GroundTruth, read_ground_truth
from ppdet_res2net.detection.evaluate import evaluate as evaluate_detector
from ppdet_res2net.detection.model import Classes, read_coco_dataset
from ppdet_res2net.detection.picture_grid import PictureGrid
from ppdet_res2net.detection.recipe_fit import warn_of_misfits
from ppdet_res2net.detection.validation import create_validation_losses
from ppdet_res2net.errors import ConfigError
from ppdet_res2net.ppdet_modules.registry import create_from_config
from ppdet_res2net.training.processes import Processes
from ppdet_res2net.training.task import Evaluation, Task
from ppdet_res2net.training.trainer import TrainOptions, TrainResult, run_training
from ppdet_res2net.training.validation_losses import ValidationLosses
from ppdet_res2net.zoo.load import load_pretrained

__all__ = ["TrainResult", "train"]

logger = logging.getLogger(__name__)

MOST_CLASSES = 10  # in the log of an evaluation, without ``classwise: true``


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

    All random numbers follow from ``seed`` and the step, so a resumed run continues as if it had never stopped.

    Args:
        config: The configuration; ``save_dir/<its name>`` becomes the run's folder.
        resume: Checkpoint to continue. ``auto`` continues the newest undamaged one in the run's folder, if there is one.
        evaluate: Evaluate at every snapshot and at the end, and keep the best weights as ``best_model``.
        amp: Train in mixed precision; needs a GPU.
        use_vdl: Write VisualDL scalars.
        max_steps: Write ``model_final`` and stop after this many steps in total.

    Raises:
        ConfigError, DatasetError, WeightsError: A setting, the dataset, or the weights are wrong.
        TrainingError: The loss is not finite, or the run's folder cannot be written.
    """
    return run_training(config, DetectionTask, TrainOptions(resume, evaluate, amp, use_vdl, max_steps))


class DetectionTask(Task):
    """A detector of ppdet and a COCO dataset."""

    score_name = "box AP"

    def __init__(self, config: Config, processes: Processes) -> None:
        self._config, self._processes = config, processes
        # These three are made once, by check_evaluation.
        self._ground_truth: GroundTruth | None = None
        self._grid: PictureGrid | None = None
        self._validation_losses: ValidationLosses | None = None
        self._loss_share = config.get("eval_losses")
        dataset = read_coco_dataset(config, "TrainDataset")
        self.classes = Classes(tuple(dataset.class_names), tuple(dataset.category_ids))
        config.set_num_classes(len(self.classes.names), f"categories in '{dataset.annotation_path}'")
        reader = config["TrainReader"]
        self.batch_size = reader.get("batch_size", 1)
        self.loader = BatchLoader.from_reader(
            dataset,
            reader,
            num_workers=config.get("worker_num", 2),
            seed=int(config.get("seed", 0)),
            num_classes=config["num_classes"],
            rank=processes.rank,
            world_size=processes.world_size,
            time_limit_s=config.get("worker_time_limit_s", WORKER_TIME_LIMIT_S),
        )
        self.image_count = len(dataset)
        self.model = create_from_config(config, config["architecture"])
        _check_data_fields(self.model, dataset, config["architecture"])
        if processes.is_first:
            warn_of_misfits(config, dataset)

    def losses(self, model: nn.Layer, batch: Mapping[str, Any]) -> dict[str, paddle.Tensor]:
        """Return the losses of ppdet's heads.

        Raises:
            ConfigError: The reader's images are none that a trunk takes.
        """
        _check_images(batch["image"])
        return model(batch)

    def check_evaluation(self) -> None:
        """Read ``EvalDataset``, as an evaluation does."""
        iou_types = ["bbox", "segm"] if _has_masks(self.model) else ["bbox"]
        self._ground_truth = read_ground_truth(self._config, self.classes, iou_types)
        seed = int(self._config.get("seed", 0))
        self._grid = PictureGrid(self._ground_truth.objects, self.classes, seed, self._processes)
        if self._loss_share:
            self._validation_losses = create_validation_losses(
                self._config, self._loss_share, self.losses, self.model, self._processes
            )

    def evaluate(self) -> Evaluation:
        """Compute box and mask AP on ``EvalDataset``, also per class, and the losses if ``eval_losses`` asks for them."""
        if self._grid is None:
            self.check_evaluation()
        assert self._grid is not None
        result = evaluate_detector(
            self.model,
            self._config,
            self.classes,
            classwise=True,
            processes=self._processes,
            ground_truth=self._ground_truth,
            most_classes=None if self._config.get("classwise", False) else MOST_CLASSES,
            observe=self._grid.observe,
        )
        summary, report = result.summary, result.report
        if self._validation_losses is not None:
            losses = self._validation_losses.compute()
            summary = {**summary, "losses": losses}
            report += f"\n{self._validation_losses.describe(losses)}"
        return Evaluation(summary, report, summary["bbox"]["AP"], self._grid.take())

    def load_pretrained(self) -> None:
        """Load ``pretrain_weights``. Frozen normalization needs them."""
        weights = self._config.get("pretrain_weights")
        if weights:
            logger.info("%s", load_pretrained(self.model, weights))
            return
        backbone = getattr(self.model, "backbone", None)
        if getattr(backbone, "freeze_norm", False) and not getattr(backbone, "allow_frozen_random_norm", False):
            raise ConfigError(
                "Res2Net.freeze_norm is set but there are no pretrain_weights: frozen normalization with random weights "
                "makes the activations explode, and the loss becomes nan. Pass -o pretrain_weights=... , or also train "
                "normalization with -o Res2Net.freeze_norm=false Res2Net.freeze_at=-1."
            )

    def info(self) -> dict[str, Any]:
        """Return the architecture and the classes."""
        return {
            "architecture": self._config["architecture"],
            "class_names": list(self.classes.names),
            "category_ids": [int(i) for i in self.classes.category_ids],
        }

    def next_commands(self, weights: str) -> list[str]:
        """Return the commands that evaluate (if there are images for that), predict and export."""
        common = ("-c", Path(weights).parent / "config.yml", "-o", f"weights={weights}")
        return [
            *([command_line("eval", *common)] if "EvalDataset" in self._config else []),
            command_line("infer", *common, "--infer_img", "IMAGE"),
            command_line("export", *common, "--verify"),
        ]


def _has_masks(model: nn.Layer) -> bool:
    return getattr(model, "mask_head", None) is not None  # a CascadeRCNN without masks has the attribute, too


def _check_data_fields(model: nn.Layer, dataset: COCODataSet, architecture: str) -> None:
    """Refuse a dataset without the fields that the losses of the detector need."""
    needed = ["gt_bbox", "gt_class", *(["gt_poly"] if _has_masks(model) else [])]
    missing = [name for name in needed if name not in dataset.data_fields]
    if missing:
        fields = ",".join(["image", *needed, "is_crowd"])
        raise ConfigError(
            f"TrainDataset.data_fields are {', '.join(dataset.data_fields)}: {architecture} cannot be trained without "
            f"{' and '.join(missing)}. Pass -o TrainDataset.data_fields=[{fields}]"
            + (", or use a Faster R-CNN recipe, which needs boxes only." if missing == ["gt_poly"] else ".")
        )


def _check_images(images: paddle.Tensor) -> None:
    """Refuse images that lack a transform."""
    if images.ndim != 4 or images.shape[1] != 3:
        raise ConfigError(
            f"TrainReader: the images of a batch have the shape {list(images.shape)}; expected [images, 3, height, width]. Add "
            "'Permute: {}' at the end of sample_transforms."
        )
    if not images.is_floating_point():
        dtype = str(images.dtype).removeprefix("paddle.")
        raise ConfigError(
            f"TrainReader: the images of a batch are of type {dtype}; expected float32. Add NormalizeImage to the transforms."
        )
