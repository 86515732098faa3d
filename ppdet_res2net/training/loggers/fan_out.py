"""Passes everything on to several loggers. One that fails is said to have failed, once, and is left alone afterwards."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from ppdet_res2net.training.loggers.base import Logger
from ppdet_res2net.training.loggers.choice import loss_message

__all__ = ["Loggers"]

logger = logging.getLogger(__name__)


class Loggers:
    """Several loggers as one that never raises.

    Args:
        loggers: The loggers by the name that messages give them.
    """

    def __init__(self, loggers: Mapping[str, Logger]) -> None:
        self._loggers = dict(loggers)

    def log_numbers(self, step: int, numbers: Mapping[str, float]) -> None:
        """Pass figures on; see :class:`~ppdet_res2net.training.loggers.base.Logger`."""
        self._call(lambda one: one.log_numbers(step, numbers))

    def log_picture(self, step: int, path: Path) -> None:
        """Pass a picture on; see there."""
        self._call(lambda one: one.log_picture(step, path))

    def close(self, outcome: str) -> None:
        """Close all of them; see there."""
        self._call(lambda one: one.close(outcome))
        self._loggers.clear()

    def _call(self, action: Callable[[Logger], None]) -> None:
        for name, one in list(self._loggers.items()):
            try:
                action(one)
            except Exception as error:  # of other people's packages
                logger.warning("%s", loss_message(name, error))
                del self._loggers[name]
