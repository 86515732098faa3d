"""Builds the transforms of a reader: PaddleDetection's, some of them replaced, and some that it lacks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ppdet_res2net.data.augment import AUGMENTATIONS
from ppdet_res2net.data.image_files import decode_as_annotated, read_image_file
from ppdet_res2net.data.resizing import RandomResize, Resize
from ppdet_res2net.errors import ConfigError, did_you_mean

__all__ = ["OWN_TRANSFORMS", "Decode", "Transforms", "build_transforms"]

Transforms = list[tuple[str, Callable]]  # pairs of name and transform, in order


class Decode:
    """Read the image of a record as RGB, in the orientation of its annotations.

    The pixels are equal to those of PaddleDetection's ``Decode``, unless the annotations have a different orientation or
    size; see :func:`~ppdet_res2net.data.image_files.decode_as_annotated`. If PaddleDetection's class cannot read a file, it
    gives no error and continues with garbage.
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
            DatasetError: Its size differs from that in the annotation file.
        """
        data = sample.pop("image", None)
        path = sample.pop("im_file", None)
        annotated_hw = (int(sample["h"]), int(sample["w"])) if "h" in sample else None
        image, _ = decode_as_annotated(read_image_file(path) if data is None else data, annotated_hw)
        height, width = image.shape[:2]
        sample.update(
            image=image,
            h=height,
            w=width,
            im_shape=np.array([height, width], np.float32),
            scale_factor=np.ones(2, np.float32),
        )
        return sample


# Transforms of this package for detectors. They take the place of PaddleDetection's of the same name.
OWN_TRANSFORMS: dict[str, type] = {"Decode": Decode, "Resize": Resize, "RandomResize": RandomResize, **AUGMENTATIONS}


def build_transforms(
    config: Sequence[Mapping[str, Mapping | None]],
    known: Mapping[str, type] | None = None,
    *,
    num_classes: int | None = None,
) -> Transforms:
    """Build transforms from a list, as in PaddleDetection's readers.

    Args:
        config: One mapping per transform, from its name to its arguments, such as ``{"RandomFlip": {"prob": 0.5}}``.
        known: Available transforms by name; default: :data:`OWN_TRANSFORMS`, then PaddleDetection's.
        num_classes: Number of classes, for the transforms that have an attribute of this name.

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
            transform_class = _find_ppdet_transform(name) if known is None else _find(name, known)
            transforms.append((name, _build_transform(name, transform_class, dict(arguments or {}), num_classes)))
    return transforms


def _build_transform(name: str, transform_class: type, arguments: dict, num_classes: int | None) -> Callable:
    try:
        transform = transform_class(**arguments)
    except (TypeError, ValueError, AssertionError) as error:
        raise ConfigError(f"transform {name} does not accept the arguments {arguments}: {error}") from error
    if num_classes is not None and hasattr(transform, "num_classes"):
        transform.num_classes = num_classes
    return transform


def _find(name: str, known: Mapping[str, type]) -> type:
    if name not in known:
        raise ConfigError(
            f"there is no transform named {name!r} here.{did_you_mean(name, known)} Available: {', '.join(known)}."
        )
    return known[name]


def _find_ppdet_transform(name: str) -> type:
    if name in OWN_TRANSFORMS:
        return OWN_TRANSFORMS[name]
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
        raise ConfigError(f"there is no transform named {name!r}.{did_you_mean(name, [*known, *OWN_TRANSFORMS])}")
    return known[name]
