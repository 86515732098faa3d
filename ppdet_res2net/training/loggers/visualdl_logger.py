"""VisualDL: curves and pictures in ``RUN/vdl``, or in ``vdl_log_dir``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ppdet_res2net.training.loggers.base import Run
from res2net_runtime.preprocess import decode_image

__all__ = ["VisualDLLogger"]


class VisualDLLogger:
    """Writes for ``visualdl --logdir FOLDER``. A resumed run adds a file to the same folder."""

    def __init__(self, run: Run) -> None:
        from visualdl import LogWriter

        self._writer = LogWriter(run.vdl_dir or str(run.folder / "vdl"))

    def log_numbers(self, step: int, numbers: Mapping[str, float]) -> None:
        """Write scalars."""
        for name, value in numbers.items():
            self._writer.add_scalar(tag=name, step=step, value=value)

    def log_picture(self, step: int, path: Path) -> None:
        """Write an image."""
        self._writer.add_image(tag="predictions", img=decode_image(path), step=step)

    def close(self, outcome: str) -> None:
        """Close the file."""
        self._writer.close()
