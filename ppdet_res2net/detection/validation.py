"""The losses of a detector on a share of ``EvalDataset``."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ppdet_res2net.config import Config
from ppdet_res2net.data.loader import BatchLoader
from ppdet_res2net.detection.model import read_coco_dataset
from ppdet_res2net.ppdet_modules.tagged import Tagged
from ppdet_res2net.training.processes import Processes
from ppdet_res2net.training.validation_losses import Share, ValidationLosses

__all__ = ["create_validation_losses"]

# What a reader of objects needs to be told, which an EvalDataset need not say.
_OBJECT_SETTINGS = ("data_fields", "load_crowd", "allow_empty", "empty_ratio")


def create_validation_losses(
    config: Config, share: float, losses: Callable, model, processes: Processes
) -> ValidationLosses:
    """Read ``EvalDataset`` with the objects that ``TrainDataset`` is read with, prepared as ``EvalReader`` says.

    Args:
        config: The configuration.
        share: ``eval_losses``.
        losses: As for :class:`~ppdet_res2net.training.validation_losses.ValidationLosses`.
        model: As there.
        processes: As there.

    Raises:
        DatasetError: The dataset cannot be used for losses.
    """
    trained, evaluated = (Tagged.from_value(config[key]) for key in ("TrainDataset", "EvalDataset"))
    assert trained is not None and evaluated is not None  # both have been read
    like_training = {key: trained.kwargs[key] for key in _OBJECT_SETTINGS if key in trained.kwargs}
    dataset = Tagged(evaluated.name, {**evaluated.kwargs, **like_training})
    seed = int(config.get("seed", 0))
    reader: Mapping = config["EvalReader"]

    def make_loader(images: Share) -> BatchLoader:
        return BatchLoader(
            images,
            reader.get("sample_transforms", []),
            reader.get("batch_transforms", []),
            batch_size=reader.get("batch_size", 1),
            shuffle=False,
            drop_last=False,
            num_workers=config.get("worker_num", 2),
            seed=seed,
            num_classes=config["num_classes"],
        )

    images = Share(read_coco_dataset({"EvalDataset": dataset}, "EvalDataset"), share, seed, processes)
    return ValidationLosses(losses, model, images, make_loader, processes, seed)
