"""From an image file to the network's input, equal bit for bit to the result of PaddleDetection's evaluation transforms.

The transforms are its ``Decode``, ``Resize``, ``NormalizeImage``, ``Permute`` and ``PadBatch``.
An image stays uint8 until it has been resized, so normalising it has only 256 possible results per channel:
they are computed once, with the arithmetic of PaddleDetection, and looked up for every pixel.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Union

import cv2
import numpy as np

from res2net_runtime._image_header import find_bomb, has_float_samples, read_image_size
from res2net_runtime.errors import ImageError, ModelFolderError
from res2net_runtime.files import read_image_bytes
from res2net_runtime.texts import clip, printable

__all__ = [
    "DEFAULT_MAX_PIXELS",
    "ImageSource",
    "Preprocessor",
    "collate",
    "decode_image",
    "describe_source",
    "fit_size",
    "fit_whole_pixels",
]

ImageSource = Union[str, "os.PathLike[str]", bytes, bytearray, memoryview, np.ndarray]

# The size at which Pillow refuses an image as a "decompression bomb": about 0.5 GB of RGB pixels.
DEFAULT_MAX_PIXELS = 178_956_970
# An image is enlarged to what infer_cfg.yml says, however small it is, so this bounds the memory that it takes.
_MAX_TARGET_PIXELS = 8192 * 8192
_MAX_STRIDE = 1024


def describe_source(source: object) -> str:
    """Return the name of an image in error messages: its path, or a description of what was passed instead of one."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return f"<{len(source)} bytes>"
    if isinstance(source, np.ndarray):
        return f"<array {source.shape} {source.dtype}>"
    if isinstance(source, (str, os.PathLike)):
        return printable(os.fspath(source))
    return f"<{type(source).__name__}>"


def decode_image(source: ImageSource, max_pixels: int = DEFAULT_MAX_PIXELS) -> np.ndarray:
    """Read an image as 8-bit RGB.

    Encoded images are turned upright by their EXIF orientation; grey, palette, CMYK and 16-bit ones become
    8-bit RGB; transparency is dropped; of an animation, the first frame is read.

    Args:
        source: A path; the encoded bytes; or a uint8 array of shape (H, W), (H, W, 3) in RGB order, or (H, W,
            4) in RGBA order.
        max_pixels: Larger images are refused, before they are decoded where the format allows it.

    Returns:
        uint8 array (H, W, 3) in RGB order, contiguous.

    Raises:
        ImageError: The image is missing, damaged, of an unknown format, or too large.
    """
    name = describe_source(source)
    if isinstance(source, np.ndarray):
        image = _rgb_from_array(source, name)
        _check_pixels(image.shape[:2], max_pixels, name)
        return image
    if isinstance(source, (bytes, bytearray, memoryview)):
        data = bytes(source)
    elif isinstance(source, (str, os.PathLike)):
        data = read_image_bytes(source)
    else:
        raise ImageError(f"An image must be a path, bytes or a NumPy array, got {name}.")
    return _decode_bytes(data, max_pixels, name)


def _rgb_from_array(array: np.ndarray, name: str) -> np.ndarray:
    channels_ok = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    if not channels_ok or array.dtype != np.uint8 or array.size == 0:
        raise ImageError(
            f"Image {name} is not an image: expected a non-empty uint8 array of shape (H, W), (H, W, 3) in "
            "RGB order or (H, W, 4) in RGBA order. Convert it first; an image read by cv2.imread needs "
            "image[..., ::-1]."
        )
    if array.ndim == 2:
        array = np.repeat(array[:, :, None], 3, axis=2)
    return np.ascontiguousarray(array[:, :, :3])


def _decode_bytes(data: bytes, max_pixels: int, name: str) -> np.ndarray:
    if not data:
        raise ImageError(f"Image '{name}' is empty (0 bytes). Remove it or copy it again.")
    size = read_image_size(data)
    if size is not None:
        _check_pixels(size, max_pixels, name)
    bomb = find_bomb(data)
    if bomb is not None:
        raise ImageError(f"Cannot decode image '{name}': {bomb}. Copy it again, or save it as JPEG or PNG.")
    if has_float_samples(data):  # OpenCV 5 refuses them; OpenCV 4 reads some, with wrong colours
        raise ImageError(
            f"Cannot decode image '{name}': its pixels are floating-point numbers, whose range only you know. Scale them to "
            "0..255 and save the image as PNG."
        )
    try:
        # What has no size is cut short, or of a format without a reader above, which OpenCV may give any amount of memory.
        image = None if size is None else cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise ImageError(f"Cannot decode image '{name}': {error}. Save it again as JPEG or PNG.") from error
    if image is None:
        raise ImageError(
            f"Cannot decode image '{name}' ({len(data)} bytes): it is damaged, cut short, or of a format "
            f"that OpenCV {cv2.__version__} does not read. Copy it again, or save it as JPEG or PNG."
        )
    _check_pixels(image.shape[:2], max_pixels, name)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _check_pixels(image_hw: tuple[int, int], max_pixels: int, name: str) -> None:
    height, width = image_hw
    if height * width > max_pixels:
        raise ImageError(
            f"Image '{name}' is {width}x{height} = {height * width} pixels, more than the limit of "
            f"{max_pixels}. Make it smaller, or raise max_pixels if you trust its source."
        )


@dataclass(frozen=True, eq=False)
class Preprocessor:
    """The transforms from an RGB image to the inputs of the network, for one image at a time.

    Build it with :meth:`from_config`. Instances never change, so threads may share them.

    Attributes:
        target_size: (height, width) to resize to, as PaddleDetection's ``Resize`` understands it, or None to
            keep the size.
        keep_ratio: Scale both sides by the same factor, so that the short side is at most ``min(target_size)`` and
            the long side at most ``max(target_size)``.
        round_size: With ``keep_ratio``, round the size to whole pixels and scale each side to exactly that, as mmdetection
            does. Otherwise both sides have one factor, and the size may have a fraction of a pixel.
        interp: Interpolation flag of OpenCV.
        table: float32 (3, 256): the network's input value of each pixel value, per RGB channel.
        stride: The padded height and width are multiples of it.
    """

    target_size: tuple[int, int] | None
    keep_ratio: bool
    round_size: bool
    interp: int
    table: np.ndarray
    stride: int

    @classmethod
    def from_config(cls, operators: Sequence[Mapping[str, Any]]) -> Preprocessor:
        """Build from the ``Preprocess`` list of ``infer_cfg.yml``.

        Args:
            operators: For instance ``[{"type": "Resize", "target_size": [800, 1333], "keep_ratio": True,
                "interp": 1}, {"type": "NormalizeImage", "mean": [...], "std": [...], "is_scale": True,
                "norm_type": "mean_std"}, {"type": "Permute"}, {"type": "PadStride", "stride": 32}]``.
                ``Permute`` is required; the others may be left out. The order must be this one.

        Raises:
            ModelFolderError: An operator is unknown, wrongly ordered, or has wrong arguments.
        """
        settings: dict[str, Any] = {
            "target_size": None,
            "keep_ratio": True,
            "round_size": False,
            "interp": cv2.INTER_LINEAR,
            "table": _normalization_table(),
            "stride": 1,
        }
        order = list(_OPERATORS)
        seen: list[str] = []
        for operator in operators:
            kind = operator.get("type") if isinstance(operator, Mapping) else operator
            if not isinstance(operator, Mapping) or not isinstance(kind, str) or kind not in _OPERATORS:
                raise ModelFolderError(
                    f"Unknown preprocessing operator '{clip(kind)}'. Known types: {', '.join(order)}. "
                    "Export the model again with this version, or update res2net_runtime."
                )
            arguments = dict(operator)
            del arguments["type"]
            if seen and order.index(kind) <= order.index(seen[-1]):
                raise ModelFolderError(
                    f"Preprocessing operator {kind} comes after {seen[-1]}, but the supported order is "
                    f"{', '.join(order)}, each at most once. Correct the list 'Preprocess' in infer_cfg.yml."
                )
            seen.append(kind)
            try:
                settings.update(_OPERATORS[kind](**arguments))
            except (TypeError, ValueError, OverflowError) as error:
                listed = ", ".join(f"{name}: {clip(value)}" for name, value in arguments.items())
                raise ModelFolderError(
                    f"Preprocessing operator {kind} has wrong arguments ({clip(listed, 200)}): {clip(str(error), 200)}. "
                    "Correct the list 'Preprocess' in infer_cfg.yml, or export the model again."
                ) from error
        if "Permute" not in seen:
            raise ModelFolderError(
                f"The preprocessing operators {seen} do not include Permute, but the network takes images as "
                "(3, H, W). Add {type: Permute} to the list 'Preprocess' in infer_cfg.yml."
            )
        return cls(**settings)

    def scaled(self, scale: float) -> Preprocessor:
        """Return a preprocessor that resizes to ``scale`` times the size.

        Raises:
            ValueError: There is no resizing, or the size would be too large.
        """
        if scale == 1:
            return self
        if self.target_size is None:
            raise ValueError(
                "The model's preprocessing does not resize images, so they cannot be shown at other scales."
            )
        height, width = (max(1, round(side * scale)) for side in self.target_size)
        if height * width > _MAX_TARGET_PIXELS:
            raise ValueError(
                f"The scale {scale:g} makes the input {width}x{height} pixels, more than {_MAX_TARGET_PIXELS}."
            )
        return replace(self, target_size=(height, width))

    def __call__(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Resize, normalise, and pad one image.

        Args:
            image: uint8 (H, W, 3) in RGB order, as :func:`decode_image` returns it.

        Returns:
            ``image`` float32 (3, height, width), zero-padded at the bottom and right to multiples of the
            stride; ``im_shape`` float32 (2,), height and width of the resized image before padding;
            ``scale_factor`` float32 (2,), resized / original size in y and x.
        """
        resized, im_shape, scale_factor = self._resize(image)
        height, width = resized.shape[:2]
        padded = np.zeros((3, _round_up(height, self.stride), _round_up(width, self.stride)), dtype=np.float32)
        for channel, (plane, values) in enumerate(zip(cv2.split(resized), self.table)):
            cv2.LUT(plane, values, dst=padded[channel, :height, :width])
        return {
            "image": padded,
            "im_shape": np.array(im_shape, dtype=np.float32),
            "scale_factor": np.array(scale_factor, dtype=np.float32),
        }

    def _resize(self, image: np.ndarray) -> tuple[np.ndarray, tuple[float, float], tuple[float, float]]:
        height, width = image.shape[:2]
        if self.target_size is None:
            return image, (height, width), (1.0, 1.0)
        if self.keep_ratio and not self.round_size:
            scale_y = scale_x = fit_size((height, width), self.target_size)
            im_shape: tuple[float, float] = (scale_y * height, scale_x * width)
        else:
            im_shape = fit_whole_pixels((height, width), self.target_size) if self.keep_ratio else self.target_size
            scale_y, scale_x = im_shape[0] / height, im_shape[1] / width
        if round(height * scale_y) > 0 and round(width * scale_x) > 0:
            # Given the scales, not the size, OpenCV samples at scales that are not rounded to whole pixels.
            resized = cv2.resize(image, None, None, fx=scale_x, fy=scale_y, interpolation=self.interp)
            return resized, im_shape, (scale_y, scale_x)
        # The image is so long and thin that its short side would vanish (PaddleDetection fails here): keep one pixel.
        im_shape = (max(1.0, im_shape[0]), max(1.0, im_shape[1]))
        resized = cv2.resize(image, (round(im_shape[1]), round(im_shape[0])), interpolation=self.interp)
        return resized, im_shape, (im_shape[0] / height, im_shape[1] / width)


def fit_size(image_hw: tuple[int, int], target_size: Sequence[float]) -> float:
    """Return the factor by which ``keep_ratio`` scales an image: as large as both limits allow.

    Args:
        image_hw: (height, width) in pixels.
        target_size: Two limits in pixels, the smaller one for the short side and the larger one for the long side.
    """
    return min(min(target_size) / min(image_hw), max(target_size) / max(image_hw))


def fit_whole_pixels(image_hw: tuple[int, int], target_size: Sequence[float]) -> tuple[int, int]:
    """Return the (height, width) of an image scaled by :func:`fit_size`, rounded to whole pixels and at least 1.

    Source: ``rescale_size`` of mmcv; newer versions of PaddleDetection compute the same.
    """
    scale = fit_size(image_hw, target_size)
    height, width = (max(1, int(side * scale + 0.5)) for side in image_hw)
    return height, width


def collate(inputs: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Stack single-image inputs into a batch; smaller images are zero-padded at the bottom and right.

    Args:
        inputs: Results of a :class:`Preprocessor`, at least one.

    Returns:
        ``image`` float32 (N, 3, H, W), ``im_shape`` float32 (N, 2), ``scale_factor`` float32 (N, 2).
    """
    batch = {key: np.stack([one[key] for one in inputs]) for key in ("im_shape", "scale_factor")}
    images = [one["image"] for one in inputs]
    shapes = {image.shape for image in images}
    if len(shapes) == 1:
        batch["image"] = np.stack(images)
        return batch
    batch["image"] = np.zeros((len(images), *np.max(list(shapes), axis=0)), dtype=np.float32)
    for padded, image in zip(batch["image"], images):
        padded[:, : image.shape[1], : image.shape[2]] = image
    return batch


def _round_up(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple


def _resize_settings(
    target_size: int | Sequence[int], keep_ratio: bool, interp: int = cv2.INTER_LINEAR, round_size: bool = False
) -> dict[str, Any]:
    if isinstance(target_size, int):
        target_size = [target_size, target_size]
    height, width = (int(side) for side in target_size)
    if min(height, width) < 1:
        raise ValueError("target_size must be positive")
    if height * width > _MAX_TARGET_PIXELS:
        raise ValueError(f"target_size may have at most {_MAX_TARGET_PIXELS} pixels")
    if interp not in range(5):  # nearest, linear, cubic, area, Lanczos
        raise ValueError(f"interp must be a flag of OpenCV from 0 to 4, got {interp}")
    return {
        "target_size": (height, width),
        "keep_ratio": bool(keep_ratio),
        "round_size": bool(round_size),
        "interp": interp,
    }


def _normalize_settings(
    mean: Sequence[float], std: Sequence[float], is_scale: bool = True, norm_type: str = "mean_std"
) -> dict[str, Any]:
    if len(mean) != 3 or len(std) != 3 or 0 in std:
        raise ValueError("mean and std must have 3 values, and no value of std may be zero")
    if norm_type not in ("mean_std", "none"):
        raise ValueError("norm_type must be mean_std or none")
    with np.errstate(all="ignore"):
        table = _normalization_table(mean, std, is_scale, norm_type == "mean_std")
    if not np.isfinite(table).all():
        raise ValueError("mean and std must be finite, and std not too small")
    return {"table": table}


def _normalization_table(
    mean: Sequence[float] = (), std: Sequence[float] = (), is_scale: bool = False, standardize: bool = False
) -> np.ndarray:
    # The steps of PaddleDetection's NormalizeImage: float64 mean and std, rounded to float32 after each.
    table = np.repeat(np.arange(256, dtype=np.float32)[:, None], 3, axis=1)
    if is_scale:
        table *= 1.0 / 255.0
    if standardize:
        table -= np.array(mean, dtype=np.float64)
        table /= np.array(std, dtype=np.float64)
    return np.ascontiguousarray(table.T)


def _permute_settings() -> dict[str, Any]:
    return {}  # this module only produces (3, H, W)


def _pad_settings(stride: int) -> dict[str, Any]:
    if int(stride) != stride or not 0 <= stride <= _MAX_STRIDE:
        raise ValueError(f"stride must be a whole number of at most {_MAX_STRIDE}")
    return {"stride": max(1, int(stride))}


# In the order in which they must come.
_OPERATORS: dict[str, Callable[..., dict[str, Any]]] = {
    "Resize": _resize_settings,
    "NormalizeImage": _normalize_settings,
    "Permute": _permute_settings,
    "PadStride": _pad_settings,
}
