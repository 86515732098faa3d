"""One contender in its own process. It loads, then runs for each line of its input.

The first argument is a JSON object: ``kind`` and the arguments of its function, ``image`` (a ``.npy`` file), ``threads``.
Answers are JSON objects, one per line.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

import numpy as np

from benchmarks.harness import peak_memory_gb, take_over_stdout


def _create(kind: str, options: dict) -> Callable[[np.ndarray], int]:
    if kind == "ours":
        return _create_ours(**options)
    if kind == "paddledet":
        from benchmarks.inference.paddledet_detector import create_paddledet

        return create_paddledet(**options)
    from benchmarks.inference.torchvision_detector import create_gemm, create_torchvision

    creators: dict[str, Callable] = {"torchvision": create_torchvision, "gemm": create_gemm}
    return creators[kind](**options)


def _create_ours(
    folder: str, backend: str, precision: str, threads: int, batch: int = 1, winograd: bool = True
) -> Callable[[np.ndarray], int]:
    from res2net_runtime import Predictor

    predictor = Predictor(
        folder, backend=backend, precision=precision, cpu_threads=threads, batch_size=batch, winograd=winograd
    )

    def run(image: np.ndarray) -> int:
        return sum(len(found.rles()) for found in predictor([image] * batch))

    return run


def main() -> None:
    """Load and run once; then run twice for each line of the input, and time the second run."""
    answers = take_over_stdout()

    def answer(**values: object) -> None:
        answers.write(json.dumps(values) + "\n")
        answers.flush()

    options = json.loads(sys.argv[1])
    image = np.load(options.pop("image"))
    run = _create(options.pop("kind"), options)
    answer(detections=run(image))
    for _ in sys.stdin:
        run(image)  # not timed: while the process waited, the system took memory and caches from it
        cpu, start = time.process_time(), time.perf_counter()
        detections = run(image)
        wall_s, cpu_s = time.perf_counter() - start, time.process_time() - cpu
        answer(wall_s=wall_s, cpu_s=cpu_s, detections=detections, peak_gb=peak_memory_gb())


if __name__ == "__main__":
    main()
