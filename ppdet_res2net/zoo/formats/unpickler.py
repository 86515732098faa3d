"""A pickle machine that builds plain data only, and never imports or calls what a pickle names.

A pickle is a program for a stack machine. Python's own machine imports each name and calls it; this one knows the same
opcodes, but a name becomes a :class:`Known` object, found in a table of this package, or ends the reading. The rare opcodes are
decoded by :mod:`pickletools` of the standard library.

Python's machine in C is five times as fast even with a ``find_class`` of our own. It cannot be used: it reserves memory for
whatever index or length a file names, hashes keys of any depth, which can crash, and lets a pickle change attributes.
"""

from __future__ import annotations

import codecs
import dataclasses
import pickle
import pickletools
import struct
from collections.abc import Callable
from typing import IO, Any, NoReturn

from ppdet_res2net.zoo.formats.limits import Limits
from ppdet_res2net.zoo.formats.window import Window

__all__ = ["Known", "Machine", "Opaque", "Shortcut", "StandIn"]


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


# Runs many opcodes at once, as the machine would, where an object has got its state. It takes the position in the window, the
# stack above the last mark, the memo, and how many opcodes there may be. It returns the position after them, and their number.
Shortcut = Callable[[int, list[Any], list[Any], int], tuple[int, int]]

_TEXT = frozenset((str,))
# What may be a key or an element of a set. Others may have hashes that take forever, or recurse.
_PLAIN = (str, bytes, int, float, bool, complex, type(None))

_UINT4, _INT4 = struct.Struct("<I").unpack_from, struct.Struct("<i").unpack_from
# The opcodes of tensors, which Machine runs without a call
_MEMOIZE = pickle.MEMOIZE[0]
_BINPUT = pickle.BINPUT[0]
_LONG_BINPUT = pickle.LONG_BINPUT[0]
_BINGET = pickle.BINGET[0]
_LONG_BINGET = pickle.LONG_BINGET[0]
_MARK = pickle.MARK[0]
_EMPTY_TUPLE = pickle.EMPTY_TUPLE[0]
_TUPLE = pickle.TUPLE[0]
_TUPLE1 = pickle.TUPLE1[0]
_TUPLE2 = pickle.TUPLE2[0]
_TUPLE3 = pickle.TUPLE3[0]
_BININT = pickle.BININT[0]
_BININT1 = pickle.BININT1[0]
_BININT2 = pickle.BININT2[0]
_NEWFALSE = pickle.NEWFALSE[0]
_SHORT_BINUNICODE = pickle.SHORT_BINUNICODE[0]
_BINUNICODE = pickle.BINUNICODE[0]
_BINBYTES = pickle.BINBYTES[0]
_SHORT_BINBYTES = pickle.SHORT_BINBYTES[0]
_REDUCE = pickle.REDUCE[0]
_BUILD = pickle.BUILD[0]
_BINPERSID = pickle.BINPERSID[0]
_STOP = pickle.STOP[0]


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
        make_shortcut: Returns the machine's :data:`Shortcut`.
    """

    def __init__(
        self,
        file: IO[bytes],
        find: Callable[[str, str], Known],
        find_storage: Callable[[tuple[Any, ...]], object] | None,
        limits: Limits,
        make_shortcut: Callable[[Window], Shortcut] | None = None,
    ) -> None:
        self._source, self._find, self._find_storage, self._limits = Window(file, limits), find, find_storage, limits
        # What lies above the last mark. A mark puts it aside, so nothing can be taken from below a mark.
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []
        self._memo: list[Any] | _MemoWithGaps = []
        self._shortcut = make_shortcut(self._source) if make_shortcut is not None else None

    def load(self) -> object:
        """Run the pickle.

        Returns:
            Numbers, texts, bytes, lists, tuples, dictionaries, sets, :class:`Opaque`, :class:`Known` and stand-ins.

        Raises:
            EOFError: The pickle is cut off.
            pickle.UnpicklingError: It is damaged, or does what weight files do not need.
        """
        try:
            return self._run()
        except IndexError as error:
            raise pickle.UnpicklingError("its stack is empty, or has no mark") from error

    def _run(self) -> object:
        # A tensor takes some 30 opcodes. They are written out here, the most frequent first, because calling a function takes
        # longer than most of them do. All other opcodes are in _STEPS.
        source, stack, below, memo = self._source, self._stack, self._below, self._memo
        data, position, end = source.at(0)
        shortcut = self._shortcut
        while True:
            for count in range(1, self._limits.objects_left() + 1):
                if position >= end:
                    data, position, end = source.at(position)
                code = data[position]
                position += 1
                if code == _MEMOIZE:
                    memo.append(stack[-1])
                elif code == _BINPUT:
                    if data[position] == len(memo):
                        memo.append(stack[-1])
                    else:
                        memo = self._store(data[position], stack[-1])
                    position += 1
                elif code == _LONG_BINPUT:
                    (index,) = _UINT4(data, position)
                    if index == len(memo):
                        memo.append(stack[-1])
                    else:
                        memo = self._store(index, stack[-1])
                    position += 4
                elif code == _BINGET:
                    try:
                        stack.append(memo[data[position]])
                    except LookupError:
                        raise _not_stored(data[position]) from None
                    position += 1
                elif code == _LONG_BINGET:
                    (index,) = _UINT4(data, position)
                    try:
                        stack.append(memo[index])
                    except LookupError:
                        raise _not_stored(index) from None
                    position += 4
                elif code == _BININT1:
                    stack.append(data[position])
                    position += 1
                elif code == _MARK:
                    below.append(stack)
                    stack = []
                elif code == _TUPLE:
                    items = tuple(stack)
                    stack = below.pop()
                    stack.append(items)
                elif code == _SHORT_BINUNICODE or code == _BINUNICODE or code == _BINBYTES or code == _SHORT_BINBYTES:
                    if code == _SHORT_BINUNICODE or code == _SHORT_BINBYTES:
                        size = data[position]
                        position += 1
                    else:
                        (size,) = _UINT4(data, position)
                        position += 4
                    if position + size <= source.size:
                        content = data[position : position + size]
                        position += size
                    else:
                        source.position = position
                        content = source.read(size)
                        data, position, end = source.at(source.position)
                    is_text = code == _SHORT_BINUNICODE or code == _BINUNICODE
                    stack.append(str(content, "utf-8", "surrogatepass") if is_text else content)
                elif code == _REDUCE:
                    arguments = stack.pop()
                    stack[-1] = self._made(stack[-1], arguments)
                elif code == _TUPLE1:
                    stack[-1] = (stack[-1],)
                elif code == _NEWFALSE:
                    stack.append(False)
                elif code == _TUPLE3:
                    third, second = stack.pop(), stack.pop()
                    stack[-1] = (stack[-1], second, third)
                elif code == _BININT2:
                    stack.append(data[position] | data[position + 1] << 8)
                    position += 2
                elif code == _BUILD:
                    state = stack.pop()
                    self._complete(stack[-1], state)
                    if shortcut is not None and isinstance(memo, list):
                        position, more = shortcut(position, stack, memo, self._limits.objects_left() - count)
                        if more:
                            self._limits.count_object(count + more)
                            break
                        data, position, end = source.at(position)
                elif code == _BININT:
                    stack.append(_INT4(data, position)[0])
                    position += 4
                elif code == _BINPERSID:
                    stack[-1] = self._stored_outside(stack[-1])
                elif code == _EMPTY_TUPLE:
                    stack.append(())
                elif code == _TUPLE2:
                    second = stack.pop()
                    stack[-1] = (stack[-1], second)
                elif code == _STOP:
                    self._limits.count_object(count)
                    source.leave(position)
                    return stack.pop()
                elif code in _STEPS:
                    reader, step = _STEPS[code]
                    self._stack, source.position = stack, position
                    if reader is None:
                        step(self)
                    else:
                        step(self, reader(source))
                    stack, memo = self._stack, self._memo
                    data, position, end = source.at(source.position)
                else:
                    raise pickle.UnpicklingError(f"it has an unknown opcode {bytes([code])!r}")
            else:
                raise self._limits.too_many_objects()
            data, position, end = source.at(position)

    def _push(self, value: object) -> None:
        self._stack.append(value)

    def _pop(self) -> Any:
        return self._stack.pop()

    def _pop_or_unmark(self) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self._stack = self._below.pop()

    def _pop_mark(self) -> list[Any]:
        items = self._stack
        self._stack = self._below.pop()
        return items

    # Names, calls and states

    def _name(self, module: object, name: object) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise pickle.UnpicklingError("it names something by a value that is not text")
        self._push(self._find(module, name))

    def _global(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self._name(module, name)

    def _stack_global(self) -> None:
        name, module = self._pop(), self._pop()
        self._name(module, name)

    def _made(self, function: object, arguments: object, options: object = None) -> object:
        if not isinstance(function, Known) or function.make is None:
            what = function.name if isinstance(function, Known) else type(function).__name__
            raise pickle.UnpicklingError(f"it calls {what}, which is no function")
        if not isinstance(arguments, tuple):
            raise pickle.UnpicklingError(f"it calls {function.name} with a {type(arguments).__name__}")
        made = function.make(*arguments)
        if options and not isinstance(made, Opaque):
            raise pickle.UnpicklingError(f"it calls {function.name} with named arguments")
        self._limits.add_values(made, function.name)
        return made

    def _newobj(self) -> None:
        arguments, kind = self._pop(), self._pop()
        self._push(self._made(kind, arguments))

    def _newobj_ex(self) -> None:
        options, arguments, kind = self._pop(), self._pop(), self._pop()
        self._push(self._made(kind, arguments, options))

    def _inst(self, argument: str) -> None:
        arguments = tuple(self._pop_mark())
        self._global(argument)
        self._push(self._made(self._pop(), arguments))

    def _obj(self) -> None:
        items = self._pop_mark()
        if not items:
            raise pickle.UnpicklingError("it creates an object without a class")
        self._push(self._made(items[0], tuple(items[1:])))

    def _complete(self, target: object, state: object) -> None:
        if isinstance(target, StandIn):
            target.with_state(state)
        elif not isinstance(
            target, (Opaque, dict)
        ):  # a dictionary's attributes are not used: torch keeps versions there
            raise pickle.UnpicklingError(f"it sets the state of a {_kind(target)}")

    def _stored_outside(self, reference: object) -> object:
        if self._find_storage is None or not isinstance(reference, tuple):
            raise pickle.UnpicklingError("it refers to something outside the file")
        return self._find_storage(reference)

    def _extension(self, code: int) -> NoReturn:
        raise pickle.UnpicklingError(f"it uses the extension code {code} of a program")

    def _buffer(self) -> NoReturn:
        raise pickle.UnpicklingError("it refers to a buffer outside the file")

    # Containers

    def _append(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, list):
            target.extend(items)
        elif not isinstance(target, Opaque):
            raise pickle.UnpicklingError(f"it appends to a {_kind(target)}")

    def _set_items(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, dict):
            _update(target, items)
        elif not isinstance(target, Opaque):
            raise pickle.UnpicklingError(f"it sets entries of a {_kind(target)}")

    def _set_item(self) -> None:
        value, key = self._pop(), self._pop()
        self._set_items([key, value])

    def _add_items(self) -> None:
        items, target = self._pop_mark(), self._stack[-1]
        if isinstance(target, set):
            target.update(map(_as_key, items))
        elif not isinstance(target, Opaque):
            raise pickle.UnpicklingError(f"it adds to a {_kind(target)}")

    def _dict(self) -> None:
        made: dict[Any, Any] = {}
        _update(made, self._pop_mark())
        self._push(made)

    # Memo

    def _store(self, index: int, value: object) -> list[Any] | _MemoWithGaps:
        """Store a value at any place, and return the memo."""
        if isinstance(self._memo, list) and not 0 <= index < len(self._memo):
            self._memo = _MemoWithGaps(enumerate(self._memo))
        self._memo[index] = value
        return self._memo

    def _put(self, index: int) -> None:
        self._store(index, self._stack[-1])

    def _get(self, index: int) -> None:
        memo = self._memo
        if not (0 <= index < len(memo) if isinstance(memo, list) else index in memo):
            raise _not_stored(index)
        self._push(memo[index])


class _MemoWithGaps(dict[int, Any]):
    """The memo of a pickle that does not store under 0, 1, 2, ... in this order."""

    def append(self, value: object) -> None:
        """Store a value as MEMOIZE does."""
        self[len(self)] = value


def _not_stored(index: int) -> pickle.UnpicklingError:
    return pickle.UnpicklingError(f"it refers to value {index}, which it has not stored")


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
    keys = items[::2]
    target.update(zip(keys if _TEXT.issuperset(map(type, keys)) else map(_as_key, keys), items[1::2]))


_Step = Callable[..., None]


def _steps() -> dict[int, tuple[Callable[[Any], Any] | None, _Step]]:
    """Return, for each opcode that ``Machine._run`` leaves to others, how its argument is read, if any, and what it does."""
    M = Machine
    actions: dict[str, _Step] = {
        **dict.fromkeys(("PROTO", "FRAME"), lambda m, _: None),
        "POP": M._pop_or_unmark,
        "POP_MARK": lambda m: m._pop_mark(),
        "DUP": lambda m: m._push(m._stack[-1]),
        "NONE": lambda m: m._push(None),
        "NEWTRUE": lambda m: m._push(True),
        "EMPTY_LIST": lambda m: m._push([]),
        "EMPTY_DICT": lambda m: m._push({}),
        "EMPTY_SET": lambda m: m._push(set()),
        "LIST": lambda m: m._push(m._pop_mark()),
        "FROZENSET": lambda m: m._push(frozenset(map(_as_key, m._pop_mark()))),
        "DICT": M._dict,
        "APPEND": lambda m: m._append([m._pop()]),
        "APPENDS": lambda m: m._append(m._pop_mark()),
        "SETITEM": M._set_item,
        "SETITEMS": lambda m: m._set_items(m._pop_mark()),
        "ADDITEMS": M._add_items,
        "GET": M._get,
        "PUT": M._put,
        "GLOBAL": M._global,
        "STACK_GLOBAL": M._stack_global,
        "INST": M._inst,
        "OBJ": M._obj,
        "NEWOBJ": M._newobj,
        "NEWOBJ_EX": M._newobj_ex,
        "PERSID": lambda m, reference: m._push(m._stored_outside(reference)),
        **dict.fromkeys(("EXT1", "EXT2", "EXT4"), M._extension),
        **dict.fromkeys(("NEXT_BUFFER", "READONLY_BUFFER"), M._buffer),
    }
    steps: dict[int, tuple[Callable[[Any], Any] | None, _Step]] = {}
    for opcode in pickletools.opcodes:
        reader = opcode.arg.reader if opcode.arg is not None else None
        steps[ord(opcode.code)] = (
            _read_string if opcode.name == "STRING" else reader,
            actions.get(opcode.name, M._push),
        )
    return steps


_STEPS = _steps()
