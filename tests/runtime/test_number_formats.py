"""Images whose pixels are not 8-bit colours: read alike by both decoders, or refused by name."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from res2net_runtime.classification import open_rgb
from res2net_runtime.errors import ImageError
from res2net_runtime.preprocess import decode_image

GREY = np.linspace(0, 255, 48 * 32).reshape(32, 48).astype(np.uint8)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("decode", [decode_image, open_rgb])
@pytest.mark.parametrize("scale", [1.0, 1 / 255])
def test_floating_point_pixels_are_refused(decode, scale):
    data = encoded(Image.fromarray(GREY.astype(np.float32) * np.float32(scale)), "TIFF")
    with pytest.raises(ImageError, match="its pixels are .* numbers, whose range only you know. Scale them to 0..255"):
        decode(data)


def test_32_bit_integers_are_refused():
    data = encoded(Image.fromarray(GREY.astype(np.int32)), "TIFF")
    with pytest.raises(ImageError, match="its pixels are 32-bit numbers"):
        open_rgb(data)
    with pytest.raises(ImageError, match="Cannot decode image"):
        decode_image(data)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bits_become_8(kind):
    data = encoded(Image.fromarray(GREY.astype(np.uint16) * 257), kind)
    for image in (decode_image(data), np.asarray(open_rgb(data))):
        assert image.shape == (32, 48, 3)
        assert np.abs(image[..., 0].astype(int) - GREY).max() <= 1


@pytest.mark.parametrize(
    ("mode", "kind"), [("LA", "PNG"), ("P", "PNG"), ("1", "TIFF"), ("CMYK", "JPEG"), ("RGBA", "PNG"), ("L", "PPM")]
)
def test_other_modes_are_read_alike(mode, kind):
    data = encoded(Image.fromarray(np.dstack([GREY] * 3)).convert(mode), kind)
    one, other = decode_image(data).astype(int), np.asarray(open_rgb(data)).astype(int)
    assert one.shape == other.shape == (32, 48, 3) and np.abs(one - other).mean() < 3


def test_of_several_pages_the_first_is_read():
    pages = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    data = encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    assert (decode_image(data)[..., 0] == GREY).all() and (np.asarray(open_rgb(data))[..., 0] == GREY).all()
