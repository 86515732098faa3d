"""HTML pages that show pictures with their objects. They are self-contained: browsers load nothing else for them."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as mask_utils

from ppdet_res2net.errors import DatasetError
from ppdet_res2net.files import replacing
from res2net_runtime.draw import class_color
from res2net_runtime.system_errors import explain
from res2net_runtime.texts import json_text, printable_lines

__all__ = ["Shape", "bar_chart", "css_color", "draw_picture", "embed_image", "save_page", "tiles"]

JPEG_QUALITY = 80
LABEL_PX = 12
MIN_NAMED_PX = 20  # names of narrower boxes would hide each other; the pointer shows them

Mask = list[Any] | dict[str, Any]  # polygons, or COCO's run lengths

STYLE = """
:root { color-scheme: light dark; --ink: #1d2330; --soft: #667085; --line: #e3e6ec; --card: #fff; --back: #f5f6f8;
  --error: #d3302f; --warning: #c77700; --note: #2d6cdf; --fine: #1f8a4c; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8eaf0; --soft: #98a1b3; --line: #2c3240; --card: #1a1f2a;
  --back: #11141b; --error: #ff6b68; --warning: #f5a93b; --note: #6ea3ff; --fine: #4cc27e; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1180px; padding: 32px 24px 80px; background: var(--back); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
h1 { font-size: 26px; margin: 0 0 4px; } h2 { font-size: 20px; margin: 44px 0 12px; } h3 { font-size: 16px; margin: 0; }
p { margin: 6px 0; } .soft, figcaption { color: var(--soft); } code { font-size: 13px; overflow-wrap: anywhere; }
.chip { display: inline-block; border-radius: 99px; padding: 1px 11px; margin: 6px 6px 0 0; font-size: 13px;
  font-weight: 600; color: #fff; background: var(--soft); text-decoration: none; }
.error { --tone: var(--error); } .warning { --tone: var(--warning); } .note { --tone: var(--note); }
.fine { --tone: var(--fine); } .chip[class~=error], .chip[class~=warning], .chip[class~=note], .chip[class~=fine] {
  background: var(--tone); }
@media (prefers-color-scheme: dark) { .chip { color: #10131a; } }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 16px 18px; margin: 14px 0; }
.problem { border-left: 5px solid var(--tone); } .problem h3 b { color: var(--tone); font-size: 20px; }
.tiles { display: flex; flex-wrap: wrap; gap: 12px; margin: 14px 0; }
.tile { flex: 1 1 130px; background: var(--card); border: 1px solid var(--line); border-radius: 12px;
  padding: 10px 16px; }
.tile b { display: block; font-size: 24px; line-height: 1.25; white-space: nowrap; }
.tile span { color: var(--soft); font-size: 13px; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(330px, 1fr)); gap: 14px; align-items: start; }
.columns .card { margin: 0; }
.bars { display: grid; grid-template-columns: max-content 1fr max-content; gap: 3px 10px; align-items: center;
  margin-top: 10px; font-size: 13px; }
.bars i { display: block; height: 11px; min-width: 1px; border-radius: 3px; }
.bars span { max-width: 170px; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.bars b { font-weight: 500; color: var(--soft); text-align: right; font-variant-numeric: tabular-nums; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(var(--cell, 230px), 1fr)); gap: 14px;
  margin-top: 12px; }
figure { margin: 0; min-width: 0; } figcaption { font-size: 12px; line-height: 1.35; margin-top: 4px;
  overflow-wrap: anywhere; }
svg { display: block; width: 100%; height: auto; border-radius: 8px; background: #8882; }
svg .mask { fill-opacity: .38; stroke-width: 1; } svg .box { fill: none; stroke-width: 1.6; }
svg .faint { stroke: #fff9; stroke-width: 1; } svg .marked { stroke: #ff2d55; stroke-width: 3; }
svg text { font-weight: 600; paint-order: stroke;
  stroke: #000c; fill: #fff; }
svg g:hover .mask { fill-opacity: .7; } svg path, svg rect { vector-effect: non-scaling-stroke; }
details { margin-top: 10px; } summary { cursor: pointer; color: var(--soft); }
ul { margin: 6px 0; padding-left: 20px; font-size: 13px; }
"""


@dataclass(frozen=True)
class Shape:
    """One object in a picture.

    Attributes:
        label: Chooses the colour.
        name: Written beside the box if there is space; empty for none.
        box_xyxy: Four numbers in pixels of the picture, or None.
        segmentation: Polygons or RLE, in pixels of the picture, or None.
        is_marked: Whether it stands out. The view is enlarged to hold its box, up to twice the picture's size.
        is_faint: Whether it is drawn faintly.
        hint: Shown when the pointer rests on it.
    """

    label: int
    name: str
    box_xyxy: Sequence[float] | None
    segmentation: Mask | None = None
    is_marked: bool = False
    is_faint: bool = False
    hint: str = ""


def save_page(
    path: str | os.PathLike[str],
    title: str,
    body: Iterable[str],
    style: str = "",
    script: str = "",
    data: object = None,
) -> None:
    """Write a page; its folder is created. Its policy keeps browsers from loading anything, and from running other scripts.

    Args:
        path: The file.
        title: Title of the page.
        body: HTML. Texts in it are escaped.
        style: CSS beside that of all pages.
        script: A script that runs when the page is complete.
        data: What the script finds as JSON in the element ``data``.

    Raises:
        DatasetError: The file cannot be written.
    """
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    allowed = f"'sha256-{digest}'" if script else "'none'"
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
        f"script-src {allowed}"
    )
    page = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}{style}</style></head>\n<body>\n'
        + "\n".join(body)
    )
    # In a script, "</script>" would end the data even inside of a text.
    embedded = "" if data is None else json_text(data).replace("<", "\\u003c")
    page = printable_lines(page) + f'\n<script type="application/json" id="data">{embedded}</script>' * bool(embedded)
    page += f"\n<script>{script}</script>" * bool(script) + "\n</body></html>\n"
    try:
        with replacing(path) as unfinished:
            unfinished.write_text(page, encoding="utf-8", newline="\n")
    except OSError as error:
        raise DatasetError(f"cannot write '{path}': {explain(error, 'choose another folder')}") from error


def tiles(facts: Iterable[tuple[str, object]]) -> str:
    """Return a row of figures, from pairs of a name and a value."""
    cells = "".join(
        f'<div class="tile"><b>{escape(str(value))}</b><span>{escape(name)}</span></div>' for name, value in facts
    )
    return f'<div class="tiles">{cells}</div>'


def bar_chart(rows: Sequence[tuple[str, int, int]], largest: int) -> str:
    """Return horizontal bars.

    Args:
        rows: Name, count, and the number that determines the colour.
        largest: The count of a bar of full length.
    """
    cells = []
    for name, count, color in rows:
        share = 100 * count / max(largest, 1)
        bar = f'<i style="width:{share:.1f}%;background:{css_color(color)}"></i>' if count else "<em></em>"
        cells.append(f'<span title="{escape(name)}">{escape(name)}</span>{bar}<b>{count}</b>')
    return f'<div class="bars">{"".join(cells)}</div>'


def draw_picture(
    image: np.ndarray | None,
    size: tuple[int, int],
    shapes: Iterable[Shape],
    caption: str,
    max_side_px: int = 360,
) -> str:
    """Return a picture with objects over it.

    Args:
        image: uint8 (H, W, 3) in RGB order, of any size; None for an empty field.
        size: (height, width) of the picture in whose pixels the shapes are given.
        shapes: The objects; marked ones are drawn last.
        caption: Written below.
        max_side_px: Larger images are shrunk to this size.
    """
    height, width = size
    shapes = sorted(shapes, key=lambda shape: shape.is_marked)
    x0, y0, x1, y1 = _view(size, [shape.box_xyxy for shape in shapes if shape.is_marked])
    unit = max(x1 - x0, y1 - y0) / max_side_px  # pixels of the picture per pixel of the screen
    parts = [f'<svg viewBox="{x0} {y0} {x1 - x0} {y1 - y0}" role="img" aria-label="{escape(caption)}">']
    if image is None:
        parts.append(
            f'<text x="50%" y="50%" text-anchor="middle" font-size="{2 * LABEL_PX * unit:.1f}">no picture</text>'
        )
    else:
        data = embed_image(image, max_side_px)
        parts.append(f'<image width="{width}" height="{height}" preserveAspectRatio="none" href="{data}"/>')
    for shape in shapes:
        parts.append(_draw_shape(shape, unit, (x0 + x1) / 2))
    parts.append("</svg>")
    return f"<figure>{''.join(parts)}<figcaption>{escape(caption)}</figcaption></figure>"


def _view(size: tuple[int, int], marked_boxes: Sequence[Sequence[float] | None]) -> tuple[int, int, int, int]:
    """Return x0, y0, x1, y1 of the view: the picture, and as much around it as marked boxes need."""
    height, width = size
    corners = [np.array([0, 0, width, height], float)]
    for box in marked_boxes:
        if box is not None and np.isfinite(box).all():
            margin = max(height, width) / 40
            grown = np.array([box[0] - margin, box[1] - margin, box[2] + margin, box[3] + margin])
            is_outside = (grown[:2] < -margin).any() or (grown[2:] > np.array([width, height]) + margin).any()
            if is_outside:
                corners.append(np.clip(grown, [-width, -height] * 2, [2 * width, 2 * height] * 2))
    x0, y0 = np.floor(np.min(corners, axis=0)[:2]).astype(int)
    x1, y1 = np.ceil(np.max(corners, axis=0)[2:]).astype(int)
    return x0, y0, x1, y1


def _draw_shape(shape: Shape, unit: float, middle: float) -> str:
    color, marked = css_color(shape.label), " marked" if shape.is_marked else " faint" * shape.is_faint
    parts = [f"<g><title>{escape(shape.hint or shape.name)}</title>"]
    outlines = _outlines(shape.segmentation)
    if outlines:
        path = "".join(f"M{' '.join(f'{value:.1f}' for value in outline)}Z" for outline in outlines)
        parts.append(f'<path class="mask{marked}" fill-rule="evenodd" d="{path}" fill="{color}" stroke="{color}"/>')
    if shape.box_xyxy is not None and np.isfinite(shape.box_xyxy).all():
        x0, y0, x1, y1 = (float(value) for value in shape.box_xyxy)
        place = f'x="{x0:.1f}" y="{y0:.1f}" width="{max(x1 - x0, unit):.1f}" height="{max(y1 - y0, unit):.1f}"'
        parts.append(f'<rect class="box{marked}" stroke="{color}" {place}/>')
        if shape.name and (shape.is_marked or x1 - x0 >= MIN_NAMED_PX * unit):
            size = LABEL_PX * unit
            y = max(y0 - 0.3 * size, size)
            # Written from the nearer side of the picture inwards, so that it is not cut off.
            is_left = x0 + x1 < 2 * middle
            x, anchor = (max(x0, 0), "start") if is_left else (x1, "end")
            place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
            place += f' font-size="{size:.1f}" stroke-width="{size / 4:.2f}"'
            parts.append(f"<text {place}>{escape(shape.name)}</text>")
    return "".join([*parts, "</g>"])


def _outlines(segmentation: Mask | None) -> list[np.ndarray]:
    """Return the polygons around a mask, each as x y x y ..."""
    if not isinstance(segmentation, dict):
        return [np.asarray(polygon, float) for polygon in segmentation or []]
    bitmap = mask_utils.decode(segmentation)
    contours, _ = cv2.findContours(bitmap, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    return [contour.reshape(-1) + 0.5 for contour in contours if len(contour) > 2]


def embed_image(image: np.ndarray, max_side_px: int) -> str:
    """Return an image as a data URL.

    Args:
        image: uint8 (H, W, 3) in RGB order.
        max_side_px: Larger images are shrunk to this size.
    """
    scale = max_side_px / max(image.shape[:2])
    if scale < 1:
        size = tuple(max(1, round(side * scale)) for side in image.shape[1::-1])
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.tobytes()).decode()}"


def css_color(label: int) -> str:
    """Return the colour of a class as CSS has it."""
    return "#{:02x}{:02x}{:02x}".format(*class_color(label))
