"""The kinds of values that describe modules: their arguments, references to other modules, and whole sections."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from typing import Any

from ppdet_res2net.config.arguments import Arguments
from ppdet_res2net.config.class_settings import OptimizerSetting, ScheduleSetting
from ppdet_res2net.config.kinds import Kind, ListOf, Null, OneOf, Text
from ppdet_res2net.config.mistakes import Place, Report, clip, dotted, hint, show, unknown_argument
from ppdet_res2net.config.modules import ARGUMENTS, MODULES, NULLABLE_REFERENCES, PARTS, REFERENCES, roles_of
from ppdet_res2net.config.trust import refuse_class
from ppdet_res2net.ppdet_modules.registry import registered_classes, serializable_classes
from ppdet_res2net.ppdet_modules.tagged import Tagged

__all__ = ["ModuleSection", "module_arguments"]


@functools.cache
def module_arguments(name: str) -> Arguments:
    """Return the kind for the arguments of an allowed module, which must be in :data:`MODULES`."""
    module = MODULES[name]
    cls = registered_classes()[name]
    kinds: dict[str, Kind] = {
        **ARGUMENTS,
        **{argument: PartOf(part) for argument, part in PARTS.items()},
        **{argument: _reference(argument, role, cls) for argument, role in REFERENCES.items()},
        **module.arguments,
    }
    if name == "LearningRate":
        kinds["schedulers"] = ListOf(ScheduleSetting(), 1, 2)
    elif name == "OptimizerBuilder":
        kinds["optimizer"] = OptimizerSetting("optimizer")
        kinds["regularizer"] = OptimizerSetting("regularizer")
    return Arguments.of(name, cls, kinds, module.fixed, checks_missing=False)


def _reference(argument: str, role: str, cls: type) -> Kind:
    is_injected = argument in getattr(cls, "__inject__", ())
    parameter = inspect.signature(cls).parameters.get(argument)
    is_nullable = (
        argument in NULLABLE_REFERENCES
        or parameter is not None
        and role.startswith("mask")
        and parameter.default is None
    )
    reference = Reference(role, is_injected)
    return OneOf((reference, Null())) if is_nullable else reference


@dataclasses.dataclass(frozen=True)
class PartOf(Kind):
    """A mapping of the arguments of a module, from which its owner makes that module.

    Attributes:
        module: The module.
    """

    module: str
    expected = "a mapping of its arguments"

    def suits(self, value: object) -> bool:
        return isinstance(value, dict) or isinstance(value, Tagged) and value.name == self.module

    def read(self, value: Any, place: Place, report: Report) -> Any:
        if not self.suits(value):
            return self._refuse(value, place, report)
        arguments = module_arguments(self.module)
        if isinstance(value, Tagged):
            return Tagged(value.name, arguments.read_arguments(value.kwargs, place, report))
        return arguments.read_arguments(value, place, report)

    def part(self, value: object, key: str) -> tuple[Kind, object] | None:
        return module_arguments(self.module).part(value.kwargs if isinstance(value, Tagged) else value, key)


@dataclasses.dataclass(frozen=True)
class Reference(Kind):
    """The name of a module of some role; where ppdet allows it, also ``{name: Module, argument: value}``.

    Attributes:
        role: The role.
        may_have_arguments: Whether arguments may be given along with the name.
    """

    role: str
    may_have_arguments: bool

    @property
    def expected(self) -> str:
        what = "the name of a module" + (" or a mapping with its name" if self.may_have_arguments else "")
        return f"{what}: {', '.join(roles_of(self.role))}"

    def suits(self, value: object) -> bool:
        return isinstance(value, str) or self.may_have_arguments and isinstance(value, dict)

    def read(self, value: Any, place: Place, report: Report) -> Any:
        if isinstance(value, str):
            self._check_name(value, place, report)
            return value
        if not self.suits(value) or not isinstance(value.get("name"), str):
            return self._refuse(value, place, report)
        name = value["name"]
        if not self._check_name(name, place, report) or name not in MODULES:
            return value
        arguments = {key: part for key, part in value.items() if key != "name"}
        return {"name": name, **module_arguments(name).read_arguments(arguments, place, report)}

    def _check_name(self, name: str, place: Place, report: Report) -> bool:
        allowed = roles_of(self.role)
        if name in allowed or report.trust and name in registered_classes():
            return True
        if name not in registered_classes():
            report.add(
                place,
                f"'{dotted(place)}' is '{clip(name)}', but no module of that name is registered.{hint(name, allowed)}",
            )
        elif name in MODULES:
            report.add(
                place, f"'{dotted(place)}' is '{name}', which is no {self.role}. Expected one of {', '.join(allowed)}."
            )
        else:
            report.add(place, refuse_class(f"'{dotted(place)}' is '{name}'", allowed))
        return False

    def part(self, value: object, key: str) -> tuple[Kind, object] | None:
        if key == "name":
            return Text(), value.get("name") if isinstance(value, dict) else None
        if isinstance(value, dict) and value.get("name") in MODULES:
            return module_arguments(value["name"]).part(value, key)
        return None


@dataclasses.dataclass(frozen=True)
class ModuleSection(Kind):
    """The settings of a registered module under its name: a mapping of its arguments, or ``!Module {...}``.

    Attributes:
        name: The module.
    """

    name: str
    expected = "a mapping of its arguments ({} for none)"

    def suits(self, value: object) -> bool:
        return isinstance(value, (dict, Tagged))

    def read(self, value: Any, place: Place, report: Report) -> Any:
        if isinstance(value, dict):
            return self._read_arguments(self.name, value, place, report)
        if not isinstance(value, Tagged):
            return self._refuse(value, place, report)
        known = MODULES.keys() & serializable_classes().keys()
        allowed = (
            [name for name in known if MODULES[name].role == MODULES[self.name].role] if self.name in MODULES else []
        )
        if value.name not in allowed and not report.trust:
            report.add(place, f"'{dotted(place)}' is {show(value)}; expected {self.expected}.")
            return value
        if value.name in MODULES:  # the object is made from these arguments alone
            missing = [name for name in module_arguments(value.name).without_default if name not in value.kwargs]
            if missing:
                report.add(place, f"'{dotted(place)}': !{value.name} needs the arguments {', '.join(missing)}.")
        return Tagged(value.name, self._read_arguments(value.name, value.kwargs, place, report))

    @staticmethod
    def _read_arguments(name: str, arguments: dict, place: Place, report: Report) -> dict:
        if name in MODULES:
            return module_arguments(name).read_arguments(arguments, place, report)
        cls = registered_classes().get(name) or serializable_classes()[name]
        parameters = inspect.signature(cls).parameters
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
            for argument in arguments:
                if argument not in parameters:
                    unknown_argument(place, argument, parameters, report)
        return arguments

    def part(self, value: object, key: str) -> tuple[Kind, object] | None:
        if self.name not in MODULES:
            return None
        return module_arguments(self.name).part(value.kwargs if isinstance(value, Tagged) else value, key)
