"""Inference engines behind one small interface: a batch of arrays in, the network's named outputs out."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np

from res2net_runtime.errors import BackendError
from res2net_runtime.model_folder import ModelFolder

__all__ = ["BACKENDS", "PRECISIONS", "Backend", "SteppingDownBackend", "create_backend"]

logger = logging.getLogger(__name__)

# Name -> the precisions that it offers. All are Paddle Inference: its own kernels, oneDNN's, and TensorRT's.
BACKENDS = {
    "paddle": ("fp32",),
    "onednn": ("fp32", "bf16"),
    "tensorrt": ("fp32", "fp16"),
}
PRECISIONS = ("fp32", "bf16", "fp16")

# Batches that an engine may refuse before it is given up, if it has not run a single one.
_FAILURES_TO_GIVE_UP = 3


class Backend(Protocol):
    """A loaded network. Not thread-safe: :class:`~res2net_runtime.Predictor` holds the lock."""

    description: str

    def run(self, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the outputs, by the names in ``infer_cfg.yml``, for a batch as ``collate`` makes it.

        Raises:
            BackendError: The engine refuses the model or the input.
        """

    def close(self) -> None:
        """Free the network."""


def create_backend(
    folder: ModelFolder, backend: str, precision: str, device: str, cpu_threads: int | None
) -> Backend:
    """Load a model into an inference engine.

    Args:
        folder: The exported model.
        backend: A key of :data:`BACKENDS`, or ``"auto"``: the fastest that works with this model and version.
        precision: ``"fp32"``, ``"bf16"`` or ``"fp16"``.
        device: ``"cpu"``, ``"gpu"`` or ``"gpu:<index>"``.
        cpu_threads: Threads of the network on a CPU, or None for one per available core.

    Raises:
        BackendError: A name is unknown, the combination does not exist, or the engine refuses the model.
    """
    if backend != "auto" and backend not in BACKENDS:
        raise BackendError(f"Unknown backend '{backend}'. Choose auto, {', '.join(BACKENDS)}.")
    if folder.backend != "paddle":
        raise BackendError(
            f"The model in '{folder.path}' was exported for '{folder.backend}', this runtime runs 'paddle'. "
            "Export it again with --format paddle, or update res2net_runtime."
        )
    device = device.lower()
    candidates = [backend]
    if backend == "auto":
        preferred = ("onednn", "paddle") if device == "cpu" else ("paddle",)
        candidates = [name for name in preferred if precision in BACKENDS[name]]
    if not candidates or precision not in BACKENDS[candidates[0]]:
        offered = "; ".join(f"{name}: {', '.join(precisions)}" for name, precisions in BACKENDS.items())
        raise BackendError(
            f"Backend '{backend}' on device '{device}' has no precision '{precision}'. Choose one of: "
            f"{offered}."
        )
    module = importlib.import_module("res2net_runtime.backends.paddle_inference")

    def opener(engine: str) -> Callable[[], Backend]:
        return lambda: module.PaddleBackend(folder, engine, precision, device, cpu_threads)

    if len(candidates) == 1:
        return opener(candidates[0])()
    return SteppingDownBackend([opener(name) for name in candidates])


class SteppingDownBackend:
    """The fastest of several engines that works, with a logged step down to the next where one fails.

    A batch that an engine refuses runs on the next one. An engine that has never worked is given up after a
    few batches; one that has worked is kept: Paddle's oneDNN kernels, for instance, refuse arrays without
    elements (seen in 2.6.2 and 3.3.1), which can occur in images where nothing is found, and run all others.

    Args:
        openers: Functions that load the model into an engine, the preferred one first.

    Raises:
        BackendError: None of the engines loads the model.
    """

    def __init__(self, openers: Sequence[Callable[[], Backend]]) -> None:
        self._openers = list(openers)
        self._backend = self._open_first()
        self._next: SteppingDownBackend | None = None
        self._has_worked = False
        self._failures = 0

    @property
    def description(self) -> str:
        return self._backend.description

    def run(self, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        try:
            outputs = self._backend.run(batch)
        except BackendError as error:
            if not self._openers:
                raise
            return self._run_on_next(batch, error)
        self._has_worked = True
        return outputs

    def close(self) -> None:
        self._backend.close()
        if self._next is not None:
            self._next.close()

    def _open_first(self) -> Backend:
        while True:
            open_backend = self._openers.pop(0)
            try:
                return open_backend()
            except BackendError as error:
                if not self._openers:
                    raise
                logger.warning("Trying the next engine, because this one does not load the model: %s", error)

    def _run_on_next(self, batch: Mapping[str, np.ndarray], error: BackendError) -> dict[str, np.ndarray]:
        if self._next is None:
            self._next = SteppingDownBackend(self._openers)
        outputs = self._next.run(batch)  # if this fails too, the input is to blame and nothing changes
        self._failures += 1
        if self._failures == 1:
            logger.warning(
                "This batch, and others that are refused, run on %s: %s", self._next.description, error
            )
        if not self._has_worked and self._failures >= _FAILURES_TO_GIVE_UP:
            logger.warning("Stepping down from %s to %s for good.", self.description, self._next.description)
            self._backend.close()
            self._backend, self._openers = self._next, []
            self._next = None
        return outputs
