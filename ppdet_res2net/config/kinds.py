"""The kinds of values that settings take: types, ranges, lengths, and how a value outside of them is described.

A kind reads a value: it returns it, with exact floats such as ``3.0`` as integers where whole numbers are expected, or reports
what is wrong and what is expected. The tables of settings (``keys.py``, ``modules.py``, ``readers.py``) are made of kinds.
"""

from __future__ import annotations

import dataclasses
import datetime
import math
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ppdet_res2net.config.mistakes import Place, Report, dotted, position, show, unknown_argument

__all__ = [
    "Anything",
    "Kind",
    "ListOf",
    "MappingOf",
    "Null",
    "Number",
    "OneOf",
    "PlainMapping",
    "Switch",
    "Text",
    "Whole",
    "nullable",
]

# Larger numbers overflow the integers of Paddle's kernels, or take all memory.
LARGEST_WHOLE = 2**31 - 1
LARGEST_NUMBER = 1e9
LONGEST_TEXT = 4096  # as long as a path may be


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of values.

    Attributes:
        meaning: What the setting is, in one line, for messages.
    """

    meaning: str = dataclasses.field(default="", kw_only=True)

    @property
    def expected(self) -> str:
        """The values in words: ``a whole number of 1 or more``."""
        raise NotImplementedError

    def suits(self, value: object) -> bool:
        """Return whether ``value`` has the right type, whatever it contains."""
        raise NotImplementedError

    def read(self, value: Any, place: Place, report: Report) -> Any:
        """Return ``value``, normalised; or report what is wrong with it."""
        raise NotImplementedError

    @property
    def takes_text(self) -> bool:
        """Whether any text is a value, so that it counts as it is typed, and not as YAML would read it."""
        return False

    def part(self, value: object, key: str) -> tuple[Kind, object] | None:
        """Return the kind of a part of ``value`` and the part itself; None if such values have no part of that name."""
        return None

    def _refuse(self, value: object, place: Place, report: Report) -> object:
        report.expect(place, value, self.expected, self.meaning)
        return value


@dataclasses.dataclass(frozen=True)
class Anything(Kind):
    """Any value: for settings that the user vouches for."""

    expected = "anything"

    def suits(self, value: object) -> bool:
        return True

    def read(self, value: Any, place: Place, report: Report) -> Any:
        return value


@dataclasses.dataclass(frozen=True)
class Null(Kind):
    """Null, that is no value."""

    expected = "null"

    def suits(self, value: object) -> bool:
        return value is None

    def read(self, value: Any, place: Place, report: Report) -> Any:
        return value if value is None else self._refuse(value, place, report)


@dataclasses.dataclass(frozen=True)
class Switch(Kind):
    """True or false."""

    expected = "true or false"

    def suits(self, value: object) -> bool:
        return isinstance(value, bool)

    def read(self, value: Any, place: Place, report: Report) -> Any:
        return value if isinstance(value, bool) else self._refuse(value, place, report)


@dataclasses.dataclass(frozen=True)
class Number(Kind):
    """A finite number between two limits.

    Attributes:
        low, high: The limits; None: :data:`LARGEST_NUMBER`, with its sign.
        above, below: Whether the limit itself is excluded.
        as_float: Whether integers become floats, for constructors that refuse them.
    """

    low: float | None = None
    high: float | None = None
    above: bool = False
    below: bool = False
    as_float: bool = False
    _what = "a number"
    _largest = LARGEST_NUMBER

    @property
    def expected(self) -> str:
        low, high = (None if limit is None else f"{limit:.12g}" for limit in (self.low, self.high))
        if low is None:
            return self._what if high is None else f"{self._what} {'below' if self.below else 'up to'} {high}"
        if high is None:
            return f"{self._what} above {low}" if self.above else f"{self._what} of {low} or more"
        if not self.above and not self.below:
            return f"{self._what} from {low} to {high}"
        first = f"above {low}" if self.above else f"of {low} or more"
        return f"{self._what} {first} and {'below' if self.below else 'at most'} {high}"

    def suits(self, value: object) -> bool:
        return isinstance(value, (int, float)) and not isinstance(value, bool)

    def read(self, value: Any, place: Place, report: Report) -> Any:
        if not self.suits(value) or not math.isfinite(value) and isinstance(value, float):
            return self._refuse(value, place, report)
        limit = self._broken_limit(value)
        if limit:
            about = f" ({self.meaning})" if self.meaning else ""
            report.add(place, f"'{dotted(place)}' is {show(value)}; it must be {limit}{about}.")
            return value
        return float(value) if self.as_float else value

    def _broken_limit(self, value: float) -> str:
        """Return what a number must be that is outside of the limits; "" for one inside."""
        low = -self._largest if self.low is None else self.low
        high = self._largest if self.high is None else self.high
        if value < low or self.above and value == low:
            return f"above {low:.12g}" if self.above else f"{low:.12g} or more"
        if value > high or self.below and value == high:
            return f"below {high:.12g}" if self.below else f"{high:.12g} or less"
        return ""


@dataclasses.dataclass(frozen=True)
class Whole(Number):
    """A whole number between two limits. ``3.0`` and ``1e3`` are whole numbers, too; they become integers.

    Attributes:
        choices: The allowed numbers; empty: all between the limits.
        unlimited: A number outside of the limits that stands for no limit, such as -1.
    """

    choices: tuple[int, ...] = ()
    unlimited: int | None = None
    _what = "a whole number"
    _largest = LARGEST_WHOLE

    @property
    def expected(self) -> str:
        return f"one of {', '.join(map(str, self.choices))}" if self.choices else super().expected

    def read(self, value: Any, place: Place, report: Report) -> Any:
        if isinstance(value, float):
            if not value.is_integer():
                return self._refuse(value, place, report)
            value = int(value)
        if self.unlimited is not None and self.suits(value) and value == self.unlimited:
            return value
        if self.choices and (not self.suits(value) or value not in self.choices):
            return self._refuse(value, place, report)
        return super().read(value, place, report)


@dataclasses.dataclass(frozen=True)
class Text(Kind):
    """Text.

    Attributes:
        choices: The allowed texts; empty: any.
    """

    choices: tuple[str, ...] = ()

    @property
    def expected(self) -> str:
        return f"one of {', '.join(self.choices)}" if self.choices else "text"

    @property
    def takes_text(self) -> bool:
        return True

    def suits(self, value: object) -> bool:
        return isinstance(value, str)

    def read(self, value: Any, place: Place, report: Report) -> Any:
        if isinstance(value, (int, float, datetime.date)) and not self.choices:
            return _ask_for_quotes(self, value, place, report)
        if not isinstance(value, str):
            return self._refuse(value, place, report)
        if self.choices and value not in self.choices:
            return self._refuse(value, place, report)
        if len(value) > LONGEST_TEXT:
            report.add(
                place,
                f"'{dotted(place)}' has {len(value)} characters; at most {LONGEST_TEXT} are accepted. Shorten it.",
            )
        elif any(unicodedata.category(character) in ("Cc", "Cs") for character in value):
            report.add(
                place,
                f"'{dotted(place)}' is {show(value)}, which contains a control character or half of a surrogate pair. "
                "Remove it.",
            )
        return value


def _ask_for_quotes(kind: Kind, value: object, place: Place, report: Report) -> object:
    """Report that YAML has made something else of a text, such as a number."""
    about = f" ({kind.meaning})" if kind.meaning else ""
    report.add(
        place,
        f"'{dotted(place)}' is {show(value)}; expected {kind.expected}{about}. If it is meant as text, put it into quotes: "
        "YAML reads some words as numbers, dates, or true and false.",
    )
    return value


@dataclasses.dataclass(frozen=True)
class ListOf(Kind):
    """A list.

    Attributes:
        element: Kind of its elements.
        shortest, longest: Limits of its length.
        rising: Whether each element must be larger than the one before.
        ordered: Whether no element may be smaller than the one before.
    """

    element: Kind
    shortest: int = 0
    longest: int = 1000
    rising: bool = False
    ordered: bool = False

    @property
    def expected(self) -> str:
        if self.shortest == self.longest:
            return f"a list of {self.shortest}, each {self.element.expected}"
        at_least = f" of at least {self.shortest}" if self.shortest else ""
        return f"a list{at_least}, each {self.element.expected}"

    def suits(self, value: object) -> bool:
        return isinstance(value, list)

    def read(self, value: Any, place: Place, report: Report) -> Any:
        if not isinstance(value, list):
            return self._refuse(value, place, report)
        if not self.shortest <= len(value) <= self.longest:
            limits = f"{self.shortest}" if self.shortest == self.longest else f"{self.shortest} to {self.longest}"
            about = f" ({self.meaning})" if self.meaning else ""
            report.add(place, f"'{dotted(place)}' has {len(value)} entries; expected {limits}{about}.")
            return value
        before = len(report.mistakes)
        read = [self.element.read(part, (*place, str(index)), report) for index, part in enumerate(value)]
        if self.rising and len(report.mistakes) == before and any(a >= b for a, b in zip(read, read[1:])):
            report.add(place, f"'{dotted(place)}' is {show(value)}; each entry must be larger than the one before.")
        if self.ordered and len(report.mistakes) == before and any(a > b for a, b in zip(read, read[1:])):
            report.add(place, f"'{dotted(place)}' is {show(value)}; expected the smaller number first.")
        return read

    def part(self, value: object, key: str) -> tuple[Kind, object] | None:
        if not isinstance(value, list):
            return None
        index = position(key, value)
        return None if index is None else (self.element, value[index])


@dataclasses.dataclass(frozen=True)
class OneOf(Kind):
    """A value of one of several kinds, of which at most one suits a given type."""

    kinds: tuple[Kind, ...]

    @property
    def expected(self) -> str:
        return " or ".join(kind.expected for kind in self.kinds)

    @property
    def takes_text(self) -> bool:
        return all(kind.takes_text or isinstance(kind, Null) for kind in self.kinds)

    def suits(self, value: object) -> bool:
        return any(kind.suits(value) for kind in self.kinds)

    def read(self, value: Any, place: Place, report: Report) -> Any:
        for kind in self.kinds:
            if kind.suits(value):
                return kind.read(value, place, report)
        if isinstance(value, (int, float, datetime.date)) and any(isinstance(kind, Text) for kind in self.kinds):
            return _ask_for_quotes(self, value, place, report)
        return self._refuse(value, place, report)

    def part(self, value: object, key: str) -> tuple[Kind, object] | None:
        return next((found for kind in self.kinds if kind.suits(value) and (found := kind.part(value, key))), None)


def nullable(kind: Kind) -> OneOf:
    """Return the kind whose values are those of ``kind``, and null."""
    return OneOf((kind, Null()), meaning=kind.meaning)


@dataclasses.dataclass(frozen=True)
class MappingOf(Kind):
    """A mapping with known keys.

    Attributes:
        settings: Kind of each key's value.
        required: Keys that must be there.
        owner: What the required keys belong to, for the message; None: the place.
        rule: A check of the mapping as a whole, called if each value is right: it returns what is wrong, or None.
    """

    settings: Mapping[str, Kind]
    required: Sequence[str] = ()
    owner: str | None = None
    rule: Callable[[Mapping], str | None] | None = None
    expected = "a mapping"

    def suits(self, value: object) -> bool:
        return isinstance(value, dict)

    def read(self, value: Any, place: Place, report: Report) -> Any:
        if not isinstance(value, dict):
            return self._refuse(value, place, report)
        return self.read_arguments(value, place, report)

    def read_arguments(self, arguments: dict, place: Place, report: Report) -> dict:
        """Read the values of a mapping that is known to be one."""
        before = len(report.mistakes)
        read = {}
        for name, part in arguments.items():
            if name in self.settings:
                read[name] = self.settings[name].read(part, (*place, str(name)), report)
            else:
                read[name] = part
                unknown_argument(place, name, self.settings, report)
        missing = [repr(name) for name in self.required if name not in arguments]
        if missing:
            subject = f"{self.owner} needs" if self.owner else "it needs"
            plural = "s" if len(missing) > 1 else ""
            report.add(place, f"'{dotted(place)}': {subject} the argument{plural} {', '.join(missing)}.")
        if self.rule is not None and len(report.mistakes) == before:
            problem = self.rule(read)
            if problem is not None:
                report.add(place, f"'{dotted(place)}': {problem}")
        return read

    def part(self, value: object, key: str) -> tuple[Kind, object] | None:
        if key not in self.settings:
            return None
        return self.settings[key], value.get(key) if isinstance(value, dict) else None


@dataclasses.dataclass(frozen=True)
class PlainMapping(Kind):
    """A mapping of text to any plain data, for settings that another check looks into."""

    expected = "a mapping"

    def suits(self, value: object) -> bool:
        return isinstance(value, dict)

    def read(self, value: Any, place: Place, report: Report) -> Any:
        return value if isinstance(value, dict) else self._refuse(value, place, report)
