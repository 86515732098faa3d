"""The folder of a report: report.json, what a comparison needs, and the page."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ppdet_res2net.analysis.detections import read_result_files, spell_plainly
from ppdet_res2net.analysis.page import PictureSource, write_report_page
from ppdet_res2net.analysis.report import make_report, write_report
from ppdet_res2net.analysis.schema import Report
from ppdet_res2net.analysis.subject import ImageRef, RunFacts, Settings
from ppdet_res2net.analysis.thresholds import REPORT_NAME
from ppdet_res2net.data.annotations import read_annotations
from ppdet_res2net.data.coco_file import CocoImage
from ppdet_res2net.data.ground_truth import ScoredObjects, select_scored_objects
from ppdet_res2net.data.image_names import ImageFolder
from ppdet_res2net.errors import ConfigError
from ppdet_res2net.files import make_output_folder
from res2net_runtime.texts import printable

__all__ = ["PAGE_NAME", "ReportOutput", "find_images", "prepare_page_folder", "report_on_files", "save_report"]

logger = logging.getLogger(__name__)

PAGE_NAME = "index.html"


@dataclass(frozen=True)
class ReportOutput:
    """Where a report goes, and what is in it.

    Attributes:
        folder: The folder.
        settings: What the figures depend on.
        max_pictures: Largest number of whole images on the page; 0 for a page without pictures.
        is_fast: Let faster-coco-eval compute COCO's figures, which are the same.
    """

    folder: Path
    settings: Settings = field(default_factory=Settings)
    max_pictures: int = 80
    is_fast: bool = False

    def prepare(self) -> None:
        """Create the folder, before hours of evaluation.

        Raises:
            ConfigError: It cannot be written, or it holds another page.
        """
        prepare_page_folder(self.folder, REPORT_NAME, "--report")


def prepare_page_folder(folder: str | os.PathLike[str], data_name: str, option: str) -> None:
    """Create the folder of a page, and protect a page of something else in it, such as a run's.

    Args:
        folder: The folder.
        data_name: The file that lies beside the page if it is one of this kind, which may be replaced.
        option: The option that names the folder, for messages.

    Raises:
        ConfigError: It cannot be written, or it holds another page.
    """
    if Path(folder, PAGE_NAME).exists() and not Path(folder, data_name).exists():
        raise ConfigError(
            f"'{printable(folder)}' has an {PAGE_NAME} without a {data_name}: it is the page of something else, and would be "
            f"lost. Pass another {option}."
        )
    make_output_folder(folder, option=option, error_class=ConfigError)


def save_report(
    output: ReportOutput,
    objects: ScoredObjects,
    detections: Mapping[str, Sequence[dict[str, Any]]],
    image_paths: Mapping[int, str],
    run: RunFacts,
    source: str | os.PathLike[str],
    model_dir: str | None = None,
) -> Report:
    """Compute a report and write its folder.

    Args:
        output: Where it goes.
        objects: The ground truth.
        detections: The results of each kind, in COCO's format; one list may serve both kinds.
        image_paths: The file of each image by its id, for pictures.
        run: How the detections were made.
        source: The annotation file.
        model_dir: The exported folder that was evaluated; None if there is none.

    Raises:
        DatasetError: A detection is wrong, or a file cannot be written.
    """
    title = f"{run.model or 'A detector'} on {Path(source).name}"
    made = make_report(
        objects,
        detections,
        source=Path(source).name,
        title=printable(title),
        settings=output.settings,
        run=run,
        is_fast=output.is_fast,
    )
    write_report(made, output.folder)
    pictures = None
    if output.max_pictures:
        pictures = PictureSource(objects, detections, made.matches, image_paths, output.max_pictures)
    write_report_page(made.report, output.folder / PAGE_NAME, pictures, model_dir)
    return made.report


def report_on_files(
    output: ReportOutput,
    result_files: Sequence[str | os.PathLike[str]],
    annotation_path: str | os.PathLike[str],
    image_dir: str | os.PathLike[str] | None,
) -> Report:
    """Compute the report of result files, which any tool may have written, and write its folder.

    Args:
        output: Where it goes.
        result_files: Results in COCO's format: boxes, masks, or a file of each.
        annotation_path: The annotations.
        image_dir: The folder of the images, for pictures; None if there are to be none.

    Raises:
        DatasetError: A file cannot be read, or results and annotations do not fit together.
    """
    detections = read_result_files(result_files)
    file = read_annotations(annotation_path)
    objects = select_scored_objects(file, "segm" in detections, os.fspath(annotation_path), option="--anno_file FILE")
    detections = spell_plainly(detections, objects)
    model = ", ".join(dict.fromkeys(Path(path).name for path in result_files))
    return save_report(
        output, objects, detections, find_images(objects.images, image_dir), RunFacts(model), annotation_path
    )


def find_images(images: Iterable[CocoImage | ImageRef], image_dir: str | os.PathLike[str] | None) -> dict[int, str]:
    """Return the file of each image that is in a folder, by its id. Without the others, a report has fewer pictures."""
    if image_dir is None:
        return {}
    if not os.path.isdir(image_dir):
        raise ConfigError(
            f"There is no folder '{printable(image_dir)}' with images. Correct --image_dir, or leave it out."
        )
    folder = ImageFolder(image_dir)
    found = {image.id: folder.find(image.file_name) for image in images}
    missing = sum(path is None for path in found.values())
    if missing:
        logger.warning(
            "%d of %d images are not in '%s'; they have no pictures", missing, len(found), printable(image_dir)
        )
    return {image_id: path for image_id, path in found.items() if path is not None}
