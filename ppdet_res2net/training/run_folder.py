"""The folder of a run: locking it, and finding and deleting its checkpoints."""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path

from safetensors import SafetensorError, safe_open

from ppdet_res2net.errors import TrainingError, WeightsError
from ppdet_res2net.files import refuse_url
from ppdet_res2net.training.checkpoint import load_training_state, recover
from res2net_runtime.locks import LockedError, WriterLock
from res2net_runtime.system_errors import explain

__all__ = ["RunFolder"]

logger = logging.getLogger(__name__)

# The loader workers of a killed run hold the lock until they notice that their main process is gone.
LOCK_TIME_S = 10.0
# Checkpoints made during the run, which are not its results; the older ones may be deleted.
_PASSING = ("last", "interrupted")


class RunFolder:
    """A run's folder. It is locked against other runs from :meth:`open` to :meth:`close`.

    Args:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: WriterLock | None = None

    def open(self) -> None:
        """Create the folder, lock it, and complete or undo an interrupted save in it.

        Raises:
            TrainingError: The folder cannot be written, or another run is writing to it.
        """
        refuse_url(self.path, "save_dir", TrainingError)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = WriterLock(self.path / ".lock", LOCK_TIME_S)
            lock.acquire()
        except LockedError as error:
            raise TrainingError(
                f"Another run is writing to '{self.path}': {error}. Wait for it, or pass another folder with -o "
                "save_dir=FOLDER."
            ) from error
        except OSError as error:
            raise TrainingError(
                f"The run's folder '{self.path}' cannot be written: {explain(error, 'pass another -o save_dir=FOLDER')}"
            ) from error
        self._lock = lock
        recover(self.path)

    def close(self) -> None:
        """Unlock the folder."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def start_afresh(self) -> None:
        """Open the folder for a new run. An earlier run in it is moved aside, not overwritten."""
        self.open()
        if not self._checkpoints():
            return
        number = 1
        while (aside := self.path.with_name(f"{self.path.name}.{number}")).exists():
            number += 1
        self.close()
        os.rename(self.path, aside)
        logger.warning(
            "'%s' held an earlier run, which is now in '%s'. -r auto would have continued it", self.path, aside
        )
        self.open()

    def find_newest(self) -> Path | None:
        """Return the newest undamaged checkpoint, or None. A message names each damaged one that is passed over."""
        if not self.path.is_dir():
            return None
        # Unreadable ones come first, so that the log says why the run does not continue from them.
        for base in sorted(
            self._checkpoints(), key=lambda base: _age_order(base, unreadable=sys.maxsize), reverse=True
        ):
            try:
                load_training_state(base)
                return base
            except WeightsError as error:
                logger.warning("passing over the checkpoint '%s': %s", base, error)
        return None

    def prune(self, keep: int | None) -> None:
        """Delete all but the newest ``keep`` checkpoints of epochs and interruptions; None keeps all."""
        if keep is None:
            return
        passing = [base for base in self._checkpoints() if base.name.isdigit() or base.name in _PASSING]
        for base in sorted(passing, key=_age_order, reverse=True)[keep:]:
            # The state goes first: an interruption then leaves usable weights, not half a checkpoint.
            for suffix in ("pdstate", "pdparams", "json"):
                Path(f"{base}.{suffix}").unlink(missing_ok=True)

    def _checkpoints(self) -> list[Path]:
        return [file.with_suffix("") for file in self.path.glob("*.pdstate")]


def _age_order(base: Path, unreadable: int = -1) -> tuple[int, bool, float]:
    """Return a key that sorts checkpoints from the oldest to the newest.

    It is the number of steps done (``unreadable`` if the head cannot be read), whether the evaluation after them is done, and
    the time of writing.
    """
    state = Path(f"{base}.pdstate")
    try:
        with safe_open(str(state), framework="numpy") as file:
            position = json.loads(file.metadata()["state"])["values"]["position"]
        return int(position["steps"]), not position.get("snapshot_is_due", False), state.stat().st_mtime
    except (SafetensorError, OSError, AttributeError, KeyError, TypeError, ValueError):
        return unreadable, False, 0.0
