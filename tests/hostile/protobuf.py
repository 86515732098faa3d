"""Small messages of Protocol Buffers: a Paddle 2 program and an ONNX model, with whatever is wrong in them."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

_STRING, _BLOCK = 2, 8
_FLOAT32_PADDLE, _FLOAT32_ONNX = 5, 1


def field(number: int, value: int | str | bytes) -> bytes:
    """Return one field of a message: a varint, or a text, an array or a message."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    value %= 1 << 64
    groups = []
    while True:
        groups.append(value & 0x7F)
        value >>= 7
        if not value:
            return bytes(group | 0x80 for group in groups[:-1]) + bytes(groups[-1:])


def paddle_program(operator: str, attributes: Mapping[str, str | int]) -> tuple[bytes, bytes]:
    """Return a ``.pdmodel`` with one operator, and the ``.pdiparams`` of its weight ``w``, float32 (2, 2).

    Args:
        operator: Its type.
        attributes: Texts, and numbers of blocks, by name.
    """
    tensor = field(1, _FLOAT32_PADDLE) + field(2, 2) + field(2, 2)
    kind = field(1, 7) + field(3, field(1, tensor))
    variables = [field(1, "w") + field(2, kind) + field(3, 1), field(1, "y") + field(2, kind)]
    described = b""
    for name, value in attributes.items():
        content = field(2, _STRING) + field(5, value) if isinstance(value, str) else field(2, _BLOCK) + field(12, value)
        described += field(4, field(1, name) + content)
    slots = field(1, field(1, "X") + field(2, "w")) + field(2, field(1, "Out") + field(2, "y"))
    block = field(1, 0) + field(2, -1) + b"".join(field(3, one) for one in variables)
    block += field(4, slots + field(3, operator) + described)
    weights = struct.pack("<IQIi", 0, 0, 0, len(tensor)) + tensor + bytes(16)
    return field(1, block), weights


def onnx_model(
    operator: str = "Relu", domain: str = "", dims: Sequence[int] = (2, 2), location: str = "", offset: str = "0"
) -> bytes:
    """Return an ONNX model with one operator and one weight ``w``, float32, perhaps in another file."""
    tensor = b"".join(field(1, dim) for dim in dims) + field(2, _FLOAT32_ONNX) + field(8, "w")
    if location:
        places = {"location": location, "offset": offset, "length": "16"}
        tensor += b"".join(field(13, field(1, key) + field(2, value)) for key, value in places.items()) + field(14, 1)
    else:
        tensor += field(9, bytes(16))
    node = field(1, "w") + field(2, "y") + field(4, operator) + field(7, domain)
    graph = field(1, node) + field(5, tensor) + field(12, field(1, "y"))
    return field(1, 8) + field(7, graph) + field(8, field(1, "") + field(2, 17))
