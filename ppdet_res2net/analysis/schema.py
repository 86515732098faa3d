"""What ``report.json`` holds, as typed entries: figures only, no pictures.

Figures are fractions from 0 to 1 unless their name says otherwise; None where the data has nothing that counts for them. A
"kind" is ``bbox`` or ``segm``: whether the boxes or the masks of detections and objects are compared.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ppdet_res2net.analysis.error_schema import Breakdown, ConfusionMatrix, ErrorShares, Mistake, Suspect, WorstImage
from ppdet_res2net.analysis.plain import from_plain, to_plain
from ppdet_res2net.analysis.subject import DatasetSummary, ImageRef, RunFacts, Settings
from ppdet_res2net.errors import DatasetError

__all__ = [
    "SCHEMA_VERSION",
    "Calibration",
    "CalibrationBin",
    "ClassFigures",
    "FrequencyGroup",
    "KindReport",
    "OperatingPoint",
    "PrecisionRecall",
    "Report",
    "ScoreCurve",
    "ScoreCurves",
]

SCHEMA_VERSION = 1


@dataclass
class OperatingPoint:
    """What detections from a score on are worth, at ``Settings.iou``.

    Attributes:
        score: The score; as short a number as has these figures. None if there is no right detection.
        precision: Share of these detections that are right.
        recall: Share of the objects that they find.
        f1: Harmonic mean of both.
        right: Right detections.
        wrong: Wrong detections.
        missed: Objects that are not found.
    """

    score: float | None
    precision: float | None
    recall: float | None
    f1: float | None
    right: int
    wrong: int
    missed: int


@dataclass
class ClassFigures:
    """COCO's figures of a class.

    Attributes:
        category_id: Id of the category.
        name: Its name.
        figures: ``AP``, ``AP50``, ``AP75``, ``APs``, ``APm``, ``APl``, ``AR100``; for masks also ``boundary_AP`` if measured.
        best: The threshold with the largest F1; of several equal ones the highest.
    """

    category_id: int
    name: str
    figures: dict[str, float | None]
    best: OperatingPoint


@dataclass
class FrequencyGroup:
    """Classes that are about as frequent, as LVIS groups them.

    Attributes:
        name: ``rare`` (1 to 10 images), ``common`` (11 to 100) or ``frequent`` (more).
        classes: Number of its classes.
        figures: Mean of the classes' ``AP``, ``AP50``, ``AP75``.
    """

    name: str
    classes: int
    figures: dict[str, float | None]


@dataclass
class PrecisionRecall:
    """Precision at each recall, as pycocotools computes it.

    Attributes:
        ious: The IoU thresholds: COCO's ten; 0.5 and 0.75 if there are more than 200 classes.
        recalls: COCO's 101 recalls.
        mean: Mean over the classes: a list per IoU, a figure per recall.
        classes: The same of each class; None for classes without objects.
    """

    ious: list[float]
    recalls: list[float]
    mean: list[list[float]] | None
    classes: list[list[list[float]] | None]


@dataclass
class ScoreCurve:
    """Figures of the detections from a score on; a figure per score of ``ScoreCurves``.

    Attributes:
        precision: Precision; None where there is no detection.
        recall: Recall; None if there are no objects.
        f1: Harmonic mean of both; None where neither detections nor objects are.
    """

    precision: list[float | None]
    recall: list[float | None]
    f1: list[float | None]


@dataclass
class ScoreCurves:
    """Precision, recall and F1 against the score, at ``Settings.iou``.

    Attributes:
        scores: The scores: 0, 0.01, ... 1.
        overall: Of all detections together: every object counts alike.
        classes: Of each class.
    """

    scores: list[float]
    overall: ScoreCurve
    classes: list[ScoreCurve]


@dataclass
class CalibrationBin:
    """The detections with scores of one range.

    Attributes:
        low: Start of the range, which belongs to it.
        high: End of the range, which belongs to the next one; 1 belongs to the last.
        count: Number of detections.
        score: Their mean score.
        precision: Share of them that are right.
    """

    low: float
    high: float
    count: int
    score: float | None
    precision: float | None


@dataclass
class Calibration:
    """Whether scores say how often detections are right, at ``Settings.iou``.

    Attributes:
        bins: The ranges of scores.
        error: Expected calibration error: mean difference of score and precision over the ranges, weighted by their detections.
    """

    bins: list[CalibrationBin]
    error: float | None


@dataclass
class KindReport:
    """The figures of boxes, or those of masks.

    Attributes:
        figures: COCO's twelve: ``AP``, ``AP50``, ``AP75``, ``APs``, ``APm``, ``APl``, ``AR1``, ``AR10``, ``AR100``, ``ARs``,
            ``ARm``, ``ARl``.
        boundary: The twelve with boundary IoU, for masks if measured.
        classes: Figures of each class.
        frequencies: Groups of classes by frequency; empty with fewer than 20 classes.
        pr: Precision at each recall.
        curves: Precision, recall and F1 against the score.
        best: The threshold for all classes together with the largest F1; of several equal ones the highest.
        confusion: Which class is taken for which.
        errors: Where AP is lost.
        breakdowns: Misses and wrong detections by size, aspect and crowding.
        calibration: Whether scores say how often detections are right.
        worst_images: The images whose mistakes cost most, the costliest first.
        mistakes: The mistakes that cost most, the costliest first; not more than a sixth of them of one class.
        suspects: Suspected label errors, most suspicious first; those of each reason together.
    """

    figures: dict[str, float | None]
    boundary: dict[str, float | None] | None
    classes: list[ClassFigures]
    frequencies: list[FrequencyGroup]
    pr: PrecisionRecall
    curves: ScoreCurves
    best: OperatingPoint
    confusion: ConfusionMatrix
    errors: ErrorShares
    breakdowns: list[Breakdown]
    calibration: Calibration
    worst_images: list[WorstImage]
    mistakes: list[Mistake]
    suspects: list[Suspect]


@dataclass
class Report:
    """Everything in ``report.json``.

    Attributes:
        title: What was evaluated, for the head of the page.
        created: Date and time, as ISO 8601 in UTC.
        dataset: What it was evaluated on.
        settings: What the figures depend on.
        run: How the detections were made.
        versions: Version of each package that took part.
        kinds: The figures of each kind: ``bbox``, and ``segm`` for masks.
        images: The images that the report names.
        notes: What a reader should know, one sentence each.
        version: Version of this schema.
    """

    title: str
    created: str
    dataset: DatasetSummary
    settings: Settings
    run: RunFacts
    versions: dict[str, str]
    kinds: dict[str, KindReport]
    images: list[ImageRef]
    notes: list[str] = field(default_factory=list)
    version: int = SCHEMA_VERSION

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain data for ``json.dump``."""
        plain: dict[str, Any] = to_plain(self)
        return plain

    @classmethod
    def from_json(cls, content: object, source: str) -> Report:
        """Return the report of plain data.

        Args:
            content: What ``json.load`` gave.
            source: Name of the file, for messages.

        Raises:
            DatasetError: It is not such a report, or of another version.
        """
        version = content.get("version") if isinstance(content, dict) else None
        if version != SCHEMA_VERSION:
            found = f"version {version!r}" if version is not None else "something else"
            raise DatasetError(
                f"'{source}' is not a report of this version: expected a report.json of version {SCHEMA_VERSION}, got {found}. "
                "Make it again with eval --report."
            )
        return from_plain(cls, content, source)
