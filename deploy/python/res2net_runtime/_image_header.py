"""Read the size of an encoded image from its header, so that a huge one is refused before decoding."""

from __future__ import annotations

import struct

# Start-of-frame markers of JPEG; C4, C8 and CC lie in the same range and mean something else.
_JPEG_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_TIFF_WIDTH, _TIFF_HEIGHT, _TIFF_SAMPLE_FORMAT = 256, 257, 339
_TIFF_FLOAT = 3
_TIFF_SIGNATURES = (b"II*\x00", b"MM\x00*")


def read_image_size(data: bytes) -> tuple[int, int] | None:
    """Return (height, width) of an encoded JPEG, PNG, GIF, BMP, WebP or TIFF.

    Returns:
        The stored size, before any EXIF rotation, or None for other formats and for a header that is cut short.
    """
    for signature, read in _READERS.items():
        if data.startswith(signature):
            try:
                return read(data)
            except (struct.error, IndexError):
                return None
    return None


def has_float_samples(data: bytes) -> bool:
    """Whether an encoded image is a TIFF whose pixels are floating-point numbers."""
    if not data.startswith(_TIFF_SIGNATURES):
        return False
    try:
        return _tiff_tags(data).get(_TIFF_SAMPLE_FORMAT) == _TIFF_FLOAT
    except (struct.error, IndexError):
        return False


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    position = 2
    while True:
        while data[position] != 0xFF:
            position += 1
        while data[position] == 0xFF:  # markers may be preceded by fill bytes
            position += 1
        marker = data[position]
        if marker in _JPEG_START_OF_FRAME:
            return struct.unpack_from(">HH", data, position + 4)
        position += 1 + struct.unpack_from(">H", data, position + 1)[0]


def _png_size(data: bytes) -> tuple[int, int] | None:
    return struct.unpack_from(">II", data, 16)[::-1]


def _gif_size(data: bytes) -> tuple[int, int] | None:
    return struct.unpack_from("<HH", data, 6)[::-1]


def _bmp_size(data: bytes) -> tuple[int, int] | None:
    if struct.unpack_from("<I", data, 14)[0] == 12:  # the header of OS/2
        return struct.unpack_from("<HH", data, 18)[::-1]
    width, height = struct.unpack_from("<ii", data, 18)
    return abs(height), width  # a negative height means rows from top to bottom


def _webp_size(data: bytes) -> tuple[int, int] | None:
    kind = data[12:16]
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return height & 0x3FFF, width & 0x3FFF
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    if kind == b"VP8X":
        width = int.from_bytes(data[24:27], "little") + 1
        height = int.from_bytes(data[27:30], "little") + 1
        return height, width
    return None


def _tiff_size(data: bytes) -> tuple[int, int] | None:
    tags = _tiff_tags(data)
    if _TIFF_WIDTH not in tags or _TIFF_HEIGHT not in tags:
        return None
    return tags[_TIFF_HEIGHT], tags[_TIFF_WIDTH]


def _tiff_tags(data: bytes) -> dict[int, int]:
    """Return the tags of the first image that are needed here; of a tag with several values, the first value."""
    order = "<" if data[:2] == b"II" else ">"
    directory = struct.unpack_from(order + "I", data, 4)[0]
    tags = {}
    for index in range(struct.unpack_from(order + "H", data, directory)[0]):
        entry = directory + 2 + 12 * index
        tag, kind, count = struct.unpack_from(order + "HHI", data, entry)
        if tag in (_TIFF_WIDTH, _TIFF_HEIGHT, _TIFF_SAMPLE_FORMAT):
            code = order + ("H" if kind == 3 else "I")
            # Values of more than four bytes are elsewhere in the file.
            is_inside = count * struct.calcsize(code) <= 4
            place = entry + 8 if is_inside else struct.unpack_from(order + "I", data, entry + 8)[0]
            tags[tag] = struct.unpack_from(code, data, place)[0]
    return tags


_READERS = {
    b"\xff\xd8": _jpeg_size,
    b"\x89PNG\r\n\x1a\n": _png_size,
    b"GIF8": _gif_size,
    b"BM": _bmp_size,
    b"RIFF": _webp_size,
    **dict.fromkeys(_TIFF_SIGNATURES, _tiff_size),
}
