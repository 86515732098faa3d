"""The folder of a run: whose it is, which checkpoints it holds, and which of them are kept."""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path

from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open

from ppdet_res2net.errors import TrainingError, WeightsError
from ppdet_res2net.training.checkpoint import load_training_state, recover

__all__ = ["RunFolder"]

logger = logging.getLogger(__name__)

# Loader workers of a run that was killed hold the lock until they notice that they are alone.
LOCK_TIME_S = 10.0
# Checkpoints that stand for a moment of the run rather than for a result; the older ones may go.
_PASSING = ("last", "interrupted")


class RunFolder:
    """A run's folder, locked against other runs from :meth:`open` until :meth:`close`.

    Args:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: FileLock | None = None

    def open(self) -> None:
        """Make the folder, lock it, and bring its checkpoints into order.

        Raises:
            TrainingError: It cannot be written, or another run is writing to it.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / ".lock")
            lock.acquire(timeout=LOCK_TIME_S)
        except Timeout:
            raise TrainingError(
                f"Another run is writing to '{self.path}'. Wait for it, or pass another folder with -o save_dir=FOLDER."
            ) from None
        except OSError as error:
            raise TrainingError(
                f"The run's folder '{self.path}' cannot be written: {error}. Pass another one with -o save_dir=FOLDER."
            ) from error
        self._lock = lock
        recover(self.path)

    def close(self) -> None:
        """Let other runs have the folder."""
        if self._lock is not None:
            (self.path / ".lock").unlink(missing_ok=True)  # while it is ours
            self._lock.release()
            self._lock = None

    def start_afresh(self) -> None:
        """Open the folder for a new run; an earlier one in it is moved aside, not overwritten."""
        self.open()
        if not self._checkpoints():
            return
        number = 1
        while (aside := self.path.with_name(f"{self.path.name}.{number}")).exists():
            number += 1
        self.close()
        os.rename(self.path, aside)
        logger.warning("'%s' held an earlier run; it is '%s' now. -r auto would have continued it", self.path, aside)
        self.open()

    def find_newest(self) -> Path | None:
        """Return the newest checkpoint from which a run can go on; damaged ones are passed over with a message."""
        if not self.path.is_dir():
            return None
        # One that cannot be read comes first: whoever reads the log learns why it is not the one to go on from.
        for base in sorted(self._checkpoints(), key=lambda base: _steps(base, unreadable=sys.maxsize), reverse=True):
            try:
                load_training_state(base)
                return base
            except WeightsError as error:
                logger.warning("passing over the checkpoint '%s': %s", base, error)
        return None

    def prune(self, keep: int | None) -> None:
        """Delete all but the newest ``keep`` checkpoints of epochs (and of interruptions); None keeps all."""
        if keep is None:
            return
        passing = [base for base in self._checkpoints() if base.name.isdigit() or base.name in _PASSING]
        for base in sorted(passing, key=_steps, reverse=True)[keep:]:
            # The state first: weights without one are no checkpoint to resume from, but whole.
            for suffix in ("pdstate", "pdparams", "json"):
                Path(f"{base}.{suffix}").unlink(missing_ok=True)

    def _checkpoints(self) -> list[Path]:
        return [file.with_suffix("") for file in self.path.glob("*.pdstate")]


def _steps(base: Path, unreadable: int = -1) -> int:
    """Steps that a checkpoint says it has done; ``unreadable`` if its head cannot be read."""
    try:
        with safe_open(f"{base}.pdstate", framework="numpy") as file:
            return int(json.loads(file.metadata()["state"])["values"]["position"]["steps"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError):
        return unreadable
