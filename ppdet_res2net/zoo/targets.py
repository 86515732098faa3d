"""Where a tensor of a source goes."""

from __future__ import annotations

import dataclasses

__all__ = ["Target"]


@dataclasses.dataclass(frozen=True)
class Target:
    """Where a tensor goes.

    Attributes:
        name: Our name.
        is_transposed: Whether the matrix is stored as (out, in); Paddle stores (in, out).
    """

    name: str
    is_transposed: bool = False
