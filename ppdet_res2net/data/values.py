"""Ids, flags and numbers as tools spell them: 1, 1.0 and "1" are the same whole number."""

from __future__ import annotations

import json
import math
import re
from typing import TypeGuard

__all__ = ["MAX_ID", "is_text", "parse_text", "show", "to_category_name", "to_flag", "to_number", "to_whole_number"]

MAX_ID = 2**63 - 1  # ids of images travel in arrays of int64
# Beyond it, a float stands for several whole numbers.
MAX_EXACT_FLOAT = 2**53
SHOWN_CHARACTERS = 60

_WHOLE = re.compile(r"[+-]?[0-9]{1,30}(\.0*)?")
_NUMBER = re.compile(r"[+-]?([0-9]{1,30}(\.[0-9]{0,30})?|\.[0-9]{1,30})([eE][+-]?[0-9]{1,3})?")
_FALSE, _TRUE = ("", "0", "0.0", "false", "no", "null", "none"), ("1", "1.0", "true", "yes")


def to_whole_number(value: object) -> int | None:
    """Return a whole number that is spelled exactly, as a number or as text: 7, 7.0, "7", " 7.0 "; otherwise None."""
    if type(value) is int:
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) <= MAX_EXACT_FLOAT else None
    if isinstance(value, str) and _WHOLE.fullmatch(text := value.strip()):
        return int(text.partition(".")[0])
    return None


def to_number(value: object) -> float | None:
    """Return a finite number, given as a number or as text; otherwise None."""
    if isinstance(value, str) and _NUMBER.fullmatch(text := value.strip()):
        value = float(text)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:  # a whole number of hundreds of digits
        return None
    return number if math.isfinite(number) else None


def to_flag(value: object) -> bool | None:
    """Return a flag in one of its spellings, or None: 0, 1, true, false, null, and their text forms; no value is False."""
    if value is None:
        return False
    if isinstance(value, str):
        text = value.strip().lower()
        return True if text in _TRUE else False if text in _FALSE else None
    if isinstance(value, (bool, int, float)) and value in (0, 1):
        return bool(value)
    return None


def is_text(value: object) -> TypeGuard[str]:
    """Return whether a name is text that is not blank, and that a file system and a terminal can take."""
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        return False
    return value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)


def to_category_name(value: object) -> str | None:
    """Return the name of a category, which may be a whole number: digits are often called 0 to 9. Else None."""
    name = str(value) if type(value) is int and abs(value) <= MAX_ID else value
    return name if is_text(name) else None


def parse_text(value: object) -> object:
    """Return what a list or object that was written as text holds, as tables do: ``"[1, 2]"``; everything else as it is."""
    if not isinstance(value, str) or not value.lstrip().startswith(("[", "{")):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):  # not JSON: the caller says that this is text
        return value


def show(value: object) -> str:
    """Write a value of a file for a message: like ``repr``, but never long."""
    if isinstance(value, (list, dict)) and len(value) > 8:
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, int) and abs(value) > 10**SHOWN_CHARACTERS:
        return "a whole number of more than 60 digits"
    try:
        text = repr(value if not isinstance(value, str) else value[:SHOWN_CHARACTERS])
    except (RecursionError, ValueError):
        return f"a {type(value).__name__}"
    return text if len(text) <= 2 * SHOWN_CHARACTERS else f"{text[: 2 * SHOWN_CHARACTERS]}..."
