"""Read messages of Protocol Buffers without their schema.

ONNX files and Paddle 2's graphs are such messages, but neither ``onnx`` nor ``protobuf`` has to be installed where they run,
and both copy every weight. Here a message is a view of the file's bytes, and nothing is copied.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from res2net_runtime.backends.graphs.errors import GraphError

__all__ = ["Message", "integers", "text"]

Value: TypeAlias = int | memoryview
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class Message:
    """The fields of a message by number, each a list in the order of the file.

    A value is an int (varints, and the raw bits of fixed-width numbers) or the bytes of a text, an array or another message.

    Raises:
        GraphError: The bytes are not a message.
    """

    def __init__(self, data: memoryview) -> None:
        self._fields: dict[int, list[Value]] = {}
        for number, value in _fields(data):
            self._fields.setdefault(number, []).append(value)

    def numbers(self) -> set[int]:
        """Return which fields there are."""
        return set(self._fields)

    def values(self, number: int) -> list[Value]:
        """Return all values of a field."""
        return self._fields.get(number, [])

    def integer(self, number: int, default: int = 0) -> int:
        """Return a field that is a whole number; the last one counts, as everywhere in Protocol Buffers."""
        value = self.values(number)[-1] if number in self._fields else default
        if not isinstance(value, int):
            raise GraphError(f"field {number} of a message is not a number")
        return value

    def text(self, number: int, default: str = "") -> str:
        """Return a field that is a text."""
        return text(self.values(number)[-1]) if number in self._fields else default

    def parts(self, number: int) -> list[memoryview]:
        """Return a repeated field of texts, arrays or messages, undecoded."""
        values = self.values(number)
        if not all(isinstance(value, memoryview) for value in values):
            raise GraphError(f"field {number} of a message is a number")
        return values  # type: ignore[return-value]

    def integers(self, number: int) -> list[int]:
        """Return a repeated field of whole numbers, packed or not, as signed 64-bit numbers."""
        found: list[int] = []
        for value in self.values(number):
            found += [value] if isinstance(value, int) else integers(value)
        return [_signed(value) for value in found]


def text(value: Value) -> str:
    """Decode a text."""
    try:
        return str(value, "utf-8")  # type: ignore[arg-type]
    except (UnicodeDecodeError, TypeError) as error:
        raise GraphError("it has a name that is not text") from error


def integers(data: memoryview) -> list[int]:
    """Decode a packed array of varints."""
    found, position = [], 0
    while position < len(data):
        value, position = _varint(data, position)
        found.append(value)
    return found


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _fields(data: memoryview) -> Iterator[tuple[int, Value]]:
    position, end = 0, len(data)
    while position < end:
        key, position = _varint(data, position)
        number, kind = key >> 3, key & 7
        value: Value
        if kind == _VARINT:
            value, position = _varint(data, position)
        elif kind == _BYTES:
            size, position = _varint(data, position)
            value = data[position : position + size]
            if len(value) != size:
                raise GraphError("the file is cut short")
            position += size
        elif kind in (_FIXED32, _FIXED64):
            size = 4 if kind == _FIXED32 else 8
            value = int.from_bytes(data[position : position + size], "little")
            position += size
            if position > end:
                raise GraphError("the file is cut short")
        else:
            raise GraphError("the file is damaged, or of another format")
        if number == 0:
            raise GraphError("the file is damaged, or of another format")
        yield number, value


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= len(data):
            raise GraphError("the file is cut short")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >> 64:
                raise GraphError("the file is damaged: a number has more than 64 bits")
            return value, position
        shift += 7
        if shift > 63:
            raise GraphError("the file is damaged: a number has more than 64 bits")
