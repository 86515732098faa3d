"""Images made to take all memory or time: refused by their headers, before anything is decoded."""

from __future__ import annotations

import ast
import base64
import io
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ppdet_res2net.data.image_files import looks_complete
from ppdet_res2net.datasets.convert.files import measure_image
from ppdet_res2net.datasets.convert.labelme_pictures import open_picture
from ppdet_res2net.errors import DatasetError
from res2net_runtime import ImageError, decode_image, pillow_images
from res2net_runtime.classification.preprocess import open_rgb

FAR_AWAY = b"II+\0" + struct.pack("<HHQ", 8, 0, 2**64 - 1) + bytes(40)
READERS = [decode_image, open_rgb]


def encoded(kind: str, **options) -> bytes:
    photo = Image.fromarray(np.random.RandomState(0).randint(0, 255, (40, 60, 3), np.uint8))
    buffer = io.BytesIO()
    photo.save(buffer, kind, **options)
    return buffer.getvalue()


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", b"x") + png_chunk(b"IEND", b"")


def jpeg(width: int, height: int, scans: int = 0, before: bytes = b"") -> bytes:
    """Return a progressive JPEG that says it has another size, and repeats its last scan."""
    data = encoded("JPEG", progressive=True)
    frame = data.index(b"\xff\xc2")
    data = data[: frame + 5] + struct.pack(">HH", height, width) + data[frame + 9 :]
    return data[:2] + before + data[2:-2] + data[data.rindex(b"\xff\xda") : -2] * scans + data[-2:]


def tiff(width: int, height: int, *, is_big: bool) -> bytes:
    if is_big:
        tags = [struct.pack("<HHQQ", tag, 4, 1, value) for tag, value in ((256, width), (257, height))]
        return b"II+\0" + struct.pack("<HHQQ", 8, 0, 16, len(tags)) + b"".join(tags) + bytes(8)
    tags = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in ((256, 1), (256, width), (257, height))]
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + b"".join(tags) + bytes(4)


HUGE = {
    "png": png(60_000, 60_000),
    "jpeg": jpeg(60_000, 60_000),
    # A marker without content, and one that is none: no length follows them.
    "jpeg behind a decoy": jpeg(60_000, 60_000, before=b"\xff\x01\xff\x00"),
    "tiff with two widths": tiff(60_000, 60_000, is_big=False),
    "big tiff": tiff(60_000, 60_000, is_big=True),
    "bmp": b"BM" + struct.pack("<IIIIiiHH", 100, 0, 54, 40, 60_000, -60_000, 1, 24) + bytes(30),
    "gif": b"GIF89a" + struct.pack("<HH", 60_000, 60_000) + bytes(20),
    "ppm": b"P6 # 1 1\n60000 60000 255\n",
    "jpeg 2000": b"\xff\x4f\xff\x51" + struct.pack(">HHIIII", 47, 0, 60_000, 60_000, 0, 0),
    "avif": struct.pack(">I", 20)
    + b"ftypavif"
    + bytes(8)
    + b"\0\0\0\x14ispe"
    + struct.pack(">III", 0, 60_000, 60_000)
    + bytes(12),
}


@pytest.mark.parametrize("data", HUGE.values(), ids=HUGE)
def test_a_declared_size_is_refused_before_decoding(data):
    with pytest.raises(ImageError, match="is 60000x60000 = 3600000000 pixels, more than the limit of 178956970"):
        decode_image(data)


@pytest.mark.parametrize(
    "data",
    [
        b"P7\nWIDTH 60000\nHEIGHT 60000\nDEPTH 3\nMAXVAL 255\nENDHDR\n",
        b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 60000 +X 60000\n",
        b"\x59\xa6\x6a\x95" + struct.pack(">IIIIIII", 60_000, 60_000, 24, 0, 1, 0, 0),
        b"PF\n60000 60000\n-1.0\n",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%touch x) (w) file\n",
    ],
    ids=["pam", "hdr", "sun raster", "pfm", "eps"],
)
@pytest.mark.parametrize("read", READERS)
def test_formats_of_no_use_here_are_not_decoded(read, data):
    with pytest.raises(ImageError, match="damaged|of a format that|Cannot read image"):
        read(data)


def test_a_directory_beyond_all_files():
    with pytest.raises(ImageError, match="it is damaged, cut short, or of a format"):
        decode_image(FAR_AWAY)


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("kind", [b"IDAT", b"tEXt"])
def test_a_part_of_a_png_that_claims_two_gigabytes(read, kind):
    data = encoded("PNG")
    data = data[:33] + struct.pack(">I", 2**31 - 1) + kind + data[41:]
    tracemalloc.start()
    with pytest.raises(ImageError, match="a part claims 2147483647 bytes, and the file has [0-9]+ more"):
        read(data)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("read", READERS)
def test_a_jpeg_with_endless_scans(read):
    assert np.asarray(read(jpeg(60, 40))).shape == (40, 60, 3)
    with pytest.raises(ImageError, match="it has [0-9]+ scans of 60x40 pixels, more than 200. Copy it again"):
        read(jpeg(60, 40, scans=1000))
    with pytest.raises(ImageError, match="it is cut short: 13000x13000 pixels cannot be in [0-9]+ bytes"):
        read(jpeg(13_000, 13_000))


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "JPEG2000", "PPM"])
def test_an_image_cut_short_anywhere_is_read_in_part_or_refused(read, kind):
    data = encoded(kind)
    for end in {*range(0, min(len(data), 200), 3), *range(200, len(data), 1 + len(data) // 40)}:
        try:
            image = read(data[:end])
        except ImageError as error:
            assert len(str(error)) < 600
        else:
            assert np.asarray(image).shape == (40, 60, 3)


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_no_tool_for_datasets_opens_formats_that_run_programs(tmp_path, suffix):
    path = tmp_path / f"image{suffix}"
    path.write_bytes(EPS)
    assert Image.open(path).size == (9, 9)  # Pillow alone would decode it, with Ghostscript
    assert not looks_complete(str(path), (9, 9))
    with pytest.raises(DatasetError, match="cannot read image '.*': cannot identify image file"):
        measure_image(path)
    with pytest.raises(ValueError, match="it is not a picture in a known format"):
        open_picture(base64.b64encode(EPS).decode())


@pytest.mark.parametrize("data", [png(60_000, 60_000), jpeg(60_000, 60_000)], ids=["png", "jpeg"])
def test_tools_for_datasets_refuse_huge_images_by_their_headers(tmp_path, data):
    path = tmp_path / "image"
    path.write_bytes(data)
    with pytest.raises(
        DatasetError, match=r"Image size \(3600000000 pixels\) exceeds limit of 178956970 pixels|cut short"
    ):
        measure_image(path)
    with pytest.raises((ValueError, Image.DecompressionBombError), match="exceeds limit of 178956970|cut short"):
        open_picture(base64.b64encode(data).decode())


def test_max_pixels_is_the_one_setting_also_above_pillows_limit(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    monkeypatch.setattr(pillow_images, "DEFAULT_MAX_PIXELS", 1000)
    data = encoded("PNG")
    with pytest.raises(ImageError, match=r"Image size \(2400 pixels\) exceeds limit of 1000 pixels"):
        open_rgb(data, max_pixels=1000)
    assert open_rgb(data, max_pixels=3000).size == (60, 40)
    assert Image.MAX_IMAGE_PIXELS == 500


def test_images_are_opened_in_few_places():
    root = Path(__file__).parents[2]
    openers = {
        "Image.open": {"pillow_images.py"},
        "cv2.imdecode": {"preprocess.py", "image_files.py"},
        "cv2.imread": set(),
    }
    for file in (*root.glob("ppdet_res2net/**/*.py"), *root.glob("deploy/**/*.py"), *root.glob("tools/*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            assert called not in openers or file.name in openers[called], f"{file.relative_to(root)} calls {called}"
