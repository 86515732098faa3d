"""Draw detections into a picture: masks, boxes, and class names with scores."""

from __future__ import annotations

import colorsys
import functools
import logging
from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from res2net_runtime.results import Detections

__all__ = ["class_color", "draw_detections"]

logger = logging.getLogger(__name__)

# Fonts to look for in the folders where the operating system keeps them; together they cover most scripts.
_FONT_FILES = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "wqy-microhei.ttc",
    "wqy-zenhei.ttc",
    "DroidSansFallbackFull.ttf",
    "PingFang.ttc",
    "Arial Unicode.ttf",
    "msyh.ttc",
    "malgun.ttf",
    "YuGothR.ttc",
    "arial.ttf",
)
_GOLDEN_RATIO = 0.618033988749895


def class_color(label: int) -> tuple[int, int, int]:
    """Return the RGB colour (0 to 255) of a class. It never changes, and clearly differs from those of the next classes."""
    hue = (0.02 + label * _GOLDEN_RATIO) % 1.0
    saturation, value = ((0.85, 1.0), (0.6, 0.95), (0.95, 0.75))[label % 3]
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(hue, saturation, value))
    return red, green, blue


def draw_detections(
    image: np.ndarray,
    detections: Detections,
    score_threshold: float | Sequence[float] = 0.5,
    mask_opacity: float = 0.45,
    font_file: str | None = None,
    with_scores: bool = True,
) -> np.ndarray:
    """Return a copy of an image with the detections drawn into it.

    Args:
        image: uint8 (H, W, 3) in RGB order: the image that was passed to the predictor.
        detections: Its result; lower scores are drawn first, so that the best are on top.
        score_threshold: Detections below it are not drawn; one number, or one per class.
        mask_opacity: From 0 (masks are invisible) to 1.
        font_file: A TrueType or OpenType file for the labels, or None for the first of the system's fonts that has all
            letters of a class name. If no font has them, the label says "class <index>", and a warning is logged.
        with_scores: Whether labels have the score after the class name.

    Returns:
        uint8 (H, W, 3) in RGB order.

    Raises:
        ValueError: The image is not the one that the detections were made for.
    """
    if image.shape[:2] != tuple(detections.image_hw):
        raise ValueError(
            f"The detections were made on an image of height and width {detections.image_hw}, got "
            f"{image.shape[:2]}. Pass the decoded image, after EXIF rotation."
        )
    shown = detections.filter(score_threshold)
    order = np.argsort(shown.scores, kind="stable")
    picture = image.copy()
    if shown.masks is not None:
        for index in order:  # one by one: all bitmaps of a large photo may not fit into the memory
            bitmap = shown[int(index)].bitmaps()[0]
            _blend_mask(picture, bitmap, class_color(int(shown.labels[index])), mask_opacity)
    short_side_px = min(image.shape[:2])
    line_px = max(1, round(short_side_px / 300))
    font_px = max(11, round(short_side_px / 36))
    canvas = Image.fromarray(picture)
    pen = ImageDraw.Draw(canvas)
    boxes = _clip_boxes(shown.boxes_xyxy, image.shape[:2])
    for index in order:
        color = class_color(int(shown.labels[index]))
        pen.rectangle(boxes[index].tolist(), outline=color, width=line_px)
    for index in order:  # after all boxes, so that no line crosses a text
        label = int(shown.labels[index])
        text, font = _label_text(label, shown.label_list[label], font_px, font_file)
        text = f"{text} {shown.scores[index]:.2f}" if with_scores else text
        _draw_label(pen, canvas.size, boxes[index], text, font, class_color(label))
    return np.asarray(canvas)


def _blend_mask(picture: np.ndarray, bitmap: np.ndarray, color: tuple[int, int, int], opacity: float) -> None:
    left, top, width, height = cv2.boundingRect(bitmap.view(np.uint8))
    if width == 0:
        return
    rows, columns = slice(top, top + height), slice(left, left + width)
    region, inside = picture[rows, columns], bitmap[rows, columns]
    mixed = cv2.addWeighted(region, 1 - opacity, np.full_like(region, color), opacity, 0)
    region[inside] = mixed[inside]


def _clip_boxes(boxes_xyxy: np.ndarray, image_hw: tuple[int, int]) -> np.ndarray:
    """Return whole-pixel corners inside the image, with x1 <= x2 and y1 <= y2."""
    height, width = image_hw
    corners: np.ndarray = np.nan_to_num(boxes_xyxy).clip(0, [width - 1, height - 1, width - 1, height - 1])
    corners = np.round(corners).astype(int)
    corners[:, 2:] = np.maximum(corners[:, 2:], corners[:, :2])
    return corners


def _draw_label(
    pen: ImageDraw.ImageDraw,
    image_wh: tuple[int, int],
    box: np.ndarray,
    text: str,
    font: ImageFont.FreeTypeFont,
    color: tuple[int, int, int],
) -> None:
    """Write a text on a bar of the class's colour above the box, or inside its top edge if there is no space above."""
    left, top, right, bottom = font.getbbox(text)
    margin = max(1, round(font.size / 8))
    width, height = right - left + 2 * margin, bottom - top + 2 * margin
    x = int(np.clip(box[0], 0, max(0, image_wh[0] - width)))
    y = int(box[1] - height if box[1] >= height else np.clip(box[1], 0, max(0, image_wh[1] - height)))
    red, green, blue = color
    is_bright = 0.299 * red + 0.587 * green + 0.114 * blue > 140
    pen.rectangle([x, y, x + width - 1, y + height - 1], fill=color)
    pen.text(
        (x + margin - left, y + margin - top),
        text,
        font=font,
        fill=(0, 0, 0) if is_bright else (255, 255, 255),
    )


@functools.lru_cache(maxsize=1024)
def _label_text(label: int, name: str, font_px: int, font_file: str | None) -> tuple[str, ImageFont.FreeTypeFont]:
    """Return the text to draw and the first font that has all its letters."""
    fonts = [ImageFont.truetype(font_file, font_px)] if font_file else list(_system_fonts(font_px))
    for font in fonts:
        if _covers(font, name):
            return name, font
    logger.warning(
        "No installed font has all letters of the class name '%s'; its label says 'class %d'. "
        "Install a font that has them, for instance Noto Sans CJK, or pass font_file.", name, label,
    )  # fmt: skip
    return f"class {label}", fonts[0]


@functools.lru_cache(maxsize=8)
def _system_fonts(font_px: int) -> tuple[ImageFont.FreeTypeFont, ...]:
    fonts = []
    for file in _FONT_FILES:
        try:
            fonts.append(ImageFont.truetype(file, font_px))
        except OSError:  # not installed here
            continue
    default = ImageFont.load_default(font_px)
    if isinstance(default, ImageFont.FreeTypeFont):  # always, where the fonts above could be tried
        fonts.append(default)
    return tuple(fonts)


def _covers(font: ImageFont.FreeTypeFont, text: str) -> bool:
    """Return whether a font has every letter of a text. It draws the same sign for each letter that it lacks."""
    missing = bytes(font.getmask("\U0010ffff"))  # a code point that will never be a letter
    return all(letter.isspace() or bytes(font.getmask(letter)) != missing for letter in text)
