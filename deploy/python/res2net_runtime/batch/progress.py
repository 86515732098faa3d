"""How far a batch is: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

from tqdm import tqdm

__all__ = ["ProgressDisplay", "describe_progress"]

logger = logging.getLogger(__name__)

_FIRST_LINE_S, _LONGEST_PAUSE_S = 5.0, 60.0


class ProgressDisplay:
    """Shows images per second and the time that is left; use it as a context manager.

    Args:
        total: Images of the batch.
        done_before: Those that earlier runs have done.
    """

    def __init__(self, total: int, done_before: int) -> None:
        self._total, self._before = total, done_before
        self._started_s = time.monotonic()
        self._pause_s = _FIRST_LINE_S
        self._next_line_s = self._started_s + self._pause_s
        self._bar: tqdm[Any] | None = None

    def __enter__(self) -> ProgressDisplay:
        if sys.stderr.isatty():
            self._bar = tqdm(total=self._total, initial=self._before, unit="image", smoothing=0.05)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, done: int, failed: int) -> None:
        """Tell how many images are done by now, and how many of them failed."""
        if self._bar is not None:
            self._bar.set_postfix({"failed": failed} if failed else {}, refresh=False)
            self._bar.update(done - self._bar.n)
            return
        now_s = time.monotonic()
        if now_s >= self._next_line_s:
            self._pause_s = min(_LONGEST_PAUSE_S, 2 * self._pause_s)
            self._next_line_s = now_s + self._pause_s
            logger.info("%s", describe_progress(done, self._total, self._before, failed, now_s - self._started_s))


def describe_progress(done: int, total: int, done_before: int, failed: int, seconds: float) -> str:
    """Return a line such as ``300 of 1000 images (30.0 %), 12.5 images/s, 0:00:56 left, 2 failed``.

    Args:
        done: Images that are done.
        total: All images.
        done_before: Those that were done when the time began.
        failed: Those of ``done`` that failed.
        seconds: Since then.
    """
    text = f"{done} of {total} images ({100 * done / total:.1f} %)"
    rate = (done - done_before) / seconds if seconds > 0 else 0.0
    if rate > 0:
        left_s = round((total - done) / rate)
        days, left_s = divmod(left_s, 86_400)
        clock = f"{left_s // 3600}:{left_s // 60 % 60:02d}:{left_s % 60:02d}"
        text += f", {rate:.1f} images/s, {f'{days} d ' if days else ''}{clock} left"
    return text + (f", {failed} failed" if failed else "")
