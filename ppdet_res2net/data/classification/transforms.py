"""Transforms of one labelled image: decoding, augmentation, the network's input.

Paddle's transforms are used where they treat Pillow images correctly. All take their random numbers from ``random`` and
``numpy.random``, which the loader seeds for each sample.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from PIL import ImageOps

from ppdet_res2net.data.classification.mixing import MixImages
from ppdet_res2net.data.classification.rand_augment import RandAugment
from res2net_runtime.classification import ClassifierPreprocessor, open_rgb

__all__ = ["BATCH_TRANSFORMS", "SAMPLE_TRANSFORMS"]

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos", "hamming"]


def _take_source(sample: dict) -> str | np.ndarray:
    """Remove and return the source of the image: its pixels if the dataset holds them, else its path."""
    path = sample.pop("im_file")
    return sample.pop("image", path)


class Decode:
    """Read the image as a Pillow image, RGB, upright by its EXIF orientation."""

    def __call__(self, sample: dict) -> dict:
        sample["image"] = open_rgb(_take_source(sample))
        return sample


class _OfPillow:
    """A transform that maps a Pillow image to a Pillow image."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self._function = function

    def __call__(self, sample: dict) -> dict:
        sample["image"] = self._function(sample["image"])
        return sample


class RandomResizedCrop(_OfPillow):
    """Crop a random part, and resize it to (size, size).

    Args:
        size: Side in pixels.
        scale: Smallest and largest share of the area.
        ratio: Smallest and largest width / height.
        interpolation: ``bilinear``, ``bicubic`` or any other name that Paddle knows.
    """

    def __init__(
        self,
        size: int,
        scale: Sequence[float] = (0.08, 1.0),
        ratio: Sequence[float] = (3 / 4, 4 / 3),
        interpolation: Interpolation = "bilinear",
    ) -> None:
        from paddle.vision import transforms

        super().__init__(transforms.RandomResizedCrop(size, tuple(scale), tuple(ratio), interpolation))


class RandomCrop(_OfPillow):
    """Pad with black, and crop (size, size) at a random place: the usual augmentation of CIFAR.

    Args:
        size: Side in pixels.
        padding: Pixels on each side.
    """

    def __init__(self, size: int, padding: int = 4) -> None:
        from paddle.vision import transforms

        super().__init__(transforms.RandomCrop(size, padding=padding))


class Resize(_OfPillow):
    """Resize to (size, size), ignoring the aspect ratio.

    Args:
        size: Side in pixels.
        interpolation: ``bilinear``, ``bicubic`` or any other name that Paddle knows.
    """

    def __init__(self, size: int, interpolation: Interpolation = "bilinear") -> None:
        from paddle.vision import transforms

        super().__init__(transforms.Resize((size, size), interpolation))


class RandomHorizontalFlip(_OfPillow):
    """Flip with probability ``prob``."""

    def __init__(self, prob: float = 0.5) -> None:
        super().__init__(lambda image: ImageOps.mirror(image) if random.random() < prob else image)


class ColorJitter(_OfPillow):
    """Change brightness, contrast, saturation and hue, in random order.

    Args:
        brightness, contrast, saturation: The factor lies between 1 - value and 1 + value.
        hue: Largest shift, as a share of the colour circle, up to 0.5.
    """

    def __init__(
        self, brightness: float = 0.0, contrast: float = 0.0, saturation: float = 0.0, hue: float = 0.0
    ) -> None:
        from paddle.vision import transforms

        super().__init__(transforms.ColorJitter(brightness, contrast, saturation, hue))


class RandomAugment(_OfPillow):
    """RandAugment (arXiv:1909.13719); see :class:`RandAugment`."""

    def __init__(self, count: int = 2, magnitude: int = 9) -> None:
        super().__init__(RandAugment(count, magnitude))


class Normalize:
    """Turn the Pillow image into the network's input, float32 (3, H, W).

    Args:
        mean, std: RGB, of images in [0, 1].
    """

    def __init__(
        self, mean: Sequence[float] = (0.485, 0.456, 0.406), std: Sequence[float] = (0.229, 0.224, 0.225)
    ) -> None:
        self._preprocessor = ClassifierPreprocessor(mean=tuple(mean), std=tuple(std))

    def __call__(self, sample: dict) -> dict:
        sample["image"] = self._preprocessor.normalise(np.asarray(sample["image"]))
        return sample


class RandomErasing:
    """Overwrite a rectangle of the network's input (arXiv:1708.04896); comes after ``Normalize``.

    Args:
        prob: Probability of erasing.
        scale: Smallest and largest share of the area.
        ratio: Smallest and largest height / width.
        mode: ``const`` for zeros, which are the mean colour; ``pixel`` for noise of standard deviation 1.
    """

    def __init__(
        self,
        prob: float = 0.5,
        scale: Sequence[float] = (0.02, 0.33),
        ratio: Sequence[float] = (0.3, 3.3),
        mode: str = "const",
    ) -> None:
        if mode not in ("const", "pixel"):
            raise ValueError(f"mode is {mode!r}; choose const or pixel.")
        self.prob, self.scale, self.ratio, self.mode = prob, scale, ratio, mode

    def __call__(self, sample: dict) -> dict:
        if np.random.uniform() >= self.prob:
            return sample
        image = sample["image"]
        channels, height, width = image.shape
        (smallest, largest), (flattest, steepest) = self.scale, np.log(self.ratio)
        for _ in range(10):
            area = np.random.uniform(smallest, largest) * height * width
            aspect = math.exp(np.random.uniform(flattest, steepest))
            h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < h < height and 0 < w < width:
                top, left = np.random.randint(height - h + 1), np.random.randint(width - w + 1)
                patch = np.random.standard_normal((channels, h, w)) if self.mode == "pixel" else 0
                image[:, top : top + h, left : left + w] = patch
                break
        return sample


class ClassifierInput:
    """Decode and prepare an image for evaluation; see :class:`ClassifierPreprocessor` for the arguments."""

    def __init__(
        self,
        size_px: int = 224,
        crop_fraction: float = 0.875,
        interpolation: str = "bilinear",
        library: str = "pillow",
        mean: Sequence[float] = (0.485, 0.456, 0.406),
        std: Sequence[float] = (0.229, 0.224, 0.225),
        upright: bool = True,
    ) -> None:
        self.preprocessor = ClassifierPreprocessor(
            size_px, crop_fraction, interpolation, library, tuple(mean), tuple(std), upright
        )

    def __call__(self, sample: dict) -> dict:
        sample["image"] = self.preprocessor(self.preprocessor.decode(_take_source(sample)))
        return sample


SAMPLE_TRANSFORMS: dict[str, type] = {
    "Decode": Decode,
    "RandomResizedCrop": RandomResizedCrop,
    "RandomCrop": RandomCrop,
    "Resize": Resize,
    "RandomHorizontalFlip": RandomHorizontalFlip,
    "ColorJitter": ColorJitter,
    "RandAugment": RandomAugment,
    "Normalize": Normalize,
    "RandomErasing": RandomErasing,
    "ClassifierInput": ClassifierInput,
}
BATCH_TRANSFORMS: dict[str, type] = {"MixImages": MixImages}
