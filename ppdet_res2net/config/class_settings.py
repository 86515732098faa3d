"""The kinds of values that name a class of the reader or the schedule: datasets, transforms, schedules, optimizers."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Mapping
from typing import Any

from ppdet_res2net.config.arguments import Arguments
from ppdet_res2net.config.keys import READER_KEYS
from ppdet_res2net.config.kinds import Anything, Kind, MappingOf, Text
from ppdet_res2net.config.mistakes import Place, Report, clip, dotted, hint, position, show
from ppdet_res2net.config.readers import (
    DATASETS,
    OPTIMIZERS,
    PARAM_GROUPS,
    REGULARIZERS,
    SCHEDULES,
    TRANSFORM_ARGUMENTS,
    TRANSFORMS,
    UNUSABLE_TRANSFORMS,
)
from ppdet_res2net.config.trust import refuse_class
from ppdet_res2net.data.transforms import OWN_TRANSFORMS
from ppdet_res2net.ppdet_modules.registry import serializable_classes
from ppdet_res2net.ppdet_modules.tagged import Tagged

__all__ = ["DatasetSetting", "OptimizerSetting", "ScheduleSetting", "TransformList", "reader_setting"]


@dataclasses.dataclass(frozen=True)
class Named(Kind):
    """A part that names its class: ``!Class {...}`` or ``{name: Class, ...}``."""

    what = "class"

    @property
    def expected(self) -> str:
        return f"a {self.what}: '!Name {{...}}' or '{{name: Name, ...}}', one of {', '.join(self.table())}"

    def table(self) -> Mapping[str, Mapping[str, Kind]]:
        """Return the allowed classes with the kinds of their arguments."""
        raise NotImplementedError

    def classes(self) -> Mapping[str, type]:
        """Return all classes that a trusted recipe may name."""
        raise NotImplementedError

    def suits(self, value: object) -> bool:
        return isinstance(value, (dict, Tagged))

    def read(self, value: Any, place: Place, report: Report) -> Any:
        if not self.suits(value):
            return self._refuse(value, place, report)
        named = Tagged.from_value(value)
        if named is None:
            report.add(
                place,
                f"'{dotted(place)}' does not say which {self.what} it is. Add 'name: ...', one of {', '.join(self.table())}.",
            )
            return value
        classes = self.classes()
        if named.name not in classes:
            report.add(
                (*place, "name"),
                f"'{dotted(place)}': there is no {self.what} '{clip(named.name)}'.{hint(named.name, self.table())}",
            )
            return value
        if named.name not in self.table() and not report.trust:
            report.add(place, refuse_class(f"'{dotted(place)}' is a {named.name}", list(self.table())))
            return value
        read = self.arguments(named.name).read_arguments(named.kwargs, place, report)
        return Tagged(named.name, read) if isinstance(value, Tagged) else {"name": named.name, **read}

    def arguments(self, name: str) -> Arguments:
        """Return the kind of a class's arguments."""
        return _arguments_of(name, self.classes()[name], self)

    def part(self, value: object, key: str) -> tuple[Kind, object] | None:
        if key == "name":
            return Text(), value.get("name") if isinstance(value, dict) else None
        named = Tagged.from_value(value)
        if named is None or named.name not in self.table() or named.name not in self.classes():
            return None
        return self.arguments(named.name).part(named.kwargs, key)


@functools.cache
def _arguments_of(name: str, cls: type, setting: Named) -> Arguments:
    return Arguments.of(name, cls, setting.table().get(name, {}))


@dataclasses.dataclass(frozen=True)
class ScheduleSetting(Named):
    """A part of the learning rate's schedule."""

    what = "learning rate schedule"

    def table(self) -> Mapping[str, Mapping[str, Kind]]:
        return SCHEDULES

    def classes(self) -> Mapping[str, type]:
        return serializable_classes(_is_schedule)


def _is_schedule(name: str, cls: type) -> bool:
    from ppdet.optimizer import optimizer

    return hasattr(optimizer, name)


@dataclasses.dataclass(frozen=True)
class DatasetSetting(Named):
    """A dataset."""

    what = "dataset"

    def table(self) -> Mapping[str, Mapping[str, Kind]]:
        return DATASETS

    def classes(self) -> Mapping[str, type]:
        return serializable_classes(_is_dataset)


def _is_dataset(name: str, cls: type) -> bool:
    return hasattr(cls, "parse_dataset")


@dataclasses.dataclass(frozen=True)
class OptimizerSetting(Kind):
    """The mapping from which ppdet makes an optimizer or a regularizer: ``type``, and the arguments of that type.

    Attributes:
        argument: ``optimizer`` or ``regularizer``.
    """

    argument: str

    @property
    def expected(self) -> str:
        example = (
            "{type: Momentum, momentum: 0.9}" if self.argument == "optimizer" else "{type: L2, factor: 0.0001}, or null"
        )
        return f"a mapping such as {example}"

    @property
    def _is_optimizer(self) -> bool:
        return self.argument == "optimizer"

    def suits(self, value: object) -> bool:
        # ppdet takes null, false and 'None' for no regularizer; PaddleDetection's recipes have all of them.
        return (
            isinstance(value, dict) or not self._is_optimizer and (value is None or value is False or value == "None")
        )

    def read(self, value: Any, place: Place, report: Report) -> Any:
        if not self.suits(value):
            return self._refuse(value, place, report)
        if not isinstance(value, dict):
            return value
        table = OPTIMIZERS if self._is_optimizer else REGULARIZERS
        kind = value.get("type")
        if not isinstance(kind, str) or kind not in table:
            if report.trust and isinstance(kind, str):
                return value
            exists = isinstance(kind, str) and self._is_optimizer and _exists(kind)
            problem = "which a recipe may not choose" if exists else "which Paddle does not have"
            advice = (hint(kind, table) if not exists else "") or f" Expected one of {', '.join(table)}."
            report.add((*place, "type"), f"'{dotted(place)}.type' is {show(kind)}, {problem}.{advice}")
            return value
        arguments = {name: part for name, part in value.items() if name != "type"}
        return {"type": kind, **self._arguments(kind).read_arguments(arguments, place, report)}

    def _arguments(self, kind: str) -> Arguments | MappingOf:
        return _optimizer_arguments(kind) if self._is_optimizer else _regularizer_arguments(kind)

    def part(self, value: object, key: str) -> tuple[Kind, object] | None:
        if key == "type":
            return Text(), value.get("type") if isinstance(value, dict) else None
        kind = value.get("type") if isinstance(value, dict) else None
        table = OPTIMIZERS if self._is_optimizer else REGULARIZERS
        return self._arguments(kind).part(value, key) if isinstance(kind, str) and kind in table else None


@functools.cache
def _optimizer_arguments(kind: str) -> Arguments:
    arguments = Arguments.of(kind, optimizer_class(kind), OPTIMIZERS[kind])
    return dataclasses.replace(arguments, settings={**arguments.settings, "param_groups": PARAM_GROUPS})


@functools.cache
def _regularizer_arguments(kind: str) -> MappingOf:
    return MappingOf(REGULARIZERS[kind], required=tuple(REGULARIZERS[kind]), owner=kind)


def optimizer_class(name: str) -> Any:
    """Return Paddle's optimizer of this name; None if the installed Paddle has none."""
    import paddle

    return getattr(paddle.optimizer, name, None)


def _exists(name: str) -> bool:
    return name == "AdamWDL" or inspect.isclass(optimizer_class(name))


@dataclasses.dataclass(frozen=True)
class TransformList(Kind):
    """A reader's list of transforms: ``[{Name: {argument: value}}, ...]``.

    Attributes:
        is_of_classifier: Whether they are those of a classifier's reader.
    """

    is_of_classifier: bool = False
    expected = "a list of transforms, such as [Decode: {}, RandomFlip: {prob: 0.5}]"

    def suits(self, value: object) -> bool:
        return isinstance(value, list)

    def _classes(self) -> Mapping[str, type]:
        if self.is_of_classifier:
            from ppdet_res2net.data.classification.transforms import BATCH_TRANSFORMS, SAMPLE_TRANSFORMS

            return {**SAMPLE_TRANSFORMS, **BATCH_TRANSFORMS}
        return {**serializable_classes(_is_transform), **OWN_TRANSFORMS}

    def read(self, value: Any, place: Place, report: Report) -> Any:
        if not isinstance(value, list):
            return self._refuse(value, place, report)
        classes = self._classes()
        return [self._read_one(part, classes, (*place, str(index)), report) for index, part in enumerate(value)]

    def _read_one(self, transform: object, classes: Mapping[str, type], place: Place, report: Report) -> object:
        if not isinstance(transform, dict) or len(transform) != 1:
            report.expect(place, transform, "one transform and its arguments: 'Decode: {}'")
            return transform
        ((name, arguments),) = transform.items()
        table = list(self._table())
        if name not in classes:
            text = f"'{dotted(place)}': there is no transform '{clip(name)}'.{hint(name, table)}"
            report.add((*place, str(name)), text)
        elif name in UNUSABLE_TRANSFORMS and not self.is_of_classifier:
            reason = UNUSABLE_TRANSFORMS[name]
            report.add((*place, name), f"'{dotted(place)}' is {name}, which cannot be used: {reason}. Remove it.")
        elif name not in table and not report.trust:
            report.add((*place, name), refuse_class(f"'{dotted(place)}' is {name}", table))
        elif not isinstance(arguments, (dict, type(None))):
            report.expect((*place, name), arguments, f"its arguments ('{name}: {{}}' for none)")
        else:
            kind = _transform_arguments(name, classes[name], self)
            return {name: kind.read_arguments(arguments or {}, (*place, name), report)}
        return transform

    def _table(self) -> Mapping[str, Mapping[str, Kind]]:
        return TRANSFORMS["classifier" if self.is_of_classifier else "detector"]

    def part(self, value: object, key: str) -> tuple[Kind, object] | None:
        if not isinstance(value, list):
            return None
        index = position(key, value)
        return None if index is None else (TransformEntry(self), value[index])


def _is_transform(name: str, cls: type) -> bool:
    from ppdet.data import transform

    return hasattr(transform, name)


@functools.cache
def _transform_arguments(name: str, cls: type, owner: TransformList) -> Arguments:
    kinds: dict[str, Kind] = {**TRANSFORM_ARGUMENTS, **owner._table().get(name, {})}
    kinds.update(dict.fromkeys(("transforms", "transforms1", "transforms2"), TransformList()))
    return Arguments.of(name, cls, kinds)


@dataclasses.dataclass(frozen=True)
class TransformEntry(Anything):
    """One entry of a list of transforms, as the way to its arguments."""

    owner: TransformList

    def part(self, value: object, key: str) -> tuple[Kind, object] | None:
        classes = self.owner._classes()
        if key not in self.owner._table() or key not in classes:
            return None
        return _transform_arguments(key, classes[key], self.owner), value.get(key) if isinstance(value, dict) else None


@dataclasses.dataclass(frozen=True)
class ReaderSetting(MappingOf):
    """The settings of a whole reader."""

    expected = "a mapping of its arguments ({} for none)"


def reader_setting(is_of_classifier: bool) -> ReaderSetting:
    """Return the kind of a whole reader's settings."""
    transforms = TransformList(is_of_classifier)
    return ReaderSetting({**READER_KEYS, "sample_transforms": transforms, "batch_transforms": transforms})
