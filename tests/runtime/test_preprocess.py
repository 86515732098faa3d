"""Decoding and preprocessing: equal bit for bit to PaddleDetection's transforms; bad images are named."""

from __future__ import annotations

import io
import json
import zlib  # noqa: F401  (before paddle, which ppdet imports: Paddle 2.6.2 brings zlib symbols of its own)

import cv2
import numpy as np
import pytest
from PIL import Image

from res2net_runtime import ImageError, ModelFolderError, Preprocessor, collate, decode_image
from res2net_runtime._image_header import read_image_size
from res2net_runtime.preprocess import fit_whole_pixels
from tests.goldens import mmdet_settings as mmdet

MEAN_STD = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
OPERATORS = [
    {"type": "Resize", "target_size": [800, 1333], "keep_ratio": True, "interp": 1},
    {"type": "NormalizeImage", **MEAN_STD, "is_scale": True, "norm_type": "mean_std"},
    {"type": "Permute"},
    {"type": "PadStride", "stride": 32},
]


def photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Return a smooth random RGB picture."""
    small = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def encode(image: np.ndarray, fmt: str, mode: str = "RGB", **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).convert(mode).save(buffer, fmt, **options)
    return buffer.getvalue()


def with_settings(**changes) -> list[dict]:
    """Return OPERATORS with the arguments of some of them replaced, for instance ``Resize={"interp": 2}``."""
    return [{**operator, **changes.get(operator["type"], {})} for operator in OPERATORS]


@pytest.fixture(scope="module")
def ppdet_transforms(ppdet):
    return ppdet.data.transform.operators


@pytest.mark.parametrize("size", [(480, 640), (427, 640), (1200, 301), (33, 17), (1, 1), (9, 300)])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"Resize": {"target_size": [321, 500], "interp": 2}},
        {"Resize": {"target_size": 224, "keep_ratio": False}},
        {"Resize": {"target_size": [96, 200], "keep_ratio": False, "interp": 0}},
        {
            "Resize": {"target_size": [64, 64]},
            "NormalizeImage": {"is_scale": False, "mean": [103.5, 116.3, 123.7]},
        },
        {"Resize": {"target_size": [64, 100]}, "NormalizeImage": {"norm_type": "none"}},
    ],
)
def test_equals_ppdet_to_the_bit(ppdet_transforms, size, changes):
    data = encode(photo(*size), "JPEG", quality=90)
    operators = with_settings(**changes)
    sample = ppdet_transforms.Decode()({"image": data})
    for operator in operators[:3]:
        arguments = {key: value for key, value in operator.items() if key != "type"}
        sample = getattr(ppdet_transforms, operator["type"])(**arguments)(sample)
    from ppdet.data.transform.batch_operators import PadBatch

    expected = PadBatch(pad_to_stride=32)([sample])[0]
    result = Preprocessor.from_config(operators)(decode_image(data))
    for key in ("image", "im_shape", "scale_factor"):
        assert result[key].dtype == np.float32
        np.testing.assert_array_equal(result[key], expected[key], err_msg=key)


def test_batch_equals_ppdet_to_the_bit(ppdet_transforms):
    from ppdet.data.transform.batch_operators import PadBatch

    samples, inputs = [], []
    preprocessor = Preprocessor.from_config(with_settings(Resize={"target_size": [128, 200]}))
    for index, size in enumerate([(48, 64), (64, 48), (30, 90)]):
        image = photo(*size, seed=index)
        sample = ppdet_transforms.Resize([128, 200], True)({"image": image.copy()})
        samples.append(ppdet_transforms.Permute()(ppdet_transforms.NormalizeImage(**MEAN_STD)(sample)))
        inputs.append(preprocessor(image))
    expected = PadBatch(pad_to_stride=32)(samples)
    batch = collate(inputs)
    assert batch["image"].shape == (3, 3, 192, 224)
    np.testing.assert_array_equal(batch["image"], np.stack([sample["image"] for sample in expected]))
    assert batch["im_shape"].shape == batch["scale_factor"].shape == (3, 2)


MMDET = with_settings(
    Resize={"round_size": True},
    # mmdetection's 123.675, 116.28, 103.53 and 58.395, 57.12, 57.375 in its float32
    NormalizeImage={
        "is_scale": False,
        "mean": [123.67500305175781, 116.27999877929688, 103.52999877929688],
        "std": [58.39500045776367, 57.119998931884766, 57.375],
    },
)


@pytest.fixture(scope="module")
def golden():
    return json.loads(mmdet.FILE.read_text())


def test_sizes_equal_mmdetections(golden):
    sizes = [fit_whole_pixels((height, width), mmdet.LIMITS) for height, width in mmdet.make_sizes().tolist()]
    assert sizes == [tuple(size) for size in golden["sizes"]]


def test_normalized_pixels_equal_mmdetections_to_the_bit(golden):
    def crc32(operators):
        return zlib.crc32(Preprocessor.from_config(operators).table.tobytes())

    assert crc32(MMDET) == golden["normalized_crc32"]
    decimal = {"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375], "is_scale": False}
    assert crc32(with_settings(NormalizeImage=decimal)) != golden["normalized_crc32"]
    assert crc32(OPERATORS) != golden["normalized_crc32"]


def test_image_is_resized_as_mmdetection_does():
    """mmcv gives OpenCV the rounded size; equal pixels, with one factor per axis, follow from it."""
    preprocessor, image = Preprocessor.from_config(MMDET), photo(431, 639)
    result = preprocessor(image)
    resized = cv2.resize(image, (1186, 800), interpolation=cv2.INTER_LINEAR)
    for channel in range(3):
        np.testing.assert_array_equal(
            result["image"][channel, :800, :1186], preprocessor.table[channel][resized[:, :, channel]]
        )
    assert not result["image"][:, :, 1186:].any() and result["image"].shape == (3, 800, 1216)
    assert result["im_shape"].tolist() == [800, 1186]
    np.testing.assert_array_equal(result["scale_factor"], np.float32([800 / 431, 1186 / 639]))
    plain = Preprocessor.from_config(with_settings(NormalizeImage=MMDET[1]))(image)
    assert plain["im_shape"][1] == np.float32(639 * 800 / 431)  # 1186.08
    assert plain["scale_factor"][0] == plain["scale_factor"][1]
    assert not np.array_equal(plain["image"], result["image"])


def test_other_scales_are_in_whole_pixels_too():
    result = Preprocessor.from_config(MMDET).scaled(0.25)(photo(431, 639))
    assert result["im_shape"].tolist() == [200, 297]


def test_without_resize_and_normalisation_pixels_pass_through():
    image = photo(5, 7)
    result = Preprocessor.from_config([{"type": "Permute"}])(image)
    np.testing.assert_array_equal(result["image"], image.transpose(2, 0, 1).astype(np.float32))
    assert result["scale_factor"].tolist() == [1, 1]


@pytest.mark.parametrize("round_size", [False, True])
def test_very_long_image_keeps_one_pixel_of_its_short_side(round_size):
    result = Preprocessor.from_config(with_settings(Resize={"round_size": round_size}))(photo(1, 5000))
    assert result["image"].shape == (3, 32, 1344)
    assert result["im_shape"].tolist() == [1, 1333]
    np.testing.assert_allclose(result["scale_factor"], [1, 1333 / 5000], rtol=1e-6)


@pytest.mark.parametrize(
    ("operators", "message"),
    [
        ([{"type": "RandomFlip"}], "Unknown preprocessing operator .*RandomFlip.*Known types: Resize"),
        (["Resize"], "Unknown preprocessing operator 'Resize'"),
        (OPERATORS[::-1], "Permute comes after PadStride, but the supported order is Resize"),
        (OPERATORS[:2], "do not include Permute"),
        (with_settings(Resize={"target_size": [0, 5]}), "Resize has wrong arguments .*must be positive"),
        (with_settings(Resize={"interp": 9}), "interp must be a flag of OpenCV from 0 to 4, got 9"),
        (
            with_settings(Resize={"size": 9}),
            "Resize has wrong arguments .*unexpected keyword argument 'size'",
        ),
        (
            with_settings(NormalizeImage={"std": [1, 0, 1]}),
            "mean and std must have 3 values, and no value of std may be zero",
        ),
        (with_settings(NormalizeImage={"norm_type": "x"}), "norm_type must be mean_std or none"),
        (with_settings(PadStride={"stride": 1.5}), "stride must be a whole number"),
    ],
)
def test_wrong_operators_are_named(operators, message):
    with pytest.raises(ModelFolderError, match=message):
        Preprocessor.from_config(operators)


def test_decodes_every_source_alike(tmp_path):
    image = photo(20, 30)
    path = tmp_path / "Bär 熊.png"
    path.write_bytes(encode(image, "PNG"))
    for source in (
        path,
        str(path),
        path.read_bytes(),
        memoryview(path.read_bytes()),
        image,
        image[:, ::-1][:, ::-1],
    ):
        decoded = decode_image(source)
        np.testing.assert_array_equal(decoded, image)
        assert decoded.flags.c_contiguous and decoded.dtype == np.uint8
    alpha = np.dstack([image, np.zeros((20, 30), np.uint8)])
    np.testing.assert_array_equal(decode_image(alpha), image)
    np.testing.assert_array_equal(decode_image(image[:, :, 0]), np.repeat(image[:, :, :1], 3, axis=2))


def test_decodes_unusual_images():
    image = photo(20, 30)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    np.testing.assert_array_equal(decode_image(encode(grey, "PNG", "L")), np.dstack([grey] * 3))
    np.testing.assert_array_equal(decode_image(encode(np.dstack([image, grey]), "PNG", "RGBA")), image)
    deep = cv2.imencode(".png", image[:, :, ::-1].astype(np.uint16) * 257)[1].tobytes()
    np.testing.assert_array_equal(decode_image(deep), image)
    assert np.abs(decode_image(encode(image, "JPEG", "CMYK", quality=95)).astype(int) - image).mean() < 8
    frames = [Image.fromarray(image), Image.fromarray(255 - image)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    np.testing.assert_array_equal(decode_image(buffer.getvalue()), image)
    assert decode_image(encode(photo(1, 1), "PNG")).shape == (1, 1, 3)


def test_applies_exif_orientation():
    image = photo(16, 32)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to view
    plain = decode_image(encode(image, "JPEG", quality=95))
    rotated = decode_image(encode(image, "JPEG", quality=95, exif=exif))
    np.testing.assert_array_equal(rotated, np.rot90(plain, -1))


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
def test_damaged_images_are_named(tmp_path, fmt):
    whole = encode(photo(64, 64), fmt)
    for name, data in {
        "half": whole[: len(whole) // 2],
        "start": whole[:10],
        "other": b"not an image",
    }.items():
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(ImageError, match=f"Cannot decode image '.*{name}'.*Copy it again, or save it as JPEG"):
            decode_image(path)


def test_missing_and_empty_images_are_named(tmp_path):
    with pytest.raises(ImageError, match="Cannot read image '.*gone.jpg': No such file.*Check the path"):
        decode_image(tmp_path / "gone.jpg")
    with pytest.raises(ImageError, match="Cannot read image"):
        decode_image(tmp_path)
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(ImageError, match=r"Image '.*empty.jpg' is empty \(0 bytes\)"):
        decode_image(tmp_path / "empty.jpg")
    with pytest.raises(ImageError, match="must be a path, bytes or a NumPy array, got <int>"):
        decode_image(3)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros(4, np.uint8),
    ],
)
def test_arrays_that_are_no_pictures_are_refused(array):
    with pytest.raises(ImageError, match="is not an image: expected a non-empty uint8 array"):
        decode_image(array)


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF"])
def test_size_is_read_from_the_header(fmt):
    data = encode(photo(21, 34), fmt)
    assert read_image_size(data) == (21, 34)
    assert read_image_size(data[:9]) is None


def test_size_is_read_from_lossless_and_animated_webp():
    assert read_image_size(encode(photo(21, 34), "WEBP", lossless=True)) == (21, 34)
    assert read_image_size(encode(photo(21, 34), "WEBP", exif=Image.Exif().tobytes())) == (21, 34)


def test_gigantic_image_is_refused_before_decoding():
    header = bytearray(encode(photo(4, 4), "PNG"))
    header[16:24] = (60_000).to_bytes(4, "big") * 2
    with pytest.raises(ImageError, match="is 60000x60000 = 3600000000 pixels, more than the limit of 178956970"):
        decode_image(bytes(header))
    with pytest.raises(ImageError, match="more than the limit of 10. Make it smaller, or raise max_pixels"):
        decode_image(photo(4, 4), max_pixels=10)
