"""A pickle machine that builds plain data only, and never imports or calls what a pickle names.

A pickle is a program for a stack machine. Python's own machine imports each name and calls it; this one knows the same
opcodes, but a name becomes a :class:`Known` object, found in a table of this package, or ends the reading. The opcodes are
decoded by :mod:`pickletools` of the standard library.
"""

from __future__ import annotations

import codecs
import dataclasses
import pickle
import pickletools
from collections.abc import Callable
from typing import IO, Any, NoReturn

from ppdet_res2net.zoo.formats.limits import Limits

__all__ = ["Known", "Machine", "Opaque", "StandIn"]


@dataclasses.dataclass(frozen=True, slots=True)
class Known:
    """What a name in a pickle stands for.

    Attributes:
        name: The full name, ``module.name``.
        make: What a call of it gives, from plain data; None if it can only be named.
    """

    name: str
    make: Callable[..., object] | None = None


class Opaque:
    """An object that weights do not need. Its name is kept; its arguments and its state are dropped."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


class StandIn:
    """Stands for an array or a tensor. A pickle cannot change it, except for one call of :meth:`with_state`."""

    __slots__ = ()

    def with_state(self, state: object) -> None:
        """Take the state that completes an array.

        Raises:
            pickle.UnpicklingError: It needs none, or has one already.
        """
        raise pickle.UnpicklingError(f"it changes the state of a {type(self).__name__}")


# What may be a key or an element of a set. Others may have hashes that take forever, or recurse.
_PLAIN = (str, bytes, int, float, bool, complex, type(None))
_MARK = object()


def _read_string(file: IO[bytes]) -> str:
    """Read the argument of STRING, in which Python 2 wrote any bytes; pickletools' own reader takes ASCII only."""
    line = file.readline().strip()
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in b"'\"":
        raise pickle.UnpicklingError("a string has no quotes")
    return codecs.escape_decode(line[1:-1])[0].decode("latin1")


class Machine:
    """Reads one pickle.

    Args:
        file: Positioned at the pickle; afterwards, just after it.
        find: Returns what a name stands for, or raises.
        find_storage: Answers persistent references; None if there may be none.
        limits: Of the file.
    """

    def __init__(
        self,
        file: IO[bytes],
        find: Callable[[str, str], Known],
        find_storage: Callable[[tuple[Any, ...]], object] | None,
        limits: Limits,
    ) -> None:
        self._file, self._find, self._find_storage, self._limits = _Bounded(file, limits), find, find_storage, limits
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def load(self) -> object:
        """Run the pickle.

        Returns:
            Numbers, texts, bytes, lists, tuples, dictionaries, sets, :class:`Opaque`, :class:`Known` and stand-ins.

        Raises:
            EOFError: The pickle is cut off.
            pickle.UnpicklingError: It is damaged, or does what weight files do not need.
        """
        read, steps, limits = self._file.read, _STEPS, self._limits
        while True:
            code = read(1)
            if code == b".":
                return self._pop()
            if code not in steps:
                raise pickle.UnpicklingError(f"it has an unknown opcode {code!r}")
            limits.count_object()
            reader, step = steps[code]
            if reader is None:
                step(self)
            else:
                step(self, reader(self._file))

    def _push(self, value: object) -> None:
        self._stack.append(value)

    def _pop(self) -> Any:
        if not self._stack or self._stack[-1] is _MARK:
            raise pickle.UnpicklingError("its stack is empty")
        return self._stack.pop()

    def _top(self) -> Any:
        if not self._stack or self._stack[-1] is _MARK:
            raise pickle.UnpicklingError("its stack is empty")
        return self._stack[-1]

    def _pop_mark(self) -> list[Any]:
        items: list[Any] = []
        while self._stack:
            item = self._stack.pop()
            if item is _MARK:
                items.reverse()
                return items
            items.append(item)
        raise pickle.UnpicklingError("it has no mark on its stack")

    def _pop_tuple(self, count: int) -> None:
        items = [self._pop() for _ in range(count)]
        self._stack.append(tuple(reversed(items)))

    # Names, calls and states

    def _name(self, module: object, name: object) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise pickle.UnpicklingError("it names something by a value that is not text")
        self._stack.append(self._find(module, name))

    def _global(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self._name(module, name)

    def _stack_global(self) -> None:
        name, module = self._pop(), self._pop()
        self._name(module, name)

    def _call(self, function: object, arguments: object, options: object = None) -> None:
        if not isinstance(function, Known) or function.make is None:
            what = function.name if isinstance(function, Known) else type(function).__name__
            raise pickle.UnpicklingError(f"it calls {what}, which is no function")
        if not isinstance(arguments, tuple):
            raise pickle.UnpicklingError(f"it calls {function.name} with a {type(arguments).__name__}")
        made = function.make(*arguments)
        if options and not isinstance(made, Opaque):
            raise pickle.UnpicklingError(f"it calls {function.name} with named arguments")
        self._limits.add_values(made, function.name)
        self._stack.append(made)

    def _reduce(self) -> None:
        arguments, function = self._pop(), self._pop()
        self._call(function, arguments)

    def _newobj_ex(self) -> None:
        options, arguments, kind = self._pop(), self._pop(), self._pop()
        self._call(kind, arguments, options)

    def _inst(self, argument: str) -> None:
        arguments = tuple(self._pop_mark())
        self._global(argument)
        self._call(self._pop(), arguments)

    def _obj(self) -> None:
        items = self._pop_mark()
        if not items:
            raise pickle.UnpicklingError("it creates an object without a class")
        self._call(items[0], tuple(items[1:]))

    def _build(self) -> None:
        state, target = self._pop(), self._top()
        if isinstance(target, StandIn):
            target.with_state(state)
        elif not isinstance(
            target, (Opaque, dict)
        ):  # a dictionary's attributes are not used: torch keeps versions there
            raise pickle.UnpicklingError(f"it sets the state of a {_kind(target)}")

    def _persistent(self, reference: object) -> None:
        if self._find_storage is None or not isinstance(reference, tuple):
            raise pickle.UnpicklingError("it refers to something outside the file")
        self._stack.append(self._find_storage(reference))

    def _extension(self, code: int) -> NoReturn:
        raise pickle.UnpicklingError(f"it uses the extension code {code} of a program")

    def _buffer(self) -> NoReturn:
        raise pickle.UnpicklingError("it refers to a buffer outside the file")

    # Containers

    def _append(self, items: list[Any]) -> None:
        target = self._top()
        if isinstance(target, list):
            target.extend(items)
        elif not isinstance(target, Opaque):
            raise pickle.UnpicklingError(f"it appends to a {_kind(target)}")

    def _set_items(self, items: list[Any]) -> None:
        target = self._top()
        if isinstance(target, dict):
            _update(target, items)
        elif not isinstance(target, Opaque):
            raise pickle.UnpicklingError(f"it sets entries of a {_kind(target)}")

    def _set_item(self) -> None:
        value, key = self._pop(), self._pop()
        self._set_items([key, value])

    def _add_items(self) -> None:
        items, target = self._pop_mark(), self._top()
        if isinstance(target, set):
            target.update(map(_as_key, items))
        elif not isinstance(target, Opaque):
            raise pickle.UnpicklingError(f"it adds to a {_kind(target)}")

    def _dict(self) -> None:
        made: dict[Any, Any] = {}
        _update(made, self._pop_mark())
        self._stack.append(made)

    # Memo

    def _get(self, index: int) -> None:
        if index not in self._memo:
            raise pickle.UnpicklingError(f"it refers to value {index}, which it has not stored")
        self._stack.append(self._memo[index])

    def _put(self, index: int) -> None:
        self._memo[index] = self._top()

    def _memoize(self) -> None:
        self._memo[len(self._memo)] = self._top()


class _Bounded:
    """A file of which nobody reads, or reserves memory for, more than there is."""

    def __init__(self, file: IO[bytes], limits: Limits) -> None:
        self._file, self._size = file, limits.max_bytes  # an archive's pickle can be compressed

    def read(self, size: int) -> bytes:
        if size > self._size:
            raise EOFError(f"it announces {size} bytes, more than the file has")
        data = self._file.read(size)
        if len(data) < size:
            raise EOFError("it ends inside a pickle")
        return data

    def readline(self) -> bytes:
        line = self._file.readline(self._size)
        if not line.endswith(b"\n"):
            raise EOFError("it ends inside a pickle")
        return line


def _kind(value: object) -> str:
    return value.name if isinstance(value, (Opaque, Known)) else type(value).__name__


def _as_key(value: Any) -> Any:
    is_plain = isinstance(value, _PLAIN) or (isinstance(value, tuple) and all(isinstance(v, _PLAIN) for v in value))
    if is_plain or isinstance(value, (Opaque, Known, StandIn)):
        return value
    raise pickle.UnpicklingError(f"a {_kind(value)} is used as a key")


def _update(target: dict[Any, Any], items: list[Any]) -> None:
    if len(items) % 2:
        raise pickle.UnpicklingError("a dictionary has a key without a value")
    for key, value in zip(items[::2], items[1::2]):
        target[_as_key(key)] = value


_Step = Callable[..., None]


def _steps() -> dict[bytes, tuple[Callable[[Any], Any] | None, _Step]]:
    """Return, for each opcode, what reads its argument, if it has one, and what it does."""
    M = Machine
    actions: dict[str, _Step] = {
        **dict.fromkeys(("PROTO", "FRAME"), lambda m, _: None),
        "MARK": lambda m: m._stack.append(_MARK),
        "POP": lambda m: m._stack.pop(),  # a mark too
        "POP_MARK": lambda m: m._pop_mark(),
        "DUP": lambda m: m._stack.append(m._top()),
        "NONE": lambda m: m._stack.append(None),
        "NEWTRUE": lambda m: m._stack.append(True),
        "NEWFALSE": lambda m: m._stack.append(False),
        "EMPTY_LIST": lambda m: m._stack.append([]),
        "EMPTY_TUPLE": lambda m: m._stack.append(()),
        "EMPTY_DICT": lambda m: m._stack.append({}),
        "EMPTY_SET": lambda m: m._stack.append(set()),
        "LIST": lambda m: m._stack.append(m._pop_mark()),
        "TUPLE": lambda m: m._stack.append(tuple(m._pop_mark())),
        "TUPLE1": lambda m: m._pop_tuple(1),
        "TUPLE2": lambda m: m._pop_tuple(2),
        "TUPLE3": lambda m: m._pop_tuple(3),
        "FROZENSET": lambda m: m._stack.append(frozenset(map(_as_key, m._pop_mark()))),
        "DICT": M._dict,
        "APPEND": lambda m: m._append([m._pop()]),
        "APPENDS": lambda m: m._append(m._pop_mark()),
        "SETITEM": M._set_item,
        "SETITEMS": lambda m: m._set_items(m._pop_mark()),
        "ADDITEMS": M._add_items,
        **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), M._get),
        **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), M._put),
        "MEMOIZE": M._memoize,
        "GLOBAL": M._global,
        "STACK_GLOBAL": M._stack_global,
        "INST": M._inst,
        "OBJ": M._obj,
        **dict.fromkeys(("REDUCE", "NEWOBJ"), M._reduce),
        "NEWOBJ_EX": M._newobj_ex,
        "BUILD": M._build,
        "PERSID": M._persistent,
        "BINPERSID": lambda m: m._persistent(m._pop()),
        **dict.fromkeys(("EXT1", "EXT2", "EXT4"), M._extension),
        **dict.fromkeys(("NEXT_BUFFER", "READONLY_BUFFER"), M._buffer),
    }
    steps: dict[bytes, tuple[Callable[[Any], Any] | None, _Step]] = {}
    for opcode in pickletools.opcodes:
        reader = opcode.arg.reader if opcode.arg is not None else None
        steps[opcode.code.encode("latin1")] = (
            _read_string if opcode.name == "STRING" else reader,
            actions.get(opcode.name, M._push),
        )
    del steps[b"."]
    return steps


_STEPS = _steps()
