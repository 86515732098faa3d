"""Builds PaddleDetection's transforms from their configuration, with a decoder in place of ``Decode``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np

from ppdet_res2net.errors import ConfigError, DatasetError, did_you_mean
from res2net_runtime.preprocess import decode_image

__all__ = ["Decode", "build_transforms"]


class Decode:
    """Read the image of a record as RGB, in the orientation that the annotations use.

    The pixels are those of PaddleDetection's ``Decode``, that is, turned upright by the EXIF orientation. The
    record's ``h`` and ``w`` tell how the annotator saw the image: where they are those of the stored pixels
    instead, with the sides exchanged, the image is left as it is stored, since that is where the boxes are.
    Any other disagreement is an error, as nobody can tell where the boxes are. (A turn by 180 degrees keeps
    the size, and is always applied.)

    PaddleDetection's class hides what it cannot read, and goes on with garbage.
    """

    def __call__(self, sample: dict, context: object = None) -> dict:
        """Replace ``im_file`` of the record, or the encoded bytes in ``image``, by the pixels.

        Args:
            sample: A record; changed in place.
            context: Not used; PaddleDetection passes it.

        Returns:
            The record with ``image`` (uint8 (H, W, 3), RGB), ``h``, ``w``, ``im_shape`` and ``scale_factor``
            (float32 (2,), height first).

        Raises:
            ImageError: The image cannot be read.
            DatasetError: Its size is not the one in the annotation file.
        """
        source = sample.pop("image", None)
        path = sample.pop("im_file", None)
        if source is None:
            source = path
        image = decode_image(source)
        expected_hw = tuple(int(sample.get(key, side)) for key, side in zip("hw", image.shape))
        if expected_hw != image.shape[:2] and expected_hw == image.shape[1::-1]:
            image = _decode_as_stored(source)
        if expected_hw != image.shape[:2]:
            raise DatasetError(
                f"the image is {image.shape[1]}x{image.shape[0]} pixels (width x height), but the annotation "
                f"file says {expected_hw[1]}x{expected_hw[0]}, so its boxes may be misplaced. Annotate this "
                "image, or correct width and height there if the boxes fit."
            )
        height, width = image.shape[:2]
        sample.update(
            image=image,
            h=height,
            w=width,
            im_shape=np.array([height, width], np.float32),
            scale_factor=np.ones(2, np.float32),
        )
        return sample


def _decode_as_stored(source: str | bytes) -> np.ndarray:
    """Decode an image, of which it is known that this works, without turning it by its EXIF orientation."""
    encoded = np.frombuffer(source, np.uint8) if isinstance(source, bytes) else np.fromfile(source, np.uint8)
    return cv2.cvtColor(
        cv2.imdecode(encoded, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION), cv2.COLOR_BGR2RGB
    )


def build_transforms(
    config: Sequence[Mapping[str, Mapping | None]], num_classes: int | None = None
) -> list[tuple[str, Callable]]:
    """Build transforms from a list as in PaddleDetection's readers.

    Args:
        config: One mapping per transform, from its name to its arguments: ``{"RandomFlip": {"prob": 0.5}}``.
        num_classes: Handed to the transforms that want to know it.

    Returns:
        Pairs of name and transform, in order.

    Raises:
        ConfigError: A transform does not exist, or does not accept its arguments.
    """
    transforms = []
    for entry in config:
        if not isinstance(entry, Mapping):
            raise ConfigError(f"a transform must be written as 'Name: {{arguments}}', got {entry!r}.")
        for name, arguments in entry.items():
            transforms.append((name, _build_transform(name, dict(arguments or {}), num_classes)))
    return transforms


def _build_transform(name: str, arguments: dict, num_classes: int | None) -> Callable:
    transform_class = Decode if name == "Decode" else _find_transform(name)
    try:
        transform = transform_class(**arguments)
    except (TypeError, ValueError, AssertionError) as error:
        raise ConfigError(f"transform {name} does not accept the arguments {arguments}: {error}") from error
    if num_classes is not None and hasattr(transform, "num_classes"):
        transform.num_classes = num_classes
    return transform


def _find_transform(name: str) -> type:
    from ppdet_res2net.compat import prepare_ppdet

    prepare_ppdet()
    from ppdet.data import transform as ppdet_transforms

    operator_class = ppdet_transforms.operators.BaseOperator
    known = {
        key: value
        for key, value in vars(ppdet_transforms).items()
        if isinstance(value, type) and issubclass(value, operator_class) and value is not operator_class
    }
    if name not in known:
        raise ConfigError(f"there is no transform named {name!r}.{did_you_mean(name, known)}")
    return known[name]
