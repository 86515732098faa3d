"""What comparing two reports needs of each: which detection is right at which IoU. A few bytes per detection."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from ppdet_res2net.analysis.evidence import Evidence
from ppdet_res2net.analysis.scoring import COCO_IOUS, Matching
from ppdet_res2net.errors import DatasetError
from ppdet_res2net.files import replacing
from res2net_runtime.system_errors import explain
from res2net_runtime.texts import printable

__all__ = ["MATCHES_NAME", "Matches", "keep_matches", "load_matches", "save_matches"]

MATCHES_NAME = "matches.npz"
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
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            kinds = dict.fromkeys(name.partition(".")[0] for name in file.files)
            return {kind: Matches(*(file[f"{kind}.{name}"] for name in names)) for kind in kinds}
    except OSError as error:
        raise DatasetError(
            f"'{shown}' cannot be read: {error.strerror or error}. A report is compared by this file beside its report.json; "
            "make the report again with eval --report."
        ) from error
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DatasetError(f"'{shown}' is damaged: {error}. Make the report again with eval --report.") from error
