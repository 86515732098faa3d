"""The thresholds that a report recommends, for the classes of a detector."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ppdet_res2net.analysis.schema import Report
from ppdet_res2net.data.text_files import parse_json, read_text
from ppdet_res2net.errors import ConfigError, DatasetError
from res2net_runtime.texts import printable

__all__ = ["REPORT_NAME", "ChosenThresholds", "choose_best", "read_report"]

REPORT_NAME = "report.json"


@dataclass(frozen=True)
class ChosenThresholds:
    """Scores from which detections are to be drawn.

    Attributes:
        overall: For all classes.
        by_class: By category id, instead of it; None if all classes have the same.
        names: Class names by category id, if they come from a report.
        source: Where they come from, for messages.
    """

    overall: float
    by_class: Mapping[int, float] | None = None
    names: Mapping[int, str] | None = None
    source: str = ""

    def for_classes(self, names: Sequence[str], category_ids: Sequence[int]) -> tuple[float, tuple[float, ...] | None]:
        """Return the score for all classes, and that of each class by label if they differ.

        Args:
            names: Class names of the detector, by label.
            category_ids: Their category ids.

        Raises:
            ConfigError: The report is about other classes.
        """
        classes = dict(zip(category_ids, names))
        if self.names is not None and dict(self.names) != classes:
            raise ConfigError(
                f"The report {self.source} is about the classes {_list(self.names)}, but the detector has {_list(classes)}. "
                "Pass the report of this detector, or the score itself with --threshold."
            )
        by_class = self.by_class
        return self.overall, None if by_class is None else tuple(by_class[one] for one in category_ids)


def read_report(path: str | os.PathLike[str]) -> Report:
    """Read a report.

    Args:
        path: The folder that ``eval --report`` wrote, or the ``report.json`` in it.

    Raises:
        DatasetError: There is none, or it is not one of this version.
    """
    file = Path(path, REPORT_NAME) if os.path.isdir(path) else Path(path)
    if not file.is_file():
        raise DatasetError(
            f"There is no report '{printable(file)}'. Pass the folder that 'eval --report' wrote, or make it now."
        )
    source = printable(file)
    report = Report.from_json(parse_json(read_text(file, "report"), f"report '{source}'"), source)
    if not report.kinds:
        raise DatasetError(f"The report '{source}' has no figures. Make it again with eval --report.")
    for kind, figures in report.kinds.items():
        for best in (figures.best, *(one.best for one in figures.classes)):
            if best.score is not None and not 0 <= best.score <= 1:
                raise DatasetError(
                    f"The report '{source}' has the best score {best.score} in kinds.{kind}, expected a number from 0 to 1. "
                    "Make it again with eval --report."
                )
    return report


def choose_best(path: str | os.PathLike[str], kind: str, per_class: bool) -> ChosenThresholds:
    """Return the thresholds of a report with the largest F1. A class without right detections gets the one of all classes.

    Args:
        path: The report, as for :func:`read_report`.
        kind: ``bbox`` or ``segm``.
        per_class: Whether each class gets its own.

    Raises:
        ConfigError: The report has no best threshold, or not of this kind.
        DatasetError: The report cannot be read.
    """
    report, source = read_report(path), f"'{printable(path)}'"
    if kind not in report.kinds:
        raise ConfigError(f"The report {source} has no figures of --kind {kind}, only of {', '.join(report.kinds)}.")
    figures = report.kinds[kind]
    overall = figures.best.score
    if overall is None:
        raise ConfigError(
            f"The report {source} has no right detection, so no threshold is best. Pass --threshold SCORE."
        )
    by_class = None
    if per_class:
        own = {one.category_id: one.best.score for one in figures.classes}
        by_class = {category_id: overall if score is None else score for category_id, score in own.items()}
    return ChosenThresholds(overall, by_class, {one.category_id: one.name for one in figures.classes}, source)


def _list(names: Mapping[int, str]) -> str:
    shown = [f"{i} {printable(name)}" for i, name in list(names.items())[:5]]
    return f"[{', '.join(shown)}{', ...' if len(names) > 5 else ''}] ({len(names)})"
