"""The interface of an inference engine, and the options that it is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from res2net_runtime.errors import BackendError

if TYPE_CHECKING:
    from res2net_runtime.model_folder import ModelFiles

__all__ = ["TRUST_GRAPH_OPTION", "Backend", "EngineOptions", "NetworkFolder", "check_outputs"]

# --trust_graph of every command that runs exported networks, for ``add_argument``.
TRUST_GRAPH_OPTION: dict[str, Any] = {
    "action": "store_true",
    "help": "pass the network to the engine unchecked; for a model with modules of your own, and only for one that you trust "
    "as you trust a program",
}


class NetworkFolder(Protocol):
    """What an engine needs to know about an exported folder, a detector's or a classifier's."""

    @property
    def path(self) -> Path:
        """The folder."""

    @property
    def formats(self) -> Mapping[str, ModelFiles]:
        """The files of the network in each format that the folder holds."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the network's outputs, in order."""

    @property
    def least_side_px(self) -> int:
        """Least height and width of the network's input."""


class Backend(Protocol):
    """A loaded network. It need not be thread-safe: :class:`~res2net_runtime.Predictor` runs it for one caller at a time."""

    @property
    def engine(self) -> str:
        """The engine: a key of :data:`~res2net_runtime.backends.BACKENDS`, or ``"eager"`` for a network not exported."""

    @property
    def description(self) -> str:
        """The engine, its version, precision and device, for logs."""

    def run(self, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the outputs, by the names in ``infer_cfg.yml``, for a batch as ``collate`` makes it.

        Raises:
            BackendError: The engine refuses the model or the input.
        """

    def close(self) -> None:
        """Free the network."""


@dataclass(frozen=True)
class EngineOptions:
    """How to run a network.

    Attributes:
        engine: A key of :data:`~res2net_runtime.backends.BACKENDS`.
        format: The format of the network to load, one that the folder holds.
        precision: One of :data:`~res2net_runtime.backends.PRECISIONS`.
        device: ``"cpu"``, ``"gpu"`` or ``"gpu:<index>"``.
        cpu_threads: Threads on a CPU.
        may_simulate: Whether bfloat16 may be simulated if the CPU lacks it, which is many times slower.
        trust_graph: Whether the graph goes to the engine unchecked.
        winograd: Whether OpenVINO may compute large convolutions with Winograd's algorithm, in float32.
    """

    engine: str
    format: str
    precision: str
    device: str
    cpu_threads: int
    may_simulate: bool
    trust_graph: bool = False
    winograd: bool = True


def check_outputs(expected: Sequence[str], actual: Sequence[str], model_path: Path) -> None:
    """Check that a loaded network has the outputs that ``infer_cfg.yml`` names.

    Raises:
        BackendError: An output is missing.
    """
    missing = [name for name in expected if name not in actual]
    if missing:
        raise BackendError(
            f"'{model_path}' does not have the outputs {', '.join(missing)}, which infer_cfg.yml names; it has "
            f"{', '.join(actual)}. Export the model again."
        )
