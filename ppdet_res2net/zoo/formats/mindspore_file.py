"""MindSpore's ``.ckpt``: Protocol Buffers messages, read without mindspore.

    Checkpoint  { repeated Value value = 1; }
    Value       { string tag = 1; TensorProto tensor = 2; }
    TensorProto { repeated int64 dims = 1; string tensor_type = 2; bytes tensor_content = 3; }

A large tensor is cut into several values with the same tag. A checksum may follow: the letters ``crc_num`` and
ten bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from ppdet_res2net.zoo.formats.dtypes import array_from_bytes
from ppdet_res2net.zoo.formats.limits import Limits

__all__ = ["read_mindspore"]

_CRC_MARK, _CRC_BYTES = b"crc_num", 10
# Ten bytes of a file become several Python objects.
_OBJECTS_PER_VALUE = 20
_MOST_DIMENSIONS = 32
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def read_mindspore(content: bytes, limits: Limits) -> dict[str, np.ndarray]:
    """Return the tensors of a checkpoint by name.

    Args:
        content: The whole file.
        limits: Of the file.

    Raises:
        EOFError: The file ends inside a message.
        ValueError: It is not a checkpoint.
        pickle.UnpicklingError: It has more values than any checkpoint.
    """
    view = memoryview(content)
    if content[-len(_CRC_MARK) - _CRC_BYTES : -_CRC_BYTES] == _CRC_MARK:
        view = view[: -len(_CRC_MARK) - _CRC_BYTES]
    parts: dict[str, list[memoryview]] = {}
    layout: dict[str, tuple[str, tuple[int, ...]]] = {}
    for number, value in _fields(view):
        limits.count_object(_OBJECTS_PER_VALUE)
        if number != 1:
            raise ValueError(f"it has a field {number}, which checkpoints do not have")
        fields = {number: inner for number, inner in _fields(_as_bytes(value)) if number in (1, 2)}
        if 1 not in fields or 2 not in fields:
            raise ValueError("a value has no name, or no tensor")
        name = bytes(_as_bytes(fields[1])).decode()
        dims, dtype, data = _tensor(_as_bytes(fields[2]))
        layout[name] = (dtype, dims)
        parts.setdefault(name, []).append(data)
    tensors = {}
    for name, (dtype, dims) in layout.items():
        if dtype == "str":  # remarks, e.g. the name of the epoch
            continue
        joined = b"".join(parts[name])
        # MindSpore writes dims [0] for a scalar.
        shape = () if dims == (0,) and joined else dims
        array = array_from_bytes(joined, dtype.lower(), (-1,))
        if array.size < math.prod(shape):
            raise EOFError(f"tensor {name} has {array.size} of {math.prod(shape)} elements")
        tensors[name] = array.reshape(shape)
    return tensors


def _tensor(message: memoryview) -> tuple[tuple[int, ...], str, memoryview]:
    dims: list[int] = []
    dtype, data = "", memoryview(b"")
    for number, value in _fields(message):
        if len(dims) > _MOST_DIMENSIONS:
            raise ValueError(f"a tensor has more than {_MOST_DIMENSIONS} dimensions")
        if number == 1 and isinstance(value, int):
            dims.append(value)
        elif number == 1:  # packed
            packed, position = _as_bytes(value)[: 10 * (_MOST_DIMENSIONS + 1)], 0
            while position < len(packed):
                dim, position = _varint(packed, position)
                dims.append(dim)
        elif number == 2:
            dtype = bytes(_as_bytes(value)).decode()
        elif number == 3:
            data = _as_bytes(value)
    return tuple(dims), dtype, data


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield (field number, value) of one message."""
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        number, kind = key >> 3, key & 7
        value: int | memoryview
        if kind == _VARINT:
            value, position = _varint(message, position)
        else:
            if kind == _BYTES:
                size, position = _varint(message, position)
            elif kind in (_FIXED64, _FIXED32):
                size = 8 if kind == _FIXED64 else 4
            else:
                raise ValueError(f"unknown wire type {kind}")
            if position + size > len(message):
                raise EOFError(f"a field has {size} bytes, but only {len(message) - position} are left")
            value, position = message[position : position + size], position + size
        yield number, value


def _as_bytes(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise ValueError("it has a number where bytes should be")
    return value


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """Return the number at ``position``, and the position after it."""
    result = shift = 0
    while True:
        if position >= len(message):
            raise EOFError("it ends inside a number")
        byte = message[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, position
        shift += 7
        if shift > 63:
            raise ValueError("it has a number of more than 64 bits")
