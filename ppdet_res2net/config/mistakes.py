"""The mistakes of a configuration, and how values are shown in messages: briefly, whatever a file contains."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterable
from typing import NamedTuple

from ppdet_res2net.errors import did_you_mean
from ppdet_res2net.ppdet_modules.tagged import Tagged
from res2net_runtime.texts import printable

__all__ = [
    "MAX_MISTAKES",
    "Layer",
    "Mistake",
    "Place",
    "Report",
    "TooManyMistakes",
    "clip",
    "describe",
    "dotted",
    "hint",
    "position",
    "show",
    "unknown_argument",
]

# A position in the configuration: keys, and list indices as text.
Place = tuple[str, ...]

MAX_MISTAKES = 20
_LONGEST_NAME = 100  # longer names are not compared with known ones, which takes time in proportion

_excerpt = reprlib.Repr()
_excerpt.maxstring = _excerpt.maxother = _excerpt.maxlong = 80
_excerpt.maxlevel = 3


def show(value: object) -> str:
    """Return a value as it reads in Python, cut to a length that fits a message."""
    if isinstance(value, Tagged):
        return f"!{clip(value.name)} {_excerpt.repr(value.kwargs)}"
    return _excerpt.repr(value)


def clip(word: object, longest: int = 100) -> str:
    """Return a text cut to a length that fits a message, without characters that disturb a terminal."""
    text = str(word)
    if len(text) > longest:
        text = f"{text[: longest // 2]}...{text[-longest // 2 :]}"
    return printable(text)


def position(key: str, values: list) -> int | None:
    """Return the index that a key of an override means in a list; None if the list has no such entry."""
    is_index = key.isdecimal() and len(key) <= len(str(len(values)))
    return int(key) if is_index and int(key) < len(values) else None


def dotted(place: Place) -> str:
    """Return a place as it is written after ``-o``."""
    return ".".join(map(clip, place))


# Other libraries' names for the losses of heads, such as loss_cls.
_OTHER_LOSS = re.compile(r"^loss|(cls|class|mask|focal).*loss|label_smooth", re.IGNORECASE)
_LOSSES = (
    " ppdet's heads have no such setting. Only the loss of boxes can be chosen, as BBoxHead.bbox_loss and "
    "RPNHead.loss_rpn_bbox; those of classes and masks are always cross entropy, without label smoothing."
)


def hint(word: object, known: Iterable[object]) -> str:
    """Return :func:`did_you_mean`, except for words that are too long to be a slip of the pen."""
    return did_you_mean(word, known) if len(str(word)) <= _LONGEST_NAME else ""


class Mistake(NamedTuple):
    """What is wrong at a place of the configuration."""

    place: Place
    text: str


class Layer(NamedTuple):
    """One source of settings: a file or an override.

    Attributes:
        label: Name of the source in messages.
        data: Settings of the source. List indices of an override appear as keys.
    """

    label: str
    data: dict


class TooManyMistakes(Exception):
    """Ends a check: nobody reads more messages than :data:`MAX_MISTAKES`, and each takes time."""


class Report:
    """The mistakes found so far, and whether the recipe is trusted to name any class.

    Args:
        trust: Whether the settings of classes that are not in the tables are accepted.
    """

    def __init__(self, trust: bool = False) -> None:
        self.trust = trust
        self.mistakes: list[Mistake] = []

    def add(self, place: Place, text: str) -> None:
        """Add a mistake.

        Raises:
            TooManyMistakes: There are :data:`MAX_MISTAKES` of them.
        """
        if len(self.mistakes) >= MAX_MISTAKES:
            raise TooManyMistakes
        self.mistakes.append(Mistake(place, text))

    def expect(self, place: Place, value: object, expected: str, meaning: str = "") -> None:
        """Add the mistake that ``value`` is not what was expected."""
        about = f" ({meaning})" if meaning else ""
        self.add(place, f"'{dotted(place)}' is {show(value)}; expected {expected}{about}.")


def unknown_argument(place: Place, argument: object, known: Iterable[str], report: Report) -> None:
    """Report that something has no argument of this name."""
    known = list(known)
    is_loss = bool(place) and str(place[-1]).endswith("Head") and _OTHER_LOSS.search(str(argument))
    advice = _LOSSES if is_loss else hint(argument, known) or f" It has: {', '.join(known) or 'no arguments'}."
    report.add((*place, str(argument)), f"'{dotted(place)}' has no argument '{clip(argument)}'.{advice}")


def describe(mistakes: list[Mistake], layers: list[Layer], there_are_more: bool) -> str:
    """Return the message about these mistakes, each with the source to correct."""
    lines = [f"{_origin(mistake.place, layers)}: {mistake.text}" for mistake in mistakes]
    if len(lines) == 1:
        return lines[0]
    count = f"more than {MAX_MISTAKES} mistakes; the first are" if there_are_more else f"{len(lines)} mistakes"
    return f"The configuration has {count}:\n" + "\n".join(f"  {line}" for line in lines)


def _origin(place: Place, layers: list[Layer]) -> str:
    """Return the label of the layer to correct: the last one that sets ``place``, or the deepest part of it."""
    return max(enumerate(layers), key=lambda item: (_depth(item[1].data, place), item[0]))[1].label


def _depth(node: object, place: Place) -> int:
    for depth, key in enumerate(place):
        if isinstance(node, Tagged):
            node = node.kwargs
        if isinstance(node, list) and position(key, node) is not None:
            node = node[int(key)]
        elif isinstance(node, dict) and key in map(str, node):
            node = next(value for name, value in node.items() if str(name) == key)
        else:
            return depth
    return len(place)
