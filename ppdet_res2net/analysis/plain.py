"""Dataclasses as plain data for JSON, and back, checked against their annotations."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from typing import Any, TypeVar

from ppdet_res2net.data.values import show
from ppdet_res2net.errors import DatasetError

__all__ = ["from_plain", "to_plain"]

T = TypeVar("T")


def to_plain(value: Any) -> Any:
    """Return dataclasses as dicts, and everything in them as it is."""
    if dataclasses.is_dataclass(value):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: to_plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [to_plain(one) for one in value] if value and not isinstance(value[0], (int, float, str)) else value
    return value


def from_plain(cls: type[T], content: object, source: str) -> T:
    """Return plain data as a dataclass.

    Keys that the class lacks are left out: a later version may have written them.

    Args:
        cls: The dataclass. Its fields are dataclasses, lists, dicts with text as keys, numbers, text, and None.
        content: What ``json.load`` gave.
        source: Name of the file, for messages.

    Raises:
        DatasetError: Something is missing or of another type.
    """
    found: T = _read(cls, content, "", source)
    return found


def _read(kind: Any, value: Any, place: str, source: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return _read_fields(kind, value, place, source)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType:
        if value is None and type(None) in arguments:
            return None
        return _read(arguments[0], value, place, source)
    if origin is list and isinstance(value, list):
        return [_read(arguments[0], one, f"{place}[{index}]", source) for index, one in enumerate(value)]
    if origin is dict and isinstance(value, dict):
        return {key: _read(arguments[1], one, f"{place}.{key}", source) for key, one in value.items()}
    if kind is float and type(value) is int:
        return float(value)
    if origin is not None or type(value) is not kind:
        raise _unlike(place, f"expected {getattr(origin or kind, '__name__', kind)}, got {show(value)}", source)
    return value


def _read_fields(cls: Any, value: Any, place: str, source: str) -> Any:
    if not isinstance(value, dict):
        raise _unlike(place, f"expected an object, got {show(value)}", source)
    found = {}
    for field, kind in _fields(cls):
        if field.name in value:
            found[field.name] = _read(kind, value[field.name], f"{place}.{field.name}", source)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise _unlike(f"{place}.{field.name}", "it is missing", source)
    return cls(**found)


@functools.cache
def _fields(cls: Any) -> list[tuple[dataclasses.Field[Any], Any]]:
    kinds = typing.get_type_hints(cls)
    return [(field, kinds[field.name]) for field in dataclasses.fields(cls)]


def _unlike(place: str, problem: str, source: str) -> DatasetError:
    return DatasetError(f"'{source}' is not a report of this program: {place.lstrip('.') or 'its content'}: {problem}.")
