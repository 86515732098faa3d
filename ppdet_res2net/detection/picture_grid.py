"""A picture of what a detector finds on a few fixed images, beside what is annotated there."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from pycocotools import mask as mask_utils

from ppdet_res2net.data.ground_truth import ScoredObjects
from ppdet_res2net.data.masks import rasterize
from ppdet_res2net.data.seeds import Purpose, mix_seed
from ppdet_res2net.detection.model import Classes
from ppdet_res2net.training.processes import Processes
from res2net_runtime.draw import draw_detections
from res2net_runtime.results import Detections

__all__ = ["PictureGrid"]

IMAGES = 6
SIDE_PX = 360
SCORE = 0.3  # lower than what is deployed, so that early pictures are not empty
MASK_CELLS = 112  # per side of an annotated mask: finer than a pixel of the picture for most objects
MAX_OBJECTS = 100  # drawn in one image
_GAP_PX, _TITLE_PX = 12, 26
_BACKGROUND, _INK = (24, 27, 34), (232, 234, 240)


class PictureGrid:
    """Collects pictures during an evaluation. The images are chosen by the seed, and are the same each time.

    Args:
        objects: What is annotated.
        classes: The classes of the detector.
        seed: The run's seed.
        processes: The processes that share the evaluation.
    """

    def __init__(self, objects: ScoredObjects, classes: Classes, seed: int, processes: Processes) -> None:
        self._objects, self._classes, self._processes = objects, classes, processes
        annotated = sorted({one.image.id for one in objects.objects.annotations})
        order = np.random.RandomState(mix_seed(seed, Purpose.VALIDATION)).permutation(len(annotated))
        self._chosen = {annotated[int(index)]: place for place, index in enumerate(order[:IMAGES])}
        self._rows: dict[int, list[int]] = {image_id: [] for image_id in self._chosen}
        for row, one in enumerate(objects.objects.annotations):
            if one.image.id in self._rows:
                self._rows[one.image.id].append(row)
        self._pairs: dict[int, np.ndarray] = {}

    def observe(self, image_id: int, image: np.ndarray, found: Detections) -> None:
        """Draw an image if it is one of the chosen.

        Args:
            image_id: Its id.
            image: uint8 (H, W, 3) in RGB order.
            found: The detections on it.
        """
        if image_id not in self._chosen:
            return
        scale = min(1.0, SIDE_PX / max(image.shape[:2]))
        width, height = (max(1, round(side * scale)) for side in image.shape[1::-1])
        small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        annotated = self._annotated(image_id, found)
        sides = [
            draw_detections(small, _shrink(annotated, scale, (height, width)), 0.0, with_scores=False),
            draw_detections(small, _shrink(found.filter(SCORE)[:MAX_OBJECTS], scale, (height, width)), SCORE),
        ]
        pair = np.full((height, 2 * width + _GAP_PX // 3, 3), _BACKGROUND, np.uint8)
        pair[:, :width], pair[:, -width:] = sides
        self._pairs[self._chosen[image_id]] = pair

    def take(self) -> np.ndarray | None:
        """Return the picture, and begin anew: uint8 (H, W, 3) in RGB order; None in processes that write nothing."""
        shares, self._pairs = self._processes.gather(self._pairs), {}
        if not self._processes.is_first:
            return None
        pairs = {place: pair for share in shares for place, pair in share.items()}
        return _arrange([pairs[place] for place in sorted(pairs)])

    def _annotated(self, image_id: int, like: Detections) -> Detections:
        """Return the annotated objects of an image in the form of detections."""
        rows = self._rows[image_id][:MAX_OBJECTS]
        objects = self._objects.objects
        labels = [self._classes.category_ids.index(objects.annotations[row].category_id) for row in rows]
        boxes = objects.boxes_xyxy[rows].reshape(-1, 4)
        masks = None
        if like.masks is not None:
            masks = np.zeros((len(rows), MASK_CELLS, MASK_CELLS), np.float32)
            for mask, box, row in zip(masks, boxes, rows):
                outline = objects.segmentations[row]
                if outline is not None:
                    mask[:] = _mask_in_box(rasterize(outline, *like.image_hw), box)
        return dataclasses.replace(
            like,
            boxes_xyxy=boxes.astype(np.float32),
            scores=np.ones(len(rows), np.float32),
            labels=np.array(labels, np.int32),
            masks=masks,
        )


def _mask_in_box(rle: dict, box_xyxy: np.ndarray) -> np.ndarray:
    """Return a mask as :class:`Detections` has it: cells inside of the box, float32."""
    bitmap = mask_utils.decode(rle).astype(np.float32)
    (x0, y0), (x1, y1) = np.floor(box_xyxy[:2]).astype(int), np.ceil(box_xyxy[2:]).astype(int)
    inside = bitmap[max(y0, 0) : max(y1, y0 + 1), max(x0, 0) : max(x1, x0 + 1)]
    if not inside.size:
        return np.zeros((MASK_CELLS, MASK_CELLS), np.float32)
    return cv2.resize(inside, (MASK_CELLS, MASK_CELLS), interpolation=cv2.INTER_LINEAR)


def _shrink(detections: Detections, scale: float, image_hw: tuple[int, int]) -> Detections:
    return dataclasses.replace(detections, boxes_xyxy=detections.boxes_xyxy * np.float32(scale), image_hw=image_hw)


def _arrange(pairs: list[np.ndarray]) -> np.ndarray | None:
    """Put pairs below each other in two columns, with a title above each pair."""
    if not pairs:
        return None
    columns = [pairs[0::2], pairs[1::2]] if len(pairs) > 1 else [pairs]
    widths = [max(pair.shape[1] for pair in column) for column in columns]
    heights = [sum(pair.shape[0] + _TITLE_PX + _GAP_PX for pair in column) for column in columns]
    size = (sum(widths) + _GAP_PX * (len(columns) + 1), max(heights) + _GAP_PX)
    canvas = Image.new("RGB", size, _BACKGROUND)
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(14)
    x = _GAP_PX
    for column, width in zip(columns, widths):
        y = _GAP_PX
        for pair in column:
            middle = pair.shape[1] - (pair.shape[1] - _GAP_PX // 3) // 2
            pen.text((x, y + 4), "annotated", _INK, font=font)
            pen.text((x + middle, y + 4), f"found, score of {SCORE} or more", _INK, font=font)
            canvas.paste(Image.fromarray(pair), (x, y + _TITLE_PX))
            y += pair.shape[0] + _TITLE_PX + _GAP_PX
        x += width + _GAP_PX
    return np.asarray(canvas)
