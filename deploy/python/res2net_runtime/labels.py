"""Predictions as labels that people correct in a labelling tool: COCO's format, labelme's or YOLO's.

Boxes of detectors without masks become rectangles. Masks become polygons of few points; a mask of several parts has several
polygons. Polygons have no holes, so holes are filled and counted.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from res2net_runtime.arguments import path_text
from res2net_runtime.errors import ImageError
from res2net_runtime.image_lists import ImageFile
from res2net_runtime.outlines import find_outlines, simplify_outline
from res2net_runtime.results import Detections
from res2net_runtime.texts import printable, storable

__all__ = [
    "LABEL_OPTIONS",
    "LabelOutput",
    "LabelledImage",
    "LabelledObject",
    "find_misused_labels",
    "label_output",
    "make_object",
]

_FORMATS = ("coco", "labelme", "yolo")
# How far outlines may be from masks: a pixel, so that the steps of pixels go; less for small objects.
_TOLERANCE_PX, _TOLERANCE_OF_SIDE = 1.0, 0.02

# The options, for ``add_argument``.
LABEL_OPTIONS: dict[str, dict[str, Any]] = {
    "--save_labels": {
        "choices": _FORMATS,
        "help": "write the drawn detections as labels to be corrected in a labelling tool",
    },
    "--labels_dir": {
        "type": path_text,
        "metavar": "DIR",
        "help": "where --save_labels writes (default: labels in --output_dir)",
    },
    "--overwrite_labels": {
        "action": "store_true",
        "help": "let --save_labels replace label files that are there; they may have been corrected by hand",
    },
}


@dataclass(frozen=True)
class LabelOutput:
    """Where labels go.

    Attributes:
        format: ``coco``, ``labelme`` or ``yolo``.
        directory: The folder. It may be that of the images.
        overwrite: Whether files that are there are replaced.
    """

    format: str
    directory: Path
    overwrite: bool = False


@dataclass(frozen=True)
class LabelledObject:
    """A detection as a label.

    Attributes:
        label: Number of its class.
        score: Its score.
        box: x0, y0, x1, y1 in pixels.
        rle: Its mask as COCO's compressed run lengths; None for a detector without masks.
        parts: The outlines of the mask's parts, float64 (n, 2) each; none for a mask without a pixel.
        has_holes: Whether the mask has holes, which the outlines do not show.
    """

    label: int
    score: float
    box: tuple[float, float, float, float]
    rle: dict[str, Any] | None
    parts: list[np.ndarray]
    has_holes: bool


@dataclass(frozen=True)
class LabelledImage:
    """The labels of one image.

    Attributes:
        image: The image.
        image_hw: Its height and width in pixels, as it is shown.
        objects: What was detected in it.
    """

    image: ImageFile
    image_hw: tuple[int, int]
    objects: list[LabelledObject] = field(repr=False)

    @classmethod
    def of(cls, image: ImageFile, detections: Detections) -> LabelledImage:
        """Turn detections into labels.

        Raises:
            ImageError: The name of the image is not UTF-8, so label files cannot hold it.
        """
        if storable(image.name) != image.name:
            raise ImageError(
                f"The name of '{printable(image.path)}' is not UTF-8, so no label file can name it. Rename the image."
            )
        rles = [None] * len(detections) if detections.masks is None else detections.rles()
        height, width = detections.image_hw
        boxes = detections.boxes_xyxy.astype(float).clip(0, [width, height, width, height]).round(3).tolist()
        found = [
            make_object(label, score, box, rle)
            for label, score, box, rle in zip(detections.labels.tolist(), detections.scores.tolist(), boxes, rles)
            if box[2] > box[0] and box[3] > box[1]
        ]
        return cls(image, detections.image_hw, found)


def make_object(label: int, score: float, box: Sequence[float], rle: dict[str, Any] | None) -> LabelledObject:
    """Return a detection as a label; see :class:`LabelledObject` for the arguments."""
    parts, holes = ([], []) if rle is None else find_outlines(rle)
    x0, y0, x1, y1 = box
    tolerance_px = min(_TOLERANCE_PX, _TOLERANCE_OF_SIDE * min(x1 - x0, y1 - y0))
    simple = [simplify_outline(part, tolerance_px).round(2) for part in parts]
    return LabelledObject(label, round(score, 4), (x0, y0, x1, y1), rle, simple, bool(holes))


def label_output(args: argparse.Namespace) -> LabelOutput | None:
    """Return where a command line with :data:`LABEL_OPTIONS` and ``--output_dir`` wants labels; None for no labels."""
    if not args.save_labels:
        return None
    directory = args.labels_dir or os.path.join(args.output_dir, "labels")
    return LabelOutput(args.save_labels, Path(directory), bool(args.overwrite_labels))


def find_misused_labels(labels: str | None, directory: str | None, overwrite: bool) -> str | None:
    """Return what is wrong if options for labels are given without ``--save_labels``; else None."""
    for flag, is_given in (("--labels_dir", directory is not None), ("--overwrite_labels", overwrite)):
        if is_given and not labels:
            return f"{flag} goes with --save_labels"
    return None
