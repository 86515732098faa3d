"""Class-balanced sampling: images of rare classes occur more often in an epoch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

__all__ = ["draw_epoch", "repeat_factors"]


def repeat_factors(labels_of_images: Sequence[Iterable[int]], threshold: float) -> np.ndarray:
    """Return how often each image should occur in an epoch.

    A class that is in a share f of the images gets the factor max(1, sqrt(threshold / f)), and an image the largest factor of
    its classes; without objects, it is 1.

    Source: Gupta et al., LVIS (2019); the numbers are those of detectron2's ``RepeatFactorTrainingSampler``.

    Args:
        labels_of_images: The labels of the objects of each image.
        threshold: The share of the images below which a class counts as rare.

    Returns:
        float64 (images,), each at least 1.
    """
    classes_of_images = [set(map(int, labels)) for labels in labels_of_images]
    counts = np.bincount([label for labels in classes_of_images for label in labels])
    with np.errstate(divide="ignore"):  # labels without an image are not looked up
        of_class = np.maximum(1.0, np.sqrt(threshold * len(classes_of_images) / counts))
    return np.array([max((of_class[label] for label in labels), default=1.0) for labels in classes_of_images])


def draw_epoch(factors: np.ndarray, generator: np.random.RandomState) -> np.ndarray:
    """Draw the images of an epoch in random order: their indices, int64 (round(sum of the factors),).

    Every image occurs as often as its factor says on average over the epochs, and in each one with the whole number below or
    above it. All epochs have the same length, so that schedules and resuming can count on it.

    Args:
        factors: How often each image should occur.
        generator: Source of the random numbers.
    """
    order = generator.permutation(len(factors))
    ends = np.cumsum(factors[order])
    total = round(float(ends[-1]))
    # One point in each interval of length 1, all with the same random offset: an image gets those that fall to it.
    points = (np.arange(total) + generator.random_sample()) * (ends[-1] / total)
    drawn = order[np.minimum(np.searchsorted(ends, points, side="right"), len(order) - 1)]
    return generator.permutation(drawn)
