"""The page of a report: one HTML file with charts, tables and pictures, made of what report.json holds."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

from ppdet_res2net.analysis.page.pictures import PictureSource, make_pictures
from ppdet_res2net.analysis.schema import Report
from ppdet_res2net.commands import command_line
from ppdet_res2net.html import css_color, save_page

__all__ = ["PictureSource", "page_script", "page_style", "write_report_page"]

DIGITS = 4  # of figures in the page; report.json has all of them
_SCRIPTS = ("base.js", "charts.js", "pictures.js", "report.js")


def write_report_page(
    report: Report, path: str | os.PathLike[str], pictures: PictureSource | None = None, model_dir: str | None = None
) -> None:
    """Write the page of a report.

    Args:
        report: The report, which is in ``report.json`` in the same folder.
        path: The file. It needs no other one, and loads nothing.
        pictures: What pictures are made of; None for a page without them.
        model_dir: The exported folder that was evaluated, for the commands that set its threshold; None if there is none.

    Raises:
        DatasetError: The file cannot be written.
    """
    data = {
        "report": _rounded(report.to_json()),
        "classes": [
            {"id": one.category_id, "name": one.name, "color": css_color(label)}
            for label, one in enumerate(report.dataset.classes)
        ],
        "pictures": make_pictures(report, pictures) if pictures else {"images": {}, "crops": {}},
        "files": {str(image.id): image.file_name for image in report.images},
        "commands": _commands(report, Path(path).parent, model_dir),
    }
    save_page(path, report.title, _static_part(report), page_style(), page_script(_SCRIPTS), data)


def _commands(report: Report, folder: Path, model_dir: str | None) -> dict[str, str]:
    target = ("--model_dir", Path(model_dir) if model_dir else "EXPORTED_FOLDER")
    commands = {"value": command_line("set-threshold", *target, "--threshold", "SCORE")}
    for kind, figures in report.kinds.items():
        of_kind = ("--kind", kind) if len(report.kinds) > 1 else ()
        if figures.best.score is not None:
            best = command_line("set-threshold", *target, "--report", folder, *of_kind)
            commands |= {f"best_{kind}": best, f"classes_{kind}": f"{best} --per_class"}
    return commands


def _static_part(report: Report) -> Iterator[str]:
    """Yield what is there without a script: title and main figures. The script removes the figures when it has drawn them."""
    yield f'<header class="page"><h1>{escape(report.title)}</h1>'
    yield f'<p class="soft">{report.dataset.images} images, {report.dataset.objects} objects, '
    yield f"{len(report.dataset.classes)} classes of {escape(report.dataset.source)}</p></header>"
    yield '<div id="static"><p>The charts and pictures of this page are drawn by a script, which your browser does not run. '
    yield "Every figure is also in report.json.</p><table><tr><th></th>"
    names = list(next(iter(report.kinds.values())).figures)
    yield "".join(f"<th>{escape(name)}</th>" for name in names) + "</tr>"
    for kind, figures in report.kinds.items():
        cells = [figures.figures.get(name) for name in names]
        yield f"<tr><th>{escape(kind)}</th>" + "".join(
            f"<td>{'-' if value is None else f'{value:.3f}'}</td>" for value in cells
        )
        yield "</tr>"
    yield "</table></div>"


def _rounded(value: Any) -> Any:
    """Return plain data with figures that are as exact as a chart can show. Scores of thresholds keep all their digits."""
    if isinstance(value, dict):
        return {key: one if key == "score" else _rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return round(value, DIGITS) if isinstance(value, float) else value


def page_style() -> str:
    """Return the style of all pages of this package."""
    return _text("style.css")


def page_script(names: Sequence[str]) -> str:
    """Return scripts of this package as one."""
    # In one function, so that the files share their names with each other and with nothing else.
    return "(() => {\n'use strict';\n" + "\n".join(map(_text, names)) + "\n})();\n"


def _text(name: str) -> str:
    return (resources.files(__package__) / name).read_text("utf-8")
