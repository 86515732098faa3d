"""What a weight file may cost, so that a small file cannot take all memory.

A pickle can name one value many times, a tensor can repeat one number with strides of 0, and an archive can be compressed a
thousand times. Real weights take about as much memory as they take on the disk.
"""

from __future__ import annotations

import pickle

__all__ = ["Limits", "describe_bytes"]

# A training checkpoint has some 100,000; a list of every loss of a long training is the most that was seen.
MAX_OBJECTS = 5_000_000
# Half-precision weights become twice as large, and tensors can share their memory, for instance tied layers.
MEMORY_PER_BYTE = 8
SMALL_BYTES = 16 << 20


class Limits:
    """Counts what reading one file takes.

    Args:
        file_bytes: Size of the file.
    """

    def __init__(self, file_bytes: int) -> None:
        self.file_bytes = file_bytes
        self.max_bytes = MEMORY_PER_BYTE * file_bytes + SMALL_BYTES
        self._objects = self._bytes = 0

    def count_object(self, count: int = 1) -> None:
        """Count values of a pickle.

        Raises:
            pickle.UnpicklingError: There are too many.
        """
        self._objects += count
        if self._objects > MAX_OBJECTS:
            raise self.too_many_objects()

    def objects_left(self) -> int:
        """Return how many more values there may be."""
        return MAX_OBJECTS - self._objects

    @staticmethod
    def too_many_objects() -> pickle.UnpicklingError:
        """Return the exception that says so."""
        return pickle.UnpicklingError(
            f"it has more than {MAX_OBJECTS:,} values, the most that is read; weights have some thousands"
        )

    def add_values(self, value: object, what: str) -> None:
        """Count a text or container that a call has copied."""
        if isinstance(value, (str, bytes, bytearray)):
            self.add_bytes(len(value), what)
        elif isinstance(value, (list, tuple, dict, set, frozenset)):
            self.count_object(len(value))

    def add_bytes(self, count: int, what: str) -> None:
        """Count memory before it is taken.

        Raises:
            pickle.UnpicklingError: It is too much for a file of this size.
        """
        self._bytes += count
        if self._bytes > self.max_bytes:
            raise pickle.UnpicklingError(
                f"{what} would take the memory to {describe_bytes(self._bytes)}, but a file of "
                f"{describe_bytes(self.file_bytes)} may take {describe_bytes(self.max_bytes)} at most"
            )


def describe_bytes(count: int) -> str:
    """Return a size for messages, such as ``1.5 MiB``."""
    size, units = float(count), ["bytes", "KiB", "MiB", "GiB", "TiB"]
    while size >= 1024 and len(units) > 1:
        size /= 1024
        units.pop(0)
    return f"{count} bytes" if units[0] == "bytes" else f"{size:.1f} {units[0]}"
