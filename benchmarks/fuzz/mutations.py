"""Random changes of bytes, text and trees of values, which the fuzzers share."""

from __future__ import annotations

import copy
import random
import re
from collections.abc import Sequence
from typing import Any

__all__ = ["change_bytes", "change_text", "change_tree", "list_places"]

_LONGEST = 200_000
_SHARED_CHARACTERS = (
    "\0",
    "\x01",
    "\x1b",
    "\x7f",
    "\x85",
    "\u2028",
    "\ud800",
    "\ufeff",
    "é",
    "e\u0301",
    "中",
    "<",
    "&",
    '"',
)


def change_bytes(data: bytes, generator: random.Random) -> bytes:
    """Change, remove, insert, move or repeat a few bytes, or cut the rest off."""
    place, length = generator.randrange(len(data) + 1), generator.choice((1, 1, 2, 4, 9, 40))
    action = generator.randrange(7)
    if action == 0:
        return data[:place] + generator.randbytes(length) + data[place + length :]
    if action == 1:
        return data[:place] + data[place + length :]
    if action == 2:
        return (
            data[:place]
            + generator.choice((b"\0", b"\xff", b"\xc3", b"\x1b", b"\xed\xa0\x80", b"\r", b"\t"))
            + data[place:]
        )
    if action == 3:
        other = generator.randrange(len(data) + 1)
        return data[:place] + data[other : other + length] + data[place:]
    if action == 4:
        return data[:place] + data[place : place + length] * generator.choice((2, 3, 500)) + data[place:]
    if action == 5 and generator.random() < 0.3:
        return data[:place]
    return data[:place] + bytes([generator.randrange(256)]) + data[place + 1 :]


def change_text(text: str, token: str, others: Sequence[str], generator: random.Random) -> str:
    """Replace a token by another text, or by another token.

    Args:
        text: What is changed.
        token: Regular expression of what is replaced.
        others: Texts to take its place.
        generator: Decides.
    """
    found = list(re.finditer(token, text))
    if not found:
        return text + generator.choice(others)
    one = generator.choice(found)
    new = generator.choice(found)[0] if generator.random() < 0.2 else generator.choice(others)
    return (text[: one.start()] + new + text[one.end() :])[:_LONGEST]


def list_places(tree: Any) -> list[tuple[Any, Any]]:
    """Return every container below a tree with each of its keys."""
    places: list[tuple[Any, Any]] = []
    waiting = [tree]
    while waiting:
        container = waiting.pop()
        for key in range(len(container)) if isinstance(container, list) else list(container):
            places.append((container, key))
            if isinstance(container[key], (dict, list)):
                waiting.append(container[key])
    return places


def change_tree(tree: Any, atoms: Sequence[Any], generator: random.Random) -> None:
    """Change one place of a tree of lists and mappings: its value, its key, or how often it is there."""
    places = list_places(tree)
    if not places:
        return
    container, key = generator.choice(places)
    action = generator.randrange(10)
    if action == 0:
        del container[key]
    elif action == 1 and isinstance(container, list):
        container[key:key] = [copy.deepcopy(container[key]) for _ in range(generator.choice((1, 1, 2, 30)))]
    elif action == 1:
        container[generator.choice(places)[1]] = copy.deepcopy(container[key])
    elif action == 2:
        container[key] = generator.choice(
            ([container[key]], {"x": container[key]}, [[container[key]]], str(container[key]))
        )
    elif action in (3, 4):
        other, other_key = generator.choice(places)
        container[key] = copy.deepcopy(other[other_key])
    elif action == 5 and isinstance(container[key], str):
        container[key] = _change_word(container[key], generator)
    elif action == 5 and type(container[key]) in (int, float):
        number = generator.choice((0, -1, 1, 2, -container[key], container[key] + 1, 1e9, 2**31, 2**63, 1e300, 0.5))
        container[key] = generator.choice((number, float(container[key]), str(container[key])))
    elif action == 6 and isinstance(container, dict):
        container[_change_word(str(key), generator)] = container.pop(key)
    else:
        container[key] = copy.deepcopy(generator.choice(atoms))


def _change_word(word: str, generator: random.Random) -> str:
    place = generator.randrange(len(word) + 1)
    change = generator.choice((*_SHARED_CHARACTERS, "..", "/", "\\", " ", "a" * 300))
    return generator.choice((word[:place] + change + word[place:], word.upper(), word * 2, word[:place], f" {word} "))
