"""By how much a reader's transforms enlarge or shrink images, computed from their settings without reading any image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

__all__ = ["find_other_changes", "list_factors"]

# How many sizes stand for a range from which the size is drawn evenly.
_SAMPLES = 9
# Transforms that change sizes or take parts of images in ways that depend on the image; their effect is left out.
_OTHER_CHANGES = (
    *("RandomCrop", "RandomSizeCrop", "RandomResizeCrop", "RandomExpand", "RandomErasingCrop", "Mosaic"),
    *("MultiscaleTestResize", "RandomSelect", "AutoAugment"),
)


def list_factors(reader: Mapping, image_hw: np.ndarray) -> np.ndarray:
    """Return the factors by which a reader resizes images; where it draws a size at random, one for each size.

    Args:
        reader: A reader of a recipe: ``sample_transforms`` and ``batch_transforms``.
        image_hw: Heights and widths of the images (N, 2).

    Returns:
        Factors of height and width: float64 (N, K, 2). All K are equally likely.
    """
    image_hw = np.asarray(image_hw, np.float64).reshape(-1, 1, 2)
    factors = np.ones((len(image_hw), 1, 2))
    for name, arguments in _transforms(reader):
        resize = _RESIZES.get(name)
        if resize is None:
            continue
        drawn = resize(arguments, image_hw * factors)  # (N, K, sizes, 2)
        factors = (factors[:, :, None] * drawn).reshape(len(image_hw), -1, 2)
    return factors


def find_other_changes(reader: Mapping) -> list[str]:
    """Return the names of a reader's transforms that change sizes in a way that :func:`list_factors` leaves out."""
    return [name for name, _ in _transforms(reader) if name in _OTHER_CHANGES]


def _transforms(reader: Mapping) -> list[tuple[str, Mapping]]:
    entries = [*(reader.get("sample_transforms") or []), *(reader.get("batch_transforms") or [])]
    return [(name, arguments or {}) for entry in entries for name, arguments in entry.items()]


def _pair(size: int | Sequence[int]) -> list[float]:
    return [float(size)] * 2 if isinstance(size, (int, float)) else [float(side) for side in size]


def _fit(sizes: Sequence[Sequence[float]], keep_ratio: bool, image_hw: np.ndarray) -> np.ndarray:
    """Return the factors of ppdet's Resize for each of several target sizes: (N, K, 2) -> (N, K, sizes, 2)."""
    targets = np.asarray(sizes, np.float64)  # (sizes, 2): height, width
    images = image_hw[:, :, None]
    if not keep_ratio:
        return targets / images
    shorter = targets.min(axis=1) / images.min(axis=3)
    longer = targets.max(axis=1) / images.max(axis=3)
    return np.repeat(np.minimum(shorter, longer)[..., None], 2, axis=3)


def _resize(arguments: Mapping, image_hw: np.ndarray) -> np.ndarray:
    return _fit([_pair(arguments["target_size"])], arguments.get("keep_ratio", True), image_hw)


def _random_resize(arguments: Mapping, image_hw: np.ndarray) -> np.ndarray:
    sizes = arguments["target_size"]
    if arguments.get("random_range", False):
        first, last = map(_pair, sizes)
        longer = max(first[1], last[1])
        pairs = [[shorter, longer] for shorter in np.linspace(first[0], last[0], _SAMPLES)]
    elif arguments.get("random_size", True):
        pairs = [_pair(size) for size in sizes]
    else:
        pairs = [_pair(sizes)]
    return _fit(pairs, arguments.get("keep_ratio", True), image_hw)


def _random_short_side(arguments: Mapping, image_hw: np.ndarray) -> np.ndarray:
    longest = arguments.get("max_size") or np.inf
    return _fit([[side, max(side, longest)] for side in arguments["short_side_sizes"]], True, image_hw)


def _random_scaled_crop(arguments: Mapping, image_hw: np.ndarray) -> np.ndarray:
    target = _pair(arguments.get("target_dim", 512))
    smallest, largest = arguments.get("scale_range", (0.1, 2.0))
    scales = np.linspace(smallest, largest, _SAMPLES)
    inside = (np.asarray(target) / image_hw).min(axis=2)  # (N, K): the whole image just fits
    return np.repeat((inside[..., None] * scales)[..., None], 2, axis=3)


_RESIZES: dict[str, Callable[[Mapping, np.ndarray], np.ndarray]] = {
    "Resize": _resize,
    "RandomResize": _random_resize,
    "BatchRandomResize": _random_resize,
    "RandomShortSideResize": _random_short_side,
    "RandomScaledCrop": _random_scaled_crop,
}
