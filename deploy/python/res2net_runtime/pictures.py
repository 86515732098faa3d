"""Pictures that are written: what they are called, and how they are encoded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import cv2
import numpy as np

from res2net_runtime.errors import ImageError
from res2net_runtime.texts import printable

__all__ = ["picture_names", "save_picture"]

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
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded.tobytes())
    except OSError as error:
        raise ImageError(
            f"The picture '{printable(path)}' cannot be written: {error.strerror}. Free some space, or choose another folder."
        ) from error


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()
