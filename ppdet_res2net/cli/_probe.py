"""The checks that ``doctor`` runs in a separate process, because importing a broken Paddle can end the process.

Each step prints one JSON line when it starts and one when it ends, so that the reader knows which step crashed.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable

from ppdet_res2net.compat.zlib_order import load_zlib_before_paddle

__all__ = ["STEPS"]


def _paddle() -> dict:
    import paddle

    devices = []
    if paddle.is_compiled_with_cuda():
        cuda = paddle.device.cuda
        devices = [f"gpu:{index} {cuda.get_device_name(index)}" for index in range(cuda.device_count())]
    ones = paddle.ones([1, 2, 4, 4])  # on the GPU if there is one: a wrong CUDA or cuDNN shows here
    value = float(paddle.nn.functional.conv2d(ones, paddle.ones([1, 2, 1, 1])).sum())
    if value != 32:
        raise RuntimeError(f"a convolution of ones gives {value}, expected 32")
    return {"cuda": bool(paddle.is_compiled_with_cuda()), "gpus": devices}


def _ppdet() -> dict:
    from ppdet_res2net.ppdet_modules.registry import register_modules

    register_modules()
    return {}


def _module(name: str) -> Callable[[], dict]:
    def step() -> dict:
        importlib.import_module(name)
        return {}

    return step


STEPS: dict[str, Callable[[], dict]] = {
    "numpy": _module("numpy"),
    "cv2": _module("cv2"),
    "pycocotools": _module("pycocotools.mask"),
    "paddle": _paddle,
    "ppdet": _ppdet,
}


def main() -> None:
    answers, sys.stdout = sys.stdout, sys.stderr  # what the packages print goes to stderr, apart from the answers
    load_zlib_before_paddle()  # without it, Paddle 2.6 can end the process
    for name, step in STEPS.items():
        print(json.dumps({"step": name}), file=answers, flush=True)
        try:
            answer = {"step": name, "found": step()}
        except Exception as error:  # the step's result, which doctor reports
            answer = {"step": name, "error": str(error), "kind": type(error).__name__}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
