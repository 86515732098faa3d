"""The part of a file that a pickle machine looks at."""

from __future__ import annotations

import io
from typing import IO

from ppdet_res2net.zoo.formats.limits import Limits

__all__ = ["Window"]

# An opcode can have a number of four bytes. Longer arguments are read by Window.read.
_LONGEST_NUMBER = 4
_WINDOW_BYTES = 1 << 16


class Window:
    """The part of a file around the opcode that is being run. Nobody reads, or reserves memory for, more than there is.

    Attributes:
        position: Of the next byte in the window.
        size: Number of bytes in the window.
    """

    __slots__ = ("_data", "_file", "_most", "position", "size")

    def __init__(self, file: IO[bytes], limits: Limits) -> None:
        self._file, self._most = file, limits.max_bytes  # an archive's pickle can be compressed
        self._data, self.position, self.size = b"", 0, 0

    def at(self, position: int) -> tuple[bytes, int, int]:
        """Return the window with at least one opcode, after reading on if necessary.

        Args:
            position: Of the opcode in the present window.

        Returns:
            The bytes; the position of the opcode; and the end of what opcodes can be read from: each that begins before it
            has its number of up to four bytes in the window. At the end of the file, zeros stand for what is missing.

        Raises:
            EOFError: There is nothing more.
        """
        is_last = False
        if self.size - position <= _LONGEST_NUMBER:
            more = self._file.read(_WINDOW_BYTES)
            self._data = self._data[position : self.size] + more
            position, self.size = 0, len(self._data)
            is_last = len(more) < _WINDOW_BYTES
            if not self.size:
                raise EOFError("it ends inside a pickle")
            if is_last:
                self._data += bytes(_LONGEST_NUMBER)
        self.position = position
        return self._data, position, self.size if is_last else self.size - _LONGEST_NUMBER

    def holding(self, position: int, count: int) -> tuple[bytes, int, int]:
        """Return the window with ``count`` bytes from ``position`` on, if the file has them and the window has room for them.

        Returns:
            The bytes, the position in the window, and the end of the window.
        """
        if self.size - position < count:
            self._data = self._data[position : self.size] + self._file.read(_WINDOW_BYTES)
            position, self.size = 0, len(self._data)
        return self._data, position, self.size

    def read(self, size: int) -> bytes:
        """Return the next ``size`` bytes."""
        if size > self._most:
            raise EOFError(f"it announces {size} bytes, more than the file has")
        start, self.position = self.position, self.position + size
        if self.position <= self.size:
            return self._data[start : self.position]
        if size < _WINDOW_BYTES:
            data = self._data[start : self.size]
            data += self._file.read(size - len(data))
        else:  # without joining two parts of a large tensor, which would copy it
            self.leave(min(start, self.size))
            data = self._file.read(size)
        self.position = self.size = 0
        if len(data) < size:
            raise EOFError("it ends inside a pickle")
        return data

    def readline(self) -> bytes:
        """Return the next line."""
        start, self.position = self.position, self._data.find(b"\n", self.position, self.size) + 1
        if self.position:
            return self._data[start : self.position]
        line = self._data[start : self.size] + self._file.readline(self._most)
        self.size = 0
        if not line.endswith(b"\n"):
            raise EOFError("it ends inside a pickle")
        return line

    def leave(self, position: int) -> None:
        """Let the file go on at ``position``."""
        self._file.seek(position - self.size, io.SEEK_CUR)
