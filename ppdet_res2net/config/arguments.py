"""The arguments of a class that a recipe names: those of its constructor whose values a table knows.

Whatever is not in the tables is refused by name. For a trusted recipe, any class that ppdet has registered may be named, with
any of its arguments; what the tables do know is still checked.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping

from ppdet_res2net.config.kinds import Kind, MappingOf, Switch
from ppdet_res2net.config.mistakes import Place, Report, dotted
from ppdet_res2net.config.modules import REFERENCES
from ppdet_res2net.config.rules import RULES
from ppdet_res2net.config.trust import TRUST

__all__ = ["Arguments"]


@dataclasses.dataclass(frozen=True)
class Arguments(MappingOf):
    """The arguments of a class: those of its constructor whose values are known.

    Attributes:
        fixed: Arguments that a recipe may not set, with the reason.
        others: Arguments of the constructor that no table knows; only a trusted recipe may set them.
        without_default: Arguments that the constructor needs.
    """

    fixed: Mapping[str, str] = dataclasses.field(default_factory=dict)
    others: frozenset[str] = frozenset()
    without_default: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        name: str,
        function: Callable,
        kinds: Mapping[str, Kind],
        fixed: Mapping[str, str] | None = None,
        checks_missing: bool = True,
    ) -> Arguments:
        """Return the kind for the arguments of ``function``, a class called ``name``. ``kinds`` knows their values."""
        parameters = [p for p in inspect.signature(function).parameters.values() if p.name != "self"]
        fixed = fixed or {}
        settings, others = {}, set(fixed)
        for parameter in parameters:
            if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL) or parameter.name in fixed:
                continue
            if parameter.name in kinds:
                settings[parameter.name] = kinds[parameter.name]
            elif isinstance(parameter.default, bool):
                settings[parameter.name] = Switch()
            else:
                others.add(parameter.name)
        needed = tuple(p.name for p in parameters if p.default is p.empty and p.name in settings)
        return cls(
            settings,
            required=needed if checks_missing else (),
            owner=name,
            rule=RULES.get(name),
            fixed=fixed,
            others=frozenset(others),
            without_default=needed,
        )

    @property
    def required_references(self) -> list[str]:
        """Arguments without a default that refer to a module."""
        return [name for name in self.without_default if name in REFERENCES]

    def read_arguments(self, arguments: dict, place: Place, report: Report) -> dict:
        unsettable = [name for name in arguments if name in self.others]
        known = {name: value for name, value in arguments.items() if name not in self.others}
        read = super().read_arguments(known, place, report)
        for name in unsettable:
            read[name] = arguments[name]
            if not report.trust:
                reason = self.fixed.get(name, "is not among the settings that this package knows")
                report.add(
                    (*place, name), f"'{dotted((*place, name))}' cannot be set by a recipe: it {reason}. {TRUST}"
                )
        return {name: read[name] for name in arguments}
