"""RandAugment: a few operations out of fourteen, all with the same strength.

Source: https://arxiv.org/abs/1909.13719.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from PIL import Image, ImageEnhance, ImageOps

__all__ = ["LARGEST_MAGNITUDE", "RandAugment"]

LARGEST_MAGNITUDE = 10
_GREY = (128, 128, 128)  # fills what rotating and shifting uncover


def _affine(image: Image.Image, *matrix: float) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor=_GREY)


def _enhance(kind: type) -> Callable[[Image.Image, float], Image.Image]:
    return lambda image, strength: kind(image).enhance(1 + strength)


# Operation -> (function of the image and the strength, the strength at the largest magnitude, whether its sign is random).
_OPERATIONS: dict[str, tuple[Callable[[Image.Image, float], Image.Image], float, bool]] = {
    "identity": (lambda image, _: image, 0.0, False),
    "auto_contrast": (lambda image, _: ImageOps.autocontrast(image), 0.0, False),
    "equalize": (lambda image, _: ImageOps.equalize(image), 0.0, False),
    "rotate": (lambda image, degrees: image.rotate(degrees, Image.Resampling.BILINEAR, fillcolor=_GREY), 30.0, True),
    "solarize": (lambda image, share: ImageOps.solarize(image, round(255 * (1 - share))), 1.0, False),
    "posterize": (lambda image, bits: ImageOps.posterize(image, 8 - round(bits)), 4.0, False),
    "color": (_enhance(ImageEnhance.Color), 0.9, True),
    "contrast": (_enhance(ImageEnhance.Contrast), 0.9, True),
    "brightness": (_enhance(ImageEnhance.Brightness), 0.9, True),
    "sharpness": (_enhance(ImageEnhance.Sharpness), 0.9, True),
    "shear_x": (lambda image, slope: _affine(image, 1, slope, 0, 0, 1, 0), 0.3, True),
    "shear_y": (lambda image, slope: _affine(image, 1, 0, 0, slope, 1, 0), 0.3, True),
    "translate_x": (lambda image, share: _affine(image, 1, 0, share * image.width, 0, 1, 0), 0.45, True),
    "translate_y": (lambda image, share: _affine(image, 1, 0, 0, 0, 1, share * image.height), 0.45, True),
}


class RandAugment:
    """Apply ``count`` operations, drawn with equal probability.

    Args:
        count: Number of operations.
        magnitude: How strong they are, from 0 to :data:`LARGEST_MAGNITUDE`.

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(self, count: int = 2, magnitude: float = 9) -> None:
        if count < 1 or not 0 <= magnitude <= LARGEST_MAGNITUDE:
            raise ValueError(
                f"count is {count} and magnitude {magnitude}; expected a count of at least 1 and a magnitude from 0 to "
                f"{LARGEST_MAGNITUDE}."
            )
        self.count, self.magnitude = count, magnitude

    def __call__(self, image: Image.Image) -> Image.Image:
        for name in random.choices(list(_OPERATIONS), k=self.count):
            function, largest, is_signed = _OPERATIONS[name]
            strength = largest * self.magnitude / LARGEST_MAGNITUDE
            image = function(image, -strength if is_signed and random.random() < 0.5 else strength)
        return image
