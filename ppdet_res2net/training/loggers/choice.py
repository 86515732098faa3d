"""The table of loggers, and those that a run asks for."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppdet_res2net.config import Config
from ppdet_res2net.errors import SetupError
from ppdet_res2net.training.loggers.base import Logger, Run, plain_settings

__all__ = ["LOGGERS", "check_loggers", "choose_loggers", "open_loggers"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """A logger.

    Attributes:
        title: Name of the program.
        package: Module that has to be importable, and its name for pip.
        place: Module of this package and class in it. It is created from a :class:`Run`.
    """

    title: str
    package: str
    place: str


LOGGERS = {
    "visualdl": Entry("VisualDL", "visualdl", "visualdl_logger.VisualDLLogger"),
    "tensorboard": Entry("TensorBoard", "tensorboard", "tensorboard_logger.TensorBoardLogger"),
    "wandb": Entry("Weights & Biases", "wandb", "wandb_logger.WandbLogger"),
    "mlflow": Entry("MLflow", "mlflow", "mlflow_logger.MLflowLogger"),
}


def choose_loggers(config: Mapping[str, Any], use_vdl: bool = False) -> tuple[str, ...]:
    """Return the loggers that a configuration names, each once: ``loggers``, and PaddleDetection's ``use_vdl`` and
    ``use_wandb``.

    Args:
        config: The configuration.
        use_vdl: Whether VisualDL is asked for besides.
    """
    names = list(config.get("loggers") or ())
    if use_vdl or config.get("use_vdl", False):
        names.append("visualdl")
    if config.get("use_wandb", False):
        names.append("wandb")
    return tuple(dict.fromkeys(names))


def check_loggers(names: Iterable[str]) -> None:
    """Check that the packages of loggers are there.

    Raises:
        SetupError: One is not installed.
    """
    for name in names:
        entry = LOGGERS[name]
        if not _is_installed(entry.package):
            flag = "--use_vdl" if name == "visualdl" else f"--loggers {name}"
            raise SetupError(
                f"{flag} needs {entry.title}, which is not installed: pip install {entry.package}, or install "
                f"this package with its extra '{name}'. Or leave it out: metrics.jsonl, curves.png and index.html of the run's "
                "folder have the figures, too."
            )


def open_loggers(names: Sequence[str], run_dir: Path, config: Config, start_step: int) -> dict[str, Logger]:
    """Open loggers. One that cannot be opened is left out, with a warning: training does not depend on it.

    Args:
        names: Keys of :data:`LOGGERS`.
        run_dir: Folder of the run.
        config: Its configuration.
        start_step: Number of steps done before, if the run is resumed.

    Returns:
        The loggers by the title of the program.
    """
    run = Run(run_dir, config.name, plain_settings(config), start_step, config.get("vdl_log_dir"))
    opened: dict[str, Logger] = {}
    for name in names:
        entry = LOGGERS[name]
        module, _, class_name = entry.place.partition(".")
        try:
            found = importlib.import_module(f"ppdet_res2net.training.loggers.{module}")
            opened[entry.title] = getattr(found, class_name)(run)
        except Exception as error:  # of other people's packages: a broken import, no network, no login, a full disk
            logger.warning("%s", loss_message(entry.title, error))
    return opened


def loss_message(title: str, error: Exception) -> str:
    """Return what is said once when a logger fails."""
    first_line = str(error).strip().partition("\n")[0] or "no reason given"
    reason = re.sub(r"://[^/@\s]+@", "://***@", first_line)[:300]  # addresses may hold passwords
    return (
        f"{title} has failed ({type(error).__name__}: {reason}) and gets nothing more from this run. Training goes on; "
        "metrics.jsonl of the run's folder has every figure."
    )


def _is_installed(package: str) -> bool:
    if package in sys.modules:
        return sys.modules[package] is not None
    return importlib.util.find_spec(package) is not None
