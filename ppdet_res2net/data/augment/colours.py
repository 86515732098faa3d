"""Random changes of brightness, contrast, saturation and hue."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

__all__ = ["RandomDistort"]

LUMA = (0.299, 0.587, 0.114)
TO_YIQ = np.array([LUMA, (0.596, -0.274, -0.321), (0.211, -0.523, 0.311)])
FROM_YIQ = np.array([[1.0, 0.956, 0.621], [1.0, -0.272, -0.647], [1.0, -1.107, 1.705]])

# Matrix (3, 3) and offset (3,) of a change of colours.
Affine = tuple[np.ndarray, np.ndarray]


class RandomDistort:
    """Change brightness, contrast, saturation and hue at random.

    Arguments, random numbers and result are PaddleDetection's, except that the result is rounded and clipped to 0 to 255, as
    the pixels of files are. Each change is an affine map of colours. Here the maps are joined first, so the image is read once.

    Each of the first four arguments is [low, high, p]: the amount is between low and high, and **the change is left out with
    probability p**.

    Args:
        hue: The amount is an angle in half turns: 0.1 turns hues by 18 degrees. PaddleDetection's default [-18, 18, 0.5] is
            many full turns, which gives any hue.
        saturation: The amount is a factor; 0 is grey.
        contrast: The amount is a factor of all values.
        brightness: The amount is added to all values (0 to 255).
        random_apply: Draw the order of the changes. Otherwise it is SSD's: brightness, contrast, saturation, hue, with contrast
            last half of the time.
        count: Number of changes with ``random_apply``.
        random_channel: Shuffle the channels half of the time; without ``random_apply`` only.
    """

    def __init__(
        self,
        hue: Sequence[float] = (-18, 18, 0.5),
        saturation: Sequence[float] = (0.5, 1.5, 0.5),
        contrast: Sequence[float] = (0.5, 1.5, 0.5),
        brightness: Sequence[float] = (0.5, 1.5, 0.5),
        random_apply: bool = True,
        count: int = 4,
        random_channel: bool = False,
    ) -> None:
        self.changes = {"brightness": brightness, "contrast": contrast, "saturation": saturation, "hue": hue}
        self.random_apply = random_apply
        self.count = count
        self.random_channel = random_channel

    def __call__(self, sample: dict, context: object = None) -> dict:
        """Change the image of a sample and return the sample."""
        matrix, offset = np.eye(3), np.zeros(3)
        for part, shift in self._draw():
            matrix, offset = part @ matrix, part @ offset + shift
        image = cv2.transform(sample["image"], np.column_stack([matrix, offset]))  # rounds and clips uint8
        is_float = image.dtype != np.uint8  # as some of PaddleDetection's transforms leave it
        sample["image"] = np.clip(np.rint(image), 0, 255) if is_float else image
        return sample

    def _draw(self) -> list[Affine]:
        if self.random_apply:
            order = np.random.permutation(list(self.changes))[: self.count]
            return [self._draw_change(name) for name in order]
        maps = [self._draw_change("brightness")]
        is_contrast_early = np.random.randint(0, 2)
        if is_contrast_early:
            maps.append(self._draw_change("contrast"))
        maps += [self._draw_change("saturation"), self._draw_change("hue")]
        if not is_contrast_early:
            maps.append(self._draw_change("contrast"))
        if self.random_channel and np.random.randint(0, 2):
            maps.append((np.eye(3)[np.random.permutation(3)], np.zeros(3)))
        return maps

    def _draw_change(self, name: str) -> Affine:
        low, high, left_out = self.changes[name]
        if np.random.uniform(0.0, 1.0) < left_out:
            return np.eye(3), np.zeros(3)
        amount = np.random.uniform(low, high)
        if name == "brightness":
            return np.eye(3), np.full(3, amount)
        if name == "contrast":
            return np.eye(3) * amount, np.zeros(3)
        if name == "saturation":
            return np.eye(3) * amount + (1.0 - amount) * np.array(LUMA), np.zeros(3)
        cos, sin = np.cos(amount * np.pi), np.sin(amount * np.pi)
        return FROM_YIQ @ np.array([[1.0, 0.0, 0.0], [0.0, cos, -sin], [0.0, sin, cos]]) @ TO_YIQ, np.zeros(3)
