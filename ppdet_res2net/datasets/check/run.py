"""Runs all checks over one or several annotation files and their images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ppdet_res2net.data.annotations import check_dataset_path, read_json
from ppdet_res2net.data.coco_file import CocoFile, CocoImage, parse_coco
from ppdet_res2net.data.instances import (
    DROPPED,
    DROPPED_BOX,
    NO_MASKS,
    InstanceSelection,
    examine_instances,
    find_no_masks,
    find_set_aside,
)
from ppdet_res2net.data.problems import ERROR, Finding, Problem, group_by_problem
from ppdet_res2net.datasets.check.content import find_content_problems
from ppdet_res2net.datasets.check.pictures import Picture, examine_pictures, find_copies, find_file_problems
from ppdet_res2net.datasets.recipe_fit import FitSettings, RecipeFit, examine_fit, warn_of_scales

__all__ = ["DatasetReport", "DatasetSource", "check_content", "check_contents", "check_datasets", "compare_with_recipe"]

CATEGORIES_DIFFER = Problem(
    "categories-differ",
    ERROR,
    "annotation [file whose categories differ/files whose categories differ] from those of the first one",
    "[leads/lead] to an evaluation with wrong classes",
    "Give all splits the same list of categories, with the same ids in the same order: labels are positions in it.",
    "category",
)
NO_OBJECTS = Problem(
    "no-objects",
    ERROR,
    "annotation [file/files] without an object that can be used",
    "[is/are] refused unless allow_empty: true is set",
    "Annotate objects. Crowd regions, ignored objects and those whose box cannot be used do not count.",
    scoring="[is/are] refused",
)
# Limits of COCO's size classes: areas of 32 x 32 and 96 x 96 pixels.
SIZE_CLASSES = {"small": 32**2, "medium": 96**2, "large": np.inf}


@dataclass(frozen=True)
class DatasetSource:
    """One annotation file and the folder of its images.

    Attributes:
        annotation_path: The annotation file.
        image_dir: The folder.
        name: Its name in the report, for instance ``TrainDataset``.
        with_masks: Whether masks are needed; None: they are if any annotation has one.
        allow_empty: Whether images without objects may be used, so that there need not be any object.
        reader: The reader of the recipe that prepares its images, for instance ``TrainReader``.
    """

    annotation_path: Path
    image_dir: Path
    name: str = "dataset"
    with_masks: bool | None = None
    allow_empty: bool = False
    reader: str | None = None


@dataclass
class DatasetReport:
    """What was found about one annotation file.

    Attributes:
        source: What was checked.
        content: The annotation file as it is written.
        file: What it holds.
        images: Image id -> image; valid entries only.
        categories: Category id -> name; valid entries only.
        instances: The annotations of these images and categories, examined.
        pictures: What was found out about the image files; empty if they were not read.
        findings: Everything that was found.
        fit: How the objects fit the recipe; None without one.
    """

    source: DatasetSource
    content: dict
    file: CocoFile
    images: dict[int, CocoImage]
    categories: dict[int, str]
    instances: InstanceSelection
    pictures: list[Picture] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    fit: RecipeFit | None = None

    @cached_property
    def groups(self) -> dict[Problem, list[Finding]]:
        """The findings of each problem, errors first."""
        return group_by_problem(self.findings)

    def count(self, severity: str) -> int:
        """Return how many kinds of problems of a severity were found."""
        return sum(problem.severity == severity for problem in self.groups)

    @cached_property
    def statistics(self) -> dict:
        """Counts by plain names; ``classes`` has one entry per category, most frequent first."""
        annotations = self.instances.annotations
        objects = Counter(one.category_id for one in annotations)
        with_class = Counter(category for category, _ in {(one.category_id, one.image.id) for one in annotations})
        boxes = self.instances.boxes_xyxy
        areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
        sides = np.array([image.size for image in self.images.values()]).reshape(-1, 2)
        limits = [0.0, *SIZE_CLASSES.values()]
        return {
            "images": len(self.images),
            "images_without_objects": len(self.images) - len({one.image.id for one in annotations}),
            "annotations": len(annotations),
            "crowds": sum(one.is_crowd for one in annotations),
            "masks": sum(segmentation is not None for segmentation in self.instances.segmentations),
            "run_length_masks": sum(isinstance(one, dict) for one in self.instances.segmentations),
            "image_width_px": _spread(sides[:, 1]),
            "image_height_px": _spread(sides[:, 0]),
            "box_area": {
                name: int(((areas >= low) & (areas < high)).sum())
                for name, low, high in zip(SIZE_CLASSES, limits, limits[1:])
            },
            "classes": [
                {
                    "id": category_id,
                    "name": name,
                    "objects": objects[category_id],
                    "images": with_class[category_id],
                }
                for category_id, name in sorted(self.categories.items(), key=lambda one: -objects[one[0]])
            ],
        }


def check_datasets(
    sources: Sequence[DatasetSource], read_images: bool = True, show_progress: bool = False
) -> list[DatasetReport]:
    """Check annotation files, their images, and what they have in common.

    Args:
        sources: What to check. Pictures of a later one are also looked for in the earlier ones, and its categories
            are compared with those of the first one.
        read_images: Decode every image. Otherwise the files are not even opened.
        show_progress: Show a bar on stderr.

    Returns:
        One report for each.

    Raises:
        DatasetError: An annotation file or an image folder is missing, or the file is not in COCO's format.
    """
    contents = [(source, read_json(source.annotation_path)) for source in sources]
    return check_contents(contents, read_images, show_progress)


def check_contents(
    contents: Sequence[tuple[DatasetSource, dict]], read_images: bool = True, show_progress: bool = False
) -> list[DatasetReport]:
    """Check contents of annotation files as :func:`check_datasets` does; the files need not be there.

    Raises:
        DatasetError: An image folder is missing.
    """
    reports = [check_content(source, content) for source, content in contents]
    if read_images:
        for report in reports:
            check_dataset_path(report.source.image_dir, "image folder")
            pictures = examine_pictures(report.images, report.source.image_dir)
            bar = tqdm(
                pictures,
                report.source.name,
                len(report.images),
                leave=False,
                unit="image",
                disable=not show_progress,
            )
            report.pictures = list(bar)
            report.findings += find_file_problems(report.pictures)
        for report, copies in zip(reports, find_copies([report.pictures for report in reports])):
            report.findings += copies
    for report in reports[1:]:
        report.findings += _compare_categories(reports[0], report)
    return reports


def check_content(source: DatasetSource, content: dict) -> DatasetReport:
    """Check the content of an annotation file, without its images.

    Args:
        source: Where it comes from, and whether masks are needed.
        content: In COCO's format, as :func:`~ppdet_res2net.data.annotations.read_json` returns it.
    """
    file = parse_coco(content)
    findings = list(file.findings)
    categories = {category.id: category.name for category in file.categories}
    images = {image.id: image for image in file.images}
    with_masks = source.with_masks
    if with_masks is None:
        with_masks = any(annotation.has_segmentation for annotation in file.annotations)
    elif with_masks and (complaint := find_no_masks(file.annotations)):
        findings.append(Finding(NO_MASKS, detail=complaint))
        with_masks = False
    instances = examine_instances(file.annotations, with_masks)
    findings += [*instances.findings, *find_set_aside(file.annotations)]
    if file.has_annotations and not source.allow_empty and not _has_objects(instances, bool(source.with_masks)):
        detail = f"none of {len(file.annotations)} annotations can be used"
        findings.append(Finding(NO_OBJECTS, detail=detail))
    findings += find_content_problems(images, categories, instances)
    return DatasetReport(source, content, file, images, categories, instances, findings=findings)


def _has_objects(instances: InstanceSelection, with_masks: bool) -> bool:
    used = instances.without(*(DROPPED if with_masks else DROPPED_BOX)).annotations
    return any(not one.is_crowd and not one.is_ignored for one in used)


def compare_with_recipe(report: DatasetReport, recipe: FitSettings) -> None:
    """Add to a report how the objects fit a recipe, and how its readers differ, for the images of its TrainDataset."""
    used = report.instances.without(*DROPPED_BOX)
    is_object = [not one.is_crowd and not one.is_ignored for one in used.annotations]
    sizes = np.array([one.image.size for one in used.annotations]).reshape(-1, 2)
    reader = report.source.reader or "TrainReader"
    report.fit = examine_fit(used.boxes_xyxy[is_object], sizes[is_object], recipe, reader)
    if report.fit is not None:
        report.findings += report.fit.findings()
    if reader == "TrainReader":
        report.findings += warn_of_scales(np.array([image.size for image in report.images.values()]), recipe)


def _compare_categories(first: DatasetReport, other: DatasetReport) -> list[Finding]:
    if list(first.categories.items()) == list(other.categories.items()):
        return []
    missing = [name for name in first.categories.values() if name not in other.categories.values()]
    added = [name for name in other.categories.values() if name not in first.categories.values()]
    differences = [
        f"{what} {', '.join(map(repr, names[:5]))}{' ...' if len(names) > 5 else ''}"
        for what, names in (("it lacks", missing), ("it adds", added))
        if names
    ]
    detail = " and ".join(differences) or "the names are the same, but the ids or the order differ"
    return [Finding(CATEGORIES_DIFFER, detail=f"compared with {first.source.name}, {detail}")]


def _spread(values: np.ndarray) -> dict[str, int]:
    """Return minimum, median and maximum of whole numbers; 0 if there are none."""
    values = values if len(values) else np.zeros(1)
    return {name: int(pick(values)) for name, pick in (("min", np.min), ("median", np.median), ("max", np.max))}
