"""What a logger is, and what it is told about the run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ppdet_res2net.files import save_text
from ppdet_res2net.ppdet_modules.tagged import Tagged

__all__ = ["Logger", "Run", "flatten", "list_numbers", "plain_settings"]

_IDS_FILE = "loggers.json"


class Logger(Protocol):
    """Receives the figures of a run while it goes on. It may raise anything: the run goes on without it."""

    def log_numbers(self, step: int, numbers: Mapping[str, float]) -> None:
        """Take the figures of a step.

        Args:
            step: Number of steps done. A resumed run may repeat steps; then the later figures count.
            numbers: Figures by name, such as ``train/loss`` and ``eval/bbox/AP``.
        """

    def log_picture(self, step: int, path: Path) -> None:
        """Take a JPEG picture of the predictions after a step."""

    def close(self, outcome: str) -> None:
        """Write what is left.

        Args:
            outcome: ``done``, ``stopped`` (by a signal; the run can be resumed) or ``failed``.
        """


@dataclass(frozen=True)
class Run:
    """A run, as loggers need to know it.

    Attributes:
        folder: Its folder.
        name: Name of its configuration.
        settings: The configuration as plain data.
        start_step: Number of steps done before; 0 for a new run.
        vdl_dir: Folder for VisualDL; None for ``vdl`` in the run's folder.
    """

    folder: Path
    name: str
    settings: Mapping[str, Any]
    start_step: int = 0
    vdl_dir: str | None = None

    def recall_id(self, logger: str) -> str | None:
        """Return the id under which a logger knows this run from before it was resumed, if it does."""
        found = self._ids().get(logger)
        return found if isinstance(found, str) else None

    def remember_id(self, logger: str, run_id: str) -> None:
        """Keep the id under which a logger knows this run, in the run's folder."""
        save_text(self.folder / _IDS_FILE, json.dumps({**self._ids(), logger: run_id}, indent=2) + "\n")

    def _ids(self) -> dict:
        try:
            ids = json.loads((self.folder / _IDS_FILE).read_text("utf-8"))
        except (FileNotFoundError, ValueError):
            return {}
        return ids if isinstance(ids, dict) else {}


def plain_settings(value: Any) -> Any:
    """Return a configuration as mappings, lists and scalars, which every program can show."""
    part = Tagged.from_value(value) if isinstance(value, Tagged) else None
    if part is not None:
        return {"name": part.name, **plain_settings(part.kwargs)}
    if isinstance(value, Mapping):
        return {str(key): plain_settings(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_settings(one) for one in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def flatten(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each setting with its dotted name, as ``-o`` takes it: ``TrainReader.batch_size``, 2."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def list_numbers(record: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, float]]:
    """Yield the numbers of a record of ``metrics.jsonl`` by name, such as ``eval/bbox/AP`` and ``eval/bbox/AP/cat``."""
    for name, value in record.items():
        if name == "classes" and isinstance(value, list):
            for one in value:
                if one.get("AP", -1) >= 0:
                    yield f"{prefix}/AP/{one['class']}", one["AP"]
        elif isinstance(value, Mapping):
            yield from list_numbers(value, f"{prefix}/{name}")
        elif isinstance(value, (int, float)) and not isinstance(value, bool) and name != "step":
            yield f"{prefix}/{name}", value
