"""Reads pickles without letting them run anything: what each name in a weight file means.

Nothing that a pickle names is imported or called. Arrays and tensors become stand-ins made of plain data, settings and states
of training (:mod:`.harmless`) are dropped, and any other name ends the reading.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from typing import IO, Any

from ppdet_res2net.zoo.formats.array_runs import ArrayRuns
from ppdet_res2net.zoo.formats.harmless import is_dictionary, is_harmless
from ppdet_res2net.zoo.formats.limits import Limits
from ppdet_res2net.zoo.formats.stand_ins import ArrayStandIn, DTypeStandIn, Storage, TensorStandIn
from ppdet_res2net.zoo.formats.unpickler import Known, Machine, Opaque

__all__ = ["RefusedName", "TorchType", "load_pickle"]


class RefusedName(pickle.UnpicklingError):
    """The pickle names something that weight files do not need."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class TorchType(Known):
    """A torch type of storages or elements.

    Attributes:
        dtype: Of the elements, such as ``float32``.
    """

    __slots__ = ("dtype",)
    dtype: str

    def __init__(self, name: str, dtype: str) -> None:
        super().__init__(name)
        object.__setattr__(self, "dtype", dtype)


def _rebuild_tensor(storage: object, offset: object, shape: object, strides: object, *_: object) -> TensorStandIn:
    return TensorStandIn.checked(storage, offset, shape, strides)


def _rebuild_tensor_of_type(
    storage: object,
    offset: object,
    shape: object,
    strides: object,
    _grad: object,
    _hooks: object,
    dtype: object,
    *_: object,
) -> TensorStandIn:
    if not isinstance(dtype, TorchType):
        raise pickle.UnpicklingError("a tensor has no type")
    return TensorStandIn.checked(storage, offset, shape, strides, dtype.dtype)


def _rebuild_from_array(array: object, *_: object) -> object:
    return array


def _rebuild_subclass(function: object, _kind: object, arguments: object, *_: object) -> object:
    if not isinstance(function, Known) or function.make is None or not isinstance(arguments, tuple):
        raise pickle.UnpicklingError("a tensor has no function that rebuilds it")
    return function.make(*arguments)


def _from_buffer(buffer: object, dtype: object, shape: object, order: object) -> ArrayStandIn:
    return ArrayStandIn((1, shape, dtype, order == "F", buffer))


def _scalar(dtype: object, data: object = b"", *_: object) -> ArrayStandIn:
    return ArrayStandIn((1, (), dtype, False, data))


def _empty_array(*_: object) -> ArrayStandIn:
    return ArrayStandIn()


def _encode(text: object, encoding: object = "latin1", *_: object) -> bytes:
    """``_codecs.encode``: how protocol 2 writes bytes."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError("text is encoded in another way than bytes are")
    return text.encode("latin1")


def _bytes(content: object = b"", encoding: object = "latin1") -> bytes:
    """``bytes`` and ``bytearray``, of what older protocols write; never a number of zeros."""
    if isinstance(content, str):
        return _encode(content, encoding)
    if isinstance(content, (list, tuple)) and all(isinstance(n, int) for n in content):
        return bytes(content)
    if not isinstance(content, (bytes, bytearray)):
        raise pickle.UnpicklingError("bytes are made of something else than text or bytes")
    return bytes(content)


def _items(kind: Callable[[Any], object]) -> Callable[..., object]:
    def make(items: object = ()) -> object:
        if not isinstance(items, (list, tuple, set, frozenset)):
            raise pickle.UnpicklingError("a container is made of something that is none")
        return kind(items)

    return make


def _dictionary(*arguments: object) -> dict[Any, Any]:
    """A dictionary's arguments are its entries, if any, and what a missing one is made of."""
    made: dict[Any, Any] = {}
    for argument in arguments:
        if isinstance(argument, dict):
            made.update(argument)
        elif isinstance(argument, list):  # Python 2 wrote ordered dictionaries as lists of pairs
            for pair in argument:
                if not isinstance(pair, (list, tuple)) or len(pair) != 2 or not isinstance(pair[0], str):
                    raise pickle.UnpicklingError("a dictionary has an entry that is no pair of a name and a value")
                made[pair[0]] = pair[1]
    return made


def _reconstruct(kind: object, _base: object = None, state: object = None, *_: object) -> object:
    """``copyreg._reconstructor``: how protocols 0 and 1 write any object."""
    if not isinstance(kind, Known) or kind.make is None:
        raise pickle.UnpicklingError("an object has no class")
    return kind.make(state) if state is not None else kind.make()


def _part_of_a_class(function: str) -> Callable[..., object]:
    """mmengine names methods by ``getattr`` and omegaconf types by ``getitem``. With anything else, both are attacks."""

    def make(whole: object = None, part: object = None, *more: object) -> Opaque:
        is_class = isinstance(whole, Known) and isinstance(whole.make, _Dropped) and not more
        if not is_class or not isinstance(part, (str, tuple, Known, Opaque)):
            raise RefusedName(function)
        return Opaque(function)

    return make


class _Dropped:
    """Makes objects of a harmless class."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, *_: object) -> Opaque:
        return Opaque(self._name)


_FUNCTIONS: dict[str, Callable[..., object]] = {
    "_codecs.encode": _encode,
    "copyreg._reconstructor": _reconstruct,
    "numpy.dtype": DTypeStandIn,
    **{
        f"numpy.{core}.{name}": function
        for core in ("core", "_core")
        for name, function in (
            ("multiarray._reconstruct", _empty_array),
            ("multiarray.scalar", _scalar),
            ("numeric._frombuffer", _from_buffer),
        )
    },
    "torch._tensor._rebuild_from_type": _rebuild_subclass,
    "torch._tensor._rebuild_from_type_v2": _rebuild_subclass,
    "torch._utils._rebuild_device_tensor_from_numpy": _rebuild_from_array,
    "torch._utils._rebuild_parameter": _rebuild_from_array,
    "torch._utils._rebuild_parameter_with_state": _rebuild_from_array,
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v3": _rebuild_tensor_of_type,
    "torch._utils._rebuild_xla_tensor": _rebuild_from_array,
    "torch.Size": _items(tuple),
    "builtins.bytes": _bytes,
    "builtins.bytearray": _bytes,
    "builtins.frozenset": _items(lambda items: Opaque("builtins.frozenset")),
    "builtins.set": _items(lambda items: Opaque("builtins.set")),
    "builtins.list": _items(list),
    "builtins.tuple": _items(tuple),
    **{f"builtins.{name}": _Dropped(f"builtins.{name}") for name in ("complex", "float", "int", "range", "slice")},
    "builtins.getattr": _part_of_a_class("builtins.getattr"),
    "operator.getitem": _part_of_a_class("operator.getitem"),
}
# Classes that are named as types and never called.
_TYPES = frozenset(
    {"builtins.bool", "builtins.object", "builtins.str", "builtins.type", "numpy.ndarray", "torch.Tensor"}
    | {"torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer", "torch.strided"}
)
_NUMPY_SCALARS = re.compile(r"numpy\.(u?int\d*|float\d+|bool_?|complex\d+|longlong|str_|bytes_)")
_STORAGES = {
    "BFloat16": "bfloat16",
    "Bool": "bool",
    "Byte": "uint8",
    "Char": "int8",
    "ComplexDouble": "complex128",
    "ComplexFloat": "complex64",
    "Double": "float64",
    "Float": "float32",
    "Half": "float16",
    "Int": "int32",
    "Long": "int64",
    "Short": "int16",
    "Untyped": "uint8",
}
_STORAGE = re.compile(r"torch\.(?:storage\.|cuda\.)?([A-Z]\w*?)Storage")
_TORCH_DTYPE = re.compile(r"torch\.((?:bfloat|float|u?int|bool|complex|q)\w*)")


def _find(module: str, name: str) -> Known:
    """Return what ``module.name`` means in a weight file.

    Raises:
        RefusedName: Nothing.
    """
    module = {"__builtin__": "builtins", "copy_reg": "copyreg"}.get(
        module, module
    )  # Python 2's names, in protocols up to 2
    if module == "builtins":
        name = {"long": "int", "unicode": "str", "xrange": "range"}.get(name, name)
    full = f"{module}.{name}"
    if full in _FUNCTIONS:
        return Known(full, _FUNCTIONS[full])
    if is_dictionary(full):
        return Known(full, _dictionary)
    if full in _TYPES or _NUMPY_SCALARS.fullmatch(full):
        return Known(full)
    storage, dtype = _STORAGE.fullmatch(full), _TORCH_DTYPE.fullmatch(full)
    if storage:
        return TorchType(full, _STORAGES.get(storage[1], storage[1]))
    if dtype:
        return TorchType(full, dtype[1])
    if is_harmless(module, name):
        return Known(full, _Dropped(full))
    raise RefusedName(full)


def load_pickle(
    file: IO[bytes], limits: Limits, find_storage: Callable[[tuple[Any, ...]], Storage] | None = None
) -> object:
    """Read one pickle from ``file``.

    Args:
        file: Positioned at the pickle; afterwards, just after it.
        limits: Of the file.
        find_storage: Answers torch's references to storages.

    Returns:
        Plain Python data in which arrays and tensors are stand-ins for :func:`.stand_ins.as_array`.

    Raises:
        RefusedName: The pickle names a function or class outside the lists. Nothing has been run.
        EOFError: The pickle is cut off.
        Exception: Any other exception, if the pickle is damaged.
    """
    return Machine(file, _find, find_storage, limits, lambda source: ArrayRuns(source).read).load()
