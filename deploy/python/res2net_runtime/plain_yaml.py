"""Read YAML from elsewhere as plain data. What it stands for is limited before anything is built.

A few lines whose aliases refer to each other stand for more values than any memory holds, so an alias counts as all that it
stands for. The limits are checked on the parser's events, which need neither recursion nor memory.
"""

from __future__ import annotations

from typing import Any

import yaml

from res2net_runtime.texts import printable

__all__ = ["MAX_BYTES", "MAX_DEPTH", "MAX_VALUES", "PlainYamlError", "clip", "load_plain_yaml"]

MAX_BYTES = 4_000_000
MAX_DEPTH = 20
MAX_VALUES = 100_000
_SHORT_LIST = 8

# PyYAML's binding of libyaml is ten times as fast; some builds lack it.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class PlainYamlError(ValueError):
    """The text is not YAML, is too large, or has a tag."""


def clip(value: object, length: int = 60) -> str:
    """Return the beginning of a value for a message, without characters that a terminal would not show."""
    if isinstance(value, int) and value.bit_length() > 200:  # Python refuses to print very long numbers
        return f"a number of {value.bit_length()} bits"
    text = value if isinstance(value, str) else _outline(value)
    return printable(text if len(text) <= length else text[:length] + "...")


def _outline(value: object) -> str:
    """Return ``repr`` of a scalar or of a short list, and only the size of other lists and mappings."""
    if isinstance(value, dict):
        return f"a mapping of {len(value)} keys" if value else "{}"
    if isinstance(value, (list, tuple)):
        is_short = len(value) <= _SHORT_LIST and not any(isinstance(one, (dict, list, tuple)) for one in value)
        return f"[{', '.join(clip(one, 20) for one in value)}]" if is_short else f"a list of {len(value)} values"
    return repr(value)


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
        _check_events(data)
        return yaml.load(data, Loader=_Loader)
    except PlainYamlError:
        raise
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"Line {mark.line + 1}" if mark else "It"
        raise PlainYamlError(f"{line} is not valid YAML: {clip(error.problem or error.context, 200)}.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # other bytes; dates and numbers that do not exist
        raise PlainYamlError(f"It is not valid YAML: {clip(' '.join(str(error).split()), 200)}.") from error
    except (ArithmeticError, AttributeError, LookupError, TypeError) as error:
        raise PlainYamlError(f"It is not valid YAML: {type(error).__name__}: {clip(str(error), 200)}.") from error


def _check_events(data: bytes) -> None:
    """Refuse tags, and what is nested too deeply or stands for too many values."""
    sizes: dict[str | None, int] = {}  # of anchors, as far as they are complete
    counts = [0]  # values at each level that is open
    anchors: list[str | None] = []
    for event in yaml.parse(data, Loader=_Loader):
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.AliasEvent):
            if event.anchor in anchors:
                raise PlainYamlError(f"Line {line}: the alias *{clip(event.anchor)} is inside of what it stands for.")
            counts[-1] += sizes.get(event.anchor, 1)
        elif isinstance(event, (yaml.ScalarEvent, yaml.CollectionStartEvent)):
            if event.tag not in (None, "!"):  # "!" is what PyYAML says of quoted text
                raise PlainYamlError(f"Line {line} has the tag {clip(event.tag)}; plain values are expected.")
            if isinstance(event, yaml.ScalarEvent):
                counts[-1] += 1
                if event.anchor is not None:
                    sizes[event.anchor] = 1
            else:
                counts.append(1)
                anchors.append(event.anchor)
        elif isinstance(event, yaml.CollectionEndEvent):
            size, anchor = counts.pop(), anchors.pop()
            counts[-1] += size
            if anchor is not None:
                sizes[anchor] = size
        if len(anchors) > MAX_DEPTH:
            raise PlainYamlError(f"Line {line}: values are nested more than {MAX_DEPTH} deep.")
        if counts[-1] > MAX_VALUES:
            raise PlainYamlError(f"Line {line}: it stands for more than {MAX_VALUES} values; an alias counts in full.")
