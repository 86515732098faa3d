"""Chooses the settings of a recipe from what was measured. Each choice is one function, with its reason beside the value."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np

from ppdet_res2net.datasets.own_recipe.anchors import FittedAnchors, fit_free, fit_octaves
from ppdet_res2net.datasets.own_recipe.measure import Measures

__all__ = ["SIZES", "Settings", "Size", "choose_settings"]

# Multiples of the size for evaluation at which training shows the images.
_TRAIN_SCALES = (0.8, 0.9, 1.0, 1.1, 1.2)
# A run has about so many evaluations, and fewer if they would take more than this share of the time of training.
_MOST_EVALUATIONS, _LEAST_EVALUATIONS = 10, 2
_EVALUATION_SHARE = 0.1
_EVALUATED_IMAGE = 1 / 3  # its time, in that of an image of training: no gradients are computed
_SMALL_OBJECTS = 0.1  # this share of the objects may be smaller than what the input size is chosen for
_SIDE_STEP_PX = 32
_DIRECTIONS = re.compile(r"\b(left|right)\b|(?<![A-Za-z])[LR](?![A-Za-z])|左|右", re.IGNORECASE)


@dataclass(frozen=True)
class Size:
    """What ``--size`` chooses.

    Attributes:
        long_px: The longer side of the network's input; with ``most_px`` a range, from which the objects choose.
        most_px: The largest one.
        short_px: The shorter side, if images are resized by it; None: by the longer one alone.
        object_px: The size that all but a few objects should have after resizing.
        strides: Strides of the levels that have anchors.
        starts_at_random: Whether there are no weights to start from.
        images_per_image: How often a run sees each image, before the limits.
        least_seen, most_seen: Limits of the images that a run sees.
        least_epochs: Epochs at least, whatever the limits say.
        batch_size: Images per step.
        warmup_steps: Steps of the warm-up at most.
        log_iter: Steps between two lines of the log.
    """

    long_px: int
    most_px: int
    short_px: int | None
    object_px: float
    strides: tuple[int, ...]
    starts_at_random: bool
    images_per_image: int
    least_seen: int
    most_seen: int
    least_epochs: int
    batch_size: int
    warmup_steps: int
    log_iter: int


_FPN = (4, 8, 16, 32, 64)
SIZES = {
    "small": Size(320, 640, None, 16.0, (4, 8, 16, 32), True, 60, 1000, 6000, 2, 2, 50, 5),
    "medium": Size(640, 1024, None, 16.0, _FPN, False, 48, 4000, 60_000, 12, 2, 500, 20),
    "large": Size(1333, 1333, 800, 16.0, _FPN, False, 48, 4000, 60_000, 12, 2, 500, 20),
}


@dataclass(frozen=True)
class Settings:
    """The settings of a recipe.

    Attributes:
        size: A key of :data:`SIZES`.
        has_masks: Whether masks are trained (Mask R-CNN) or boxes only (Faster R-CNN).
        why_kind: Why.
        input_px: (height, width) of ``Resize.target_size`` for evaluation, export and prediction.
        train_px: The same for each size in training.
        why_input: Why.
        object_px: The size that only a tenth of the objects are below, in pixels of the input.
        anchors: The anchors.
        batch_size: Images per step.
        epochs: Epochs.
        steps_per_epoch: Steps of an epoch.
        warmup_steps: Steps of the warm-up.
        snapshot_epoch: Epochs from one checkpoint to the next.
        eval_interval: Epochs from one evaluation to the next, or steps, such as ``200 steps``, if there are few epochs.
        evaluation_share: The time of all evaluations, as a share of that of training; an estimate.
        log_iter: Steps from one line of the log to the next.
        flip: Probability of showing an image mirrored.
        why_flip: Why.
    """

    size: str
    has_masks: bool
    why_kind: str
    input_px: tuple[int, int]
    train_px: tuple[tuple[int, int], ...]
    why_input: str
    object_px: float
    anchors: FittedAnchors
    batch_size: int
    epochs: int
    steps_per_epoch: int
    warmup_steps: int
    snapshot_epoch: int
    eval_interval: int | str
    evaluation_share: float
    log_iter: int
    flip: float
    why_flip: str

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return self.epochs * self.steps_per_epoch


def choose_settings(measures: Measures, size: str, kind: str | None = None) -> Settings:
    """Choose the settings for a dataset.

    Args:
        measures: What was measured.
        size: A key of :data:`SIZES`.
        kind: ``boxes`` or ``masks``; None for masks where every object has one.
    """
    limits = SIZES[size]
    has_masks, why_kind = _choose_kind(measures, kind)
    input_px, why_input = _choose_input(measures, limits)
    scale = measures.long_px * _scale(measures.image_px, input_px)
    object_px = scale * float(np.quantile(measures.sizes, _SMALL_OBJECTS))
    boxes_xyxy, image_hw = scale * measures.boxes, scale * measures.image_hw
    if limits.starts_at_random:
        anchors = fit_free(boxes_xyxy, image_hw, limits.strides, max(input_px))
    else:
        anchors = fit_octaves(boxes_xyxy, image_hw, limits.strides)
    batch_size = min(limits.batch_size, measures.train_images)
    steps_per_epoch = measures.train_images // batch_size
    seen = min(max(limits.images_per_image * measures.train_images, limits.least_seen), _most_seen(limits, input_px))
    epochs = max(math.ceil(seen / (steps_per_epoch * batch_size)), limits.least_epochs)
    steps = epochs * steps_per_epoch
    eval_interval, evaluation_share = _choose_evaluations(epochs, steps_per_epoch, batch_size, measures.val_images)
    names_sides = next((name for name in measures.class_counts if _DIRECTIONS.search(name)), None)
    why_flip = (
        "an object is the same when it is mirrored; 0.0 if that is wrong for yours, as for text"
        if names_sides is None
        else f"not mirrored: the class {names_sides!r} seems to tell left from right"
    )
    return Settings(
        size,
        has_masks,
        why_kind,
        input_px,
        tuple(_scaled(input_px, factor) for factor in _TRAIN_SCALES),
        why_input,
        object_px,
        anchors,
        batch_size,
        epochs,
        steps_per_epoch,
        min(limits.warmup_steps, max(1, steps // 10)),
        max(1, round(epochs / _MOST_EVALUATIONS)),
        eval_interval,
        evaluation_share,
        limits.log_iter,
        0.5 if names_sides is None else 0.0,
        why_flip,
    )


def _most_seen(limits: Size, input_px: tuple[int, int]) -> float:
    """Return how many images a run sees at most: fewer of larger ones, as a CPU takes longer for them."""
    return limits.most_seen * min(1.0, limits.long_px / max(input_px))


def _choose_evaluations(epochs: int, steps_per_epoch: int, batch_size: int, val_images: int) -> tuple[int | str, float]:
    """Return the interval of evaluations, and their share of the time."""
    steps = epochs * steps_per_epoch
    share_of_one = _EVALUATED_IMAGE * val_images / (steps * batch_size)
    count = min(max(int(_EVALUATION_SHARE / share_of_one), _LEAST_EVALUATIONS), _MOST_EVALUATIONS)
    if epochs < count:
        interval = math.ceil(steps / count)
        return f"{interval} step{'s'[: interval != 1]}", math.ceil(steps / interval) * share_of_one
    interval = round(epochs / count)
    return interval, math.ceil(epochs / interval) * share_of_one


def _choose_kind(measures: Measures, kind: str | None) -> tuple[bool, str]:
    have = f"{measures.masks} of {measures.objects} objects have a mask"
    if kind is not None:
        return kind == "masks", f"chosen with --predict {kind}; {have}"
    if not measures.masks:
        return False, "no object has a mask, so boxes are predicted"
    if measures.masks_are_boxes:
        return (
            False,
            "the masks are rectangles and tell nothing beyond the boxes (--predict masks trains them nevertheless)",
        )
    if measures.masks < measures.objects:
        return (
            False,
            f"only {have}; those without one would be taught as background (--predict masks does so nevertheless)",
        )
    return True, "every object has a mask"


def _choose_input(measures: Measures, limits: Size) -> tuple[tuple[int, int], str]:
    if limits.short_px is not None:
        return (limits.short_px, limits.long_px), "the size of the published recipes"
    smallest = float(np.quantile(measures.sizes, _SMALL_OBJECTS))
    wanted = limits.object_px / smallest
    least = min(limits.long_px, max(measures.long_px, _SIDE_STEP_PX))
    largest = max(measures.long_px, limits.long_px)  # larger images would show no more than there is
    long_px = min(max(wanted, least), limits.most_px, largest)
    long_px = math.ceil(long_px / _SIDE_STEP_PX) * _SIDE_STEP_PX
    shown = f"nine of ten objects are at least {smallest * long_px:.0f} pixels large then"
    if wanted <= least:
        return (long_px, long_px), f"{shown}, so no more is needed"
    if smallest * long_px >= 0.9 * limits.object_px:
        return (long_px, long_px), f"{shown}; smaller images would lose the small ones"
    return (long_px, long_px), (
        f"only the largest that this size of network takes in: {shown}. For small objects, try a larger --size, or cut the "
        "images into tiles"
    )


def _scale(image_px: tuple[int, int], input_px: tuple[int, int]) -> float:
    """Return the factor by which ``Resize`` with ``keep_ratio`` changes an image."""
    return min(min(input_px) / min(image_px), max(input_px) / max(image_px))


def _scaled(input_px: tuple[int, int], factor: float) -> tuple[int, int]:
    height, width = (round(side * factor) for side in input_px)
    return height, width
