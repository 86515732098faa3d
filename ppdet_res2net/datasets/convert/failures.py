"""Collects what is wrong with single files, so that people see all of it at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ppdet_res2net.errors import DatasetError

__all__ = ["Failures"]

SHOWN = 20


class Failures:
    """Files that cannot be converted, each with the first thing that is wrong with it."""

    def __init__(self) -> None:
        self._errors: list[DatasetError] = []

    @contextmanager
    def collect(self) -> Iterator[None]:
        """Remember a :class:`DatasetError` of the block instead of raising it."""
        try:
            yield
        except DatasetError as error:
            self._errors.append(error)

    def raise_if_any(self) -> None:
        """Raise what was remembered.

        Raises:
            DatasetError: A single error as it was; or one with a line for each of the first ones, and their number.
        """
        if not self._errors:
            return
        if len(self._errors) == 1:
            raise self._errors[0]
        lines = [f"\n- {error}" for error in self._errors[:SHOWN]]
        more = len(self._errors) - len(lines)
        if more:
            lines.append(f"\n- and {more} more")
        raise DatasetError(f"{len(self._errors)} files cannot be converted:{''.join(lines)}") from self._errors[0]
