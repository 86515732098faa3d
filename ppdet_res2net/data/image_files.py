"""Reads an image file as it was annotated: in the same orientation, complete, and of the annotated size."""

from __future__ import annotations

import os
import warnings

import cv2
import numpy as np
from PIL import Image

from ppdet_res2net.data.problems import ERROR, NOTE, WARNING, Problem
from ppdet_res2net.errors import DatasetError, ImageError
from res2net_runtime.files import read_image_bytes as read_image_file
from res2net_runtime.pillow_images import PILLOW_ERRORS, open_image
from res2net_runtime.preprocess import decode_image

__all__ = [
    "MISSING_FILE",
    "SHOWN_TURNED",
    "SIZE_DIFFERS",
    "STORED_TURNED",
    "UNREADABLE",
    "decode_as_annotated",
    "is_shown_turned",
    "looks_complete",
    "read_image_file",
]

MISSING_FILE = Problem(
    "missing-image",
    ERROR,
    "[image/images] whose file is missing",
    "[is/are] refused",
    "Copy the files there, correct the image folder or the file names, or remove the entries.",
    "image",
)
UNREADABLE = Problem(
    "unreadable-image",
    ERROR,
    "image [file/files] that cannot be read",
    "[is refused as soon as it is/are refused as soon as they are] read",
    "Copy them again, save them as JPEG or PNG, or remove the entries.",
    "image",
)
SIZE_DIFFERS = Problem(
    "size-differs",
    ERROR,
    "image [file/files] whose size differs from the annotations",
    "[is refused as soon as it is/are refused as soon as they are] read, as the boxes may be misplaced",
    "If the image was resized, restore the original or scale its annotations; if the boxes fit the file, correct width "
    "and height; otherwise annotate it again.",
    "image",
)
STORED_TURNED = Problem(
    "stored-turned",
    NOTE,
    "[image that was annotated as stored, not as its EXIF orientation shows it,/images that were annotated as stored, not as "
    "their EXIF orientation shows them,]",
    "[is used as it is/are used as they are] stored",
    "Nothing needs to be done here, but other programs may show the boxes in the wrong place.",
    "image",
)
SHOWN_TURNED = Problem(
    "shown-turned",
    WARNING,
    "[image that its EXIF orientation turns or mirrors without changing its size/images that their EXIF orientation turns or "
    "mirrors without changing their size]",
    "[is used as the orientation shows it/are used as the orientation shows them]",
    "Look at them with --html. If the boxes are beside the objects, the annotation tool has ignored the orientation: remove "
    "the tag from the files (docs/data.md has a command).",
    "image",
)

# How complete files end. Cameras append data of their own, so a file that ends differently is not always cut short.
WHOLE_FILE_ENDS = {b"\xff\xd8": b"\xff\xd9", b"\x89PNG": b"IEND\xaeB`\x82"}
# Pillow then decodes a JPEG at an eighth of its size, which is enough to check it.
DRAFT_SIZE_PX = (64, 64)
_ORIENTATION_TAG, _UPRIGHT = 0x0112, 1


def decode_as_annotated(data: bytes, annotated_hw: tuple[int, int] | None) -> tuple[np.ndarray, Problem | None]:
    """Decode an image in the orientation of its annotations.

    The EXIF orientation turns the pixels upright. There is one exception: an image whose stored pixels have the annotated
    size, and whose upright pixels have width and height swapped. Its boxes belong to the stored image, so it stays as
    stored. (Where both have one size, the orientation is always applied; see :func:`is_shown_turned`.)

    Args:
        data: The encoded image.
        annotated_hw: (height, width) in the annotation file, or None if unknown.

    Returns:
        uint8 (H, W, 3) in RGB order, and ``STORED_TURNED`` if the image stays as stored, else None.

    Raises:
        ImageError: The image is damaged, cut short, or has an unknown format.
        DatasetError: Its size is not the annotated one.
    """
    image = decode_image(data)
    if _is_cut_short(data):
        # OpenCV before 5 reads such a file without an error, and leaves the rest of the image grey.
        raise ImageError(f"the image file is cut short: it has only {len(data)} bytes. Copy it again.")
    if annotated_hw is None or annotated_hw == image.shape[:2]:
        return image, None
    if annotated_hw == image.shape[1::-1]:
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        stored = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        if stored is not None and stored.shape[:2] == annotated_hw:
            return cv2.cvtColor(stored, cv2.COLOR_BGR2RGB), STORED_TURNED
    raise DatasetError(
        f"the image is {image.shape[1]}x{image.shape[0]} pixels (width x height), but the annotation file says "
        f"{annotated_hw[1]}x{annotated_hw[0]}, so its boxes may be misplaced. {SIZE_DIFFERS.remedy}"
    )


def is_shown_turned(data: bytes, image: np.ndarray) -> bool:
    """Whether an image's EXIF orientation changes its pixels but not its size, so that the size does not tell to which of the
    two the annotations belong: turned by 180 degrees, mirrored, or a square that is turned.

    Args:
        data: The encoded image.
        image: The same, decoded as :func:`decode_as_annotated` does without a size: uint8 (H, W, 3) RGB.
    """
    try:
        with open_image(data) as header:
            orientation = header.getexif().get(_ORIENTATION_TAG, _UPRIGHT)
    except PILLOW_ERRORS:  # it says nothing about an orientation
        return False
    if orientation == _UPRIGHT:
        return False
    stored = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    return stored is not None and stored.shape == image.shape and not np.array_equal(stored[..., ::-1], image)


def looks_complete(path: str, annotated_hw: tuple[int, int]) -> bool:
    """Whether start and end of a file are those of a whole image of the annotated size.

    Nothing is decoded, so a whole dataset can be looked through before work on it begins. A file that does not look complete
    may still be usable: decode it to know.

    Args:
        path: The image file.
        annotated_hw: Height and width in the annotation file.
    """
    if not os.path.isfile(path):  # a pipe would wait for its writer
        return False
    try:
        with open(path, "rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            start = file.read(4)
            file.seek(-min(8, os.path.getsize(path)), os.SEEK_END)
            end = file.read()
            with open_image(file) as image:
                width, height = image.size
    except PILLOW_ERRORS:
        return False
    endings = [ending for beginning, ending in WHOLE_FILE_ENDS.items() if start.startswith(beginning)]
    return (height, width) == annotated_hw and all(end.endswith(ending) for ending in endings)


def _is_cut_short(data: bytes) -> bool:
    end = next((end for start, end in WHOLE_FILE_ENDS.items() if data.startswith(start)), None)
    if end is None or data.endswith(end):
        return False
    try:
        with open_image(data) as image:
            image.draft("RGB", DRAFT_SIZE_PX)
            image.load()
    except (OSError, SyntaxError):  # Pillow raises SyntaxError for a broken PNG
        return True
    return False
