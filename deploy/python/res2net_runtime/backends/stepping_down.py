"""Use the fastest of several engines, and the next one for batches that it refuses."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from res2net_runtime.backends.base import Backend
from res2net_runtime.errors import BackendError

__all__ = ["SteppingDownBackend"]

logger = logging.getLogger(__name__)

# An engine that has not run a single batch is given up after refusing this many.
_FAILURES_TO_GIVE_UP = 3


class SteppingDownBackend:
    """The fastest of several engines that loads the model. Each step down to a slower one is logged.

    A batch that an engine refuses runs on the next engine. An engine that has never worked is given up after a few batches.
    An engine that has worked is kept: Paddle's oneDNN kernels, for instance, only refuse arrays without elements (seen in
    2.6.2 and 3.3.1), which can occur in images where nothing is found.

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
    def engine(self) -> str:
        """The engine in use, a key of :data:`~res2net_runtime.backends.BACKENDS`."""
        return self._backend.engine

    @property
    def description(self) -> str:
        """The engine in use, for logs."""
        return self._backend.description

    def run(self, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the outputs of one batch; see :class:`~res2net_runtime.backends.Backend`."""
        try:
            outputs = self._backend.run(batch)
        except BackendError as error:
            if not self._openers:
                raise
            return self._run_on_next(batch, error)
        self._has_worked = True
        return outputs

    def close(self) -> None:
        """Free the network, in every engine that has loaded it."""
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
                logger.warning("Trying a slower engine, because this one cannot load the model: %s", error)

    def _run_on_next(self, batch: Mapping[str, np.ndarray], error: BackendError) -> dict[str, np.ndarray]:
        if self._next is None:
            self._next = SteppingDownBackend(self._openers)
        outputs = self._next.run(batch)  # if this fails too, the input is to blame and nothing changes
        self._failures += 1
        if self._failures == 1:
            logger.warning(
                "This batch, and any other that is refused, runs on the slower %s: %s", self._next.description, error
            )
        if not self._has_worked and self._failures >= _FAILURES_TO_GIVE_UP:
            logger.warning("Changing permanently from %s to the slower %s.", self.description, self._next.description)
            self._backend.close()
            self._backend, self._openers = self._next, []
            self._next = None
        return outputs
