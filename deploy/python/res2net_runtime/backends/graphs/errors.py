"""What a check of a graph raises, and a helper for it."""

from __future__ import annotations

from collections.abc import Collection

from res2net_runtime.texts import clip

__all__ = ["GraphError", "UnknownOperatorError", "check_count", "check_known"]

_MAX_ELEMENTS = 2**33  # of one array: far more than any weight of a detector


class GraphError(ValueError):
    """A graph is damaged, or holds something that the exporter does not write; the engines turn this into a BackendError."""


class UnknownOperatorError(GraphError):
    """A graph has an operator that is not in the table of those that only compute."""


def check_known(operator: object, known: Collection[str]) -> None:
    """Refuse an operator that the exporter does not write."""
    if not isinstance(operator, str) or operator not in known:
        raise UnknownOperatorError(
            f"its operator '{clip(operator)}' is not one that export_model.py writes, and operators may read files or run "
            "code"
        )


def check_count(dims: object, *, may_be_open: bool = False) -> int:
    """Return how many elements an array of these dimensions has.

    Args:
        dims: A list of whole numbers.
        may_be_open: Whether a negative number stands for any multiple of it.
    """
    if not isinstance(dims, (list, tuple)) or len(dims) > 9:
        raise GraphError(f"it has an array of the shape {clip(dims)}")
    count = 1
    for dim in dims:
        if type(dim) is not int or dim < 0 and not may_be_open:
            raise GraphError(f"it has an array of the shape {clip(list(dims))}")
        count *= abs(dim)
        if count > _MAX_ELEMENTS:
            raise GraphError(f"it has an array of the shape {clip(list(dims))}, which no memory holds")
    return count
