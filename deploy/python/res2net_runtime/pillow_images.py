"""Open images with Pillow, within limits.

Pillow takes whatever format it recognises, and knows some that run programs, such as Ghostscript for EPS. So every image that
Pillow reads is opened here, in one of the formats of :data:`~res2net_runtime.files.IMAGE_SUFFIXES`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import struct
import threading
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from PIL import Image

from res2net_runtime._image_header import BombError, find_bomb
from res2net_runtime.preprocess import DEFAULT_MAX_PIXELS

__all__ = ["PILLOW_ERRORS", "PILLOW_FORMATS", "open_image"]

PILLOW_FORMATS = ["JPEG", "PNG", "BMP", "DIB", "WEBP", "TIFF", "JPEG2000", "PPM", "GIF"]
if importlib.util.find_spec("PIL.AvifImagePlugin"):  # since Pillow 11.3; a format that it does not know is a KeyError
    PILLOW_FORMATS.append("AVIF")
# What Pillow raises for damaged images, when it opens or decodes them; SyntaxError is for a broken PNG.
PILLOW_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)

_limit_lock = threading.Lock()


def open_image(source: bytes | BinaryIO, max_pixels: int = DEFAULT_MAX_PIXELS) -> Image.Image:
    """Read the header of an image. It is decoded on first use; use it as a context manager.

    Args:
        source: The encoded image. Of an open file, only the header is checked, so do not decode it.
        max_pixels: Pillow refuses larger images, from its own limit on, :data:`DEFAULT_MAX_PIXELS`.

    Raises:
        BombError: Decoding would take far more memory or time than the size tells.
        OSError, SyntaxError, ...: One of ``PILLOW_ERRORS``. The image is damaged, too large, or of another format.
    """
    if isinstance(source, bytes):
        bomb = find_bomb(source)
        if bomb is not None:
            raise BombError(bomb)
        source = io.BytesIO(source)
    with _raised_limit(max_pixels) if max_pixels > DEFAULT_MAX_PIXELS else contextlib.nullcontext():
        return Image.open(source, formats=PILLOW_FORMATS)


@contextlib.contextmanager
def _raised_limit(max_pixels: int) -> Iterator[None]:
    """Raise Pillow's limit, which belongs to the whole process, while a header is read."""
    with _limit_lock:
        before = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = max_pixels
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before
