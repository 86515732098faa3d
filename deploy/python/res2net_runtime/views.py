"""What the network sees of an image: the whole, slices of it, and these mirrored or at other scales.

This module only plans. ``merging.py``, ``merge_slices.py`` and ``merge_variants.py`` make one result of what is found in the
views. It imports no NumPy, because command lines read their options here.
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from res2net_runtime.arguments import images_per_batch
from res2net_runtime.errors import ImageError

__all__ = [
    "VIEW_OPTIONS",
    "Region",
    "Slicing",
    "TestTimeAugmentation",
    "View",
    "find_misused_views",
    "list_views",
    "parse_tta",
    "view_settings",
]

COMBINE_METHODS = ("nmm", "nms")
MATCH_METRICS = ("iou", "ios")
TTA_METHODS = ("weighted", "nms", "soft")

_LEAST_SIDE_PX, _MOST_SIDE_PX = 32, 65_536
_MOST_OVERLAP = 0.9
_MOST_SLICES = 20_000  # of one image; their detections are in memory until they are merged
_LEAST_SCALE, _MOST_SCALE = 0.1, 4.0
_MOST_SCALES = 8

# (x0, y0, x1, y1) in pixels of the image.
Region = tuple[int, int, int, int]


@dataclass(frozen=True)
class Slicing:
    """How large images are cut into overlapping slices.

    An image that is larger than a slice is searched as a whole and slice by slice. One that is not larger is predicted as
    without slicing.

    Attributes:
        height: Height of a slice in pixels of the image.
        width: Width of a slice.
        overlap: Share of a slice's height and width that it has in common with the next one, from 0 to 0.9. An object that
            is smaller than this is in some slice as a whole.
        batch_size: Slices that run together, or None for the predictor's ``batch_size``.
        combine: What becomes of objects that are cut by the edges of slices, and that no view has as a whole. ``"nmm"``
            joins their parts; ``"nms"`` keeps the part with the highest score. In both cases, a whole object replaces its
            parts.
        match_metric: ``"iou"``, the intersection over the union, or ``"ios"``, over the smaller of both.
        match_threshold: Two detections of a class are one object if the metric is above this.

    Raises:
        ValueError: A value is out of range; the message names it.
    """

    height: int
    width: int
    overlap: float = 0.2
    batch_size: int | None = None
    combine: str = "nmm"
    match_metric: str = "iou"
    match_threshold: float = 0.5

    def __post_init__(self) -> None:
        for name, side in (("height", self.height), ("width", self.width)):
            if not _LEAST_SIDE_PX <= side <= _MOST_SIDE_PX:
                raise ValueError(
                    f"The {name} of a slice is {side} pixels, expected {_LEAST_SIDE_PX} to {_MOST_SIDE_PX}: it should be a few "
                    "times as large as the objects."
                )
        if not 0 <= self.overlap <= _MOST_OVERLAP:
            raise ValueError(
                f"The overlap of slices is {self.overlap:g}, expected a share from 0 to {_MOST_OVERLAP:g}."
            )
        if self.batch_size is not None and self.batch_size < 1:
            raise ValueError(f"The number of slices that run together is {self.batch_size}, expected at least 1.")
        _check_choice("combine", self.combine, COMBINE_METHODS)
        _check_choice("match_metric", self.match_metric, MATCH_METRICS)
        _check_threshold(self.match_threshold)

    def regions(self, image_hw: tuple[int, int]) -> list[Region]:
        """Return the slices of an image, row by row.

        They cover it, and all have one size: the last ones of a row and a column begin further to the left or higher up.

        Args:
            image_hw: Height and width of the image.

        Raises:
            ImageError: There are too many.
        """
        height, width = image_hw
        count = _count(height, self.height, self.overlap) * _count(width, self.width, self.overlap)
        if count > _MOST_SLICES:
            raise ImageError(
                f"An image of {width}x{height} pixels has {count} slices of {self.width}x{self.height}, more than the limit of "
                f"{_MOST_SLICES}. Use larger slices or less overlap."
            )
        return [
            (left, top, min(left + self.width, width), min(top + self.height, height))
            for top in _starts(height, self.height, self.overlap)
            for left in _starts(width, self.width, self.overlap)
        ]


@dataclass(frozen=True)
class TestTimeAugmentation:
    """Views of an image that the network sees besides the image as it is.

    Attributes:
        flip: Whether it also sees every view mirrored, left and right exchanged.
        scales: Factors of the input size of the further views, from 0.1 to 4; 1 is always one of them.
        merging: What is made of the detections of one object. ``"weighted"`` takes the mean of their boxes, weighted with
            their scores, and the sum of their scores divided by the number of views; ``"nms"`` keeps the one with the
            highest score; ``"soft"`` keeps all of them and lowers the scores of the others (Soft-NMS, linear). The masks of
            detections that are matched are averaged.
        match_threshold: Two detections of a class are one object if the IoU of their boxes is above this.

    Raises:
        ValueError: A value is out of range; the message names it.
    """

    __test__ = False  # for pytest, which takes its name for that of a test

    flip: bool = False
    scales: tuple[float, ...] = ()
    merging: str = "weighted"
    match_threshold: float = 0.5

    def __post_init__(self) -> None:
        for scale in self.scales:
            if not _LEAST_SCALE <= scale <= _MOST_SCALE:
                raise ValueError(f"A scale is {scale:g}, expected {_LEAST_SCALE:g} to {_MOST_SCALE:g}.")
        if len(self.scales) > _MOST_SCALES:
            raise ValueError(f"There are {len(self.scales)} scales, expected at most {_MOST_SCALES}.")
        _check_choice("merging", self.merging, TTA_METHODS)
        _check_threshold(self.match_threshold)

    def variants(self) -> list[tuple[bool, float]]:
        """Return each view of a region as (is mirrored, factor of the input size); the first one is the region as it is."""
        scales = list(dict.fromkeys((1.0, *self.scales)))
        return [(is_mirrored, scale) for scale, is_mirrored in product(scales, (False, True)[: 1 + self.flip])]


@dataclass(frozen=True)
class View:
    """One input of the network.

    Attributes:
        region: The part of the image that it shows.
        is_mirrored: Whether left and right are exchanged.
        scale: Factor of the input size.
    """

    region: Region
    is_mirrored: bool = False
    scale: float = 1.0


def list_views(image_hw: tuple[int, int], slicing: Slicing | None, tta: TestTimeAugmentation | None) -> list[View]:
    """Return the views of an image: first the whole image, then its slices, each in all its variants.

    Raises:
        ImageError: There are too many slices.
    """
    height, width = image_hw
    regions: list[Region] = [(0, 0, width, height)]
    if slicing is not None and (height > slicing.height or width > slicing.width):
        regions += slicing.regions(image_hw)
    variants = [(False, 1.0)] if tta is None else tta.variants()
    return [View(region, *variant) for region, variant in product(regions, variants)]


def _count(side: int, slice_side: int, overlap: float) -> int:
    return 1 if side <= slice_side else 1 + math.ceil((side - slice_side) / _step(slice_side, overlap))


def _starts(side: int, slice_side: int, overlap: float) -> Iterator[int]:
    last = max(0, side - slice_side)
    return (min(index * _step(slice_side, overlap), last) for index in range(_count(side, slice_side, overlap)))


def _step(slice_side: int, overlap: float) -> int:
    return max(1, slice_side - round(slice_side * overlap))


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} is {value!r}, expected {' or '.join(map(repr, choices))}.")


def _check_threshold(threshold: float) -> None:
    if not 0 < threshold < 1:
        raise ValueError(f"match_threshold is {threshold:g}, expected a number between 0 and 1.")


def _slice_size(text: str) -> tuple[int, int]:
    """Argument type: height and width of a slice."""
    match = re.fullmatch(r"\s*(\d{1,9})(?:\s*[,x\s]\s*(\d{1,9}))?\s*", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"got '{text}', expected height and width in pixels, for instance 640,640")
    height = int(match[1])
    width = int(match[2] or match[1])
    return height, width


def _overlap_share(text: str) -> float:
    """Argument type: a share. PaddleDetection has two numbers, for both directions."""
    try:
        values = {float(word) for word in re.split(r"[,\s]+", text.strip())}
    except ValueError:
        raise argparse.ArgumentTypeError(f"got '{text}', expected a number from 0 to {_MOST_OVERLAP:g}") from None
    if len(values) > 1:
        raise argparse.ArgumentTypeError(f"got '{text}', expected one number, which is used in both directions")
    value = values.pop()
    if not 0 <= value <= _MOST_OVERLAP:
        raise argparse.ArgumentTypeError(f"got {text}, expected a number from 0 to {_MOST_OVERLAP:g}")
    return value


def _threshold(text: str) -> float:
    """Argument type: a number between 0 and 1, without these."""
    try:
        value = float(text)
        _check_threshold(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"got '{text}', expected a number between 0 and 1") from None
    return value


def parse_tta(text: str) -> TestTimeAugmentation:
    """Argument type: ``flip``, ``scale=S[,S...]`` and ``merge=METHOD``, with commas between them."""
    flip, scales, merging = False, [], "weighted"
    key = ""
    for word in text.split(","):
        name, equals, value = (part.strip() for part in word.partition("="))
        if not equals and key == "scale" and re.fullmatch(r"[\d.]+", name):  # a further scale
            equals, value = "=", name
        else:
            key = name
        if key == "flip" and not equals:
            flip = True
        elif key == "scale" and equals:
            try:
                scales.append(float(value))
            except ValueError:
                raise argparse.ArgumentTypeError(f"got the scale '{value}', expected a number such as 1.25") from None
        elif key == "merge" and equals:
            merging = value
        else:
            raise argparse.ArgumentTypeError(
                f"got '{word.strip()}' in '{text}', expected flip, scale=S and merge={'|'.join(TTA_METHODS)} with commas "
                "between them, for instance flip,scale=0.8,1.25"
            )
    try:
        return TestTimeAugmentation(flip, tuple(scales), merging)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error).rstrip(".")) from None


# The options, for ``add_argument``; names as in PaddleDetection where it has them.
VIEW_OPTIONS: dict[str, dict[str, Any]] = {
    "--slice": {
        "type": _slice_size,
        "metavar": "H,W",
        "help": "cut larger images into slices of this height and width in pixels, and search these besides the whole image",
    },
    "--overlap": {
        "type": _overlap_share,
        "metavar": "R",
        "help": "share of a slice that the next one has, too; larger than the largest small objects (default: 0.2)",
    },
    "--slice_batch": {
        "type": images_per_batch,
        "metavar": "N",
        "help": "slices that run together (default: the batch size)",
    },
    "--combine_method": {
        "choices": COMBINE_METHODS,
        "help": "objects that no view has as a whole: nmm joins their parts, nms keeps the best part (default: nmm)",
    },
    "--match_metric": {
        "choices": MATCH_METRICS,
        "help": "what is compared with --match_threshold: intersection over union, or over the smaller one (default: iou)",
    },
    "--match_threshold": {
        "type": _threshold,
        "metavar": "T",
        "help": "detections of different views that overlap by more are one object (default: 0.5)",
    },
    "--tta": {
        "type": parse_tta,
        "metavar": "VIEWS",
        "help": "test-time augmentation: also search each image mirrored (flip) and at other scales, for instance "
        "flip,scale=0.8,1.25; merge=nms or merge=soft replaces weighted merging",
    },
}
_OF_SLICES = ("--overlap", "--slice_batch", "--combine_method", "--match_metric")


def find_misused_views(args: argparse.Namespace) -> str | None:
    """Return what is wrong if options for slices are given without ``--slice``, or a slice is too small; else None."""
    for flag in _OF_SLICES:
        if getattr(args, flag[2:]) is not None and args.slice is None:
            return f"{flag} goes with --slice"
    if args.match_threshold is not None and args.slice is None and args.tta is None:
        return "--match_threshold goes with --slice and --tta"
    try:
        view_settings(args)
    except ValueError as error:
        return f"--slice {','.join(map(str, args.slice))}: {str(error).rstrip('.')}"
    return None


def view_settings(args: argparse.Namespace) -> dict[str, Any]:
    """Return ``slicing`` and ``tta`` of a command line with :data:`VIEW_OPTIONS`, if given, as a predictor takes them.

    Raises:
        ValueError: A slice is too small or too large.
    """
    given = {
        "overlap": args.overlap,
        "batch_size": args.slice_batch,
        "combine": args.combine_method,
        "match_metric": args.match_metric,
        "match_threshold": args.match_threshold,
    }
    settings: dict[str, Any] = {}
    if args.slice is not None:
        settings["slicing"] = Slicing(
            *args.slice, **{name: value for name, value in given.items() if value is not None}
        )
    if args.tta is not None:
        threshold = args.tta.match_threshold if args.match_threshold is None else args.match_threshold
        settings["tta"] = replace(args.tta, match_threshold=threshold)
    return settings
