"""Pictures that are written: what they are called, and how they are encoded."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import cv2
import numpy as np

from res2net_runtime.errors import ImageError
from res2net_runtime.files import replacing
from res2net_runtime.image_lists import ImageFile
from res2net_runtime.system_errors import explain
from res2net_runtime.texts import printable

__all__ = ["check_pictures", "picture_names", "save_picture"]

# Suffixes of pictures that keep their name -> what OpenCV calls the encoder.
_ENCODERS = {".jpg": ".jpg", ".jpeg": ".jpg", ".jpe": ".jpg", ".jfif": ".jpg", ".png": ".png"}


def picture_names(names: Sequence[str]) -> list[str]:
    """Return the name of the picture of each image, in the same subfolder: JPEG and PNG keep theirs, others become PNG."""
    pictures = [
        name if _suffix(name) in _ENCODERS else str(PurePosixPath(name).with_name(PurePosixPath(name).stem + ".png"))
        for name in names
    ]
    taken = Counter(picture.lower() for picture in pictures)
    return [picture if taken[picture.lower()] == 1 else f"{name}.png" for name, picture in zip(names, pictures)]


def check_pictures(folder: Path, images: Sequence[ImageFile]) -> None:
    """Check that no picture would replace one of the images.

    Args:
        folder: Where the pictures go.
        images: The images; the pictures are called as :func:`picture_names` says.

    Raises:
        ImageError: A picture would.
    """
    pictures = {name: folder / name for name in picture_names([image.name for image in images])}
    there = {identity: name for name, path in pictures.items() if (identity := _identity(path)) is not None}
    if not there:
        return
    for image in images:
        identity = _identity(image.path)
        if identity in there:
            raise ImageError(
                f"The picture '{printable(pictures[there[identity]])}' would replace the image '{printable(image.path)}'. "
                "Pass another --output_dir."
            )


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what is the same for all names of a file; None if there is no file."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def save_picture(path: Path, picture_rgb: np.ndarray) -> None:
    """Write an RGB picture, and create its folder; the encoder follows the suffix.

    Raises:
        ImageError: The picture cannot be encoded, for instance because it is too large for the format, or the file cannot
            be written.
    """
    try:
        encoder = _ENCODERS.get(path.suffix.lower(), ".png")
        is_encoded, encoded = cv2.imencode(encoder, cv2.cvtColor(picture_rgb, cv2.COLOR_RGB2BGR))
    except cv2.error:
        is_encoded = False
    if not is_encoded:
        height, width = picture_rgb.shape[:2]
        raise ImageError(
            f"The picture of {width}x{height} pixels cannot be saved as '{printable(path)}'. JPEG holds at most 65500 "
            "pixels per side: save the image as PNG, or make it smaller."
        )
    try:
        with replacing(path) as unfinished:  # no part of a picture stays, and a link is not followed
            unfinished.write_bytes(encoded.tobytes())
    except OSError as error:
        raise ImageError(
            f"The picture '{printable(path)}' cannot be written: {explain(error, 'choose another folder')}"
        ) from error


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()
