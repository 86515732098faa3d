"""paddledet for the tests that compare the runtime with it."""

import zlib  # noqa: F401  (before paddle, which ppdet imports: Paddle 2.6.2 brings zlib symbols of its own)

import pytest
from PIL import ImageFile


@pytest.fixture(scope="session")
def ppdet():
    """Import paddledet without its side effect on other tests: it makes Pillow accept truncated images."""
    before = ImageFile.LOAD_TRUNCATED_IMAGES
    try:
        package = pytest.importorskip("ppdet", exc_type=ImportError)
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before
    return package
