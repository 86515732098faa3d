"""What a recipe may name unless it is trusted, and the message for everything else."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["TRUST", "is_allowed_class", "refuse_class"]

TRUST = "If you trust this recipe as you trust a program, pass --trust_recipe (in Python: trust_recipe=True)."


def is_allowed_class(name: str) -> bool:
    """Return whether any recipe may name a class of this name, wherever such a class is expected."""
    from ppdet_res2net.config.modules import MODULES  # slow: needs Paddle
    from ppdet_res2net.config.readers import DATASETS, SCHEDULES, TRANSFORMS

    return any(name in table for table in (MODULES, DATASETS, SCHEDULES, TRANSFORMS["detector"]))


def refuse_class(what: str, allowed: Sequence[str]) -> str:
    """Return the message for a class that exists but is not on the allow list."""
    return (
        f"{what}, which a recipe may not name: it is not among the classes that are known to run no code. Allowed: "
        f"{', '.join(allowed)}. {TRUST}"
    )
