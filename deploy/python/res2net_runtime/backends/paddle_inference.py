"""Paddle Inference: Paddle's own kernels, oneDNN's or TensorRT's."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np

from res2net_runtime.backends import paddle_quirks
from res2net_runtime.errors import BackendError
from res2net_runtime.model_folder import ModelFolder

__all__ = ["PaddleBackend"]

# oneDNN keeps compiled kernels per input shape; without a limit, a folder of differently sized images fills
# the memory.
_ONEDNN_CACHED_SHAPES = 10
_GPU_MEMORY_MB = 200  # what Paddle reserves at once; it grows as needed
_TENSORRT_WORKSPACE_BYTES = 1 << 30


class PaddleBackend:
    """A :class:`~res2net_runtime.backends.Backend` on ``paddle.inference``.

    Args:
        folder: The exported model.
        engine: ``"paddle"``, ``"onednn"`` or ``"tensorrt"``.
        precision: ``"fp32"``, ``"bf16"`` or ``"fp16"``, as far as the engine has it.
        device: ``"cpu"``, ``"gpu"`` or ``"gpu:<index>"``.
        cpu_threads: Threads on a CPU, or None for one per available core.

    Raises:
        BackendError: Paddle is missing, or refuses the device or the model.
    """

    def __init__(
        self, folder: ModelFolder, engine: str, precision: str, device: str, cpu_threads: int | None
    ) -> None:
        paddle = paddle_quirks.import_paddle()
        paddle_quirks.check_model_format(paddle, folder.model_path)
        self.description = f"Paddle {paddle.__version__} ({engine}, {precision}, {device})"
        self._folder = folder
        try:
            config = _make_config(paddle, folder, engine, precision, device, cpu_threads)
            self._predictor = paddle.inference.create_predictor(config)
        except BackendError:
            raise
        except Exception as error:  # native code raises whatever type it likes
            raise BackendError(
                f"{self.description} cannot load '{folder.model_path}': {_summary(error)}. "
                "Choose another backend, or export the model again."
            ) from error
        output_names = self._predictor.get_output_names()
        if len(output_names) != len(folder.outputs):
            raise BackendError(
                f"'{folder.model_path}' has {len(output_names)} outputs, infer_cfg.yml names "
                f"{len(folder.outputs)} ({', '.join(folder.outputs)}). Export the model again."
            )
        self._inputs = {
            name: self._predictor.get_input_handle(name) for name in self._predictor.get_input_names()
        }
        self._outputs = [self._predictor.get_output_handle(name) for name in output_names]

    def run(self, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the outputs of one batch; see :class:`~res2net_runtime.backends.Backend`."""
        try:
            for name, handle in self._inputs.items():
                handle.copy_from_cpu(batch[name])
            self._predictor.run()
            return {name: handle.copy_to_cpu() for name, handle in zip(self._folder.outputs, self._outputs)}
        except Exception as error:  # native code raises whatever type it likes
            shape = tuple(batch["image"].shape)
            raise BackendError(
                f"{self.description} failed on a batch of shape {shape}: {_summary(error)}. Choose another "
                "backend."
            ) from error

    def close(self) -> None:
        """Free the network."""
        self._inputs, self._outputs, self._predictor = {}, [], None


def _make_config(
    paddle: ModuleType, folder: ModelFolder, engine: str, precision: str, device: str, cpu_threads: int | None
) -> Any:
    config = paddle.inference.Config(str(folder.model_path), str(folder.params_path))
    config.disable_glog_info()
    paddle_quirks.enable_memory_reuse(config, folder.model_path)
    kind, _, index = device.partition(":")
    if kind == "cpu":
        _set_up_cpu(config, engine, precision, cpu_threads)
    elif kind == "gpu" and (not index or index.isdigit()):
        _set_up_gpu(paddle, config, engine, precision, int(index or 0))
    else:
        raise BackendError(f"Unknown device '{device}'. Choose cpu, gpu or gpu:<index>.")
    return config


def _set_up_cpu(config: Any, engine: str, precision: str, cpu_threads: int | None) -> None:
    if engine == "tensorrt":
        raise BackendError(
            "TensorRT needs a GPU. Pass device='gpu' (--device GPU), or choose another backend."
        )
    config.disable_gpu()
    config.set_cpu_math_library_num_threads(cpu_threads or _available_cores())
    if engine == "paddle":
        paddle_quirks.call_onednn_method(config, "disable")  # Paddle 2.6 and later turn it on by themselves
        return
    paddle_quirks.call_onednn_method(config, "enable")
    config.set_mkldnn_cache_capacity(_ONEDNN_CACHED_SHAPES)
    if precision == "bf16":
        paddle_quirks.warn_if_bfloat16_is_simulated()
        paddle_quirks.call_onednn_method(config, "enable", "_bfloat16")


def _set_up_gpu(paddle: ModuleType, config: Any, engine: str, precision: str, index: int) -> None:
    if not paddle.is_compiled_with_cuda():
        raise BackendError(
            f"Device 'gpu' was asked for, but the installed Paddle {paddle.__version__} has no GPU support. "
            "Install paddlepaddle-gpu, or pass device='cpu' (--device CPU)."
        )
    if engine == "onednn":
        raise BackendError(
            "oneDNN runs on a CPU only. Pass device='cpu' (--device CPU), or choose another backend."
        )
    config.enable_use_gpu(_GPU_MEMORY_MB, index)
    if engine == "tensorrt":
        modes = {"fp32": paddle.inference.PrecisionType.Float32, "fp16": paddle.inference.PrecisionType.Half}
        config.enable_tensorrt_engine(
            workspace_size=_TENSORRT_WORKSPACE_BYTES, precision_mode=modes[precision], use_static=False
        )


def _available_cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # Linux: respects taskset and containers' CPU sets
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _summary(error: Exception) -> str:
    """Return the lines of a native error that say something, without Paddle's C++ stack and banners."""
    lines = [line.strip() for line in str(error).splitlines()]
    telling = [line for line in lines if line.startswith(("(", "[Hint", "[operator"))]
    summary = " ".join(telling) or " ".join(line for line in lines if line)[:300] or type(error).__name__
    return summary.rstrip(".")
