"""Compares two reports on the same images: which differences are more than chance, which objects are gained and lost."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ppdet_res2net.analysis.comparison import Comparison, Difference, KindComparison, ObjectChange
from ppdet_res2net.analysis.matches import MATCHES_NAME, Matches, load_matches
from ppdet_res2net.analysis.schema import Report
from ppdet_res2net.analysis.scoring import COCO_IOUS, RECALLS
from ppdet_res2net.analysis.subject import AnnotationRef, DetectionRef, ImageRef
from ppdet_res2net.analysis.thresholds import REPORT_NAME, read_report
from ppdet_res2net.errors import DatasetError
from res2net_runtime.texts import printable

__all__ = ["compare_reports"]

RESAMPLES = 400
INTERVAL_PERCENT = (2.5, 97.5)
MIN_IMAGES = 5  # with objects: the samples of fewer images are too much alike to tell anything
FIGURES = ("AP", "AP50")
SCORE_WITHOUT_A_BEST = 0.5
_MOST_NUMBERS = 4_000_000  # in an array of samples and detections


@dataclass(frozen=True)
class _Run:
    """A report and its matches.

    Attributes:
        folder: Where it is, for messages.
        report: The report.
        matches: The matches of each kind.
    """

    folder: Path
    report: Report
    matches: dict[str, Matches]


def compare_reports(
    before: str | os.PathLike[str],
    after: str | os.PathLike[str],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    limit: int = 60,
) -> Comparison:
    """Compare two reports on the same images and annotations.

    The images are drawn anew, with replacement, ``resamples`` times, the same for both reports. The differences of the two in
    these samples say how much of the difference is due to the choice of images. They do not say how much another training with
    the same recipe would differ.

    Args:
        before: Folder of the first report.
        after: Folder of the second.
        resamples: How often images are drawn.
        seed: Seed of the draws.
        limit: Largest number of gained objects, and of lost ones, that are listed.

    Raises:
        DatasetError: A report cannot be read, or they are about other images, annotations, kinds or settings.
    """
    runs = [_load(Path(folder)) for folder in (before, after)]
    first, second = runs
    _check_settings(first, second)
    kinds = [kind for kind in first.matches if kind in second.matches]
    if not kinds:
        raise DatasetError(
            f"The report '{printable(first.folder)}' has figures of {', '.join(first.matches)}, and "
            f"'{printable(second.folder)}' of {', '.join(second.matches)}: there is nothing to compare."
        )
    for kind in kinds:
        _check_same(first, second, kind)
    number = len(first.matches[kinds[0]].image_ids)
    weights = _draw_weights(number, resamples, seed)
    compared = {kind: _compare_kind(first, second, kind, weights, limit) for kind in kinds}
    names = {image.id: image for run in runs for image in run.report.images}
    ids = {change.image_id for one in compared.values() for change in (*one.gained, *one.lost)}
    named = [names.get(image_id, ImageRef(image_id, "", 0, 0)) for image_id in sorted(ids)]
    return Comparison(first.report.title, second.report.title, number, resamples, seed, compared, named)


def _load(folder: Path) -> _Run:
    report = read_report(folder)  # also refuses what is neither a folder nor a file
    folder = folder if folder.is_dir() else folder.parent
    matches = load_matches(folder)
    categories = [one.category_id for one in report.dataset.classes]
    if set(report.kinds) != set(matches) or any(one.category_ids.tolist() != categories for one in matches.values()):
        raise DatasetError(
            f"{REPORT_NAME} and {MATCHES_NAME} of '{printable(folder)}' are not of one report: they have other classes, or "
            "figures of other kinds. Make the report again with eval --report."
        )
    return _Run(folder, report, matches)


def _check_settings(first: _Run, second: _Run) -> None:
    ious = [run.report.settings.iou for run in (first, second)]
    if ious[0] != ious[1]:
        raise DatasetError(
            f"The reports '{printable(first.folder)}' and '{printable(second.folder)}' were made with the IoU {ious[0]} and "
            f"{ious[1]}. Make one of them again with that of the other."
        )


def _check_same(first: _Run, second: _Run, kind: str) -> None:
    a, b = first.matches[kind], second.matches[kind]
    for name, what in (
        ("image_ids", "images"),
        ("category_ids", "categories"),
        ("object_ids", "annotations"),
        ("object_images", "images of annotations"),
        ("object_classes", "classes of annotations"),
        ("object_boxes_xywh", "boxes of annotations"),
        ("is_set_aside", "crowd regions or ignored annotations"),
    ):
        one, other = getattr(a, name), getattr(b, name)
        if np.array_equal(one, other):
            continue
        number = f"{len(one)} of '{printable(first.report.dataset.source)}' and {len(other)} of"
        if len(one) == len(other):
            differing = int((one != other).reshape(len(one), -1).any(axis=1).sum())
            number = f"{differing} of {len(one)} differ between '{printable(first.report.dataset.source)}' and"
        raise DatasetError(
            f"The reports '{printable(first.folder)}' and '{printable(second.folder)}' are about different {what}: {number} "
            f"'{printable(second.report.dataset.source)}'. Evaluate both on the same annotation file."
        )


def _draw_weights(images: int, resamples: int, seed: int) -> np.ndarray:
    """Return how often each image is in each sample, float64 (1 + resamples, images); the first one has every image once."""
    random = np.random.default_rng(seed)
    drawn = random.multinomial(images, np.full(images, 1 / images), size=resamples)
    return np.concatenate([np.ones((1, images)), drawn])


def _compare_kind(first: _Run, second: _Run, kind: str, weights: np.ndarray, limit: int) -> KindComparison:
    a, b = first.matches[kind], second.matches[kind]
    names = {one.category_id: one.name for one in first.report.dataset.classes}
    samples = [_sample_figures(one, weights) for one in (a, b)]  # each (figures, classes, samples)
    counted = a.object_classes[~a.is_set_aside]
    pairs = np.unique(np.stack([counted, a.object_images[~a.is_set_aside]]), axis=1)
    images = np.bincount(pairs[0], minlength=len(a.category_ids))
    classes = []
    for class_ in np.flatnonzero(images):
        category = int(a.category_ids[class_])
        for place, figure in enumerate(FIGURES):
            one, other = samples[0][place, class_], samples[1][place, class_]
            classes.append(_difference(category, names[category], figure, one, other, int(images[class_])))
    has_objects = images > 0
    overall = []
    for place, figure in enumerate(FIGURES):
        one, other = (_mean_of_classes(of_run[place, has_objects]) for of_run in samples)
        overall.append(_difference(None, "all", figure, one, other, len(np.unique(pairs[1]))))
    gained, lost = list(_changes(first, second, kind)), list(_changes(second, first, kind))
    return KindComparison(overall, classes, len(gained), len(lost), gained[:limit], lost[:limit])


def _difference(
    category: int | None, name: str, figure: str, before: np.ndarray, after: np.ndarray, images: int
) -> Difference:
    difference = after - before
    one, other, change = (round(float(value), 6) for value in (before[0], after[0], difference[0]))
    sampled = difference[1:][~np.isnan(difference[1:])]
    if images < MIN_IMAGES or not len(sampled):
        return Difference(category, name, figure, one, other, change, None, None, "too few")
    low, high = (round(float(value), 6) for value in np.percentile(sampled, INTERVAL_PERCENT))
    verdict = "better" if low > 0 else "worse" if high < 0 else "noise"
    return Difference(category, name, figure, one, other, change, low, high, verdict)


def _mean_of_classes(figures: np.ndarray) -> np.ndarray:
    """Return the mean of the classes that have objects in a sample, float64 (samples,); NaN where none has."""
    is_there = ~np.isnan(figures)
    total = np.where(is_there, figures, 0).sum(axis=0)
    count = is_there.sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _sample_figures(matches: Matches, weights: np.ndarray) -> np.ndarray:
    """Return AP and AP50 of each class in each sample, float64 (2, classes, samples); NaN where a sample has no object."""
    figures = np.full((2, len(matches.category_ids), len(weights)), np.nan)
    counts = np.zeros((len(matches.category_ids), len(matches.image_ids)))
    real = ~matches.is_set_aside
    np.add.at(counts, (matches.object_classes[real], matches.object_images[real]), 1)
    # As pycocotools orders equal scores
    order = np.lexsort(
        (np.arange(len(matches.scores)), matches.image_ids[matches.images], -matches.scores, matches.classes)
    )
    bounds = np.searchsorted(matches.classes[order], np.arange(len(matches.category_ids) + 1))
    for class_ in np.flatnonzero(counts.any(axis=1)):
        rows = order[bounds[class_] : bounds[class_ + 1]]
        objects = weights @ counts[class_]
        at_iou = np.stack([_ap_at(matches, rows, place, weights, objects) for place in range(len(COCO_IOUS))])
        figures[:, class_] = at_iou.mean(axis=0), at_iou[0]
    return figures


def _ap_at(matches: Matches, rows: np.ndarray, place: int, weights: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """Return the AP of a class at an IoU in each sample; an image that is drawn twice counts twice."""
    rows = rows[(matches.ignored[rows] >> place) & 1 == 0]
    is_right = (matches.right[rows] >> place) & 1 == 1
    ends = np.flatnonzero(is_right)
    ap = np.where(objects > 0, 0.0, np.nan)
    if not len(ends):
        return ap
    images = matches.images[rows[: ends[-1] + 1]]  # what comes behind the last right one changes nothing
    step = max(_MOST_NUMBERS // len(images), 1)
    for start in range(0, len(weights), step):
        part = slice(start, start + step)
        weight = weights[part][:, images]
        number = np.cumsum(weight, axis=1)[:, ends]
        right = np.cumsum(weight[:, ends], axis=1)
        precision = right / np.maximum(number, 1)
        precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        recall = right / np.maximum(objects[part], 1)[:, None]
        for sample in np.flatnonzero(objects[part] > 0):
            reached = np.searchsorted(recall[sample], RECALLS)
            ap[start + sample] = precision[sample, reached[reached < len(ends)]].sum() / len(RECALLS)
    return ap


def _changes(first: _Run, second: _Run, kind: str) -> Iterator[ObjectChange]:
    """Yield the objects that only the second run finds, those with the highest scores first."""
    found = [_found(run, kind) for run in (first, second)]
    matches = second.matches[kind]
    rows = np.array([row for other, row in found[1].items() if other not in found[0]], np.int64)
    for row in rows[np.argsort(-matches.scores[rows], kind="stable")]:
        other = matches.taken[row]
        yield ObjectChange(
            int(matches.image_ids[matches.images[row]]),
            AnnotationRef(
                int(matches.object_ids[other]),
                int(matches.category_ids[matches.object_classes[other]]),
                [round(float(value), 2) for value in matches.object_boxes_xywh[other]],
            ),
            DetectionRef(
                int(matches.references[row]),
                int(matches.category_ids[matches.classes[row]]),
                round(float(matches.scores[row]), 6),
                [round(float(value), 2) for value in matches.boxes_xywh[row]],
            ),
        )


def _found(run: _Run, kind: str) -> dict[int, int]:
    """Return the detection of each object that the run finds from its best threshold on."""
    matches, best = run.matches[kind], run.report.kinds[kind].best.score
    rows = np.flatnonzero((matches.taken >= 0) & (matches.scores >= (SCORE_WITHOUT_A_BEST if best is None else best)))
    return {int(matches.taken[row]): int(row) for row in rows}
