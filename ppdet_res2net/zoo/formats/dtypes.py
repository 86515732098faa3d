"""Converts bytes to arrays, for every type that weight files hold, bfloat16 included."""

from __future__ import annotations

import numpy as np

__all__ = ["array_from_bytes", "item_bytes"]

_DTYPES = {
    name: np.dtype(name).newbyteorder("<")
    for name in (
        "float64",
        "float32",
        "float16",
        "complex128",
        "complex64",
        "int64",
        "int32",
        "int16",
        "int8",
        "uint64",
        "uint32",
        "uint16",
        "uint8",
        "bool",
    )
}


def item_bytes(dtype: str) -> int:
    """Return the number of bytes of one element in a file.

    Raises:
        ValueError: The type is unknown.
    """
    if dtype == "bfloat16":
        return 2
    if dtype not in _DTYPES:
        raise ValueError(f"tensors of type {dtype!r} are not supported; convert them to float32")
    return _DTYPES[dtype].itemsize


def array_from_bytes(data: bytes | memoryview, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return a C-contiguous array of ``shape``; bfloat16, which NumPy lacks, becomes float32.

    Raises:
        ValueError: The type is unknown, or the number of bytes does not match the shape.
    """
    if dtype == "bfloat16":
        halves = np.frombuffer(data, "<u2").reshape(shape)
        return (halves.astype(np.uint32) << 16).view(np.float32)
    item_bytes(dtype)  # refuses an unknown type
    return np.frombuffer(data, _DTYPES[dtype]).reshape(shape)
