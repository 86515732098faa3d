"""Reads arrays that follow each other in a pickle, each in one step instead of the machine's two dozen.

A weight file is hundreds of entries that NumPy wrote with the same opcodes. Here, the bytes of an entry are compared with those
of such an entry. What is made of them is what the machine would have made, and whatever differs in one opcode is left to it.
"""

from __future__ import annotations

import functools
import pickle
import re
import struct
from typing import Any

from ppdet_res2net.zoo.formats.stand_ins import ArrayStandIn
from ppdet_res2net.zoo.formats.unpickler import Known
from ppdet_res2net.zoo.formats.window import Window

__all__ = ["ArrayRuns"]

_RECONSTRUCT = frozenset(f"numpy.{core}.multiarray._reconstruct" for core in ("core", "_core"))

_NUMBER = rb"(?:K.|M..|J....)"
_SHAPE = rb"(?:N\x85|N{2}\x86|N{3}\x87|\(N{4,6}t)".replace(b"N", _NUMBER)
# What follows the name of an array in protocol 4: it is made by _reconstruct(ndarray, (0,), b"b"), and gets a state of version,
# shape, type, whether its order is Fortran's, and bytes. "h" takes from the memo, "\x94" stores in it.
_ENTRY = re.compile(
    rb"(\x94h(.)h(.)K\x00\x85\x94h(.)\x87\x94R\x94\(K\x01)" + _SHAPE + rb"(\x94h(.)\x89)[BC]", re.DOTALL
)
_END = b"\x94t\x94b"
_OPCODES = 22  # of name and array, without those of the shape
_NUMBERS, _WHOLE_SHAPE = re.compile(_NUMBER, re.DOTALL), re.compile(_SHAPE, re.DOTALL)
_LONGEST_SHAPE = 6 * 5 + 2
_LONGEST_HEAD = 9 + 2 + 255 + 19 + _LONGEST_SHAPE + 4 + 5
_FRAME, _FRAME_BYTES = pickle.FRAME[0], 9  # how much follows, which nobody needs to know
_ZERO = (0,)
_SHORT_BINUNICODE, _BINBYTES, _SHORT_BINBYTES = pickle.SHORT_BINUNICODE[0], pickle.BINBYTES[0], pickle.SHORT_BINBYTES[0]
_UINT4 = struct.Struct("<I").unpack_from


class ArrayRuns:
    """Reads the arrays of one pickle.

    Args:
        source: The file.
    """

    def __init__(self, source: Window) -> None:
        self._source = source

    def read(self, position: int, items: list[Any], memo: list[Any], most: int) -> tuple[int, int]:
        """Read names and arrays, as long as they are written like the next one and fit into the window.

        Args:
            position: In the window, after an array.
            items: Names and arrays are appended.
            memo: What the pickle has stored. Grows.
            most: Opcodes that may be read.

        Returns:
            The position after them in the window, and the number of opcodes.
        """
        data, position, size = self._source.holding(position, _LONGEST_HEAD)
        form = _find_form(data, position, memo) if size - position >= _LONGEST_HEAD else None
        if form is None:
            return position, 0
        before, after, kind, code, dtype = form
        arguments = (kind, _ZERO, code)
        count = 0
        head, opcodes, length = b"", 0, 0
        shape: tuple[int, ...] = ()
        while size - position >= _LONGEST_HEAD:
            end_of_name = position + 2 + data[position + 1]
            if not data.startswith(head, end_of_name) or not head:  # of another shape than the one before
                if data[position] == _FRAME and count < most:
                    position += _FRAME_BYTES
                    count += 1
                    data, position, size = self._source.holding(position, _LONGEST_HEAD)
                    continue
                known = _read_head(data, end_of_name, before, after)
                if known is None:
                    break
                head, shape, opcodes, length = known
            start = end_of_name + len(head)
            end = start + length
            if end + len(_END) > size:
                if not position:
                    break
                data, position, size = self._source.holding(position, size)
                continue
            if data[position] != _SHORT_BINUNICODE or not data.startswith(_END, end) or count + opcodes > most:
                break
            name, content = str(data[position + 2 : end_of_name], "utf-8", "surrogatepass"), data[start:end]
            state = (1, shape, dtype, False, content)
            array = ArrayStandIn(state)
            memo += (name, _ZERO, arguments, array, shape, content, state)
            items += (name, array)
            count += opcodes
            position = end + len(_END)
            if size - position < _LONGEST_HEAD:
                data, position, size = self._source.holding(position, _LONGEST_HEAD)
        return position, count


def _read_head(data: bytes, place: int, before: bytes, after: bytes) -> tuple[bytes, tuple[int, ...], int, int] | None:
    """Return what lies between a name and the bytes of its array, the shape, the number of opcodes and that of bytes."""
    start = place + len(before)
    end = data.find(after, start, start + _LONGEST_SHAPE + len(after))
    known = _read_shape(data[start:end]) if end > 0 and data.startswith(before, place) else None
    if known is None:
        return None
    end += len(after) + 1
    if data[end - 1] == _SHORT_BINBYTES:
        return data[place : end + 1], *known, data[end]
    if data[end - 1] == _BINBYTES:
        return data[place : end + 4], *known, _UINT4(data, end)[0]
    return None


@functools.lru_cache(maxsize=1024)
def _read_shape(encoded: bytes) -> tuple[tuple[int, ...], int] | None:
    """Return a shape, and the number of opcodes of an entry that has it; None if it is written in another way."""
    if not _WHOLE_SHAPE.fullmatch(encoded):
        return None
    numbers = [(part[:1], part[1:]) for part in _NUMBERS.findall(encoded.removeprefix(b"("))]
    shape = tuple(int.from_bytes(number, "little", signed=code == pickle.BININT) for code, number in numbers)
    return shape, _OPCODES + len(shape) + 1 + encoded.startswith(b"(")


def _find_form(data: bytes, position: int, memo: list[Any]) -> tuple[bytes, bytes, Any, Any, Any] | None:
    """Look at a name and what follows it.

    Returns:
        If it is an array: the opcodes before and after the shape, and what they take from the memo.
    """
    if data[position] == _FRAME:
        position += _FRAME_BYTES
    form = _ENTRY.match(data, position + 2 + data[position + 1])
    if form is None:
        return None
    indices = [form[group][0] for group in (2, 3, 4, 6)]
    if max(indices) >= len(memo):
        return None
    function, kind, code, dtype = (memo[index] for index in indices)
    if not isinstance(function, Known) or function.name not in _RECONSTRUCT:
        return None
    return form[1], form[5], kind, code, dtype
