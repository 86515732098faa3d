"""Results as JSON: detections with masks in several forms, classes, and pictures."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from res2net_runtime.classification.classifier import Classification
from res2net_runtime.draw import draw_detections
from res2net_runtime.errors import BackendError
from res2net_runtime.outlines import find_outlines, simplify_outline
from res2net_runtime.results import Detections

__all__ = ["MASK_FORMS", "as_json", "classes_of", "detections_of", "picture_of"]

_TOLERANCE_PX = 0.5
_JPEG_QUALITY = 90


def as_json(content: object) -> bytes:
    """Return JSON as UTF-8.

    Raises:
        BackendError: A number is infinite or none at all, which JSON cannot hold.
    """
    try:
        text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError as error:
        raise BackendError(
            "The network returned numbers that are not finite. Check the model with its own images."
        ) from error
    return text.encode("utf-8", "backslashreplace")


def choose(detections: Detections, threshold: float, max_detections: int | None) -> Detections:
    """Return the detections that a client wants, best score first."""
    return detections.filter(threshold)[:max_detections]


def detections_of(detections: Detections, masks: str) -> list[dict[str, Any]]:
    """Return detections as plain data. Numbers are those of the network, digit by digit.

    Args:
        detections: The detections.
        masks: ``none``, or a key of :data:`MASK_FORMS`.
    """
    found = [
        {
            "label": label,
            "name": detections.label_list[label],
            "category_id": detections.category_ids[label],
            "score": score,
            "box_xyxy": box,
        }
        for label, score, box in zip(
            detections.labels.tolist(), detections.scores.tolist(), detections.boxes_xyxy.tolist()
        )
    ]
    if masks != "none" and detections.masks is not None:
        for one, rle in zip(found, detections.rles()):
            one["mask"] = MASK_FORMS[masks](rle)
    return found


def classes_of(classification: Classification, count: int) -> list[dict[str, Any]]:
    """Return the most probable classes as plain data."""
    return [{"label": label, "name": name, "score": score} for label, name, score in classification.top(count)]


def picture_of(image: np.ndarray, detections: Detections, threshold: float | Sequence[float]) -> dict[str, str]:
    """Return an image with the detections drawn into it, as JPEG in base64."""
    drawn = draw_detections(image, detections, threshold)
    return {"content_type": "image/jpeg", "data": _encoded(".jpg", drawn[..., ::-1])}


def _encoded(suffix: str, image: np.ndarray) -> str:
    done, data = cv2.imencode(suffix, np.ascontiguousarray(image), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not done:
        raise BackendError(f"OpenCV could not write a picture of {image.shape}.")
    return base64.b64encode(data.tobytes()).decode("ascii")


def _as_rle(rle: Mapping[str, Any]) -> dict[str, Any]:
    return {"size": list(rle["size"]), "counts": rle["counts"].decode("ascii")}


def _as_polygons(rle: Mapping[str, Any]) -> dict[str, Any]:
    parts, holes = find_outlines(rle)
    return {
        key: [simplify_outline(one, _TOLERANCE_PX).round(2).reshape(-1).tolist() for one in outlines]
        for key, outlines in (("polygons", parts), ("holes", holes))
    }


def _as_png(rle: Mapping[str, Any]) -> dict[str, Any]:
    x, y, width, height = (int(value) for value in coco_mask.toBbox(rle))
    if not width or not height:
        return {"png": None, "box_xywh": [x, y, 0, 0]}
    bitmap = coco_mask.decode(rle)[y : y + height, x : x + width]
    return {"png": _encoded(".png", bitmap * 255), "box_xywh": [x, y, width, height]}


# How a mask can be written.
MASK_FORMS = {"rle": _as_rle, "polygons": _as_polygons, "png": _as_png}
