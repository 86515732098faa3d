"""The scores from which detections are shown: one for all classes, or one per class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["describe_thresholds", "reach_threshold"]


def reach_threshold(scores: Any, labels: Any, threshold: float | Sequence[float]) -> np.ndarray:
    """Return which detections have at least the score of their class.

    Args:
        scores: (n,).
        labels: (n,), indices of classes.
        threshold: One number, or one per class.

    Returns:
        bool (n,).
    """
    # A score of float32 reaches the same number written with a few digits.
    scores, limits = np.asarray(scores, np.float32), np.asarray(threshold, np.float32)
    reached: np.ndarray = scores >= (limits[np.asarray(labels, int)] if limits.ndim else limits)
    return reached


def describe_thresholds(threshold: float | Sequence[float]) -> str:
    """Return the least scores as a phrase, such as ``0.5`` or ``0.35 to 0.8, depending on the class``."""
    if isinstance(threshold, (int, float)):
        return f"{threshold:g}"
    low, high = min(threshold), max(threshold)
    return f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}, depending on the class"
