"""The page and the sentences of a comparison of reports."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ppdet_res2net.analysis.compare import compare_reports
from ppdet_res2net.analysis.comparison import Comparison, Difference, KindComparison
from ppdet_res2net.analysis.page import page_script, page_style
from ppdet_res2net.analysis.page.output import PAGE_NAME, find_images, prepare_page_folder
from ppdet_res2net.analysis.page.pictures import box_around, cut_out, read_picture
from ppdet_res2net.analysis.subject import ImageRef
from ppdet_res2net.data.annotations import read_annotations
from ppdet_res2net.files import save_text
from ppdet_res2net.html import save_page
from res2net_runtime.texts import printable

__all__ = ["compare_folders", "describe_comparison", "say_verdict", "write_comparison_page"]

COMPARISON_NAME = "comparison.json"
MOST_NAMED = 8  # classes in a sentence
_KINDS = {"bbox": "box", "segm": "mask"}
_SCRIPTS = ("base.js", "charts.js", "compare.js")


def say_verdict(comparison: Comparison, kind: str) -> str:
    """Return in plain sentences whether the second report is better, worse, or whether chance may explain the difference."""
    figures = comparison.kinds[kind]
    overall = next(one for one in figures.overall if one.figure == "AP")
    what = f"{_KINDS.get(kind, kind)} AP"
    if overall.difference is None or overall.before is None or overall.after is None:
        return f"There is no {what} to compare."
    if overall.verdict == "too few":
        start = f"Too few images have objects to tell whether the {what} differs by more than chance: it went from"
    elif overall.verdict == "noise":
        start = f"The difference of the {what} may be chance: it went from"
    else:
        start = f"The {what} is {overall.verdict}: it went from"
    interval = ""
    if overall.low is not None and overall.high is not None:
        zero = ", which includes 0" if overall.verdict == "noise" else ""
        interval = f", and 95 % of {comparison.resamples} random samples of the {comparison.images} images are between "
        interval += f"{overall.low:+.3f} and {overall.high:+.3f}{zero}"
    return (
        f"{start} {overall.before:.3f} to {overall.after:.3f} ({overall.difference:+.3f}){interval}. "
        f"{figures.gained_count} objects are found now that were missed, and {figures.lost_count} are lost."
    )


def describe_comparison(comparison: Comparison) -> Iterator[str]:
    """Yield lines for a terminal: the verdicts, and the classes that changed by more than chance."""
    yield f"{printable(comparison.after)} against {printable(comparison.before)}:"
    for kind, figures in comparison.kinds.items():
        yield f"  {say_verdict(comparison, kind)}"
        for verdict in ("better", "worse"):
            changed = _classes(figures, verdict)
            if changed:
                names = ", ".join(f"{printable(one.name)} {one.difference or 0:+.3f}" for one in changed[:MOST_NAMED])
                more = f", and {len(changed) - MOST_NAMED} more" if len(changed) > MOST_NAMED else ""
                yield f"    {verdict} by more than chance ({_KINDS.get(kind, kind)} AP): {names}{more}"
        if not any(one.verdict in ("better", "worse") for one in figures.classes if one.figure == "AP"):
            yield "    no single class changed by more than chance"


def compare_folders(
    folders: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str] | None = None,
    annotation_path: str | os.PathLike[str] | None = None,
    image_dir: str | os.PathLike[str] | None = None,
) -> list[Comparison]:
    """Compare reports with the first of them, and write a page.

    Args:
        folders: The folders of two or more reports.
        out: Folder for the page and ``comparison.json``; None for none.
        annotation_path: The annotations, which say how all images are called; by default, those that the reports name have
            pictures.
        image_dir: The folder of the images, for pictures; None for a page without.

    Raises:
        ConfigError: There is no such folder, it cannot be written, or it holds another page.
        DatasetError: A report cannot be read, or they are about different images.
    """
    if out is not None:
        prepare_page_folder(out, COMPARISON_NAME, "--out")
    comparisons = [compare_reports(folders[0], other) for other in folders[1:]]
    for one, folder in zip(comparisons, folders[1:]):
        one.before, one.after = f"{one.before} ({printable(folders[0])})", f"{one.after} ({printable(folder)})"
    if out is None:
        return comparisons
    images = {image.id: image for one in comparisons for image in one.named if image.file_name}
    if annotation_path is not None:
        for image in read_annotations(annotation_path).images:
            images[image.id] = ImageRef(image.id, image.file_name, image.height, image.width)
    named = {image.id for one in comparisons for image in one.named}
    paths = find_images([image for image_id, image in images.items() if image_id in named], image_dir)
    for one in comparisons:
        one.named = [images.get(image.id, image) for image in one.named]
    save_text(Path(out, COMPARISON_NAME), json.dumps([dataclasses.asdict(one) for one in comparisons]) + "\n")
    write_comparison_page(comparisons, Path(out, PAGE_NAME), paths)
    return comparisons


def write_comparison_page(
    comparisons: Sequence[Comparison], path: str | os.PathLike[str], image_paths: Mapping[int, str] | None = None
) -> None:
    """Write the page of comparisons with one report.

    Args:
        comparisons: Each of a later report with the same first one.
        path: The file. It needs no other one, and loads nothing.
        image_paths: The file of each image by its id, for pictures of gained and lost objects.

    Raises:
        DatasetError: The file cannot be written.
    """
    first = comparisons[0]
    names = {one.category_id: one.name for each in comparisons for kind in each.kinds.values() for one in kind.classes}
    sentences = [{kind: say_verdict(one, kind) for kind in one.kinds} for one in comparisons]
    data = {
        "comparisons": [dataclasses.asdict(one) for one in comparisons],
        "sentences": sentences,
        "names": {str(category_id): name for category_id, name in names.items()},
        "files": {str(image.id): image.file_name for one in comparisons for image in one.named},
        "crops": [_crops(one, image_paths or {}) for one in comparisons],
    }
    title = f"Compared with {first.before}"
    body = [f'<header class="page"><h1>{escape(title)}</h1>']
    body.append(
        f'<p class="soft">{escape(", ".join(one.after for one in comparisons))}; {first.images} images</p></header>'
    )
    body.append('<div id="static">')
    body += [f"<p>{escape(text)}</p>" for of_kind in sentences for text in of_kind.values()]
    body.append("</div>")
    save_page(path, title, body, page_style(), page_script(_SCRIPTS), data)


def _classes(figures: KindComparison, verdict: str) -> list[Difference]:
    found = [one for one in figures.classes if one.figure == "AP" and one.verdict == verdict]
    return sorted(found, key=lambda one: -abs(one.difference or 0))


def _crops(comparison: Comparison, image_paths: Mapping[int, str]) -> dict[str, dict[str, list[Any]]]:
    """Return a picture of each gained and lost object, in their order; each image is read once."""
    images = {image.id: image for image in comparison.named}
    crops: dict[str, dict[str, list[Any]]] = {}
    wanted: dict[int, list[tuple[list[Any], int, tuple[int, int, int, int]]]] = {}
    for kind, figures in comparison.kinds.items():
        crops[kind] = {"gained": [None] * len(figures.gained), "lost": [None] * len(figures.lost)}
        for name, changes in (("gained", figures.gained), ("lost", figures.lost)):
            for place, one in enumerate(changes):
                if one.image_id in image_paths:
                    box = box_around(one, images[one.image_id])
                    wanted.setdefault(one.image_id, []).append((crops[kind][name], place, box))
    for image_id, entries in wanted.items():
        pixels = read_picture(images[image_id], image_paths[image_id])
        for into, place, box in entries:
            into[place] = cut_out(pixels, box)
    return crops
