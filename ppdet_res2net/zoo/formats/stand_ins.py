"""Arrays and tensors of pickles as plain data, and the arrays that are made of them when they are needed.

Every check of bounds is made where the array is made, on values that nothing can change any more. An array that nobody asks
for, such as an optimizer's, is never made.
"""

from __future__ import annotations

import dataclasses
import math
import pickle
import re
from collections.abc import Callable, Collection
from typing import Any

import numpy as np

from ppdet_res2net.zoo.formats.dtypes import array_from_bytes, item_bytes
from ppdet_res2net.zoo.formats.limits import Limits
from ppdet_res2net.zoo.formats.unpickler import StandIn

__all__ = ["ArrayStandIn", "DTypeStandIn", "Storage", "TensorStandIn", "as_array", "has_tensor", "is_tensor"]


class Storage:
    """The flat memory that torch tensors are views of.

    Args:
        dtype: Of its elements.
        count: Number of elements.
        read: Returns its bytes; None as long as they have not been found.
    """

    __slots__ = ("_data", "count", "dtype", "read")

    def __init__(self, dtype: str, count: int, read: Callable[[], memoryview] | None = None) -> None:
        self.dtype, self.count, self.read = dtype, count, read
        self._data: memoryview | None = None

    def data(self) -> memoryview:
        """Return its bytes, which are read once.

        Raises:
            pickle.UnpicklingError: They have not been found.
        """
        if self._data is None:
            if self.read is None:
                raise pickle.UnpicklingError("the storage of a tensor is not in the file")
            self._data = self.read()
        return self._data


@dataclasses.dataclass(frozen=True, slots=True)
class TensorStandIn(StandIn):
    """A torch tensor: a view of a storage, counted in elements of ``dtype``."""

    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @classmethod
    def checked(
        cls, storage: object, offset: object, shape: object, strides: object, dtype: str | None = None
    ) -> TensorStandIn:
        """Make a stand-in from what a pickle gives.

        Raises:
            pickle.UnpicklingError: It is no tensor.
        """
        if not isinstance(storage, Storage) or not isinstance(shape, (tuple, list)):
            raise pickle.UnpicklingError("a tensor has no storage or no shape")
        if not isinstance(strides, (tuple, list)) or len(shape) != len(strides):
            raise pickle.UnpicklingError("a tensor does not have one stride per dimension")
        given = (offset, *shape, *strides)
        numbers = [n for n in given if type(n) is int and 0 <= n < 2**63]
        if len(numbers) < len(given) or len(shape) > 32:
            raise pickle.UnpicklingError(
                "the shape, the strides or the offset of a tensor are not whole numbers, or too many"
            )
        rank = len(shape)
        return cls(
            storage, dtype or storage.dtype, numbers[0], tuple(numbers[1 : 1 + rank]), tuple(numbers[1 + rank :])
        )

    def array(self, limits: Limits) -> np.ndarray:
        """Return the tensor, after checking that it lies inside its storage and takes no more memory than it may."""
        size, each = math.prod(self.shape), item_bytes(self.dtype)
        if not size:
            return array_from_bytes(b"", self.dtype, self.shape)
        span = 1 + sum((n - 1) * stride for n, stride in zip(self.shape, self.strides))
        limits.add_bytes(max(size, span) * max(each, 4 if self.dtype == "bfloat16" else 0), "a tensor")
        data = self.storage.data()
        if (self.offset + span) * each > len(data):
            raise pickle.UnpicklingError(
                f"a tensor reaches element {self.offset + span - 1} of a storage of {len(data) // each}"
            )
        flat = array_from_bytes(data[self.offset * each : (self.offset + span) * each], self.dtype, (span,))
        if self.strides == _contiguous_strides(self.shape):
            return flat.reshape(self.shape)
        byte_strides = [stride * flat.itemsize for stride in self.strides]
        return np.lib.stride_tricks.as_strided(flat, self.shape, byte_strides).copy()


def _contiguous_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    # Of an axis of one element, torch keeps whatever stride it had; then the tensor is copied.
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


class DTypeStandIn(StandIn):
    """``numpy.dtype(code, align, copy)``. Its state says the order of bytes."""

    __slots__ = ("_dtype", "_order", "code")

    def __init__(self, code: object = None, *_: object) -> None:
        if not isinstance(code, str):
            raise pickle.UnpicklingError("an array has a type without a name")
        self.code, self._order = code, ""
        self._dtype: np.dtype | None = None

    def with_state(self, state: object) -> None:
        """Take the order of bytes."""
        if self._order or not isinstance(state, tuple) or len(state) < 2:
            raise pickle.UnpicklingError("the type of an array has a wrong state")
        self._order = ">" if state[1] == ">" else "<"  # NumPy writes "|" for types of one byte
        self._dtype = None

    @property
    def dtype(self) -> np.dtype:
        """The type, of plain numbers only.

        Raises:
            pickle.UnpicklingError: It is another, such as one of Python objects.
        """
        if self._dtype is not None:  # many arrays share it
            return self._dtype
        if not re.fullmatch(r"[<>|=]?([biufc][0-9]{1,2}|\?)", self.code):
            raise pickle.UnpicklingError(f"an array has the type {self.code[:20]!r}; weights are arrays of numbers")
        dtype = np.dtype(self.code)
        self._dtype = dtype.newbyteorder(">" if self._order == ">" else "<") if self._order else dtype
        return self._dtype


class ArrayStandIn(StandIn):
    """A NumPy array.

    Args:
        state: Version, shape, type, whether the order is Fortran's, and bytes, as ``numpy.ndarray.__setstate__`` takes them;
            nothing if the state follows.
    """

    __slots__ = ("_state",)

    def __init__(self, state: tuple[object, ...] = ()) -> None:
        self._state = state

    def with_state(self, state: object) -> None:
        """Take the state."""
        if self._state or not isinstance(state, tuple) or len(state) != 5:
            raise pickle.UnpicklingError("an array has a wrong state, or a second one")
        self._state = state

    def array(self, limits: Limits) -> np.ndarray:
        """Return the array, in the byte order of this machine."""
        if not self._state:
            raise pickle.UnpicklingError("an array has no contents")
        _, shape, dtype, is_fortran, data = self._state
        if not isinstance(dtype, DTypeStandIn):
            raise pickle.UnpicklingError("an array has no type")
        kind = dtype.dtype  # before the bytes: an array of objects has none
        if isinstance(data, str):  # Python 2 wrote bytes as strings
            data = data.encode("latin1")
        elif not isinstance(data, (bytes, bytearray)):
            raise pickle.UnpicklingError("an array has no bytes")
        if not isinstance(shape, tuple):
            raise pickle.UnpicklingError("an array has no shape")
        for n in shape:
            if not isinstance(n, int) or not 0 <= n < 2**63:
                raise pickle.UnpicklingError("an array has no shape")
        size = math.prod(shape) * kind.itemsize
        if size != len(data):
            raise EOFError(f"an array has {len(data)} of {size} bytes")
        limits.add_bytes(size, "an array")
        if not is_fortran and kind.isnative:  # nothing has to be turned: without a copy, so the array is read-only
            return np.ndarray(shape, kind, data)
        array = np.frombuffer(data, kind).reshape(shape, order="F" if is_fortran else "C")
        return np.ascontiguousarray(array, kind.newbyteorder("=")).reshape(shape)


def as_array(value: Any, limits: Limits) -> np.ndarray | None:
    """Return the array that ``value`` stands for, or None if it is not a tensor.

    Paddle writes a tensor as an array, or as a tuple of its name and an array.

    Raises:
        pickle.UnpicklingError: The tensor reaches outside its bytes, or takes more memory than the file may.
    """
    if type(value) is ArrayStandIn:
        return value.array(limits)
    value = _unnamed(value)
    if isinstance(value, np.ndarray):
        return value
    return value.array(limits) if isinstance(value, (ArrayStandIn, TensorStandIn)) else None


def _unnamed(value: Any) -> Any:
    """Return the tensor of Paddle's pair of a name and a tensor; any other value as it is."""
    return value[1] if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str) else value


def is_tensor(value: Any) -> bool:
    """Whether :func:`as_array` would return an array."""
    return isinstance(_unnamed(value), _TENSORS)


def has_tensor(values: Collection[Any]) -> bool:
    """Whether :func:`is_tensor` is true of one of many values."""
    kinds = set(map(type, values))  # nearly always one, of which a look at each value would tell no more
    return any(issubclass(kind, (*_TENSORS, tuple)) for kind in kinds) and any(map(is_tensor, values))


_TENSORS = (ArrayStandIn, TensorStandIn, np.ndarray)
