"""A toy detector, and photos for it."""

import cv2
import pytest

from tests.helpers.runtime_toys import BRIGHT, DARK, picture, toy_model_dir


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory):
    return toy_model_dir(tmp_path_factory, "onnx")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of seven images: four bright ones, two dark ones, and the third one damaged."""
    folder = tmp_path_factory.mktemp("photos")
    for index in range(7):
        image = picture(40 + index, 60, DARK if index in (1, 5) else BRIGHT)
        cv2.imwrite(str(folder / f"{index}.png"), image)
    damaged = folder / "2.png"
    damaged.write_bytes(damaged.read_bytes()[:40])
    return folder
