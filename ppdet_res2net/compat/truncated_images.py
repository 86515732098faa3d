"""paddledet and Pillow's treatment of truncated images."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from PIL import ImageFile

from ppdet_res2net.compat.defect import Defect
from ppdet_res2net.compat.probing import read_source

__all__ = ["DEFECT", "keep_truncated_images_an_error"]


@contextlib.contextmanager
def keep_truncated_images_an_error() -> Iterator[None]:
    """Undo what the imports inside do to Pillow: paddledet makes it silently fill truncated images with grey."""
    before = ImageFile.LOAD_TRUNCATED_IMAGES
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


def _is_present() -> bool:
    return "LOAD_TRUNCATED_IMAGES = True" in read_source("ppdet", "engine/trainer.py")


DEFECT = Defect(
    name="truncated_images",
    what="importing paddledet makes Pillow accept truncated images in the whole process",
    versions={"paddledet": "<=2.6.0"},
    reference="ppdet/engine/trainer.py of paddledet 2.6.0",
    applied="while paddledet is imported",
    is_present=_is_present,
)
