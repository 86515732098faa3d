"""Compares the objects of a dataset with the anchors of a recipe, and the sizes of its readers with each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from ppdet_res2net.data.problems import WARNING, Finding, Problem, say_count
from ppdet_res2net.datasets.recipe_fit.matching import Anchors
from ppdet_res2net.datasets.recipe_fit.resizing import find_other_changes, list_factors

__all__ = ["FitSettings", "RecipeFit", "examine_fit", "warn_of_scales"]

# From this overlap (IoU) on, the second stage counts a region as an object (fg_thresh of ppdet's BBoxAssigner). An object whose
# best anchor overlaps it less has none that is a usable proposal as it is.
MIN_OVERLAP = 0.5
MANY = 0.2  # share of the objects from which it is worth a warning; for COCO and its usual anchors it is 0.1
MOST_BOXES = 200_000
MOST_IMAGES = 2000
SCALES_DIFFER = 1.5  # factor between the sizes of training and evaluation

_TRAINING = "[learns these objects slowly and finds/learn these objects slowly and find] few of them"
ANCHORS_TOO_SMALL = Problem(
    "anchors-too-small",
    WARNING,
    "[recipe/recipes] whose anchors are too small for many objects",
    _TRAINING,
    "Set RPNHead.anchor_generator.anchor_sizes, or let the readers resize images to a smaller size.",
)
ANCHORS_TOO_LARGE = Problem(
    "anchors-too-large",
    WARNING,
    "[recipe/recipes] whose anchors are too large for many objects",
    _TRAINING,
    "Let the readers resize images to a larger size, or set RPNHead.anchor_generator.anchor_sizes.",
)
ANCHORS_DIFFER = Problem(
    "anchors-differ-in-shape",
    WARNING,
    "[recipe/recipes] whose anchors have other shapes than many objects, or leave a gap between their sizes",
    _TRAINING,
    "Set RPNHead.anchor_generator.aspect_ratios (height / width) and anchor_sizes.",
)
READERS_DIFFER = Problem(
    "reader-sizes-differ",
    WARNING,
    "[reader/readers] whose images have another size than those in training",
    "[shows/show] the network objects of sizes that it has not learned",
    "Give all readers of the recipe the same target_size in Resize or RandomResize.",
)


@dataclass(frozen=True)
class FitSettings:
    """The parts of a recipe that have to fit a dataset.

    Attributes:
        readers: ``TrainReader``, ``EvalReader`` and ``TestReader`` as far as the recipe has them.
        anchors: Anchors of the RPN; None if the detector has none.
        positive_overlap: Overlap from which an anchor is trained to be an object (``rpn_target_assign``).
    """

    readers: Mapping[str, Mapping]
    anchors: Anchors | None = None
    positive_overlap: float = 0.7


@dataclass(frozen=True)
class RecipeFit:
    """How objects and anchors fit. Shares are from 0 to 1; where sizes are random, they are means over all sizes.

    Attributes:
        reader: The reader that resizes the images.
        objects: Number of objects that were looked at.
        factor: Smallest, median and largest factor by which images are resized.
        side_px: The root of the objects' areas after resizing: 5th, 50th and 95th percentile.
        anchor_px: Sides of the smallest and the largest square anchor.
        too_large: Share of the objects that no anchor overlaps by half, and whose area is above that of the largest anchor.
        too_small: The same for objects whose area is below that of the smallest anchor.
        other_shape: Share of the other objects that no anchor overlaps by half.
        below_positive: Share of the objects that no anchor overlaps by ``positive_overlap``. Only their best anchor is trained.
        below_stride: Share of the objects with a side below the smallest stride.
        suggested_sizes: Sizes of anchors, one for each level, that span these objects.
        left_out: Transforms whose effect on sizes is left out.
    """

    reader: str
    objects: int
    factor: tuple[float, float, float]
    side_px: tuple[float, float, float]
    anchor_px: tuple[float, float]
    too_large: float
    too_small: float
    other_shape: float
    below_positive: float
    below_stride: float
    suggested_sizes: tuple[int, ...]
    left_out: tuple[str, ...]

    @property
    def uncovered(self) -> float:
        """Share of the objects that no anchor overlaps by half."""
        return self.too_large + self.too_small + self.other_shape

    def to_dict(self) -> dict:
        """Return everything as plain data."""
        return {**asdict(self), "uncovered": self.uncovered}

    def describe(self) -> list[str]:
        """Return a line about the objects and one about the anchors."""
        low, middle, high = (f"{side:.0f}" for side in self.side_px)
        without = f", without {', '.join(self.left_out)}" if self.left_out else ""
        reasons = (
            (self.too_large, "too large"),
            (self.too_small, "too small"),
            (self.other_shape, "of another shape or between two sizes"),
        )
        why = ", ".join(f"{share:.0%} {what}" for share, what in reasons if share >= 0.005)
        return [
            f"resized by {self.reader} ({_say_range(self.factor)}{without}), 90% of the objects have sides of {low} to "
            f"{high} px, and half are below {middle} px (side: the root of the area)",
            f"from {self.anchor_px[0]:.0f} to {self.anchor_px[1]:.0f} px. {self.uncovered:.0%} of the objects overlap no "
            f"anchor by half{f' ({why})' if why else ''}; {self.below_positive:.0%} reach positive_overlap with none, so "
            "only their best anchor is trained",
        ]

    def findings(self) -> list[Finding]:
        """Return what is worth a warning."""
        sizes = ",".join(f"[{size}]" for size in self.suggested_sizes)
        for_instance = f"for instance -o RPNHead.anchor_generator.anchor_sizes=[{sizes}]"
        low, _, high = (f"{side:.0f}" for side in self.side_px)
        cases = (
            (self.too_large, ANCHORS_TOO_SMALL, f"the largest anchor has {self.anchor_px[1]:.0f} px; {for_instance}"),
            (self.too_small, ANCHORS_TOO_LARGE, f"the smallest anchor has {self.anchor_px[0]:.0f} px; {for_instance}"),
            (
                self.other_shape,
                ANCHORS_DIFFER,
                f"the anchors have {self.anchor_px[0]:.0f} to {self.anchor_px[1]:.0f} px",
            ),
        )
        about_all = f"In {self.reader}, 90% of all have sides of {low} to {high} px"
        return [
            Finding(problem, detail=f"{share:.0%} of {say_count(self.objects, 'object')}. {about_all}; {about}")
            for share, problem, about in cases
            if share >= MANY
        ]


def examine_fit(
    boxes_xyxy: np.ndarray, image_hw: np.ndarray, settings: FitSettings, reader: str = "TrainReader"
) -> RecipeFit | None:
    """Compare objects with the anchors of a recipe.

    Args:
        boxes_xyxy: Boxes in pixels of the original images (N, 4), without crowd regions.
        image_hw: Height and width of the image of each box (N, 2).
        settings: The recipe.
        reader: Name of the reader that resizes the images.

    Returns:
        The comparison; None if there is no object, no such reader, or no anchors.
    """
    if not len(boxes_xyxy) or settings.anchors is None or reader not in settings.readers:
        return None
    anchors = settings.anchors
    boxes, sizes = np.asarray(boxes_xyxy, np.float64), np.asarray(image_hw, np.float64)
    sizes_in_reader = list_factors(settings.readers[reader], sizes[:1]).shape[1]
    chosen = _spread(len(boxes), max(1, MOST_BOXES // sizes_in_reader))
    boxes, sizes = boxes[chosen], sizes[chosen]
    factors = list_factors(settings.readers[reader], sizes)
    factors_xyxy = np.concatenate([factors, factors], axis=2)[:, :, [1, 0, 3, 2]]
    resized = (boxes[:, None] * factors_xyxy).reshape(-1, 4)
    best = anchors.best_overlaps(resized, (sizes[:, None] * factors).reshape(-1, 2))
    sides = resized[:, 2:] - resized[:, :2]
    side_px = np.sqrt(sides.prod(axis=1))
    is_uncovered = best < MIN_OVERLAP
    is_large, is_small = side_px > anchors.largest_px, side_px < anchors.smallest_px
    low, high = np.percentile(side_px, [5, 90])
    whole_factors = np.sqrt(factors.prod(axis=2))
    return RecipeFit(
        reader=reader,
        objects=len(boxes),
        factor=_three(whole_factors.min(), np.median(whole_factors), whole_factors.max()),
        side_px=_three(*np.percentile(side_px, [5, 50, 95])),
        anchor_px=(anchors.smallest_px, anchors.largest_px),
        too_large=float((is_uncovered & is_large).mean()),
        too_small=float((is_uncovered & is_small).mean()),
        other_shape=float((is_uncovered & ~is_large & ~is_small).mean()),
        below_positive=float((best < settings.positive_overlap).mean()),
        below_stride=float((sides.min(axis=1) < min(anchors.strides)).mean()),
        suggested_sizes=tuple(
            int(round(size)) for size in np.geomspace(max(low, 1), max(high, 1), len(anchors.strides))
        ),
        left_out=tuple(find_other_changes(settings.readers[reader])),
    )


def warn_of_scales(image_hw: np.ndarray, settings: FitSettings) -> list[Finding]:
    """Return a finding for each reader that resizes images by much more or less than training does.

    Args:
        image_hw: Heights and widths of the images (N, 2).
        settings: The recipe.
    """
    if not len(image_hw) or "TrainReader" not in settings.readers:
        return []
    sizes = np.asarray(image_hw, np.float64)[_spread(len(image_hw), MOST_IMAGES)]
    factors = {name: _typical_factor(reader, sizes) for name, reader in settings.readers.items()}
    in_training = factors.pop("TrainReader")
    image = np.median(sizes, axis=0)
    usual = f"{_say_size(image * in_training)} in TrainReader"
    return [
        Finding(
            READERS_DIFFER,
            detail=f"images of {_say_size(image)} pixels have about {_say_size(image * factor)} in {name}, but {usual}",
        )
        for name, factor in factors.items()
        if not 1 / SCALES_DIFFER <= factor / in_training <= SCALES_DIFFER
    ]


def _typical_factor(reader: Mapping, image_hw: np.ndarray) -> float:
    return float(np.median(np.sqrt(list_factors(reader, image_hw).prod(axis=2))))


def _spread(count: int, most: int) -> np.ndarray:
    """Return at most ``most`` of the first ``count`` numbers, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))


def _three(low: float, middle: float, high: float) -> tuple[float, float, float]:
    return float(low), float(middle), float(high)


def _say_size(image_hw: np.ndarray) -> str:
    height, width = (f"{side:.0f}" for side in image_hw)
    return f"{width}x{height}"


def _say_range(factor: tuple[float, float, float]) -> str:
    low, _, high = factor
    return f"x{low:.2f}" if f"{low:.2f}" == f"{high:.2f}" else f"x{low:.2f} to x{high:.2f}"
