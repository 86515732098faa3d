"""A small report, with figures that nobody computed."""

from __future__ import annotations

from ppdet_res2net.analysis.error_schema import Breakdown, Confusion, ConfusionMatrix, ErrorShares, Group
from ppdet_res2net.analysis.schema import (
    Calibration,
    CalibrationBin,
    ClassFigures,
    KindReport,
    OperatingPoint,
    PrecisionRecall,
    Report,
    ScoreCurve,
    ScoreCurves,
)
from ppdet_res2net.analysis.subject import ClassSummary, DatasetSummary, ImageRef, RunFacts, Settings

FIGURES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
TYPES = ("Cls", "Loc", "Both", "Dupe", "Bkg", "Miss")


def small_report(
    classes: dict[int, str], best: float | None = 0.6, of_classes: dict[int, float | None] | None = None, **kinds: float
) -> Report:
    """Return a report.

    Args:
        classes: Names by category id.
        best: The best threshold for all classes.
        of_classes: The best thresholds of the classes.
        **kinds: The AP of each kind; default: ``bbox=0.5``.
    """
    of_classes = of_classes or {}
    return Report(
        title="A report",
        created="2026-01-02T03:04:05Z",
        dataset=DatasetSummary(
            "val.json", 2, 0, 3, 0, {"small": 1}, [ClassSummary(i, n, 1, 2, 0) for i, n in classes.items()]
        ),
        settings=Settings(),
        run=RunFacts(),
        versions={},
        kinds={kind: _kind(ap, classes, best, of_classes) for kind, ap in (kinds or {"bbox": 0.5}).items()},
        images=[ImageRef(1, "one.jpg", 40, 60)],
    )


def _kind(ap: float, classes: dict[int, str], best: float | None, of_classes: dict[int, float | None]) -> KindReport:
    first = next(iter(classes))
    line = [1 - i / 100 for i in range(101)]
    return KindReport(
        figures=dict.fromkeys(FIGURES, ap),
        boundary=None,
        classes=[ClassFigures(i, n, {"AP": ap, "APs": None}, _point(of_classes.get(i))) for i, n in classes.items()],
        frequencies=[],
        pr=PrecisionRecall([0.5, 0.75], line[::-1], [line, line], [[line, line] for _ in classes]),
        curves=ScoreCurves(
            line[::-1], ScoreCurve(line, line, line), [ScoreCurve(line, line, [None] * 101) for _ in classes]
        ),
        best=_point(best),
        confusion=ConfusionMatrix(
            0.5, 0.5, [Confusion(first, first, 2, [1]), Confusion(first, None, 1, [1]), Confusion(None, first, 1, [1])]
        ),
        errors=ErrorShares(0.5, 0.1, 100 * ap, dict.fromkeys(TYPES, 1.0), {"FalsePos": 2.0}, dict.fromkeys(TYPES, 3)),
        breakdowns=[Breakdown("size", [Group("small", 2, 1, 2, 1)])],
        calibration=Calibration([CalibrationBin(0.0, 0.5, 0, None, None), CalibrationBin(0.5, 1.0, 2, 0.8, 0.5)], 0.3),
        worst_images=[],
        mistakes=[],
        suspects=[],
    )


def _point(score: float | None) -> OperatingPoint:
    return OperatingPoint(score, *([None] * 3 if score is None else [0.5, 0.5, 0.5]), 1, 1, 1)
