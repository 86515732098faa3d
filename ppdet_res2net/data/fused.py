"""Runs the usual transforms of an R-CNN's reader in a third of the time, with the same result.

PaddleDetection converts an image to float32 when it resizes it. From then on every transform reads and writes ten
megabytes, which takes three quarters of a recipe's time, most of it for normalization. Here the image stays uint8 until it
is normalized and written to its place in the padded batch. A uint8 image has only 256 values per channel, so normalized
values are computed once and looked up.

Random numbers are drawn from the same generators in the same order, so a recipe gives the same batch either way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from ppdet_res2net.data.augment import AUGMENTATIONS
from ppdet_res2net.data.resizing import RandomResize, Resize
from ppdet_res2net.data.transforms import Transforms
from res2net_runtime.preprocess import Preprocessor

__all__ = ["fuse_transforms"]

RESIZES = ("Resize", "RandomResize")


def fuse_transforms(sample_transforms: Transforms, batch_transforms: Transforms) -> tuple[Transforms, Transforms]:
    """Replace the transforms of a reader by faster ones with equal results, if all of them are known here.

    These chains are known: ``Decode``, then ``RandomFlip``, this package's own augmentations and at most one ``Resize`` or
    ``RandomResize`` in any order, then ``NormalizeImage`` and ``Permute``, with ``PadBatch`` alone for the batch. All other
    chains are returned unchanged.

    Args:
        sample_transforms: Names and transforms of one image, as :func:`build_transforms` returns them.
        batch_transforms: The same for a batch.

    Returns:
        Both lists. The images that the batch transform returns are parts of one array.
    """
    names = [name for name, _ in sample_transforms]
    middle = names[1:-2]
    is_known = (
        names[:1] == ["Decode"]
        and names[-2:] == ["NormalizeImage", "Permute"]
        and set(middle) <= {*RESIZES, "RandomFlip", *AUGMENTATIONS}
        and sum(middle.count(name) for name in RESIZES) <= 1
        and [name for name, _ in batch_transforms] == ["PadBatch"]
    )
    if not is_known:
        return list(sample_transforms), list(batch_transforms)
    faster = {"Resize": _resize, "RandomResize": _resize, "RandomFlip": _flip}
    kept = [
        (name, faster[name](original) if name in faster else original) for name, original in sample_transforms[1:-2]
    ]
    normalize, pad = sample_transforms[-2][1], batch_transforms[0][1]
    return [sample_transforms[0], *kept], [("PadBatch", _lay_out(normalize, pad))]


def _resize(original: Resize | RandomResize) -> Callable[[dict], dict]:
    return lambda sample: _resize_sample(sample, original.for_image(sample["image"].shape[:2]))


def _resize_sample(sample: dict, resize) -> dict:
    height, width = sample["image"].shape[:2]
    if resize.keep_ratio:
        # np.float64 instead of float: NumPy 2 then multiplies float32 coordinates in double precision, as PaddleDetection does.
        scale_y = scale_x = min(
            np.min(resize.target_size) / np.float64(min(height, width)),
            np.max(resize.target_size) / np.float64(max(height, width)),
        )
        new_hw = (scale_y * float(height), scale_x * float(width))
    else:
        new_hw = tuple(resize.target_size)
        scale_y, scale_x = new_hw[0] / height, new_hw[1] / width
    sample["image"] = resize.apply_image(sample["image"], [scale_x, scale_y])
    sample["im_shape"] = np.asarray(new_hw, np.float32)
    before = sample["scale_factor"]
    sample["scale_factor"] = np.asarray([before[0] * scale_y, before[1] * scale_x], np.float32)
    if len(sample.get("gt_bbox", ())):
        sample["gt_bbox"] = resize.apply_bbox(sample["gt_bbox"], [scale_x, scale_y], new_hw[::-1])
    if "gt_poly" in sample:
        sample["gt_poly"] = [
            resize.apply_segm([segment], (height, width), [scale_x, scale_y])[0]
            if isinstance(segment, dict)
            else [_scale(polygon, scale_x, scale_y) for polygon in segment]
            for segment in sample["gt_poly"]
        ]
    return sample


def _scale(polygon: Sequence[float], scale_x: float, scale_y: float) -> np.ndarray:
    scaled = np.array(polygon, np.float32)
    scaled[0::2] *= scale_x
    scaled[1::2] *= scale_y
    return scaled


def _flip(original) -> Callable[[dict], dict]:
    def flip(sample: dict) -> dict:
        if np.random.uniform(0, 1) >= original.prob:
            return sample
        height, width = sample["image"].shape[:2]
        sample["image"] = cv2.flip(sample["image"], 1)
        if len(sample.get("gt_bbox", ())):
            sample["gt_bbox"] = original.apply_bbox(sample["gt_bbox"], width)
        if "gt_poly" in sample:
            sample["gt_poly"] = [
                original.apply_segm([segment], height, width)[0]
                if isinstance(segment, dict)
                else [_mirror(polygon, width) for polygon in segment]
                for segment in sample["gt_poly"]
            ]
        return sample

    return flip


def _mirror(polygon: Sequence[float], width: int) -> np.ndarray:
    mirrored = np.array(polygon, np.float64)
    mirrored[0::2] = width - mirrored[0::2]
    return mirrored


def _lay_out(normalize, pad) -> Callable[[list[dict]], list[dict]]:
    settings = {name: getattr(normalize, name) for name in ("mean", "std", "is_scale", "norm_type")}
    table = Preprocessor.from_config([{"type": "NormalizeImage", **settings}, {"type": "Permute"}]).table
    stride = max(1, pad.pad_to_stride)

    def lay_out(samples: list[dict]) -> list[dict]:
        sizes = np.array([sample["image"].shape[:2] for sample in samples])
        height, width = -(-sizes.max(axis=0) // stride) * stride
        batch = np.empty((len(samples), 3, height, width), np.float32)
        for sample, planes in zip(samples, batch):
            rows, columns = sample["image"].shape[:2]
            planes[:, rows:] = 0
            planes[:, :rows, columns:] = 0
            for channel, (plane, values) in enumerate(zip(cv2.split(sample["image"]), table)):
                cv2.LUT(plane, values, dst=planes[channel, :rows, :columns])
            sample["image"] = planes
        return samples

    return lay_out
