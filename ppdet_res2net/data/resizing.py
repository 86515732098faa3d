"""PaddleDetection's ``Resize`` and ``RandomResize``, with one more setting: sizes in whole pixels."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from ppdet_res2net.compat import prepare_ppdet
from res2net_runtime.preprocess import fit_whole_pixels

__all__ = ["RandomResize", "Resize"]

_INTERPOLATIONS = (cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_AREA, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)


class Resize:
    """Resize an image with its boxes and masks, as PaddleDetection's class of this name does.

    Args:
        target_size: A side, or (height, width), in pixels.
        keep_ratio: Scale both sides by the same factor, so that the short side is at most ``min(target_size)`` and the long
            side at most ``max(target_size)``.
        interp: Interpolation flag of OpenCV.
        round_size: With ``keep_ratio``, round the size to whole pixels, and scale each side to exactly that. mmdetection does
            this, and so do newer versions of PaddleDetection than 2.6.
    """

    def __init__(
        self,
        target_size: int | Sequence[int],
        keep_ratio: bool,
        interp: int = cv2.INTER_LINEAR,
        round_size: bool = False,
    ) -> None:
        if not isinstance(target_size, (int, Sequence)):
            raise TypeError(f"target_size must be a number or two numbers, got {target_size!r}")
        self.target_size = [target_size, target_size] if isinstance(target_size, int) else target_size
        self.keep_ratio = keep_ratio
        self.interp = interp
        self.round_size = round_size

    def for_image(self, image_hw: tuple[int, int]) -> Any:
        """Return PaddleDetection's ``Resize`` that does this with images of this height and width."""
        prepare_ppdet()
        from ppdet.data.transform.operators import Resize as PaddleDetectionResize

        if self.keep_ratio and self.round_size:
            return PaddleDetectionResize(fit_whole_pixels(image_hw, self.target_size), False, self.interp)
        return PaddleDetectionResize(self.target_size, self.keep_ratio, self.interp)

    def __call__(self, sample: dict, context: object = None) -> dict:
        """Resize ``image``, ``gt_bbox`` and ``gt_poly``; set ``im_shape`` and ``scale_factor``.

        Args:
            sample: A record with an image (H, W, 3); changed in place.
            context: Not used; PaddleDetection passes it.
        """
        return self.for_image(sample["image"].shape[:2])(sample)


class RandomResize:
    """Resize an image to one of several sizes, as PaddleDetection's class of this name does.

    Args:
        target_size: Sizes to choose from, each as in :class:`Resize`; with ``random_range``, the smallest and the largest
            one; without ``random_size``, one size.
        keep_ratio: As in :class:`Resize`.
        interp: Interpolation flag of OpenCV.
        random_range: Choose any short side between those of two sizes.
        random_size: Choose one of the sizes.
        random_interp: Choose one of OpenCV's interpolations.
        round_size: As in :class:`Resize`.
    """

    def __init__(
        self,
        target_size: int | Sequence,
        keep_ratio: bool = True,
        interp: int = cv2.INTER_LINEAR,
        random_range: bool = False,
        random_size: bool = True,
        random_interp: bool = False,
        round_size: bool = False,
    ) -> None:
        if (random_range or random_size) and not isinstance(target_size, Sequence):
            raise TypeError(f"target_size must be a list of sizes to choose from, got {target_size!r}")
        if random_range and len(target_size) != 2:  # type: ignore[arg-type]
            raise TypeError(f"target_size must have two sizes if random_range is true, got {target_size!r}")
        self.target_size = target_size
        self.keep_ratio = keep_ratio
        self.interp = interp
        self.random_range = random_range
        self.random_size = random_size
        self.random_interp = random_interp
        self.round_size = round_size

    def for_image(self, image_hw: tuple[int, int]) -> Any:
        """Return PaddleDetection's ``Resize`` of a random size. The random numbers are those that PaddleDetection draws."""
        target_size: Any = self.target_size
        if self.random_range:
            (shortest, one_long), (longest, other_long) = target_size
            target_size = [np.random.randint(shortest, longest + 1), max(one_long, other_long + 1)]
        elif self.random_size:
            target_size = random.choice(target_size)
        interp = random.choice(_INTERPOLATIONS) if self.random_interp else self.interp
        return Resize(target_size, self.keep_ratio, interp, self.round_size).for_image(image_hw)

    def __call__(self, sample: dict, context: object = None) -> dict:
        """Resize ``image``, ``gt_bbox`` and ``gt_poly``; see :meth:`Resize.__call__`."""
        return self.for_image(sample["image"].shape[:2])(sample)
