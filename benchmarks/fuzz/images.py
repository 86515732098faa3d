"""Damaged and hostile images of every format, read as detectors and as classifiers read them.

python -m benchmarks.fuzz.images [--seed SEED] [--count COUNT] [--minutes MINUTES]
"""

from __future__ import annotations

import functools
import io
import random
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.fuzz.harness import run_main
from res2net_runtime import decode_image
from res2net_runtime.classification.preprocess import open_rgb

_SIZES = (0, 1, 2, 0x7F, 0xFF, 0x100, 0x7FFF, 0xFFFF, 0x10000, 60_000, 2**24, 2**30, 2**31 - 1, 2**31, 2**32 - 1)


@functools.cache
def _images() -> list[bytes]:
    noise = np.random.RandomState(0).randint(0, 255, (48, 64, 3), np.uint8)
    photo = Image.fromarray(noise).resize((96, 72), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = 6
    forms: list[tuple[str, dict[str, Any], str]] = [
        ("JPEG", {}, "RGB"),
        ("JPEG", {"progressive": True, "exif": exif}, "RGB"),
        ("JPEG", {}, "CMYK"),
        ("JPEG", {}, "L"),
        ("PNG", {}, "RGB"),
        ("PNG", {"exif": exif}, "P"),
        ("PNG", {}, "I;16"),
        ("PNG", {}, "RGBA"),
        ("PNG", {"save_all": True, "append_images": [photo.rotate(9)]}, "RGB"),
        ("GIF", {"save_all": True, "append_images": [photo.rotate(9).convert("P")]}, "P"),
        ("BMP", {}, "RGB"),
        ("BMP", {}, "P"),
        ("WEBP", {}, "RGB"),
        ("WEBP", {"lossless": True, "exif": exif}, "RGBA"),
        ("WEBP", {"save_all": True, "append_images": [photo.rotate(9)]}, "RGB"),
        ("TIFF", {}, "RGB"),
        ("TIFF", {"compression": "tiff_lzw"}, "RGB"),
        ("TIFF", {"compression": "tiff_deflate"}, "I;16"),
        ("TIFF", {"compression": "jpeg"}, "RGB"),
        ("TIFF", {"big_tiff": True}, "L"),
        ("JPEG2000", {}, "RGB"),
        ("PPM", {}, "RGB"),
        ("PPM", {}, "1"),
    ]
    encoded = []
    for name, options, mode in forms:
        image = (
            Image.fromarray(np.asarray(photo.convert("L")).astype(np.uint16) * 257)
            if mode == "I;16"
            else photo.convert(mode)
        )
        buffer = io.BytesIO()
        image.save(buffer, name, **options)
        encoded.append(buffer.getvalue())
    return encoded


def prepare() -> None:
    """Encode the images, and let the libraries load what they load on first use."""
    for data in _images():
        decode_image(data)
        open_rgb(data)


def try_one(generator: random.Random, folder: Path) -> str:
    """Damage an image, and read it in both ways."""
    if generator.random() < 0.1:
        data = bytearray(generator.choice((_huge_png, _scans, _empty_header))(generator))
    else:
        data = bytearray(generator.choice(_images()))
        for _ in range(generator.choice((1, 1, 2, 5))):
            data = generator.choice((_cut, _change_bytes, _change_number, _change_number, _repeat))(data, generator)
    if generator.random() < 0.5:
        decode_image(bytes(data))
        return "OpenCV read it"
    open_rgb(bytes(data))
    return "Pillow read it"


def _cut(data: bytearray, generator: random.Random) -> bytearray:
    start = generator.randrange(len(data) + 1)
    return data[:start] if generator.random() < 0.5 else data[:start] + data[start + generator.randrange(1, 40) :]


def _change_bytes(data: bytearray, generator: random.Random) -> bytearray:
    for _ in range(generator.choice((1, 3, 30)) if data else 0):
        data[generator.randrange(len(data))] = generator.randrange(256)
    return data


def _change_number(data: bytearray, generator: random.Random) -> bytearray:
    """Write a size near the start, where headers are."""
    code = generator.choice(("<H", ">H", "<I", ">I"))
    number = generator.choice(_SIZES) % (1 << 8 * struct.calcsize(code))
    start = generator.randrange(max(1, min(len(data), generator.choice((64, 400)))))
    data[start : start + struct.calcsize(code)] = struct.pack(code, number)
    if data.startswith(b"\x89PNG"):  # so that the header's checksum does not reveal it
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return data


def _repeat(data: bytearray, generator: random.Random) -> bytearray:
    start, to = generator.randrange(len(data) + 1), generator.randrange(len(data) + 1)
    return data[:to] + data[start : start + generator.randrange(1, 300)] * generator.choice((1, 2, 50)) + data[to:]


def _huge_png(generator: random.Random) -> bytes:
    """Return a PNG that says it is large, with few bytes behind it."""
    width, height = generator.choice(_SIZES) % 2**31, generator.choice((1, 1000, 13_000, 60_000))

    def chunk(kind: bytes, content: bytes, size: int | None = None) -> bytes:
        checked = kind + content
        return (
            struct.pack(">I", len(content) if size is None else size) + checked + struct.pack(">I", zlib.crc32(checked))
        )

    header = struct.pack(
        ">IIBBBBB", width, height, generator.choice((1, 8, 16)), generator.choice((0, 2, 3, 6)), 0, 0, 0
    )
    claimed = generator.choice((None, None, 2**31 - 1, 10**6))
    kind = generator.choice((b"IDAT", b"tEXt", b"zTXt", b"iCCP", b"fdAT"))
    content = zlib.compress(bytes(generator.choice((10, 10**6, 5 * 10**7))))
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    return start + chunk(kind, b"a\0\0" + content if kind != b"IDAT" else content, claimed) + chunk(b"IEND", b"")


def _scans(generator: random.Random) -> bytes:
    """Return a large progressive JPEG that repeats one of its scans."""
    data = next(one for one in _images() if one.startswith(b"\xff\xd8") and b"\xff\xc2" in one)
    frame = data.index(b"\xff\xc2")
    side = generator.choice((500, 4000, 13_000))
    data = data[: frame + 5] + struct.pack(">HH", side, side) + data[frame + 9 :]
    scan = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + scan * generator.choice((1, 30, 500, 5000)) + data[-2:]


def _empty_header(generator: random.Random) -> bytes:
    """Return a header of a large image, and nothing behind it."""
    width, height = generator.choice(_SIZES), generator.choice((1, 1000, 13_000, 60_000))
    return generator.choice(
        (
            b"P6 %d %d 255\n" % (width, height),
            b"P7\nWIDTH %d\nHEIGHT %d\nDEPTH 3\nMAXVAL 255\nTUPLTYPE RGB\nENDHDR\n" % (width, height),
            b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y %d +X %d\n" % (height, width),
            b"\x59\xa6\x6a\x95" + struct.pack(">IIIIIII", width, height, 24, 0, 1, 0, 0),
            b"PF\n%d %d\n-1.0\n" % (width, height),
            b"BM" + struct.pack("<IIIIIIHH", 100, 0, 54, 40, width, height, 1, 24) + bytes(30),
            b"GIF89a" + struct.pack("<HH", width % 65536, height) + b"\x80\0\0" + bytes(6) + b",\0\0\0\0",
            b"%%!PS-Adobe-3.0 EPSF-3.0\n%%%%BoundingBox: 0 0 %d %d\n" % (width, height),
        )
    )


if __name__ == "__main__":
    run_main("benchmarks.fuzz.images", __doc__ or "")
