"""Contender: paddledet's own Mask R-CNN, exported and run as its own tools do, with oneDNN off.

Needs a Python with Paddle 2.6. Paddle 3 represents graphs as PIR, which refuses paddledet's loops and its NMS.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

__all__ = ["create_paddledet"]

RECIPE = "mask_rcnn_res2net50_vd_26w_4s_fpn_2x_coco"


def create_paddledet(weights: str, export_dir: str, threads: int) -> Callable[[np.ndarray], int]:
    """Return a function from an RGB image to the number of masks that were found and encoded.

    Args:
        weights: ``.pdparams`` of the benchmark's detector.
        export_dir: Folder for the exported graph.
        threads: Threads on the CPU.
    """
    from ppdet_res2net.compat import prepare_ppdet

    prepare_ppdet()
    import paddle

    from ppdet_res2net.config import load_config
    from ppdet_res2net.detection.model import Classes, make_model_info
    from res2net_runtime.preprocess import Preprocessor

    config = load_config(RECIPE)
    path = Path(export_dir) / "model"
    if not path.with_suffix(".pdmodel").is_file():
        _export(config, weights, path)
    settings = paddle.inference.Config(str(path.with_suffix(".pdmodel")), str(path.with_suffix(".pdiparams")))
    settings.disable_glog_info()
    settings.disable_mkldnn()
    settings.enable_memory_optim()
    settings.set_cpu_math_library_num_threads(threads)
    predictor = paddle.inference.create_predictor(settings)
    preprocessor = Preprocessor.from_config(make_model_info(config, Classes((), ()), ()).preprocess)

    def run(image: np.ndarray) -> int:
        inputs = preprocessor(image)
        for name in predictor.get_input_names():
            predictor.get_input_handle(name).copy_from_cpu(np.ascontiguousarray(inputs[name][None]))
        predictor.run()
        boxes, _, masks = (predictor.get_output_handle(name).copy_to_cpu() for name in predictor.get_output_names())
        return len(_encode(masks[boxes[:, 1] > 0]))

    return run


def _encode(bitmaps: np.ndarray) -> list:
    from pycocotools import mask

    return mask.encode(np.asfortranarray(bitmaps.transpose(1, 2, 0).astype(np.uint8)))


def _export(config, weights: str, path: Path) -> None:
    import paddle
    from paddle.static import InputSpec
    from ppdet.core.workspace import create, merge_config

    from ppdet_res2net.zoo.formats import load_weights_file

    # Only the modules of the network, as paddledet itself registers them. It has neither dialects nor a zoo.
    modules = {
        name: dict(value) if isinstance(value, dict) else value
        for name, value in config.items()
        if name[0].isupper() and not name.endswith(("Dataset", "Reader")) and isinstance(value, dict)
    }
    for name in ("dialect", "model", "allow_frozen_random_norm"):
        modules["Res2Net"].pop(name, None)
    for name in ("LearningRate", "OptimizerBuilder"):
        modules.pop(name, None)
    merge_config({**modules, "num_classes": config["num_classes"], "export_onnx": True})
    _keep_sizes_one_dimensional()
    detector = create(config["architecture"])
    state = detector.state_dict()
    for name, array in load_weights_file(weights).items():
        state[name].set_value(array)
    detector.eval()
    specs: dict = {
        "image": InputSpec([1, 3, None, None], "float32", "image"),
        "im_shape": InputSpec([1, 2], "float32", "im_shape"),
        "scale_factor": InputSpec([1, 2], "float32", "scale_factor"),
    }
    paddle.jit.save(paddle.jit.to_static(detector, input_spec=[specs], full_graph=True), str(path))


def _keep_sizes_one_dimensional() -> None:
    """Let paddledet index tensors as in Paddle before 2.5, for which it was written, also while a graph is traced.

    Later sources of paddledet have ``paddle.shape(x)[0:1]`` where 2.6.0 has ``[0]``, and ``reshape`` before ``concat``.
    """
    import paddle

    from ppdet_res2net.compat.overlay import ModuleView

    def take_slice(x, *arguments):
        return paddle.slice(paddle.shape(x.x) if isinstance(x, Sizes) else x, *arguments)

    def concat(x, axis=0):
        lifted = [t.reshape([1]) if len(t.shape) == 0 else t for t in x] if isinstance(x, list) else x
        return paddle.concat(lifted, axis)

    class Sizes:
        def __init__(self, x) -> None:
            self.x = x

        def __getitem__(self, index: int):
            return paddle.shape(self.x)[index : index + 1]

    view = ModuleView(paddle, shape=Sizes, slice=take_slice, concat=concat)
    for name in ("proposal_generator.rpn_head", "post_process"):
        vars(sys.modules[f"ppdet.modeling.{name}"])["paddle"] = view
