"""Preparation of images for classifiers: equal bit for bit to timm's, PaddleClas' and MindSpore's own."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from res2net_runtime.classification import ClassifierPreprocessor, open_rgb
from res2net_runtime.classification.preprocess import LIBRARIES
from res2net_runtime.errors import ImageError, ModelFolderError

PLACES = ((0, 0, 0), (1, 17, 30), (2, 31, 5), (0, 31, 31))

# Values at PLACES and the sum of all, for ``picture()`` at 32x32 with a crop of 0.875. "timm": timm 1.0.31's
# create_transform over torchvision 0.28; "PaddleClas": ResizeImage, CropImage and NormalizeImage of paddleclas 2.6.0;
# "MindSpore": Resize, CenterCrop and Normalize of mindspore 2.10.0, with MindCV's arguments.
EXPECTED = {
    "timm bilinear": (
        {"library": "pillow"},
        ("0x1.b93e46p-1", "0x1.5c8112p-3", "0x1.7f2f8ep-2", "0x1.087604p+0"),
        683.5612990492955,
    ),
    "timm bicubic": (
        {"library": "pillow", "interpolation": "bicubic"},
        ("0x1.113a98p+0", "0x1.ebebfcp-3", "0x1.5b7da4p-2", "0x1.2b8852p+0"),
        682.8706548265181,
    ),
    "PaddleClas": (
        {"library": "opencv"},
        ("-0x1.9f28a2p-2", "-0x1.b3458cp-2", "-0x1.bf420ep-3", "0x1.bba79ap-4"),
        680.3717832965776,
    ),
    "MindSpore": (
        {"library": "mindspore"},
        ("-0x1.9f28acp-2", "-0x1.b3458ep-2", "-0x1.bf4218p-3", "0x1.bba77ap-4"),
        680.3714050627314,
    ),
}


def picture() -> np.ndarray:
    y, x = np.mgrid[0:75, 0:98]
    return np.stack([(x * 37 + y * 11) % 256, (x * x + 3 * y) % 256, (x * y) % 256], axis=2).astype(np.uint8)


@pytest.mark.parametrize("source", EXPECTED)
def test_equal_to_the_source_to_the_bit(source):
    options, values, total = EXPECTED[source]
    prepared = ClassifierPreprocessor(size_px=32, **options)(picture())
    assert prepared.dtype == np.float32 and prepared.shape == (3, 32, 32)
    assert [float(prepared[place]).hex() for place in PLACES] == [float.fromhex(value).hex() for value in values]
    assert float(prepared.astype(np.float64).sum()) == total


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (8, 8), (500, 333)])
@pytest.mark.parametrize("library", LIBRARIES)
def test_any_size_gives_the_input_size(shape, library):
    prepared = ClassifierPreprocessor(library=library)(np.zeros((*shape, 3), np.uint8))
    assert prepared.shape == (3, 224, 224)
    assert prepared[:, 0, 0] == pytest.approx([-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225], rel=1e-6)


def test_settings_survive_the_export():
    preprocessor = ClassifierPreprocessor(size_px=320, crop_fraction=0.95, interpolation="bicubic", library="opencv")
    assert ClassifierPreprocessor.from_config(preprocessor.to_config()) == preprocessor


@pytest.mark.parametrize(
    "options, message",
    [
        ({"library": "cv"}, "library is 'cv'; choose one of pillow, opencv, mindspore."),
        ({"interpolation": "area"}, "interpolation is 'area'; choose one of bilinear, bicubic."),
        ({"size_px": 0}, "size_px is 0; it must be a whole number of at least 1."),
        ({"crop_fraction": 1.2}, "crop_fraction is 1.2; it must be above 0 and at most 1."),
        ({"std": (1, 1, 0)}, "std is (1, 1, 0); it needs 3 numbers, for R, G and B, above 0."),
        ({"mean": (1, 1)}, "mean is (1, 1); it needs 3 numbers, for R, G and B."),
    ],
)
def test_wrong_settings(options, message):
    with pytest.raises(ValueError) as error:
        ClassifierPreprocessor(**options)
    assert str(error.value) == message
    with pytest.raises(ModelFolderError, match="Export the model again"):
        ClassifierPreprocessor.from_config(options)


def encoded(image: Image.Image, form: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def test_modes_become_rgb():
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    grey = Image.fromarray(ramp)
    transparent = Image.merge("RGBA", [grey, grey, grey, Image.new("L", (16, 16), 0)])
    deep = Image.fromarray(ramp.astype(np.uint16) * 257)
    for image in (grey, grey.convert("P"), transparent, deep):
        assert np.array_equal(np.asarray(open_rgb(encoded(image))), np.repeat(ramp[:, :, None], 3, axis=2)), image.mode


def test_exif_orientation_is_followed_unless_the_source_does_not():
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    data = encoded(Image.new("RGB", (40, 20)), "JPEG", exif=exif)
    assert open_rgb(data).size == (20, 40)
    assert open_rgb(data, upright=False).size == (40, 20)
    assert ClassifierPreprocessor(upright=False).decode(data).shape == (20, 40, 3)


def test_unreadable_images_are_named(tmp_path):
    jpeg = encoded(Image.fromarray(picture()), "JPEG")
    for name, data, message in (
        ("cut.jpg", jpeg[: len(jpeg) // 2], "Cannot read image '{}': image file is truncated"),
        ("text.png", b"no picture", "Cannot decode image '{}': it is empty, damaged at the start, or of a format"),
        ("empty.png", b"", "Cannot decode image '{}': it is empty"),
        (
            "broken.png",
            encoded(Image.fromarray(picture()))[:300] + b"x" * 90,
            "Cannot decode image '{}': it is damaged or cut short",
        ),
    ):
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(ImageError) as error:
            open_rgb(path)
        assert str(error.value).startswith(message.format(path)), error.value
    with pytest.raises(ImageError, match="Cannot read image '.*none.png': No such file or directory. Check the path"):
        open_rgb(tmp_path / "none.png")
    with pytest.raises(ImageError, match="is 98x75 pixels, more than the limit of 100"):
        open_rgb(encoded(Image.fromarray(picture())), max_pixels=100)
    with pytest.raises(ImageError, match="An image must be a path, bytes or a NumPy array, got <int>"):
        open_rgb(3)
