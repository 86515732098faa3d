"""Reads pickles without letting them run anything.

A pickle is a program: it may name any importable function and call it. The unpickler here resolves each name itself, from
a short list of names that weight files really use. Arrays and tensors become stand-ins made of plain data, from which the
arrays are built afterwards. Neither NumPy's own reconstruction functions nor torch are ever reached.
"""

from __future__ import annotations

import collections
import functools
import pickle
import re
from collections.abc import Callable
from typing import IO, Any, Literal

import numpy as np

from ppdet_res2net.zoo.formats.dtypes import array_from_bytes

__all__ = ["RefusedName", "Storage", "TensorStandIn", "as_array", "load_pickle"]


class RefusedName(pickle.UnpicklingError):
    """The pickle names something that weight files do not need."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class Storage:
    """The flat memory that torch tensors are views of. In legacy files its bytes come after the tensors."""

    def __init__(self, dtype: str, count: int, data: bytes | None = None) -> None:
        self.dtype, self.count, self.data = dtype, count, data


class TensorStandIn:
    """A torch tensor: a storage, and the view of it."""

    def __init__(self, storage: object, offset: object, shape: object, strides: object) -> None:
        if not isinstance(storage, Storage) or not isinstance(shape, (tuple, list)):
            raise pickle.UnpicklingError("a tensor has no storage or no shape")
        if not isinstance(strides, (tuple, list)) or len(shape) != len(strides):
            raise pickle.UnpicklingError("a tensor does not have one stride per dimension")
        given = (offset, *shape, *strides)
        numbers = [n for n in given if isinstance(n, int) and not isinstance(n, bool) and n >= 0]
        if len(numbers) < len(given):
            raise pickle.UnpicklingError(f"a tensor has the shape {shape}, strides {strides}, offset {offset}")
        self.storage, self.offset = storage, numbers[0]
        self.shape, self.strides = tuple(numbers[1 : 1 + len(shape)]), tuple(numbers[1 + len(shape) :])

    def array(self) -> np.ndarray:
        """Copy the view out of the storage, after checking that it lies inside."""
        if self.storage.data is None:
            raise pickle.UnpicklingError("the storage of a tensor is not in the file")
        flat = array_from_bytes(self.storage.data, self.storage.dtype, (self.storage.count,))
        if 0 in self.shape:
            return np.zeros(self.shape, flat.dtype)
        last = self.offset + sum((n - 1) * stride for n, stride in zip(self.shape, self.strides))
        if last >= flat.size:
            raise pickle.UnpicklingError(f"a tensor reaches element {last} of a storage of {flat.size}")
        byte_strides = [stride * flat.itemsize for stride in self.strides]
        return np.lib.stride_tricks.as_strided(flat[self.offset :], self.shape, byte_strides).copy()


class _DTypeStandIn:
    """``numpy.dtype(code, align, copy)``; only plain numbers, never Python objects."""

    def __init__(self, code: object, *_: object) -> None:
        if not isinstance(code, str) or not re.fullmatch(r"[<>|=]?[biufc][0-9]{1,2}|\?", code):
            raise pickle.UnpicklingError(f"an array has the type {code!r}; weights are arrays of numbers")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class _ArrayStandIn:
    """``numpy.core.multiarray._reconstruct(...)``. Shape, type and bytes follow as its state."""

    value: np.ndarray | None = None

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, is_fortran, data = state
        self.value = _array(data, dtype, shape, "F" if is_fortran else "C")


def _array(data: object, dtype: object, shape: tuple[int, ...], order: Literal["C", "F"] = "C") -> np.ndarray:
    if isinstance(data, str):  # Python 2 wrote bytes as strings
        data = data.encode("latin1")
    if not isinstance(dtype, _DTypeStandIn) or not isinstance(data, (bytes, bytearray)):
        raise pickle.UnpicklingError("an array has no type or no bytes")
    array = np.frombuffer(data, dtype.dtype).reshape(shape, order=order)
    return np.array(array, dtype.dtype.newbyteorder("="), order="C")


def _from_buffer(buffer: object, dtype: object, shape: tuple[int, ...], order: Literal["C", "F"]) -> _ArrayStandIn:
    stand_in = _ArrayStandIn()
    stand_in.value = _array(buffer, dtype, shape, order)
    return stand_in


def _scalar(dtype: object, data: object = b"") -> _ArrayStandIn:
    return _from_buffer(data, dtype, (), "C")


def _encode(text: object, encoding: object = "latin1", *_: object) -> bytes:
    """``_codecs.encode``: how protocol 2 writes bytes."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"bytes have the encoding {encoding!r}")
    return text.encode("latin1")


def _rebuild_tensor(storage: object, offset: object, shape: object, strides: object, *_: object) -> TensorStandIn:
    return TensorStandIn(storage, offset, shape, strides)


def _rebuild_parameter(tensor: object, *_: object) -> object:
    return tensor


def _inert_type() -> type:
    """Return a class whose objects keep the attributes that the pickle gives them, and do nothing."""
    return type("Inert", (), {"__init__": lambda self, *_: None})


_FUNCTIONS: dict[str, Callable[..., object]] = {
    "_codecs.encode": _encode,
    "numpy.dtype": _DTypeStandIn,
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    **{
        f"numpy.{core}.{name}": function
        for core in ("core", "_core")
        for name, function in (
            ("multiarray._reconstruct", _ArrayStandIn),
            ("multiarray.scalar", _scalar),
            ("numeric._frombuffer", _from_buffer),
        )
    },
}
# Types implemented in C: a pickle cannot change them, and creating an object has no side effect.
_TYPES = {
    "collections.OrderedDict": collections.OrderedDict,
    "torch.Size": tuple,
    **{
        f"builtins.{kind.__name__}": kind
        for kind in (tuple, list, dict, set, frozenset, bytes, bytearray, complex, int, float, bool)
    },
}
# Settings beside the weights in training checkpoints. This package does not read them.
_INERT = ("argparse.Namespace", "torch.device")
_TORCH_DTYPES = {
    "Double": "float64",
    "Float": "float32",
    "Half": "float16",
    "BFloat16": "bfloat16",
    "Long": "int64",
    "Int": "int32",
    "Short": "int16",
    "Char": "int8",
    "Byte": "uint8",
    "Bool": "bool",
}
_MARKERS = {
    "numpy.ndarray": "ndarray",
    "torch.storage.UntypedStorage": "uint8",
    **{f"torch.{name}Storage": dtype for name, dtype in _TORCH_DTYPES.items()},
    **{f"torch.{dtype}": dtype for dtype in _TORCH_DTYPES.values()},
}


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: IO[bytes], find_storage: Callable[[tuple[Any, ...]], Storage] | None) -> None:
        super().__init__(file, encoding="latin1")
        self.find_storage = find_storage

    def find_class(self, module: str, name: str) -> object:
        full_name = f"{'builtins' if module == '__builtin__' else module}.{name}"  # protocol 2 uses Python 2's names
        if full_name in _FUNCTIONS:
            # A new wrapper (or class, below) each time, so that attributes that a pickle sets do not outlive it.
            return functools.partial(_FUNCTIONS[full_name])
        if full_name in _TYPES:
            return _TYPES[full_name]
        if full_name in _INERT:
            return _inert_type()
        if full_name in _MARKERS:
            return _MARKERS[full_name]
        raise RefusedName(full_name)

    def persistent_load(self, pid: object) -> Storage:
        if self.find_storage is None or not isinstance(pid, tuple):
            raise pickle.UnpicklingError("it refers to something outside the file")
        return self.find_storage(pid)


def load_pickle(file: IO[bytes], find_storage: Callable[[tuple[Any, ...]], Storage] | None = None) -> object:
    """Read one pickle from ``file``.

    Args:
        file: Positioned at the pickle; afterwards, just after it.
        find_storage: Answers torch's references to storages.

    Returns:
        Plain Python data in which arrays and tensors are stand-ins for :func:`as_array`.

    Raises:
        RefusedName: The pickle names a function or class outside the list. Nothing has been run.
        Exception: Any other exception, if the pickle is damaged.
    """
    return _Unpickler(file, find_storage).load()


def as_array(value: object) -> np.ndarray | None:
    """Return the array that ``value`` stands for, or None if it is not a tensor.

    Paddle writes a tensor as an array, or as a tuple of its name and an array.
    """
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str):
        value = value[1]
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, TensorStandIn):
        return value.array()
    return value.value if isinstance(value, _ArrayStandIn) else None
