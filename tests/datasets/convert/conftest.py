"""A folder with images and an empty folder for labels."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest


@pytest.fixture
def write_image():
    """Return a function that writes a small grey image: 60 pixels wide, 40 high."""

    def write(path: Path, height: int = 40, width: int = 60) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), np.full((height, width, 3), 120, np.uint8))
        return path

    return write


@pytest.fixture
def folder(tmp_path, write_image):
    (tmp_path / "labels").mkdir()
    write_image(tmp_path / "images" / "a.png")
    return tmp_path
