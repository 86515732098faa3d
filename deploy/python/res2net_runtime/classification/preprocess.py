"""From an image file to a classifier's input, equal bit for bit to that of the publisher's own evaluation.

Publishers prepare ImageNet's images in three ways: with torchvision's transforms over Pillow (timm, mmpretrain), with
PaddleClas' operators over OpenCV, and with MindSpore's (MindCV), which resample as OpenCV does. The three decode, round,
resample and normalise differently; ``library`` says which one a model needs.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from res2net_runtime._image_header import BombError
from res2net_runtime.errors import ImageError, ModelFolderError
from res2net_runtime.files import read_image_bytes
from res2net_runtime.pillow_images import PILLOW_ERRORS, open_image
from res2net_runtime.preprocess import DEFAULT_MAX_PIXELS, ImageSource, decode_image, describe_source
from res2net_runtime.texts import clip

__all__ = ["INTERPOLATIONS", "LIBRARIES", "ClassifierPreprocessor", "open_rgb"]

LIBRARIES = ("pillow", "opencv", "mindspore")
_MAX_RESIZED_PX = 8192  # bounds the memory that the smallest image takes
# Name -> the flags of Pillow and of OpenCV.
INTERPOLATIONS = {
    "bilinear": (Image.Resampling.BILINEAR, cv2.INTER_LINEAR),
    "bicubic": (Image.Resampling.BICUBIC, cv2.INTER_CUBIC),
}


def open_rgb(source: ImageSource, *, upright: bool = True, max_pixels: int = DEFAULT_MAX_PIXELS) -> Image.Image:
    """Read an image with Pillow as 8-bit RGB.

    Args:
        source: A path, the encoded bytes, or a uint8 array as for :func:`res2net_runtime.decode_image`.
        upright: Rotate it by its EXIF orientation. timm and torchvision do not.
        max_pixels: Larger images are refused before they are decoded.

    Raises:
        ImageError: The image is missing, damaged, of an unknown format, or too large.
    """
    if isinstance(source, np.ndarray):
        return Image.fromarray(decode_image(source, max_pixels))
    name = describe_source(source)
    if not isinstance(source, (str, os.PathLike, bytes, bytearray, memoryview)):
        raise ImageError(f"An image must be a path, bytes or a NumPy array, got {name}.")
    try:
        data = read_image_bytes(source) if isinstance(source, (str, os.PathLike)) else bytes(source)
        with open_image(data, max_pixels) as image:
            if image.width * image.height > max_pixels:
                raise ImageError(
                    f"Image '{name}' is {image.width}x{image.height} pixels, more than the limit of {max_pixels}. Make "
                    f"it smaller, or raise max_pixels if you trust its source."
                )
            if upright:
                ImageOps.exif_transpose(image, in_place=True)
            if image.mode == "F" or (image.mode == "I" and image.format == "TIFF"):
                raise ImageError(
                    f"Cannot decode image '{name}': its pixels are 32-bit numbers, whose range only you know. Scale them to "
                    "0..255 and save the image as PNG."
                )
            if image.mode.startswith("I"):  # 16 bits per pixel; Pillow's conversion would cut off at 255
                grey = (np.asarray(image).astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8)
                return Image.fromarray(grey).convert("RGB")
            if image.mode == "RGB":  # without the copy that convert makes
                image.load()
                return image
            return image.convert("RGB")
    except ImageError:
        raise
    except BombError as error:
        raise ImageError(f"Cannot decode image '{name}': {error}. Copy it again, or save it as JPEG or PNG.") from error
    except UnidentifiedImageError as error:
        raise ImageError(
            f"Cannot decode image '{name}': it is empty, damaged at the start, or of a format that Pillow does not "
            f"read. Copy it again, or save it as JPEG or PNG."
        ) from error
    except PILLOW_ERRORS as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"Cannot read image '{name}': {reason}. Check the path, or copy the image again.") from error


@dataclass(frozen=True)
class ClassifierPreprocessor:
    """Resize the short side, crop the centre, normalise.

    Attributes:
        size_px: Height and width that the network sees.
        crop_fraction: The centre crop's side divided by the resized short side, in (0, 1].
        interpolation: A key of :data:`INTERPOLATIONS`.
        library: ``pillow``: torchvision's transforms, as timm uses them; ``opencv``: PaddleClas' operators;
            ``mindspore``: MindSpore's, as MindCV uses them.
        mean: RGB, of images in [0, 1].
        std: RGB, of images in [0, 1].
        upright: Rotate images by their EXIF orientation; ``opencv`` always does.

    Raises:
        ValueError: An attribute is out of range; the message names it.
    """

    size_px: int = 224
    crop_fraction: float = 0.875
    interpolation: str = "bilinear"
    library: str = "pillow"
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    upright: bool = True

    def __post_init__(self) -> None:
        for name, value, choices in (
            ("interpolation", self.interpolation, INTERPOLATIONS),
            ("library", self.library, LIBRARIES),
        ):
            if value not in choices:
                raise ValueError(f"{name} is {value!r}; choose one of {', '.join(choices)}.")
        if not isinstance(self.size_px, int) or self.size_px < 1:
            raise ValueError(f"size_px is {self.size_px!r}; it must be a whole number of at least 1.")
        if not 0 < self.crop_fraction <= 1:
            raise ValueError(f"crop_fraction is {self.crop_fraction!r}; it must be above 0 and at most 1.")
        if self.size_px / self.crop_fraction > _MAX_RESIZED_PX:
            raise ValueError(f"size_px / crop_fraction is above {_MAX_RESIZED_PX}.")
        for name in ("mean", "std"):
            values = getattr(self, name)
            if not all(map(math.isfinite, values)):
                raise ValueError(f"{name} has values that are not finite.")
            if len(values) != 3 or (name == "std" and min(values) <= 0):
                raise ValueError(
                    f"{name} is {values!r}; it needs 3 numbers, for R, G and B{', above 0' * (name == 'std')}."
                )
            object.__setattr__(self, name, tuple(float(value) for value in values))

    @classmethod
    def from_config(cls, settings: Mapping[str, Any]) -> ClassifierPreprocessor:
        """Read what :meth:`to_config` wrote.

        Raises:
            ModelFolderError: A setting is unknown or wrong.
        """
        try:
            return cls(**settings)
        except (TypeError, ValueError, OverflowError) as error:
            listed = ", ".join(f"{name}: {clip(value)}" for name, value in settings.items())
            raise ModelFolderError(
                f"The preprocessing ({clip(listed, 200)}) is wrong: {clip(str(error), 200)} Export the model again."
            ) from error

    def to_config(self) -> dict[str, Any]:
        """Return the settings as plain data."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @property
    def resized_px(self) -> int:
        """The short side before the crop."""
        return math.floor(self.size_px / self.crop_fraction)

    def decode(self, source: ImageSource, max_pixels: int = DEFAULT_MAX_PIXELS) -> np.ndarray:
        """Read an image as uint8 (H, W, 3) RGB with the model's library.

        Raises:
            ImageError: The image cannot be read.
        """
        if self.library == "opencv":
            return decode_image(source, max_pixels)
        return np.asarray(open_rgb(source, upright=self.upright, max_pixels=max_pixels))

    def view(self, image: np.ndarray) -> np.ndarray:
        """Return what the network sees of an image, before it is normalised: uint8 (size_px, size_px, 3) RGB."""
        height, width = image.shape[:2]
        short, size = min(height, width), self.resized_px
        if self.library == "opencv":
            new_hw = tuple(round(side * (size / short)) for side in (height, width))
        else:
            new_hw = tuple(size if side == short else int(size * side / short) for side in (height, width))
        if self.library == "pillow":
            top, left = (int(round((side - self.size_px) / 2)) for side in new_hw)
            flag = INTERPOLATIONS[self.interpolation][0]
            image = np.asarray(Image.fromarray(image).resize(new_hw[::-1], flag))
        else:
            top, left = ((side - self.size_px) // 2 for side in new_hw)
            image = cv2.resize(image, new_hw[::-1], interpolation=INTERPOLATIONS[self.interpolation][1])
        return image[top : top + self.size_px, left : left + self.size_px]

    def normalise(self, image: np.ndarray) -> np.ndarray:
        """Map uint8 (H, W, 3) RGB to float32 (3, H, W)."""
        return np.stack([table[image[:, :, channel]] for channel, table in enumerate(self._table)])

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Map uint8 (H, W, 3) RGB of any size to float32 (3, size_px, size_px)."""
        return self.normalise(self.view(image))

    @functools.cached_property
    def _table(self) -> np.ndarray:
        """float32 (3, 256): the input value of each pixel value, computed in the library's own order of operations."""
        values = np.arange(256, dtype=np.float32)
        if self.library == "mindspore":
            return np.stack([(values - np.float32(255 * m)) / np.float32(255 * s) for m, s in zip(self.mean, self.std)])
        scaled = values / np.float32(255) if self.library == "pillow" else values * np.float32(1 / 255)
        return np.stack([(scaled - np.float32(m)) / np.float32(s) for m, s in zip(self.mean, self.std)])
