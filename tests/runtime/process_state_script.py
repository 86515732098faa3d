"""Use a predictor in every way, and report which state of the process has changed: see ``test_process_state.py``.

Called with an engine, a model folder, and ``before`` or ``by-predictor``, which says when Paddle is imported.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import random
import shutil
import sys
import tempfile
import threading
import warnings
import zlib  # noqa: F401  (before paddle: Paddle 2.6.2 brings zlib symbols of its own)
from pathlib import Path

import cv2
import numpy as np
from threadpoolctl import threadpool_info

from res2net_runtime import BackendError, Predictor

IMAGE = np.full((50, 70, 3), 200, np.uint8)
THREADS = 3  # neither the process's number nor one


def mkl_threads() -> int | None:
    paddle = sys.modules.get("paddle")
    paths = sorted((Path(paddle.__file__).parent / "libs").glob("*mklml*")) if paddle else []
    return ctypes.CDLL(str(paths[0])).MKL_Get_Max_Threads() if paths else None


def keeps_denormals() -> tuple[bool, bool]:
    """Whether the calling thread computes denormal results, and reads denormal operands."""
    smallest = np.array([np.finfo(np.float32).tiny], np.float32)
    denormal = np.array([1], np.int32).view(np.float32)
    return bool((smallest * np.float32(0.5)).view(np.int32)[0]), bool((denormal * np.float32(2)).view(np.int32)[0])


def training_bits() -> str:
    """A digest of a step's gradients; the convolution's depends on the number of threads on most CPUs."""
    import paddle

    generator = np.random.RandomState(0)
    image, weight = (
        paddle.to_tensor(generator.randn(*shape).astype(np.float32), stop_gradient=False)
        for shape in ((2, 16, 61, 67), (32, 16, 3, 3))
    )
    output = paddle.nn.functional.gelu(paddle.nn.functional.conv2d(image, weight, padding=1))
    output.square().sum().backward()
    flat = output.reshape([64, -1])
    product = paddle.matmul(flat, flat, transpose_y=True)
    arrays = (output, product, image.grad, weight.grad)
    return hashlib.sha256(b"".join(one.numpy().tobytes() for one in arrays)).hexdigest()


def observe() -> dict:
    """Return the state that must not change, by name."""
    elsewhere: list = []
    thread = threading.Thread(target=lambda: elsewhere.append((keeps_denormals(), mkl_threads())))
    thread.start()
    thread.join()
    root = logging.getLogger()
    return {
        "threads of OpenMP and BLAS": {one["filepath"]: one["num_threads"] for one in threadpool_info()},
        "threads of MKL": mkl_threads(),
        "denormals": keeps_denormals(),
        "denormals and threads of MKL in another thread": elsewhere[0],
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "cores": sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "random": random.getstate(),
        "numpy.random": str(np.random.get_state()),
        "numpy's errors": np.geterr(),
        "logging": (root.level, list(root.handlers), root.disabled),
        "warning filters": list(warnings.filters),
        "sys.path": list(sys.path),
        "threads of OpenCV": cv2.getNumThreads(),
        "training": training_bits() if "paddle" in sys.modules else None,
    }


def check(before: dict, what: str) -> None:
    after = observe()
    if before["training"] is None:  # Paddle has come with the predictor: what it loads is no change
        after["training"] = before["training"]
        for name in ("threads of MKL", "denormals and threads of MKL in another thread"):
            after[name] = before[name]
        known = before["threads of OpenMP and BLAS"]
        counts = after["threads of OpenMP and BLAS"]
        after["threads of OpenMP and BLAS"] = {path: counts[path] for path in known}
    for name, value in before.items():
        assert after[name] == value, f"{what} changed {name}: {difference(value, after[name])}"


def difference(before: object, after: object) -> str:
    """Describe only the differences: the environment, for example, may hold values that must not be logged."""
    if isinstance(before, dict) and isinstance(after, dict):
        keys = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
        return ", ".join(f"{key} from {before.get(key)} to {after.get(key)}" for key in keys)
    return f"from {before} to {after}"


def fail_to_load(model_dir: Path, engine: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        broken = shutil.copytree(model_dir, Path(directory) / "model")
        for path in broken.glob("model.*"):
            path.write_text("{}")
        try:
            Predictor(broken, backend=engine, cpu_threads=THREADS)
        except BackendError:
            return
    raise AssertionError("a broken network was loaded")


def fail_to_run(predictor: Predictor) -> None:
    try:
        size = np.ones((1, 2), np.float32)
        predictor._run({"image": np.zeros((1, 1, 1), np.float32), "im_shape": size, "scale_factor": size})
    except BackendError:
        return
    raise AssertionError("an image without channels was accepted")


def run_in_threads(model_dir: Path, engine: str) -> None:
    """Run several predictors at the same time, each with a different number of threads."""
    failures: list[BaseException] = []

    def work(cpu_threads: int) -> None:
        try:
            with Predictor(model_dir, backend=engine, cpu_threads=cpu_threads) as predictor:
                for _ in range(5):
                    assert len(predictor(IMAGE)) == 1
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(count,)) for count in (1, 2, 3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures


def main(engine: str, model_dir: Path, import_paddle: str) -> None:
    if import_paddle == "before":
        import paddle

        paddle.seed(7)
        assert training_bits() == training_bits()
    random.seed(7)
    np.random.seed(7)
    before = observe()
    predictor = Predictor(model_dir, backend=engine, cpu_threads=THREADS)
    check(before, "creating")
    assert len(predictor(IMAGE)) == 1
    check(before, "running")
    fail_to_run(predictor)
    check(before, "a failing run")
    run_in_threads(model_dir, engine)
    check(before, "running in threads")
    predictor.close()
    check(before, "closing")
    fail_to_load(model_dir, engine)
    check(before, "a failing creation")
    if import_paddle == "before":
        drawn = paddle.rand([4]).numpy().tolist()
        paddle.seed(7)
        assert drawn == paddle.rand([4]).numpy().tolist(), "Paddle's random state has changed"
    print("threads of MKL:", mkl_threads())


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
