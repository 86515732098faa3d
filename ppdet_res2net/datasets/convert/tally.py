"""Counts what a conversion could not carry over, by kind, and remembers where."""

from __future__ import annotations

from collections.abc import Iterator

from res2net_runtime.texts import printable

__all__ = ["Tally"]

SHOWN_PLACES = 3


class Tally:
    """Kinds of things, and the places of each. A kind reads well after its count: "shapes of type point"."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._places: dict[str, list[str]] = {}

    def add(self, kind: str, where: str) -> None:
        """Count one more thing of a kind."""
        self._counts[kind] = self._counts.get(kind, 0) + 1
        places = self._places.setdefault(kind, [])
        if len(places) < SHOWN_PLACES:
            places.append(printable(where))

    def __getitem__(self, kind: str) -> int:
        return self._counts.get(kind, 0)

    def __iter__(self) -> Iterator[str]:
        return iter(self._counts)

    @property
    def total(self) -> int:
        """How many things of all kinds there are."""
        return sum(self._counts.values())

    def lines(self) -> list[str]:
        """Return one line for each kind: the count, the kind and the first places."""
        return [f"{count} {kind}: {self._list_places(kind)}" for kind, count in self._counts.items()]

    def _list_places(self, kind: str) -> str:
        more = self[kind] - len(self._places[kind])
        return "; ".join(self._places[kind]) + (f"; and {more} more" if more else "")
