"""One contender in a process of its own: loads, and runs when it is told by a line of its input.

The first argument is a JSON object: ``kind`` and the arguments of its function, ``image`` (a ``.npy`` file), ``threads``.
Answers are JSON objects, one a line.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np


def _create(kind: str, options: dict) -> Callable[[np.ndarray], int]:
    if kind == "ours":
        return _create_ours(**options)
    if kind == "paddledet":
        from _paddledet import create_paddledet

        return create_paddledet(**options)
    from _torchvision import create_gemm, create_torchvision

    return {"torchvision": create_torchvision, "gemm": create_gemm}[kind](**options)


def _create_ours(
    folder: str, backend: str, precision: str, threads: int, batch: int = 1
) -> Callable[[np.ndarray], int]:
    from res2net_runtime import Predictor

    predictor = Predictor(folder, backend=backend, precision=precision, cpu_threads=threads, batch_size=batch)

    def run(image: np.ndarray) -> int:
        return sum(len(found.rles()) for found in predictor([image] * batch))

    return run


def _peak_gb() -> float:
    """Largest resident memory. Not ``ru_maxrss``: that starts with the size of the process that this one came from."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e9


def main() -> None:
    """Load, run once, then twice per line, of which the second time counts."""
    # Engines print whatever they like; answers go to a copy of the standard output that only this function knows.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(**values: object) -> None:
        answers.write(json.dumps(values) + "\n")
        answers.flush()

    options = json.loads(sys.argv[1])
    image = np.load(options.pop("image"))
    run = _create(options.pop("kind"), options)
    answer(detections=run(image))
    for _ in sys.stdin:
        run(image)  # While others had their turns, systems take memory and caches from a process that idles.
        cpu, start = time.process_time(), time.perf_counter()
        detections = run(image)
        wall_s, cpu_s = time.perf_counter() - start, time.process_time() - cpu
        answer(wall_s=wall_s, cpu_s=cpu_s, detections=detections, peak_gb=_peak_gb())


if __name__ == "__main__":
    main()
