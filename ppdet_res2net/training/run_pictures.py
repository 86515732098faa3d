"""The pictures of predictions that a run keeps, one per evaluation."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from res2net_runtime.pictures import save_picture

__all__ = ["MOST_PICTURES", "keep_picture", "list_pictures"]

MOST_PICTURES = 24
_FOLDER = "predictions"


def keep_picture(run_dir: Path, step: int, picture: np.ndarray) -> Path:
    """Write a picture. If there are too many, the one with the nearest neighbours goes, so that the rest covers the whole run.

    Args:
        run_dir: Folder of the run.
        step: Number of steps done.
        picture: uint8 (H, W, 3) in RGB order.

    Raises:
        ImageError: The file cannot be written.
    """
    path = run_dir / _FOLDER / f"step_{step:08d}.jpg"
    save_picture(path, picture)
    kept = list_pictures(run_dir)
    while len(kept) > MOST_PICTURES:
        # The first and the last one always stay.
        nearest = min(range(1, len(kept) - 1), key=lambda index: kept[index + 1][0] - kept[index - 1][0])
        kept.pop(nearest)[1].unlink(missing_ok=True)
    return path


def list_pictures(run_dir: Path) -> list[tuple[int, Path]]:
    """Return step and file of each picture of a run, in the order of the steps."""
    found = []
    for path in (run_dir / _FOLDER).glob("step_*.jpg"):
        number = path.stem.removeprefix("step_")
        if number.isdecimal():
            found.append((int(number), path))
    return sorted(found)
