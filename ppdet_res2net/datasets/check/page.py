"""The report of a check as one HTML page: figures, each problem with pictures of it, and sample images."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from html import escape

import numpy as np

from ppdet_res2net.data.coco_file import CocoAnnotation
from ppdet_res2net.data.image_files import decode_as_annotated, read_image_file
from ppdet_res2net.data.image_names import resolve_image_path
from ppdet_res2net.data.problems import Finding, Problem
from ppdet_res2net.datasets.check.run import DatasetReport
from ppdet_res2net.datasets.check.text import locate
from ppdet_res2net.errors import DatasetError, Res2NetError
from ppdet_res2net.html import Shape, bar_chart, draw_picture, save_page, tiles

__all__ = ["write_page"]

SHOWN_PICTURES, SHOWN_FINDINGS = 8, 200
SAMPLES = 12
SHOWN_CLASSES = 16
NEUTRAL = 2  # number of a colour that does not stand out
_FINE = '<span class="chip fine">nothing wrong</span>'


def write_page(reports: Sequence[DatasetReport], path: str | os.PathLike) -> None:
    """Write a page that needs no other file: pictures are embedded.

    Raises:
        DatasetError: The file cannot be written.
    """
    body = ["<h1>Dataset check</h1>", _verdict(reports)]
    for report in reports:
        body += _Section(report).render()
    save_page(path, "Dataset check", body)


def _verdict(reports: Sequence[DatasetReport]) -> str:
    chips = []
    for severity in ("error", "warning", "note"):
        count = sum(report.count(severity) for report in reports)
        if count:
            chips.append(f'<span class="chip {severity}">{count} {severity}{"s"[: count != 1]}</span>')
    return f"<p>{''.join(chips) or _FINE}</p>"


class _Section:
    """The part of the page about one annotation file."""

    def __init__(self, report: DatasetReport) -> None:
        self.report = report
        self.label_of = {category_id: label for label, category_id in enumerate(report.categories)}
        self.members: dict[int, list[int]] = defaultdict(list)
        for index, annotation in enumerate(report.instances.annotations):
            self.members[annotation.image.id].append(index)
        self.unknown: dict[int, list[CocoAnnotation]] = defaultdict(list)
        for annotation in report.file.unknown:
            self.unknown[annotation.image.id].append(annotation)

    def render(self) -> Iterator[str]:
        """Yield the section."""
        source, facts = self.report.source, self.report.statistics
        yield f"<h2>{escape(source.name)}</h2>"
        yield f'<p class="soft"><code>{escape(str(source.annotation_path))}</code> with images in '
        yield f"<code>{escape(str(source.image_dir))}</code></p>"
        sides = [f"{facts[f'image_{side}_px']['median']}" for side in ("width", "height")]
        yield tiles(
            [
                ("images", facts["images"]),
                ("without objects", facts["images_without_objects"]),
                ("objects", facts["annotations"]),
                ("masks", facts["masks"]),
                ("crowd regions", facts["crowds"]),
                ("classes", len(facts["classes"])),
                ("median size, px", "×".join(sides)),
            ]
        )
        yield from self._charts(facts)
        for problem, findings in self.report.groups.items():
            yield from self._problem(problem, findings)
        yield from self._samples()

    def _charts(self, facts: dict) -> Iterator[str]:
        rows = [(one["name"], one["objects"], self.label_of[one["id"]]) for one in facts["classes"]]
        largest = max((count for _, count, _ in rows), default=0)
        more = ""
        if len(rows) > SHOWN_CLASSES:
            rest = bar_chart(rows[SHOWN_CLASSES:], largest)
            more = f"<details><summary>{len(rows) - SHOWN_CLASSES} more classes</summary>{rest}</details>"
        areas = [(name, count, NEUTRAL) for name, count in facts["box_area"].items()]
        per_image = np.array([len(self.members[image_id]) for image_id in self.report.images])
        limits = (0, 1, 2, 4, 8, 16, 32)
        counts = [
            (
                str(low) if high == low + 1 else f"{low} to {high - 1}" if high < np.inf else f"{low} or more",
                int(((per_image >= low) & (per_image < high)).sum()),
                NEUTRAL,
            )
            for low, high in zip(limits, (*limits[1:], np.inf))
        ]
        yield '<div class="columns">'
        yield f'<div class="card"><h3>Objects per class</h3>{bar_chart(rows[:SHOWN_CLASSES], largest)}{more}</div>'
        yield '<div class="card"><h3>Size of the objects</h3><p class="soft">COCO\'s: small below 32 x 32 pixels, large '
        yield f"from 96 x 96</p>{bar_chart(areas, max(one[1] for one in areas))}"
        yield f'<h3 style="margin-top:20px">Objects per image</h3>{bar_chart(counts, max(one[1] for one in counts))}</div>'
        yield "</div>"

    def _problem(self, problem: Problem, findings: list[Finding]) -> Iterator[str]:
        count = len(findings)
        yield f'<div class="card problem {problem.severity}"><h3><b>{count}</b> '
        yield f'{escape(problem.say_title(count))} <span class="chip {problem.severity}">{problem.severity}</span></h3>'
        yield f"<p>{escape(problem.say_treatment(count))} {escape(problem.remedy)}</p>"
        pictured = [finding for finding in findings if finding.image_id in self.report.images][:SHOWN_PICTURES]
        if pictured:
            pictures = "".join(self._picture(one.image_id, locate(one), one.subject_id, problem) for one in pictured)
            yield f'<div class="gallery">{pictures}</div>'
        others = [finding for finding in findings if finding not in pictured]
        if others:
            items = "".join(f"<li>{escape(locate(one))}</li>" for one in others[:SHOWN_FINDINGS])
            left_out = len(others) - SHOWN_FINDINGS
            items += f"<li>... and {left_out} more</li>" if left_out > 0 else ""
            summary = f"{len(others)} more" if pictured else f"all {len(others)}"
            opened = " open" if not pictured and len(others) <= SHOWN_PICTURES else ""
            yield f"<details{opened}><summary>{summary}</summary><ul>{items}</ul></details>"
        yield "</div>"

    def _samples(self) -> Iterator[str]:
        usable = [picture.image_id for picture in self.report.pictures if picture.size] or list(self.report.images)
        chosen = [usable[i] for i in np.unique(np.linspace(0, len(usable) - 1, SAMPLES).astype(int))] if usable else []
        yield "<h2>A look at the data</h2>"
        pictures = "".join(self._picture(i, f"{self.report.images[i].file_name} (image id {i})") for i in chosen)
        yield f'<div class="gallery" style="--cell:270px">{pictures}</div>'

    def _picture(self, image_id: int, caption: str, subject_id: object = None, problem: Problem | None = None) -> str:
        image = self.report.images[image_id]
        is_about_one = problem is not None and problem.subject == "annotation"
        shapes = []
        masks = self.report.instances.segmentations
        rows = [(self.report.instances.annotations[i], masks[i]) for i in self.members[image_id]]
        for annotation, mask in [*rows, *((one, None) for one in self.unknown[image_id])]:
            name = self.report.categories.get(annotation.category_id, "unknown category")
            is_marked = is_about_one and annotation.id == subject_id
            flags = ", crowd" * annotation.is_crowd + ", ignored" * annotation.is_ignored
            shapes.append(
                Shape(
                    label=self.label_of.get(annotation.category_id, len(self.label_of)),
                    name=name if is_marked or not is_about_one else "",
                    box_xyxy=_written_corners(annotation),
                    segmentation=mask if is_marked or not is_about_one else None,
                    is_marked=is_marked,
                    is_faint=is_about_one and not is_marked,
                    hint=f"{name}{flags}, annotation id {annotation.id}",
                )
            )
        return draw_picture(self._read(image_id), image.size, shapes, caption)

    def _read(self, image_id: int) -> np.ndarray | None:
        """Return the pixels, even if their size is not the annotated one, or None if they cannot be read."""
        image = self.report.images[image_id]
        try:
            data = read_image_file(resolve_image_path(self.report.source.image_dir, image.file_name))
            try:
                return decode_as_annotated(data, image.size)[0]
            except DatasetError:
                return decode_as_annotated(data, None)[0]
        except Res2NetError:
            return None


def _written_corners(annotation: CocoAnnotation) -> list[float] | None:
    """Return the box as it is in the file, so that a box outside its image is shown there."""
    box = annotation.box_xywh
    return None if box is None else [box[0], box[1], box[0] + box[2], box[1] + box[3]]
