"""Read YAML from elsewhere as plain data. What it stands for is limited before anything is built.

A few lines whose aliases refer to each other stand for more values than any memory holds, so an alias counts as all that it
stands for. The limits are checked on the parser's events, which need neither recursion nor memory.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator
from typing import Any

import yaml

from res2net_runtime.texts import clip

__all__ = ["MAX_BYTES", "MAX_LEVELS", "MAX_VALUES", "PlainYamlError", "YamlSizeError", "check_size", "load_plain_yaml"]

MAX_BYTES = 4_000_000
MAX_LEVELS = 20
MAX_VALUES = 100_000
# Python cannot print much longer ones or make floats of them, and PyYAML needs minutes for those in base 60 (1:59:59).
MAX_NUMBER_CHARACTERS = 200
_NUMBER = re.compile(r"[-+]?[.0-9][-+.0-9_:a-fA-FxX]*")

# PyYAML's binding of libyaml is ten times as fast; some builds lack it.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class PlainYamlError(ValueError):
    """The text is not YAML, is too large, or has a tag."""


class YamlSizeError(ValueError):
    """YAML stands for more than is read. The message is a phrase.

    Attributes:
        line: The line, from 1; 0 if the parser does not tell it.
    """

    def __init__(self, event: yaml.Event, problem: str) -> None:
        super().__init__(problem)
        self.line = _line_of(event)


def load_plain_yaml(data: bytes) -> Any:
    """Parse one YAML document into mappings, lists and scalars.

    Args:
        data: The document, in UTF-8 or UTF-16.

    Raises:
        PlainYamlError: The message is a sentence without the name of the file.
    """
    if len(data) > MAX_BYTES:
        raise PlainYamlError(f"It has {len(data)} bytes; the limit is {MAX_BYTES}.")
    try:
        check_size(_without_tags(yaml.parse(data, Loader=_Loader)), MAX_LEVELS, MAX_VALUES)
        return yaml.load(data, Loader=_Loader)
    except PlainYamlError:
        raise
    except YamlSizeError as error:
        raise PlainYamlError(f"Line {error.line}: {error}.") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"Line {mark.line + 1}" if mark else "It"
        raise PlainYamlError(f"{line} is not valid YAML: {clip(error.problem or error.context, 200)}.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # other bytes; dates and numbers that do not exist
        raise PlainYamlError(f"It is not valid YAML: {clip(' '.join(str(error).split()), 200)}.") from error
    except (ArithmeticError, AttributeError, LookupError, TypeError) as error:
        raise PlainYamlError(f"It is not valid YAML: {type(error).__name__}: {clip(str(error), 200)}.") from error


def check_size(events: Iterable[yaml.Event], max_levels: int, max_values: int) -> None:
    """Refuse YAML that is nested too deeply, or stands for too many values. An alias counts as all that it stands for.

    Args:
        events: What the parser finds.
        max_levels: How deep lists and mappings may be nested.
        max_values: How many scalars, lists and mappings there may be.

    Raises:
        YamlSizeError: There is more.
    """
    done: dict[str | None, tuple[int, int]] = {}  # values and levels behind each anchor
    unfinished = [_Part(None)]
    for event in events:
        if isinstance(event, yaml.CollectionStartEvent):
            unfinished.append(_Part(event.anchor))
            values, levels = 0, 0
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor in (part.anchor for part in unfinished):
                raise YamlSizeError(event, f"the alias *{clip(event.anchor)} is inside of what it stands for")
            values, levels = done.get(event.anchor, (1, 0))
        elif isinstance(event, yaml.ScalarEvent):
            if len(event.value) > MAX_NUMBER_CHARACTERS and _may_be_number(event):
                raise YamlSizeError(
                    event, f"a number has {len(event.value)} characters; at most {MAX_NUMBER_CHARACTERS} are read"
                )
            values, levels = 1, 0
            if event.anchor is not None:
                done[event.anchor] = values, levels
        elif isinstance(event, yaml.CollectionEndEvent):
            part = unfinished.pop()
            values, levels = part.values, part.levels
            if part.anchor is not None:
                done[part.anchor] = values, levels
        else:
            continue
        parent = unfinished[-1]
        parent.values += values
        parent.levels = max(parent.levels, levels + 1)
        if len(unfinished) - 1 + levels > max_levels:
            raise YamlSizeError(event, f"the values are nested more than {max_levels} deep")
        if parent.values > max_values:
            raise YamlSizeError(
                event, f"there are more than {max_values} values, if each alias counts as what it stands for"
            )


def _may_be_number(event: yaml.ScalarEvent) -> bool:
    is_text = event.tag is None and not event.implicit[0]  # in quotes
    return not is_text and _NUMBER.fullmatch(event.value) is not None


@dataclasses.dataclass
class _Part:
    """A list or mapping whose end has not come yet."""

    anchor: str | None
    values: int = 1
    levels: int = 1


def _without_tags(events: Iterable[yaml.Event]) -> Iterator[yaml.Event]:
    """Yield the events; refuse values with tags."""
    for event in events:
        tag = event.tag if isinstance(event, (yaml.ScalarEvent, yaml.CollectionStartEvent)) else None
        if tag not in (None, "!"):  # "!" is what PyYAML says of quoted text
            raise PlainYamlError(f"Line {_line_of(event)} has the tag {clip(tag)}; plain values are expected.")
        yield event


def _line_of(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 0
