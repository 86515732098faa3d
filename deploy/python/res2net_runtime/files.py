"""Find the images of a folder."""

from __future__ import annotations

import os
from pathlib import Path

from res2net_runtime.errors import ImageError

__all__ = ["IMAGE_SUFFIXES", "find_images"]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif")


def find_images(directory: str | os.PathLike[str]) -> list[Path]:
    """Return the image files directly in a folder, by their suffix, sorted by name.

    Raises:
        ImageError: The folder does not exist or holds no image.
    """
    path = Path(directory)
    if not path.is_dir():
        raise ImageError(f"There is no image folder '{path}'. Check the path.")
    images = sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file())
    if not images:
        raise ImageError(f"The folder '{path}' holds no image ({', '.join(IMAGE_SUFFIXES)}). Check the path.")
    return images
