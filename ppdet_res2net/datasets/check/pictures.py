"""Checks every image file: whether it can be read, has the annotated size, and occurs twice."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from ppdet_res2net.data.coco_file import CocoImage
from ppdet_res2net.data.image_files import (
    MISSING_FILE,
    SHOWN_TURNED,
    SIZE_DIFFERS,
    UNREADABLE,
    decode_as_annotated,
    is_shown_turned,
    read_image_file,
)
from ppdet_res2net.data.image_names import ImageFolder
from ppdet_res2net.data.problems import NOTE, WARNING, Finding, Problem
from ppdet_res2net.errors import DatasetError, Res2NetError
from res2net_runtime.texts import printable_path

__all__ = ["Picture", "examine_pictures", "find_copies", "find_file_problems"]

SAME_FILE = Problem(
    "same-picture",
    WARNING,
    "[image/images] whose file has the same content as an earlier one",
    "[is used as it is/are used as they are]",
    "Keep one of them, with all annotations.",
    "image",
)
IN_BOTH_SPLITS = Problem(
    "in-both-splits",
    WARNING,
    "[image that is also in another split, or looks/images that are also in another split, or look] like one there",
    "[is used as it is/are used as they are]",
    "Remove them from one of the two splits: the score on images that were also trained on is too high.",
    "image",
)
ALMOST_SAME = Problem(
    "almost-same-picture",
    NOTE,
    "[image that looks/images that look] like another one",
    "[is used as it is/are used as they are]",
    "Frames of a video, and copies in a different quality, add little to training. Keep them within one split.",
    "image",
)

# Pictures are compared as grey thumbnails of SIGNATURE_SIDE x SIGNATURE_SIDE pixels. They look the same if the root mean
# square difference is at most SAME_RMS grey levels, and at most SAME_SHARE of each picture's contrast.
SIGNATURE_SIDE = 16
SAME_RMS, SAME_SHARE = 4.0, 0.1
COMPARED_AT_ONCE = 1024


@dataclass
class Picture:
    """What was found out about the file of one image.

    Attributes:
        image_id: Id of the image.
        path: Its file.
        size: (height, width) of the pixels as they are shown, or None if they cannot be read.
        digest: Hash of the file's content; empty if it cannot be read.
        signature: float32 (256,), the picture in grey, 16 x 16; None if it cannot be read.
        findings: What is wrong with the file.
    """

    image_id: int
    path: Path
    size: tuple[int, int] | None = None
    digest: bytes = b""
    signature: np.ndarray | None = None
    findings: list[Finding] = field(default_factory=list)


def examine_pictures(images: dict[int, CocoImage], image_dir: str | os.PathLike) -> Iterator[Picture]:
    """Read all images on all cores, and yield a :class:`Picture` of each, in order.

    Args:
        images: Image id -> image.
        image_dir: Folder of the images.
    """
    folder = ImageFolder(image_dir)
    with ThreadPoolExecutor() as pool:  # decoding releases Python's lock
        yield from pool.map(lambda image: _examine(image, folder), images.values())


def find_file_problems(pictures: Iterable[Picture]) -> Iterator[Finding]:
    """Yield the findings of all pictures."""
    for picture in pictures:
        yield from picture.findings


def find_copies(splits: list[list[Picture]]) -> list[list[Finding]]:
    """Find pictures that occur twice, within a split or in two of them.

    Args:
        splits: The pictures of each annotation file.

    Returns:
        The findings of each split. Of two alike, the later one is reported.
    """
    found: list[list[Finding]] = [[] for _ in splits]
    pictures = [(split, picture) for split, members in enumerate(splits) for picture in members if picture.digest]
    first_of: dict[bytes, int] = {}
    kept = []
    for index, (split, picture) in enumerate(pictures):
        other_split, other = pictures[first_of.setdefault(picture.digest, index)]
        if other is picture:
            kept.append(index)
        elif other.path != picture.path or other_split != split:
            problem = SAME_FILE if other_split == split else IN_BOTH_SPLITS
            detail = f"'{printable_path(picture.path.name)}' is the same file as '{printable_path(other.path)}'"
            found[split].append(Finding(problem, picture.image_id, picture.image_id, detail))
    signed = [(index, signature) for index in kept if (signature := pictures[index][1].signature) is not None]
    for one, other_one in _find_alike([signature for _, signature in signed]):
        (split, first), (other_split, later) = pictures[signed[one][0]], pictures[signed[other_one][0]]
        problem = ALMOST_SAME if split == other_split else IN_BOTH_SPLITS
        detail = f"'{printable_path(later.path.name)}' looks like '{printable_path(first.path)}'"
        found[other_split].append(Finding(problem, later.image_id, later.image_id, detail))
    return found


def _examine(image: CocoImage, folder: ImageFolder) -> Picture:
    path = folder.find(image.file_name)
    picture = Picture(image.id, Path(path or folder.join(image.file_name)))
    if path is None:
        detail = folder.explain(image.file_name)
        picture.findings.append(Finding(MISSING_FILE, picture.image_id, picture.image_id, detail))
        return picture
    try:
        data = read_image_file(picture.path)
        picture.digest = hashlib.blake2b(data, digest_size=16).digest()
        pixels, _ = decode_as_annotated(data, None)
        picture.size = pixels.shape[:2]
        small = cv2.resize(
            cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), (SIGNATURE_SIDE,) * 2, interpolation=cv2.INTER_AREA
        )
        picture.signature = small.astype(np.float32).ravel()
        if image.size == picture.size and is_shown_turned(data, pixels):
            detail = f"'{printable_path(image.file_name)}'"
            picture.findings.append(Finding(SHOWN_TURNED, picture.image_id, picture.image_id, detail))
        if image.size != picture.size:
            _, remark = decode_as_annotated(data, image.size)
            if remark is not None:
                detail = f"'{printable_path(image.file_name)}' is annotated as {image.width}x{image.height}"
                picture.findings.append(Finding(remark, picture.image_id, picture.image_id, detail))
    except Res2NetError as error:
        problem = SIZE_DIFFERS if isinstance(error, DatasetError) else UNREADABLE
        what = str(error).replace(f" '<{len(data)} bytes>'", "") if picture.digest else str(error)
        detail = f"'{printable_path(image.file_name)}': {what.partition('. ')[0].rstrip('.')}"
        picture.findings.append(Finding(problem, picture.image_id, picture.image_id, detail))
    return picture


def _find_alike(signatures: list[np.ndarray]) -> Iterator[tuple[int, int]]:
    """Yield pairs of indices of pictures that look the same; each later one once."""
    if not signatures:
        return
    table = np.stack(signatures)
    # Centred on middle grey, so that the products below stay accurate in float32.
    table = table - 128.0
    squares = (table**2).sum(axis=1)
    limits = np.minimum(SAME_RMS, SAME_SHARE * table.std(axis=1)) ** 2 * table.shape[1]
    for start in range(0, len(table), COMPARED_AT_ONCE):
        rows = slice(start, start + COMPARED_AT_ONCE)
        distances = squares[rows, None] + squares[: rows.stop] - 2 * table[rows] @ table[: rows.stop].T
        alike = distances <= np.minimum(limits[rows, None], limits[: rows.stop])
        alike &= np.arange(alike.shape[1]) < np.arange(start, start + alike.shape[0])[:, None]
        for row in np.flatnonzero(alike.any(axis=1)):
            yield int(alike[row].argmax()), start + int(row)
