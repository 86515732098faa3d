"""Intervals of training: a number of epochs, or text with its unit such as ``200 steps``."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from ppdet_res2net.config.kinds import Kind, Whole
from ppdet_res2net.config.mistakes import Place, Report

__all__ = ["Interval", "interval_in_steps"]

_WITH_UNIT = re.compile(r"([0-9]{1,9}) *(epoch|step)s?")
_COUNT = Whole(1)


@dataclasses.dataclass(frozen=True)
class Interval(Kind):
    """A number of epochs, or text such as ``3 epochs`` and ``200 steps``."""

    expected = "a number of epochs such as 2, or of steps such as '200 steps'"

    def suits(self, value: object) -> bool:
        return isinstance(value, str) or _COUNT.suits(value)

    def read(self, value: Any, place: Place, report: Report) -> Any:
        if isinstance(value, str):
            match = _WITH_UNIT.fullmatch(value.strip())
            return value if match and int(match[1]) else self._refuse(value, place, report)
        attempt = Report()
        count = _COUNT.read(value, place, attempt)
        return self._refuse(value, place, report) if attempt.mistakes else count


def interval_in_steps(value: int | str, steps_per_epoch: int) -> int:
    """Return the steps of an interval that :class:`Interval` has read."""
    if isinstance(value, str):
        match = _WITH_UNIT.fullmatch(value.strip())
        assert match is not None  # the kind has refused all others
        count, unit = int(match[1]), match[2]
        return count if unit == "step" else count * steps_per_epoch
    return value * steps_per_epoch
