"""Checks, engine by engine, that an exported folder gives the eager model's results."""

from __future__ import annotations

import logging
import textwrap
from collections.abc import Callable, Collection, Sequence
from typing import Protocol, TypeVar

from ppdet_res2net.errors import BackendError, ExportError
from res2net_runtime.engines import runs_to_verify

__all__ = ["Agreement", "verify_engines"]

logger = logging.getLogger(__name__)

_COLUMNS = 116  # of the lines of a report


class Agreement(Protocol):
    """How far two models agree, with a text that gives the figures and their limits."""

    @property
    def within_tolerance(self) -> bool:
        """Whether both give the same results up to rounding."""


A = TypeVar("A", bound=Agreement)


def verify_engines(
    formats: Collection[str],
    precisions: Sequence[str],
    compare: Callable[[str, str], tuple[A, str]],
) -> dict[tuple[str, str], A]:
    """Compare an export with the eager model, in every format, engine and precision.

    Args:
        formats: The formats of the export.
        precisions: The precisions to compare; those that an engine does not offer are left out.
        compare: Runs the export with an engine in a precision; returns the agreement and the engine's description.

    Returns:
        The agreement of each engine and precision.

    Raises:
        ExportError: They differ by more than the tolerance, the export does not run, or no engine offers the precisions.
    """
    agreements: dict[tuple[str, str], A] = {}
    for engine, precision in runs_to_verify(formats, precisions):
        try:
            agreement, description = compare(engine, precision)
        except BackendError as error:
            raise ExportError(f"The exported model cannot be run: {error}") from error
        if not agreement.within_tolerance:
            advice = (
                "Do not use it; report your Paddle version and configuration."
                if precision == "fp32"
                else "Rounding changes too much of this model: run it in fp32."
            )
            raise ExportError(
                f"The exported model does not give the eager model's results with {engine} in {precision}: "
                f"{agreement}. {advice}"
            )
        lines = textwrap.fill(str(agreement), _COLUMNS, initial_indent="    ", subsequent_indent="    ")
        logger.info("verified with %s:\n%s", description, lines)
        agreements[engine, precision] = agreement
    if not agreements:
        raise ExportError(f"No engine runs the formats of the export in {', '.join(precisions)}. Add fp32.")
    return agreements
