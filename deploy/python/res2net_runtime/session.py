"""A loaded network for several threads."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TypeVar

import numpy as np

from res2net_runtime.backends import Backend
from res2net_runtime.errors import BackendError

__all__ = ["Session"]

_Self = TypeVar("_Self", bound="Session")  # typing.Self needs Python 3.11


class Session:
    """A loaded network that threads may share: it runs for one caller at a time. What predictors have in common.

    Use it as a context manager, or call :meth:`close`, to free the network early.

    Args:
        backend: The network.
    """

    def __init__(self, backend: Backend) -> None:
        self._lock = threading.Lock()
        self._backend: Backend | None = backend

    @property
    def description(self) -> str:
        """The engine in use, for logs: library, version, kernels, precision and device."""
        return self._open_backend().description

    def close(self) -> None:
        """Free the network; it cannot be used afterwards. Closing twice does no harm."""
        with self._lock:
            if self._backend is not None:
                self._backend.close()
                self._backend = None

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _run(self, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        with self._lock:
            return self._open_backend().run(batch)

    def _open_backend(self) -> Backend:
        if self._backend is None:
            raise BackendError(f"This {type(self).__name__} is closed. Create a new one.")
        return self._backend
