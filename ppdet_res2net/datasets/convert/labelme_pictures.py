"""Pictures that labelme's JSON files hold as text: copies of images, and masks."""

from __future__ import annotations

import base64
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from ppdet_res2net.errors import DatasetError
from ppdet_res2net.files import replacing
from res2net_runtime.pillow_images import PILLOW_ERRORS, open_image
from res2net_runtime.system_errors import explain

__all__ = ["decode_base64", "open_picture", "write_picture"]

_SUFFIXES = {
    "JPEG": ".jpg",
    "MPO": ".jpg",
    "PNG": ".png",
    "BMP": ".bmp",
    "GIF": ".gif",
    "TIFF": ".tif",
    "WEBP": ".webp",
}


def decode_base64(text: object) -> bytes:
    """Return the bytes of a picture; a data URL (``data:image/png;base64,...``) is one, too.

    Raises:
        ValueError: It is not base64.
    """
    if not isinstance(text, str) or not text.strip():
        raise ValueError("it is empty" if text is None or text == "" else "it is not text in base64")
    data = text.partition(",")[2] if text.startswith("data:") else text
    try:
        return base64.b64decode(data)
    except ValueError as error:
        raise ValueError(f"it is not in base64 ({error})") from error


def open_picture(text: object) -> Image.Image:
    """Open a picture that is in base64.

    Raises:
        ValueError: It is not in base64, or not a picture; or another one of ``PILLOW_ERRORS``.
    """
    try:
        return open_image(decode_base64(text))
    except UnidentifiedImageError as error:
        raise ValueError("it is not a picture in a known format") from error


def write_picture(text: object, beside: Path, source: str) -> Path:
    """Write a copy of an image as it is, with the ending of its format.

    Args:
        text: The copy in base64.
        beside: The path to write to; its ending is replaced.
        source: The annotation file, for messages.

    Returns:
        The path of the image.

    Raises:
        DatasetError: It cannot be read or written.
    """
    try:
        with open_picture(text) as picture:
            if picture.format not in _SUFFIXES:
                raise ValueError(f"it is in the format {picture.format}")
            path = beside.with_name(f"{beside.stem}{_SUFFIXES[picture.format]}")
    except PILLOW_ERRORS as error:
        raise DatasetError(
            f"{source}: its copy of the image (imageData) cannot be read: {error}. Copy the image itself to '{beside.parent}'."
        ) from error
    try:
        with replacing(path) as unfinished:
            unfinished.write_bytes(decode_base64(text))
    except OSError as error:
        reason = explain(error, "choose another folder")
        raise DatasetError(f"{source}: its image cannot be written to '{path}': {reason}") from error
    return path
