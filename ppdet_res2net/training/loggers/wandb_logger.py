"""Weights & Biases. Its environment variables choose the project, the team and whether it is offline.

``WANDB_PROJECT`` (default: ppdet_res2net), ``WANDB_ENTITY``, ``WANDB_MODE=offline``, ...
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path

import wandb

from ppdet_res2net.training.loggers.base import Run

__all__ = ["WandbLogger"]

logger = logging.getLogger(__name__)

_PROJECT = "ppdet_res2net"


class WandbLogger:
    """A run of Weights & Biases. A resumed run continues it."""

    def __init__(self, run: Run) -> None:
        # Nothing but what is passed on here is sent: no console output, no code, no list of packages.
        settings = wandb.Settings(console="off", silent=True, save_code=False, disable_git=True)
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or _PROJECT,
            name=run.name,
            dir=str(run.folder),
            id=run.recall_id("wandb"),
            resume="allow",
            config=dict(run.settings),
            settings=settings,
        )
        run.remember_id("wandb", self._run.id)
        # Steps that a resumed run repeats would be refused as wandb's own step, which must rise.
        self._run.define_metric("step", hidden=True)
        self._run.define_metric("*", step_metric="step")
        upload = f"offline; 'wandb sync {Path(self._run.dir).parent}' uploads it"
        logger.info("Weights & Biases: %s", upload if self._run.offline else self._run.url)

    def log_numbers(self, step: int, numbers: Mapping[str, float]) -> None:
        """Log figures."""
        self._run.log({"step": step, **numbers})

    def log_picture(self, step: int, path: Path) -> None:
        """Log an image."""
        self._run.log({"step": step, "predictions": wandb.Image(str(path))})

    def close(self, outcome: str) -> None:
        """Finish the run; one that has failed is marked as such."""
        self._run.finish(exit_code=0 if outcome == "done" else 1)
