"""Compare the results of two detectors, and those of an exported model with the eager model's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ppdet_res2net.errors import ExportError
from ppdet_res2net.export.verification import verify_engines
from res2net_runtime.boxes import box_iou
from res2net_runtime.model_folder import load_model_folder
from res2net_runtime.predictor import Predictor
from res2net_runtime.results import Detections

__all__ = [
    "TOLERANCES",
    "Agreement",
    "Tolerance",
    "compare_detections",
    "match_detections",
    "require_detections",
    "verify_export",
]


@dataclass(frozen=True)
class Tolerance:
    """How far the detections of two runs of one network may differ.

    Attributes:
        min_box_iou: Smallest IoU of two matched boxes.
        max_score_difference: Largest difference of two matched scores.
        max_mask_difference: Largest difference of the probability of a mask's pixel.
        max_unmatched_share: Largest share of detections without a counterpart. A detection near a threshold may appear in
            one run only, and rounding may decide which of two boxes suppresses the other.
        matched_from_iou: IoU from which boxes of the same class match.
        max_mean_mask_difference: Largest difference of the probabilities on average over a mask.
    """

    min_box_iou: float
    max_score_difference: float
    max_mask_difference: float
    max_unmatched_share: float
    matched_from_iou: float = 0.5
    max_mean_mask_difference: float = 1.0


# By precision. float32 on other kernels: scores and mask probabilities differ by about 1e-4. bfloat16 keeps 8 bits;
# docs/performance.md says what was measured.
TOLERANCES = {
    "fp32": Tolerance(0.99, 0.005, 0.02, 0.01),
    "bf16": Tolerance(0.95, 0.1, 0.6, 0.15, matched_from_iou=0.95, max_mean_mask_difference=0.2),
}


@dataclass(frozen=True)
class Agreement:
    """How far two detectors agree. Differences are the largest ones over all matched detections.

    Attributes:
        images: Images compared.
        detections: Detections of the first detector.
        unmatched: Detections without a counterpart, of the detector that has more of them.
        min_box_iou: Smallest IoU of two matched boxes; None if none matched.
        max_score_difference: Difference of two matched scores.
        max_mask_difference: Difference of the probability of a mask's pixel; None if neither detector gives masks.
        max_mean_mask_difference: Difference of the probabilities on average over a mask; None as well.
        tolerance: The limits.
    """

    images: int
    detections: int
    unmatched: int
    min_box_iou: float | None
    max_score_difference: float
    max_mask_difference: float | None
    max_mean_mask_difference: float | None
    tolerance: Tolerance = TOLERANCES["fp32"]

    @property
    def within_tolerance(self) -> bool:
        """Whether both give the same results up to rounding."""
        limit = self.tolerance
        return (
            self.unmatched <= limit.max_unmatched_share * self.detections
            and (self.min_box_iou is None or self.min_box_iou >= limit.min_box_iou)
            and self.max_score_difference <= limit.max_score_difference
            and (self.max_mask_difference is None or self.max_mask_difference <= limit.max_mask_difference)
            and (
                self.max_mean_mask_difference is None or self.max_mean_mask_difference <= limit.max_mean_mask_difference
            )
        )

    def __str__(self) -> str:
        limit = self.tolerance
        counts = (
            f"{self.images} images, {self.detections} detections, {self.unmatched} without a counterpart (limit "
            f"{limit.max_unmatched_share:.0%}) of the same class with a box IoU of {limit.matched_from_iou} or more"
        )
        if self.min_box_iou is None:
            return f"{counts}; none matched"
        masks = ""
        if self.max_mask_difference is not None:
            masks = (
                f", mask probabilities within {self.max_mask_difference:.2g} ({limit.max_mask_difference}), on average over "
                f"a mask {self.max_mean_mask_difference:.2g} ({limit.max_mean_mask_difference})"
            )
        return (
            f"{counts}; of the others IoU at least {self.min_box_iou:.5f} (limit {limit.min_box_iou}), scores within "
            f"{self.max_score_difference:.2g} ({limit.max_score_difference}){masks}"
        )


def verify_export(
    folder: Path,
    eager: Predictor,
    images: Sequence,
    precisions: Sequence[str] = ("fp32",),
    cpu_threads: int | None = None,
) -> dict[tuple[str, str], Agreement]:
    """Compare an exported folder with the eager model on images, in every format, engine and precision.

    Args:
        folder: The folder.
        eager: The model that was exported.
        images: What the predictor takes.
        precisions: Some of :data:`TOLERANCES`; combinations that no engine offers are left out.
        cpu_threads: Threads of each engine on a CPU; None: one per available core.

    Returns:
        The agreement of each engine and precision.

    Raises:
        ExportError: They differ by more than the tolerance of the precision, no image has a detection, or the export
            does not run.
    """
    expected = [eager(image) for image in images]
    require_detections(expected)

    def compare(engine: str, precision: str) -> tuple[Agreement, str]:
        exported = Predictor(
            folder,
            backend=engine,
            precision=precision,
            cpu_threads=cpu_threads,
            trust_graph=True,  # verify_engines has checked it
        )
        with exported:
            actual, description = [exported(image) for image in images], exported.description
        return compare_detections(expected, actual, TOLERANCES[precision]), description

    return verify_engines(load_model_folder(folder).formats, precisions, compare)


def require_detections(expected: Sequence[Detections]) -> None:
    """Refuse to compare models on images in which nothing is detected.

    Raises:
        ExportError: No image has a detection.
    """
    if not any(len(detections) for detections in expected):
        raise ExportError(
            f"The exported model could not be verified: no detections in {len(expected)} images. Pass "
            f"--verify_images with images that show the objects."
        )


def compare_detections(
    expected: Sequence[Detections], actual: Sequence[Detections], tolerance: Tolerance = TOLERANCES["fp32"]
) -> Agreement:
    """Match detections of the same class by IoU, image by image; each is matched at most once."""
    ious, scores, pixels, masks = [], [0.0], [0.0], [0.0]
    unmatched = np.zeros(2, int)
    for a, b in zip(expected, actual):
        pairs = match_detections(a, b, tolerance.matched_from_iou)
        unmatched += len(a) - len(pairs), len(b) - len(pairs)
        for i, j, iou in pairs:
            ious.append(iou)
            scores.append(abs(a.scores[i] - b.scores[j]))
            if a.masks is not None and b.masks is not None:
                difference = np.abs(a.masks[i] - b.masks[j])
                pixels.append(difference.max())
                masks.append(difference.mean())
            elif a.masks is not b.masks:
                pixels.append(1.0)  # only one of the two has masks
    # Unlike Python's max, NumPy's gives nan if there is one, and nan is within no tolerance.
    max_score, max_pixel, max_mask = (float(np.max(values)) for values in (scores, pixels, masks))
    has_masks = any(detections.masks is not None for detections in (*expected, *actual))
    return Agreement(
        images=len(expected),
        detections=sum(len(detections) for detections in expected),
        unmatched=int(unmatched.max()),
        min_box_iou=min(ious, default=None),
        max_score_difference=max_score,
        max_mask_difference=max_pixel if has_masks else None,
        max_mean_mask_difference=max_mask if has_masks else None,
        tolerance=tolerance,
    )


def match_detections(a: Detections, b: Detections, min_iou: float) -> list[tuple[int, int, float]]:
    """Match detections of the same class on one image; returns the pairs: an index into each, and the IoU."""
    iou = box_iou(a.boxes_xyxy, b.boxes_xyxy)
    candidates = np.argwhere((iou >= min_iou) & (a.labels[:, None] == b.labels[None, :]))
    # If several boxes cover one object, the counterpart is the one with the most similar score.
    likeness = iou - np.nan_to_num(np.abs(a.scores[:, None] - b.scores[None, :]), nan=1.0)
    pairs, used_a, used_b = [], set(), set()
    for i, j in sorted(candidates.tolist(), key=lambda pair: -likeness[tuple(pair)]):
        if i not in used_a and j not in used_b:
            pairs.append((i, j, float(iou[i, j])))
            used_a.add(i)
            used_b.add(j)
    return pairs
