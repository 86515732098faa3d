"""The detector of the benchmark: deterministic weights that really find 100 objects in a photo.

Pretrained weights may not be available. Untrained weights find nothing: the activations of a random trunk explode or
vanish, and no class score passes the threshold, so the heads would have no work. Therefore every BatchNorm takes the
statistics of real photos here, and the deciding layers are scaled until their outputs vary as much as a trained detector's.
"""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import paddle
from paddle import nn
from safetensors.numpy import save_file

from ppdet_res2net.config import Config, load_config
from ppdet_res2net.datasets.demo_scenes import draw_scene
from ppdet_res2net.detection.export import export_model
from ppdet_res2net.detection.inference import RCNNInference
from ppdet_res2net.detection.model import Classes, make_model_info
from ppdet_res2net.ppdet_modules.registry import create_from_config
from ppdet_res2net.zoo.formats import save_weights_file
from ppdet_res2net.zoo.load import trunk_metadata
from res2net_runtime.files import find_images
from res2net_runtime.preprocess import Preprocessor, collate, decode_image

__all__ = ["Workload", "export", "prepare"]

RECIPE = "mask_rcnn_res2net50_vd_26w_4s_fpn_2x_coco"

# The outputs of the deciding layers are scaled to these standard deviations over the photos.
# By the last part of a name, without the stage of a cascade.
_OUTPUT_STD = {
    "rpn_rois_score": 2.0,
    "rpn_rois_delta": 0.2,
    "bbox_score": 2.0,
    "bbox_delta": 0.5,
    "mask_fcn_logits": 2.0,
}


class Workload(NamedTuple):
    """The files that the contenders need.

    Attributes:
        folder: Export of the detector in every format.
        image: ``.npy`` file of the image, uint8 (H, W, 3) RGB.
        g_macs: Multiply-accumulates of the detector for the image, in units of 1e9.
    """

    folder: Path
    image: Path
    g_macs: float


def prepare(
    work_dir: Path,
    photos: Path | None,
    image_hw: tuple[int, int],
    recipe: str = RECIPE,
    formats: Sequence[str] = ("paddle", "onnx", "openvino"),
) -> Workload:
    """Make weights and exports in ``work_dir``, or reuse those of an earlier run there.

    Args:
        work_dir: Folder to write to.
        photos: Folder of photos; None for generated pictures.
        image_hw: Height and width in pixels of the image that the contenders get.
        recipe: The detector.
        formats: What it is exported in.
    """
    work_dir.mkdir(parents=True, exist_ok=True)
    weights, done = work_dir / "weights.pdparams", work_dir / "prepared.json"
    prepared = Workload(work_dir / "model", work_dir / "image.npy", 0.0)
    if not done.is_file():
        pictures = _pictures(photos, image_hw)
        np.save(prepared.image, pictures[0])
        detector = _make_weights(pictures, weights, recipe)
        export(work_dir, "model", formats, recipe=recipe)
        done.write_text(json.dumps({"g_macs": _count_multiply_accumulates(detector, pictures[0], recipe)}))
    return prepared._replace(**json.loads(done.read_text()))


def export(
    work_dir: Path, name: str, formats: Sequence[str], overrides: Sequence[str] = (), recipe: str = RECIPE
) -> Path:
    """Export the detector with the weights in ``work_dir`` to ``work_dir/name``, and return that folder."""
    config = load_config(recipe, [f"weights={work_dir / 'weights'}", "use_gpu=false", *overrides])
    folder = export_model(config, str(work_dir / f"{name}.new"), formats=formats)
    target = work_dir / name
    shutil.rmtree(target, ignore_errors=True)
    folder.rename(target)
    folder.parent.rmdir()
    return target


def _pictures(photos: Path | None, image_hw: tuple[int, int]) -> list[np.ndarray]:
    """Return two pictures of that size, uint8 RGB."""
    if photos is None:
        generator = np.random.default_rng(0)
        height, width = image_hw
        long_side_px = (
            max(image_hw) * 4 // 3 + 1
        )  # the short side of a scene is at least three quarters of the long one
        scenes = [draw_scene(generator, long_side_px, with_objects=True, with_crowd=False)[0] for _ in range(2)]
        return [np.ascontiguousarray(scene[:height, :width, ::-1]) for scene in scenes]
    decoded = (decode_image(file) for file in find_images(photos))
    pictures = list(islice((image for image in decoded if image.shape[:2] == image_hw), 2))
    if len(pictures) < 2:
        raise SystemExit(f"'{photos}' needs two photos of {image_hw[1]}x{image_hw[0]} pixels, got {len(pictures)}.")
    return pictures


def _make_weights(pictures: Sequence[np.ndarray], path: Path, recipe: str) -> nn.Layer:
    """Calibrate the recipe's detector on pictures, write its weights as ``.pdparams`` and ``.safetensors``, and return it."""
    config = load_config(recipe, ["Res2Net.allow_frozen_random_norm=true"])
    paddle.seed(0)
    detector = create_from_config(config, config["architecture"])
    detector.eval()
    inputs = _network_input(config, pictures)
    with paddle.no_grad():
        _calibrate_norms(detector, inputs["image"])
        _calibrate_outputs(detector, inputs)
    weights = {name: np.ascontiguousarray(tensor.numpy()) for name, tensor in detector.state_dict().items()}
    save_weights_file(path, weights, trunk_metadata(detector))
    save_file(weights, str(path.with_suffix(".safetensors")))
    names = [f"class {i}" for i in range(config["num_classes"])]
    ids = list(range(1, len(names) + 1))
    path.with_suffix(".json").write_text(json.dumps({"format": 1, "class_names": names, "category_ids": ids}))
    return detector


def _network_input(config: Config, images: Sequence) -> dict[str, paddle.Tensor]:
    """Return the inputs of the network for images: files, or uint8 RGB arrays."""
    info = make_model_info(config, Classes((), ()), ())
    preprocessor = Preprocessor.from_config(info.preprocess)
    batch = collate([preprocessor(decode_image(image)) for image in images])
    return {name: paddle.to_tensor(array) for name, array in batch.items()}


def _calibrate_norms(detector: nn.Layer, image: paddle.Tensor) -> None:
    """Give every BatchNorm the statistics of its input, in one forward pass: each one sees the output of those before it."""
    hooks = [
        layer.register_forward_pre_hook(_take_statistics)
        for layer in detector.backbone.sublayers()
        if isinstance(layer, nn.BatchNorm2D)
    ]
    detector.backbone({"image": image})
    for hook in hooks:
        hook.remove()


def _take_statistics(norm, inputs):  # Paddle's annotation of hooks knows neither the tuple nor None
    (x,) = inputs
    norm._mean.set_value(x.mean([0, 2, 3]))
    norm._variance.set_value(x.var([0, 2, 3]))


def _calibrate_outputs(detector: nn.Layer, inputs: dict[str, paddle.Tensor]) -> None:
    layers = {name: layer for name, layer in detector.named_sublayers() if _kind(name) in _OUTPUT_STD}
    hooks: dict = {}

    def standardize(name: str, layer: nn.Layer, layer_inputs: tuple, output: paddle.Tensor) -> paddle.Tensor:
        hooks.pop(name).remove()  # only the first level of the pyramid counts, which is the largest
        return _standardize(_OUTPUT_STD[_kind(name)], layer, layer_inputs, output)

    for name, layer in layers.items():
        hooks[name] = layer.register_forward_post_hook(functools.partial(standardize, name))

    # Inference computes only the detected class's mask logits and does not call their layer, so its hook needs this.
    def run_mask_logits(head: nn.Layer, _: nn.Layer, layer_inputs: tuple, features: paddle.Tensor) -> None:
        head.mask_fcn_logits(features)

    network = RCNNInference(detector)
    mask_hooks = [
        head.head.register_forward_post_hook(functools.partial(run_mask_logits, head)) for head in network.mask_heads
    ]
    network(inputs["image"], inputs["im_shape"], inputs["scale_factor"])
    for hook in mask_hooks:
        hook.remove()


def _kind(name: str) -> str:
    return name.rpartition(".")[2].partition("_stage")[0]


def _standardize(std: float, layer: nn.Layer, inputs: tuple, output: paddle.Tensor) -> paddle.Tensor:
    """Scale a layer so that every channel of this output has mean 0 and standard deviation ``std``; return the new output."""
    axes = [axis for axis in range(output.ndim) if axis != 1]
    scale = std / paddle.clip(output.std(axes), min=1e-6)  # (C,)
    weight_scale = scale if layer.weight.ndim == 2 else scale.reshape([-1, 1, 1, 1])
    layer.weight.set_value(layer.weight * weight_scale)
    layer.bias.set_value((layer.bias - output.mean(axes)) * scale)
    return layer.forward(*inputs)


def _count_multiply_accumulates(detector: nn.Layer, image: np.ndarray, recipe: str) -> float:
    """Count the multiply-accumulates of all layers with weights for one image, in units of 1e9."""
    config = load_config(recipe)
    counts: list[int] = []

    def count(layer, inputs, output):
        if isinstance(layer, nn.Conv2DTranspose):
            counts.append(inputs[0].size // inputs[0].shape[1] * layer.weight.size)
        elif isinstance(layer, nn.Conv2D):
            counts.append(output.size // output.shape[1] * layer.weight.size)
        else:
            counts.append(output.shape[0] * layer.weight.size)

    for layer in detector.sublayers():
        if isinstance(layer, (nn.Conv2D, nn.Conv2DTranspose, nn.Linear)):
            layer.register_forward_post_hook(count)
    inputs = _network_input(config, [image])
    with paddle.no_grad():
        RCNNInference(detector)(inputs["image"], inputs["im_shape"], inputs["scale_factor"])
    return sum(counts) / 1e9
