"""Scales the learning rate of a recipe from the batch size that it is meant for to the actual batch size."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping

from ppdet_res2net.ppdet_modules.tagged import Tagged

__all__ = ["scale_learning_rate"]

logger = logging.getLogger(__name__)

_WARMUPS = ("LinearWarmup", "ExpWarmup")


def scale_learning_rate(config: Mapping, images_per_step: int, steps_per_epoch: int) -> dict:
    """Return the settings of ``LearningRate`` for a number of images per step.

    The learning rate is proportional to the images per step (the linear rule); that of Adam and AdamW, whose steps hardly
    depend on the size of the gradients, to their square root (Malladi et al., 2022). The warm-up covers as many images as in
    the recipe; if that makes it longer, it ends after one epoch at most. Nothing is scaled without ``base_batch_size``
    (the images per step that ``base_lr`` is for), or with ``scale_lr: false``.

    Args:
        config: The configuration.
        images_per_step: Images per update of the weights: batch size x processes x accumulated batches.
        steps_per_epoch: Updates of the weights per epoch.
    """
    settings = dict(config.get("LearningRate", {}))
    reference = config.get("base_batch_size")
    if reference and config.get("scale_lr", True) and "base_lr" in settings and images_per_step != reference:
        base_lr, ratio = settings["base_lr"], images_per_step / reference
        follows_root = _optimizer_type(config).startswith("Adam")
        settings["base_lr"] = base_lr * (math.sqrt(ratio) if follows_root else ratio)
        logger.info(
            "learning rate %g x %s = %g: %d images per step instead of %d (-o scale_lr=false keeps it)",
            base_lr,
            f"sqrt({images_per_step} / {reference})" if follows_root else f"{images_per_step} / {reference}",
            settings["base_lr"],
            images_per_step,
            reference,
        )
        settings["schedulers"] = [
            _scale_warmup(scheduler, reference, images_per_step, steps_per_epoch)
            for scheduler in settings.get("schedulers", [])
        ]
    _check_warmup(settings, config, steps_per_epoch)
    return settings


def _optimizer_type(config: Mapping) -> str:
    return str(((config.get("OptimizerBuilder") or {}).get("optimizer") or {}).get("type", ""))


def _scale_warmup(scheduler: object, reference: int, images_per_step: int, steps_per_epoch: int) -> object:
    part = Tagged.from_value(scheduler)
    if part is None or part.name not in _WARMUPS or part.kwargs.get("epochs") is not None or "steps" not in part.kwargs:
        return scheduler
    steps = part.kwargs["steps"]
    scaled = wanted = round(steps * reference / images_per_step)
    if wanted > steps:
        scaled = max(steps, min(wanted, steps_per_epoch))
    limit = "" if scaled == wanted else f", of which {scaled} are kept: a longer warm-up ends after one epoch at most"
    logger.info("warm-up %d x %d / %d = %d steps%s", steps, reference, images_per_step, wanted, limit)
    return Tagged(part.name, {**part.kwargs, "steps": scaled})


def _check_warmup(settings: Mapping, config: Mapping, steps_per_epoch: int) -> None:
    """Warn if the warm-up is so long that the schedule after it never begins."""
    parts = [Tagged.from_value(scheduler) for scheduler in settings.get("schedulers", [])]
    warmups = [(index, part) for index, part in enumerate(parts) if part is not None and part.name in _WARMUPS]
    if not warmups:
        return
    index, warmup = warmups[0]
    if "steps" not in warmup.kwargs or warmup.kwargs.get("epochs") is not None:
        return
    ends = [config["epoch"]]
    ends += [part.kwargs["milestones"][0] for part in parts if part is not None and part.kwargs.get("milestones")]
    steps, end = warmup.kwargs["steps"], min(ends) * steps_per_epoch
    if steps >= end:
        logger.warning(
            "the warm-up takes %d steps, but the learning rate should decay (or training end) after %d, so base_lr is never "
            "reached. Shorten the warm-up, for instance with -o LearningRate.schedulers.%d.steps=%d",
            steps,
            end,
            index,
            max(1, end // 10),
        )
