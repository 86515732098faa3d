"""What comparing two reports needs of each: which detection is right at which IoU. A few bytes per detection."""

from __future__ import annotations

import io
import zipfile
import zlib
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from ppdet_res2net.analysis.evidence import Evidence
from ppdet_res2net.analysis.scoring import COCO_IOUS, Matching
from ppdet_res2net.errors import DatasetError
from ppdet_res2net.files import replacing
from res2net_runtime.system_errors import explain
from res2net_runtime.texts import clip, printable

__all__ = ["MATCHES_NAME", "Matches", "keep_matches", "load_matches", "save_matches"]

MATCHES_NAME = "matches.npz"
_MOST_BYTES = 1 << 31  # unpacked; 5,000 images with 100 detections each take 30 MB
_BITS = 1 << np.arange(len(COCO_IOUS))


@dataclass
class Matches:
    """Detections and objects as columns, and how they match.

    Attributes:
        image_ids: int64 (images,).
        category_ids: int64 (classes,).
        images: int32 (N,): place of each detection's image.
        classes: int32 (N,): place of its class.
        scores: float64 (N,).
        boxes_xywh: float32 (N, 4).
        references: int64 (N,): its place in the list of results.
        right: uint16 (N,): bit t is set if it is right at COCO's IoU t.
        ignored: uint16 (N,): bit t is set if it counts neither as right nor as wrong there.
        taken: int64 (N,): place of the object that it has matched at the IoU of the report; -1 for none.
        is_ignored: bool (N,): whether it counts neither as right nor as wrong at the IoU of the report.
        object_ids: int64 (M,): ids of the annotations.
        object_images: int32 (M,).
        object_classes: int32 (M,).
        object_boxes_xywh: float32 (M, 4).
        is_set_aside: bool (M,): whether an object is a crowd region or ignored.
    """

    image_ids: np.ndarray
    category_ids: np.ndarray
    images: np.ndarray
    classes: np.ndarray
    scores: np.ndarray
    boxes_xywh: np.ndarray
    references: np.ndarray
    right: np.ndarray
    ignored: np.ndarray
    taken: np.ndarray
    is_ignored: np.ndarray
    object_ids: np.ndarray
    object_images: np.ndarray
    object_classes: np.ndarray
    object_boxes_xywh: np.ndarray
    is_set_aside: np.ndarray


def keep_matches(evidence: Evidence, matching: Matching) -> Matches:
    """Return the detections that count, with their matches."""
    rows = np.flatnonzero(matching.is_counted)
    found, objects = evidence.found, evidence.objects
    return Matches(
        evidence.image_ids,
        evidence.category_ids,
        found.images[rows].astype(np.int32),
        found.classes[rows].astype(np.int32),
        evidence.scores[rows],
        found.boxes_xywh[rows].astype(np.float32),
        found.references[rows],
        (matching.is_right[rows] @ _BITS).astype(np.uint16),
        (matching.is_ignored[rows] @ _BITS).astype(np.uint16),
        matching.taken[rows],
        matching.is_set_aside[rows],
        objects.references,
        objects.images.astype(np.int32),
        objects.classes.astype(np.int32),
        objects.boxes_xywh.astype(np.float32),
        evidence.is_set_aside,
    )


def save_matches(matches: dict[str, Matches], folder: Path) -> None:
    """Write the matches of each kind to ``matches.npz``, wholly or not at all.

    Raises:
        DatasetError: The file cannot be written.
    """
    columns = {f"{kind}.{name}": column for kind, one in matches.items() for name, column in vars(one).items()}
    try:
        with replacing(folder / MATCHES_NAME) as unfinished, open(unfinished, "wb") as file:
            np.savez_compressed(file, **columns)
    except OSError as error:
        reason = explain(error, "choose another folder")
        raise DatasetError(f"'{printable(folder / MATCHES_NAME)}' cannot be written: {reason}") from error


def load_matches(folder: Path) -> dict[str, Matches]:
    """Read what :func:`save_matches` wrote.

    Raises:
        DatasetError: There is none, or it is damaged.
    """
    path = folder / MATCHES_NAME
    shown = printable(path)
    names = [field.name for field in fields(Matches)]
    try:
        data = path.read_bytes()
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > _MOST_BYTES:
            raise ValueError(f"it unpacks to {size} bytes, and at most {_MOST_BYTES} are read")
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            kinds = dict.fromkeys(name.partition(".")[0] for name in file.files)
            loaded = {kind: Matches(*(file[f"{kind}.{name}"] for name in names)) for kind in kinds}
        for kind, matches in loaded.items():
            _check(matches, kind)
        return loaded
    except OSError as error:
        raise DatasetError(
            f"'{shown}' cannot be read: {error.strerror or error}. A report is compared by this file beside its report.json; "
            "make the report again with eval --report."
        ) from error
    except (ValueError, KeyError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise DatasetError(
            f"'{shown}' is damaged: {clip(str(error), 200)}. Make the report again with eval --report."
        ) from error


def _check(matches: Matches, kind: str) -> None:
    """Check types, lengths, and what refers to other columns.

    Raises:
        ValueError: Something does not fit.
    """
    detections, objects = matches.scores.shape[:1], matches.object_ids.shape[:1]
    columns: dict[str, tuple[type, tuple[int, ...]]] = {
        "image_ids": (np.int64, matches.image_ids.shape[:1]),
        "category_ids": (np.int64, matches.category_ids.shape[:1]),
        "images": (np.int32, detections),
        "classes": (np.int32, detections),
        "scores": (np.float64, detections),
        "boxes_xywh": (np.float32, (*detections, 4)),
        "references": (np.int64, detections),
        "right": (np.uint16, detections),
        "ignored": (np.uint16, detections),
        "taken": (np.int64, detections),
        "is_ignored": (np.bool_, detections),
        "object_ids": (np.int64, objects),
        "object_images": (np.int32, objects),
        "object_classes": (np.int32, objects),
        "object_boxes_xywh": (np.float32, (*objects, 4)),
        "is_set_aside": (np.bool_, objects),
    }
    for name, (dtype, shape) in columns.items():
        column = getattr(matches, name)
        if column.dtype != dtype or column.shape != shape or not column.ndim:
            raise ValueError(f"{kind}.{name} is {column.dtype} {column.shape}, expected {np.dtype(dtype)} {shape}")
    places = {
        "images": (0, matches.image_ids),
        "classes": (0, matches.category_ids),
        "taken": (-1, matches.object_ids),
        "object_images": (0, matches.image_ids),
        "object_classes": (0, matches.category_ids),
    }
    for name, (least, there) in places.items():
        column = getattr(matches, name)
        if len(column) and not (least <= column.min() and column.max() < len(there)):
            raise ValueError(f"{kind}.{name} has places that do not exist")
    if not ((matches.scores >= 0) & (matches.scores <= 1)).all():
        raise ValueError(f"{kind}.scores are not from 0 to 1")
