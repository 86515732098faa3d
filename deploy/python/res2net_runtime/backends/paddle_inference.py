"""Paddle Inference: Paddle's own kernels, oneDNN's or TensorRT's."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np

from res2net_runtime.backends import paddle_quirks
from res2net_runtime.backends.base import EngineOptions, NetworkFolder
from res2net_runtime.backends.cpu import has_bfloat16, warn_of_simulated_bfloat16
from res2net_runtime.backends.graphs import check_graph
from res2net_runtime.backends.native_errors import loading, running
from res2net_runtime.errors import BackendError
from res2net_runtime.model_folder import ModelFiles

__all__ = ["PaddleBackend"]

# oneDNN keeps compiled kernels for each input shape; without a limit, a folder of images with different sizes would
# fill the memory.
_ONEDNN_CACHED_SHAPES = 10
_GPU_MEMORY_MB = 200  # reserved at the start; grows as needed
_TENSORRT_WORKSPACE_BYTES = 1 << 30


class PaddleBackend:
    """A :class:`~res2net_runtime.backends.Backend` on ``paddle.inference``.

    Args:
        folder: The exported model.
        options: The engine is ``"paddle"``, ``"onednn"`` or ``"tensorrt"``; all other options are used too.

    Raises:
        BackendError: Paddle is missing, or refuses the device or the model.
    """

    def __init__(self, folder: NetworkFolder, options: EngineOptions) -> None:
        paddle = paddle_quirks.import_paddle()
        self.engine = options.engine
        files = folder.formats[options.format]
        paddle_quirks.check_model_format(paddle, files.model_path)
        self.description = f"Paddle {paddle.__version__} ({options.engine}, {options.precision}, {options.device})"
        self._paddle = paddle
        self._output_names = folder.outputs
        with loading(self.description, files.model_path), paddle_quirks.keep_thread_counts(paddle):
            if not options.trust_graph:
                check_graph(files, options.format)
            config = _make_config(paddle, files, options)
            self._predictor = paddle.inference.create_predictor(config)
        names = self._predictor.get_output_names()
        if len(names) != len(folder.outputs):
            raise BackendError(
                f"'{files.model_path}' has {len(names)} outputs, but infer_cfg.yml names {len(folder.outputs)} "
                f"({', '.join(folder.outputs)}). Export the model again."
            )
        self._inputs = {name: self._predictor.get_input_handle(name) for name in self._predictor.get_input_names()}
        self._outputs = [self._predictor.get_output_handle(name) for name in names]

    def run(self, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the outputs of one batch; see :class:`~res2net_runtime.backends.Backend`."""
        with running(self.description, batch), paddle_quirks.keep_thread_counts(self._paddle):
            for name, handle in self._inputs.items():
                handle.copy_from_cpu(batch[name])
            self._predictor.run()
            return {name: handle.copy_to_cpu() for name, handle in zip(self._output_names, self._outputs)}

    def close(self) -> None:
        """Free the network."""
        self._inputs, self._outputs, self._predictor = {}, [], None


def _make_config(paddle: ModuleType, files: ModelFiles, options: EngineOptions) -> Any:
    config = paddle.inference.Config(str(files.model_path), str(files.params_path))
    config.disable_glog_info()
    paddle_quirks.enable_memory_reuse(config, files.model_path)
    kind, _, index = options.device.partition(":")
    if kind == "cpu":
        _set_up_cpu(config, options)
    else:
        _set_up_gpu(paddle, config, options, int(index or 0))
    return config


def _set_up_cpu(config: Any, options: EngineOptions) -> None:
    config.disable_gpu()
    config.set_cpu_math_library_num_threads(options.cpu_threads)
    if options.engine == "paddle":
        paddle_quirks.call_onednn_method(config, "disable")  # Paddle 2.6 and later turn it on by themselves
        return
    paddle_quirks.enable_onednn(config)
    config.set_mkldnn_cache_capacity(_ONEDNN_CACHED_SHAPES)
    if options.precision == "bf16":
        if has_bfloat16() is False:  # not if it is unknown
            warn_of_simulated_bfloat16("Paddle")
        paddle_quirks.call_onednn_method(config, "enable", "_bfloat16")


def _set_up_gpu(paddle: ModuleType, config: Any, options: EngineOptions, index: int) -> None:
    if not paddle.is_compiled_with_cuda():
        raise BackendError(
            f"Device 'gpu' was requested, but the installed Paddle {paddle.__version__} has no GPU support. "
            "Install paddlepaddle-gpu, or pass device='cpu' (--device CPU)."
        )
    config.enable_use_gpu(_GPU_MEMORY_MB, index)
    if options.engine == "tensorrt":
        modes = {"fp32": paddle.inference.PrecisionType.Float32, "fp16": paddle.inference.PrecisionType.Half}
        config.enable_tensorrt_engine(
            workspace_size=_TENSORRT_WORKSPACE_BYTES,
            precision_mode=modes[options.precision],
            use_static=False,
        )
