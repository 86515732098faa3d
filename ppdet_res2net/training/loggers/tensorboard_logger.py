"""TensorBoard: curves and pictures in ``RUN/tensorboard``. Its own package writes the files; TensorFlow is not needed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from ppdet_res2net.training.loggers.base import Run
from res2net_runtime.preprocess import decode_image

__all__ = ["TensorBoardLogger"]


class TensorBoardLogger:
    """Writes for ``tensorboard --logdir FOLDER``. A resumed run adds a file that replaces the steps it repeats."""

    def __init__(self, run: Run) -> None:
        self._writer = EventFileWriter(str(run.folder / "tensorboard"))
        if run.start_step:
            # TensorBoard drops what earlier files have for this step and later ones.
            self._add(run.start_step + 1, session_log=SessionLog(status=SessionLog.START))

    def log_numbers(self, step: int, numbers: Mapping[str, float]) -> None:
        """Write scalars."""
        values = [Summary.Value(tag=name, simple_value=value) for name, value in numbers.items()]
        self._add(step, summary=Summary(value=values))
        self._writer.flush()

    def log_picture(self, step: int, path: Path) -> None:
        """Write an image."""
        height, width = decode_image(path).shape[:2]
        image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=path.read_bytes())
        self._add(step, summary=Summary(value=[Summary.Value(tag="predictions", image=image)]))

    def close(self, outcome: str) -> None:
        """Close the file."""
        self._writer.close()

    def _add(self, step: int, **content) -> None:
        self._writer.add_event(Event(wall_time=time.time(), step=step, **content))
