"""Checks, engine by engine, that an exported folder gives the eager model's results."""

from __future__ import annotations

import logging
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

from ppdet_res2net.errors import BackendError, ExportError
from res2net_runtime.backends.graphs import GraphError, UnknownOperatorError, check_graph
from res2net_runtime.engines import runs_to_verify

if TYPE_CHECKING:
    from res2net_runtime.model_folder import ModelFiles

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
    formats: Mapping[str, ModelFiles],
    precisions: Sequence[str],
    compare: Callable[[str, str], tuple[A, str]],
) -> dict[tuple[str, str], A]:
    """Compare an export with the eager model, in every format, engine and precision.

    Args:
        formats: The files of the export in each format. It was just written from the model, so engines may get graphs
            unchecked; a warning says if others will need ``--trust_graph`` for it.
        precisions: The precisions to compare; those that an engine does not offer are left out.
        compare: Runs the export with an engine in a precision; returns the agreement and the engine's description.

    Returns:
        The agreement of each engine and precision.

    Raises:
        ExportError: They differ by more than the tolerance, the export does not run, or no engine offers the precisions.
    """
    for name, files in formats.items():
        _check_graph(name, files)
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


def _check_graph(format_name: str, files: ModelFiles) -> None:
    try:
        check_graph(files, format_name)
    except UnknownOperatorError as error:
        logger.warning(
            "%s: %s. It comes from modules of your own. To run this model, pass --trust_graph (trust_graph=True).",
            files.model_path.name,
            error,
        )
    except GraphError as error:
        raise ExportError(
            f"The exported model cannot be run: in {files.model_path.name}, {error}. Report your Paddle version and "
            "configuration."
        ) from error
