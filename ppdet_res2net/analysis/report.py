"""Makes a report of detections and annotations, and writes it."""

from __future__ import annotations

import json
import logging
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from ppdet_res2net.analysis.confusion import break_down, confuse, decide
from ppdet_res2net.analysis.evidence import Evidence, gather_evidence
from ppdet_res2net.analysis.matches import Matches, keep_matches, save_matches
from ppdet_res2net.analysis.mistakes import costs_of, find_suspects, worst_images, worst_mistakes
from ppdet_res2net.analysis.operating import best_points, calibrate, score_curves
from ppdet_res2net.analysis.schema import ClassFigures, FrequencyGroup, KindReport, PrecisionRecall, Report
from ppdet_res2net.analysis.scoring import COCO_IOUS, RECALLS, Scored, score, score_boundaries
from ppdet_res2net.analysis.subject import ClassSummary, DatasetSummary, ImageRef, RunFacts, Settings
from ppdet_res2net.analysis.thresholds import REPORT_NAME
from ppdet_res2net.analysis.tide import diagnose, share_errors
from ppdet_res2net.data.ground_truth import ScoredObjects
from ppdet_res2net.errors import DatasetError
from ppdet_res2net.files import make_output_folder, save_text

__all__ = ["MadeReport", "make_report", "write_report"]

logger = logging.getLogger(__name__)

MANY_CLASSES_FOR_CURVES = 200
MANY_CLASSES_FOR_GROUPS = 20
RARE, COMMON = 10, 100  # images with a class, as LVIS groups them
SHOWN_WHILE_NOTHING_IS_RIGHT = 0.5
PACKAGES = ("numpy", "pycocotools", "faster-coco-eval", "opencv-python-headless", "paddlepaddle", "paddlepaddle-gpu")
_SIZES = ("small", "medium", "large")


@dataclass(frozen=True)
class MadeReport:
    """A report, and the matches that comparing it with another one needs.

    Attributes:
        report: The report.
        matches: The matches of each kind.
    """

    report: Report
    matches: dict[str, Matches]


def make_report(
    objects: ScoredObjects,
    results: Mapping[str, Sequence[Mapping[str, Any]]],
    *,
    source: str,
    title: str,
    settings: Settings | None = None,
    run: RunFacts | None = None,
    is_fast: bool = False,
) -> MadeReport:
    """Compute everything that a report says.

    Args:
        objects: What the detections are compared with; with masks if ``results`` has them.
        results: Detections in COCO's result format by kind (``bbox``, ``segm``); one list may serve both kinds.
        source: Name of the annotation file.
        title: What is evaluated.
        settings: What the figures depend on.
        run: How the detections were made.
        is_fast: Let faster-coco-eval compute COCO's figures, which are the same.

    Raises:
        DatasetError: A detection is wrong, or a setting.
        SetupError: faster-coco-eval is not installed.
    """
    settings = settings or Settings()
    _check(settings)
    kinds, matches, notes = {}, {}, []
    for kind in sorted(results):
        logger.info("computing the figures of %s", "boxes" if kind == "bbox" else "masks")
        evidence = gather_evidence(objects, results[kind], kind)
        notes += [note for note in evidence.notes if note not in notes]
        kinds[kind], matches[kind] = _report_kind(evidence, objects, settings, is_fast)
    for note in notes:
        logger.warning("%s", note)
    report = Report(
        title,
        datetime.now(timezone.utc).isoformat(timespec="seconds"),
        _summarize(objects, source),
        settings,
        run or RunFacts(),
        _versions(),
        kinds,
        _named_images(objects, kinds.values()),
        notes,
    )
    return MadeReport(report, matches)


def write_report(made: MadeReport, folder: str | os.PathLike[str]) -> Path:
    """Write ``report.json`` and the matches beside it; each wholly or not at all.

    Returns:
        The path of ``report.json``.

    Raises:
        DatasetError: The folder cannot be written.
    """
    make_output_folder(folder, option="--report", error_class=DatasetError)
    path = Path(folder, REPORT_NAME)
    save_matches(made.matches, Path(folder))
    save_text(path, json.dumps(made.report.to_json(), allow_nan=False) + "\n", DatasetError)
    return path


def _check(settings: Settings) -> None:
    if not 0 < settings.background_iou < settings.iou <= 1:
        raise DatasetError(
            f"The IoU of right detections must be above that of background ({settings.background_iou}), and not above 1; got "
            f"{settings.iou}."
        )
    if settings.score is not None and not 0 <= settings.score <= 1:
        raise DatasetError(f"The score of the confusion matrix must be from 0 to 1, got {settings.score}.")


def _report_kind(
    evidence: Evidence, objects: ScoredObjects, settings: Settings, is_fast: bool
) -> tuple[KindReport, Matches]:
    scored, matching = score(evidence, settings.iou, settings.max_detections, is_fast=is_fast)
    boundary = None
    if evidence.kind == "segm" and settings.boundary:
        boundary = score_boundaries(evidence, settings.max_detections, is_fast=is_fast)
    best, class_bests = best_points(evidence, matching)
    threshold = settings.score
    if threshold is None:
        threshold = SHOWN_WHILE_NOTHING_IS_RIGHT if best.score is None else best.score
    outcome = decide(evidence, matching, threshold)
    diagnosis = diagnose(evidence, settings.iou, settings.background_iou, settings.unseen_score)
    costs = costs_of(evidence, diagnosis)
    classes = []
    for place, (category, point) in enumerate(zip(objects.categories, class_bests)):
        figures = scored.figures(place)
        if boundary is not None:
            figures["boundary_AP"] = boundary.figures(place)["AP"]
        classes.append(ClassFigures(category.id, category.name, figures, point))
    limit = settings.max_entries
    report = KindReport(
        scored.figures(),
        None if boundary is None else boundary.figures(),
        classes,
        _group_by_frequency(evidence, classes),
        _precision_recall(scored),
        score_curves(evidence, matching),
        best,
        confuse(evidence, outcome, settings.iou, settings.max_image_ids),
        share_errors(evidence, diagnosis, settings.iou, settings.background_iou),
        break_down(evidence, outcome),
        calibrate(evidence, matching, settings.calibration_bins),
        worst_images(evidence, diagnosis, costs, outcome, limit),
        worst_mistakes(evidence, diagnosis, costs, limit),
        find_suspects(
            evidence,
            diagnosis,
            [point.score for point in class_bests],
            settings.background_iou,
            settings.suspect_score,
            limit,
        ),
    )
    return report, keep_matches(evidence, matching)


def _precision_recall(scored: Scored) -> PrecisionRecall:
    chosen = np.arange(len(COCO_IOUS))
    if scored.precision.shape[2] > MANY_CLASSES_FOR_CURVES:
        chosen = np.array([0, 5])
    precision = scored.precision[chosen][..., 0, 2]  # (IoUs, recalls, classes)
    has_objects = precision[0, 0] > -1
    mean = precision[:, :, has_objects].mean(axis=2).round(6).tolist() if has_objects.any() else None
    classes = [
        precision[:, :, class_].round(6).tolist() if has else None for class_, has in enumerate(has_objects.tolist())
    ]
    return PrecisionRecall(COCO_IOUS[chosen].round(2).tolist(), RECALLS.round(2).tolist(), mean, classes)


def _group_by_frequency(evidence: Evidence, classes: Sequence[ClassFigures]) -> list[FrequencyGroup]:
    if len(classes) < MANY_CLASSES_FOR_GROUPS:
        return []
    images = _images_per_class(evidence)
    names = np.select([images == 0, images <= RARE, images <= COMMON], ["", "rare", "common"], "frequent")
    groups = []
    for name in ("rare", "common", "frequent"):
        members = [one.figures for one, group in zip(classes, names) if group == name]
        figures: dict[str, float | None] = {}
        for figure in ("AP", "AP50", "AP75"):
            values = [value for member in members if (value := member[figure]) is not None]
            figures[figure] = round(float(np.mean(values)), 6) if values else None
        groups.append(FrequencyGroup(name, len(members), figures))
    return groups


def _images_per_class(evidence: Evidence) -> np.ndarray:
    real = ~evidence.is_set_aside
    pairs = np.unique(np.stack([evidence.objects.classes[real], evidence.objects.images[real]]), axis=1)
    return np.bincount(pairs[0], minlength=len(evidence.category_ids))


def _summarize(objects: ScoredObjects, source: str) -> DatasetSummary:
    counts = {category.id: ClassSummary(category.id, category.name, 0, 0, 0) for category in objects.categories}
    sizes, seen = dict.fromkeys(_SIZES, 0), set()
    for one in objects.objects.annotations:
        of_class = counts[one.category_id]
        if one.is_crowd or one.is_ignored:
            of_class.set_aside += 1
            continue
        of_class.objects += 1
        of_class.images += (one.category_id, one.image.id) not in seen
        seen.add((one.category_id, one.image.id))
        sizes[_SIZES[int(np.digitize(one.area, (32**2, 96**2)))]] += 1
    with_objects = {image_id for _, image_id in seen}
    classes = list(counts.values())
    return DatasetSummary(
        source,
        len(objects.images),
        len(objects.images) - len(with_objects),
        sum(one.objects for one in classes),
        sum(one.set_aside for one in classes),
        sizes,
        classes,
    )


def _named_images(objects: ScoredObjects, kinds: Iterable[KindReport]) -> list[ImageRef]:
    ids = set()
    for kind in kinds:
        ids |= {image.image_id for image in kind.worst_images} | {mistake.image_id for mistake in kind.mistakes}
        ids |= {suspect.image_id for suspect in kind.suspects}
        ids |= {image_id for cell in kind.confusion.cells for image_id in cell.image_ids}
    return [ImageRef(one.id, one.file_name, one.height, one.width) for one in objects.images if one.id in ids]


def _versions() -> dict[str, str]:
    from res2net_runtime import __version__

    versions = {"ppdet-res2net": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:  # optional, or under its other name
            continue
    return versions
