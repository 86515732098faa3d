"""Read the size of an encoded image from its header, so that a huge one is refused before decoding.

The size must be the one that the decoder will find. Where a file can hold several, the largest counts.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator


class BombError(ValueError):
    """Decoding would take far more memory or time than the size of the image tells. The message is a phrase."""


# Start-of-frame markers of JPEG; C4, C8 and CC lie in the same range and mean something else.
_JPEG_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_MARKER = re.compile(rb"\xff+[^\xff]", re.DOTALL)  # markers may be preceded by other bytes, and by fill bytes
# Not a marker, the one for temporary use, restarts, and the start.
_JPEG_WITHOUT_CONTENT = frozenset({0x00, 0x01, *range(0xD0, 0xD9)})
_TIFF_WIDTH, _TIFF_HEIGHT, _TIFF_SAMPLE_FORMAT = 256, 257, 339
_TIFF_FLOAT = 3
_MAX_TIFF_TAGS = 65_535
_TIFF_SIGNATURES = (b"II*\x00", b"MM\x00*")
_BIG_TIFF_SIGNATURES = (b"II+\x00", b"MM\x00+")
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_JPEG_SIGNATURE = b"\xff\xd8"
_JPEG_2000_SIZE = b"\xff\x4f\xff\x51"  # start of a codestream, and the marker of its size
# A block of 64 pixels takes at least one bit in Huffman's coding.
_JPEG_START_OF_SCAN = 0xDA
_JPEG_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_JPEG_HUFFMAN, _JPEG_PIXELS_OF_A_BYTE = frozenset({0xC0, 0xC1, 0xC2}), 512
# Progressive JPEGs have about ten scans, each of which takes as long as decoding the image.
_JPEG_SCANS, _JPEG_SCANS_OF_SMALL, _JPEG_SCANNED_PIXELS = 20, 200, 2 * 10**9


def read_image_size(data: bytes) -> tuple[int, int] | None:
    """Return (height, width) of an encoded JPEG, PNG, GIF, BMP, WebP, TIFF, JPEG 2000, PNM or AVIF.

    Returns:
        The stored size, before any EXIF rotation, or None for other formats and for a header that is cut short.
    """
    for signature, read in _READERS.items():
        if data.startswith(signature):
            try:
                return read(data)
            except (struct.error, IndexError, OverflowError):
                return None
    return _avif_size(data) if data[4:8] == b"ftyp" else None


def find_bomb(data: bytes) -> str | None:
    """Return why decoding would take far more memory or time than the size of the image tells, or None."""
    if data.startswith(_PNG_SIGNATURE):
        return _png_bomb(data)
    if data.startswith(_JPEG_SIGNATURE):
        return _jpeg_bomb(data)
    return None


def _jpeg_bomb(data: bytes) -> str | None:
    """A decoder fills in what is missing, scan by scan."""
    try:
        segments = dict(reversed(list(_jpeg_segments(data))))  # the first one of each kind
        frame = next(((marker, place) for marker, place in segments.items() if marker in _JPEG_START_OF_FRAME), None)
        if frame is None:
            return None
        marker, place = frame
        height, width, components = struct.unpack_from(">HHB", data, place + 3)
        scan_components = data[segments[_JPEG_START_OF_SCAN] + 2] if _JPEG_START_OF_SCAN in segments else 0
    except (struct.error, IndexError):
        return None
    pixels = height * width
    if marker in _JPEG_HUFFMAN and pixels > _JPEG_PIXELS_OF_A_BYTE * len(data):
        return f"it is cut short: {width}x{height} pixels cannot be in {len(data)} bytes"
    if marker not in _JPEG_PROGRESSIVE and scan_components >= components:
        return None  # it has all colours in one scan; a decoder stops there
    # Within a scan, 0xFF is followed by 0 or a restart marker, so this counts scans, and those of thumbnails.
    scans = data.count(b"\xff\xda")
    allowed = max(_JPEG_SCANS, min(_JPEG_SCANS_OF_SMALL, _JPEG_SCANNED_PIXELS // max(1, pixels)))
    return f"it has {scans} scans of {width}x{height} pixels, more than {allowed}" if scans > allowed else None


def _png_bomb(data: bytes) -> str | None:
    """OpenCV 5 takes the memory that a chunk claims before it looks for the chunk's bytes."""
    position, end = len(_PNG_SIGNATURE), len(data)
    while position + 8 <= end:
        size = int.from_bytes(data[position : position + 4], "big")
        if size > end - position - 8:
            return f"it is damaged or cut short: a part claims {size} bytes, and the file has {end - position - 8} more"
        if data[position + 4 : position + 8] == b"IEND":
            return None
        position += size + 12
    return None


def has_float_samples(data: bytes) -> bool:
    """Whether an encoded image is a TIFF whose pixels are floating-point numbers."""
    if not data.startswith(_TIFF_SIGNATURES):
        return False
    try:
        return _tiff_tags(data).get(_TIFF_SAMPLE_FORMAT) == _TIFF_FLOAT
    except (struct.error, IndexError, OverflowError):
        return False


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    for marker, place in _jpeg_segments(data):
        if marker in _JPEG_START_OF_FRAME:
            return struct.unpack_from(">HH", data, place + 3)
    return None


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield marker and place of each part before the first scan, and of that scan's header."""
    position = 2
    while True:
        found = _JPEG_MARKER.search(data, position)
        if found is None:
            return
        position = found.end()
        marker = data[position - 1]
        if marker in _JPEG_WITHOUT_CONTENT:
            continue
        yield marker, position
        if marker == _JPEG_START_OF_SCAN:
            return
        position += struct.unpack_from(">H", data, position)[0]


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


def _pnm_size(data: bytes) -> tuple[int, int] | None:
    numbers = re.findall(rb"\d+", re.sub(rb"#[^\r\n]*", b"", data[2:2000]))[:2]
    return (int(numbers[1][:18]), int(numbers[0][:18])) if len(numbers) == 2 else None


def _jpeg_2000_size(data: bytes) -> tuple[int, int] | None:
    sizes = []
    for match in re.finditer(re.escape(_JPEG_2000_SIZE), data):
        right, bottom, left, top = struct.unpack_from(">IIII", data, match.end() + 4)
        sizes.append((bottom - top, right - left))
    return max(sizes, key=_area, default=None)


def _avif_size(data: bytes) -> tuple[int, int] | None:
    sizes = [struct.unpack_from(">II", data, match.end() + 4)[::-1] for match in re.finditer(b"ispe", data[:-12])]
    return max(sizes, key=_area, default=None)


def _area(size: tuple[int, int]) -> int:
    return abs(size[0] * size[1])


def _tiff_size(data: bytes) -> tuple[int, int] | None:
    tags = _tiff_tags(data)
    if _TIFF_WIDTH not in tags or _TIFF_HEIGHT not in tags:
        return None
    return tags[_TIFF_HEIGHT], tags[_TIFF_WIDTH]


def _tiff_tags(data: bytes) -> dict[int, int]:
    """Return the tags of the first image that are needed here; of a tag with several values, the first value."""
    order = "<" if data[:2] == b"II" else ">"
    directory = struct.unpack_from(order + "I", data, 4)[0]
    tags: dict[int, int] = {}
    for index in range(struct.unpack_from(order + "H", data, directory)[0]):
        entry = directory + 2 + 12 * index
        tag, kind, count = struct.unpack_from(order + "HHI", data, entry)
        if tag in (_TIFF_WIDTH, _TIFF_HEIGHT, _TIFF_SAMPLE_FORMAT):
            code = order + ("H" if kind == 3 else "I")
            # Values of more than four bytes are elsewhere in the file.
            is_inside = count * struct.calcsize(code) <= 4
            place = entry + 8 if is_inside else struct.unpack_from(order + "I", data, entry + 8)[0]
            tags[tag] = max(tags.get(tag, 0), struct.unpack_from(code, data, place)[0])
    return tags


def _big_tiff_size(data: bytes) -> tuple[int, int] | None:
    order = "<" if data[:2] == b"II" else ">"
    directory = struct.unpack_from(order + "Q", data, 8)[0]
    tags: dict[int, int] = {}
    for index in range(min(struct.unpack_from(order + "Q", data, directory)[0], _MAX_TIFF_TAGS)):
        entry = directory + 8 + 20 * index
        tag, kind = struct.unpack_from(order + "HH", data, entry)
        if tag in (_TIFF_WIDTH, _TIFF_HEIGHT):
            code = {3: "H", 16: "Q"}.get(kind, "I")
            tags[tag] = max(tags.get(tag, 0), struct.unpack_from(order + code, data, entry + 12)[0])
    return (tags[_TIFF_HEIGHT], tags[_TIFF_WIDTH]) if len(tags) == 2 else None


_READERS = {
    _JPEG_SIGNATURE: _jpeg_size,
    _PNG_SIGNATURE: _png_size,
    b"GIF8": _gif_size,
    b"BM": _bmp_size,
    b"RIFF": _webp_size,
    **dict.fromkeys(_TIFF_SIGNATURES, _tiff_size),
    **dict.fromkeys(_BIG_TIFF_SIGNATURES, _big_tiff_size),
    **dict.fromkeys((b"\x00\x00\x00\x0cjP  ", _JPEG_2000_SIZE), _jpeg_2000_size),
    **dict.fromkeys((b"P1", b"P2", b"P3", b"P4", b"P5", b"P6"), _pnm_size),
}
