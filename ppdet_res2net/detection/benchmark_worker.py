"""Runs one engine on images, in a process of its own. It imports no engine but that one, so its memory is the engine's.

Reads a JSON object from stdin, and writes what it found to the file that this names; see :func:`main`.
"""

from __future__ import annotations

import json
import logging
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ppdet_res2net.data.image_files import decode_as_annotated, read_image_file
from ppdet_res2net.errors import Res2NetError
from res2net_runtime import Predictor
from res2net_runtime.console import say
from res2net_runtime.results import Detections

__all__ = ["main"]


def main() -> int:
    """Run the engine; returns 0, or 1 if it cannot be run, with the reason as the last line of stderr.

    The order has ``model_dir``, ``options`` (of :class:`~res2net_runtime.Predictor`), ``images`` (lists of id, path, height and
    width) and ``answer`` (the file to write).
    """
    logging.basicConfig(level=logging.ERROR)
    order = json.load(sys.stdin)
    try:
        answer = _measure(order["model_dir"], order["options"], order["images"])
    except Res2NetError as error:
        say(f"Error: {error}", sys.stderr)
        return 1
    Path(order["answer"]).write_text(json.dumps(answer), encoding="utf-8")
    return 0


def _measure(model_dir: str, options: dict, images: list) -> dict:
    found: list[dict] = []
    times_s: list[float] = []
    with Predictor(model_dir, **options) as predictor:
        first = next(_decode(images))[1]
        _detect(predictor, 0, first)  # the first run prepares kernels and memory
        started = time.perf_counter()
        for image_id, image in _decode(images):
            run_started = time.perf_counter()
            found += _detect(predictor, image_id, image)
            times_s.append(time.perf_counter() - run_started)
        seconds = time.perf_counter() - started
        return {
            "engine": predictor.description,
            "detections": found,
            "ms": 1000 * statistics.median(times_s),
            "images_per_s": len(images) / seconds,
            "memory_mib": _peak_memory_mib(),
        }


def _decode(images: list) -> Iterator[tuple[int, np.ndarray]]:
    for image_id, path, height, width in images:
        yield image_id, decode_as_annotated(read_image_file(path), (height, width))[0]


def _detect(predictor: Predictor, image_id: int, image: np.ndarray) -> list[dict]:
    detections: Detections = predictor(image)
    return detections.to_coco(image_id)


def _peak_memory_mib() -> float | None:
    """Return the largest resident memory of this process; None where there is no ``/proc``.

    ``ru_maxrss`` is not used, because it starts with the size of the parent process.
    """
    try:
        lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), None)


if __name__ == "__main__":
    sys.exit(main())
