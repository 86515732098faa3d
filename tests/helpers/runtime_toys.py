"""A tiny "detector" in every format of the runtime; it finds one box in bright images and none in dark ones."""

from __future__ import annotations

import shutil
import zlib  # noqa: F401  (before paddle: Paddle 2.6.2 brings zlib symbols of its own)
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import yaml

from res2net_runtime.backends.cpu import find_narrow_isa_limit

BRIGHT, DARK = 200, 20
INPUTS = {"image": (3, None, None), "im_shape": (2,), "scale_factor": (2,)}
CONFIG = {
    "schema": {"name": "res2net_runtime", "version": 2},
    "task": "detection",
    "arch": "MaskRCNN",
    "outputs": ["boxes", "scores", "labels", "masks", "num"],
    "Preprocess": [
        {"type": "Resize", "target_size": [64, 96], "keep_ratio": True, "interp": 1},
        {
            "type": "NormalizeImage",
            "mean": [0.5] * 3,
            "std": [0.25] * 3,
            "is_scale": True,
            "norm_type": "mean_std",
        },
        {"type": "Permute"},
        {"type": "PadStride", "stride": 32},
    ],
    "label_list": ["cat", "dog"],
    "category_ids": [17, 18],
    "draw_threshold": 0.5,
    "mask_threshold": 0.5,
    "versions": {},
}


def picture(height: int, width: int, value: int = BRIGHT) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def assert_a_list_gives_the_results_of_its_images(predictor) -> None:
    """Run images of several sizes together and alone: whatever shares a batch, each result is the same."""
    sizes = [(50, 70), (70, 50), (50, 71), (1, 1), (1, 500), (64, 64), (50, 70)]
    images = [picture(*size, DARK if index == 2 else BRIGHT) for index, size in enumerate(sizes)]
    together = predictor(images)
    assert [one.image_hw for one in together] == sizes
    for one, image in zip(together, images):
        alone = predictor(image)
        np.testing.assert_array_equal(one.boxes_xyxy, alone.boxes_xyxy)
        np.testing.assert_allclose(one.scores, alone.scores, rtol=1e-6)


def toy_model_dir(tmp_path_factory, *formats: str) -> Path:
    """Return a folder with the toy in the given formats (default: paddle), written once per test run."""
    formats = formats or ("paddle",)
    path = tmp_path_factory.getbasetemp() / "-".join(("toy_model", *formats))
    if not path.exists():
        for name in formats:
            for package in _SAVERS[name][0]:
                pytest.importorskip(package, exc_type=ImportError)
        path.mkdir()
        try:
            save_toy(path, formats)
        except BaseException:
            shutil.rmtree(path)
            raise
    return path


def save_toy(path: Path, formats: Sequence[str]) -> None:
    """Write the toy in the given formats into a folder, with ``infer_cfg.yml``."""
    files = {name: _SAVERS[name][1](path) for name in formats}
    (path / "infer_cfg.yml").write_text(yaml.safe_dump({**CONFIG, "formats": files}), encoding="utf-8")


def _save_paddle(path: Path) -> dict[str, str]:
    import paddle

    class Toy(paddle.nn.Layer):
        def __init__(self):
            super().__init__()
            self.conv = paddle.nn.Conv2D(3, 1, 1, bias_attr=False)
            self.conv.weight.set_value(np.full((1, 3, 1, 1), 1 / 3, np.float32))

        def forward(self, image, im_shape, scale_factor):
            brightness = self.conv(image).mean(axis=[1, 2, 3])
            size_hw = im_shape / scale_factor
            boxes = paddle.concat([paddle.zeros_like(size_hw), size_hw.flip(axis=[1])], axis=1)
            found = paddle.nonzero(brightness > 0).flatten()
            masks = paddle.tile(paddle.nn.functional.sigmoid(brightness).reshape([-1, 1, 1]), [1, 28, 28])
            return (
                paddle.gather(boxes, found),
                paddle.gather(paddle.nn.functional.sigmoid(brightness), found),
                paddle.gather(paddle.zeros_like(brightness).astype("int32") + 1, found),
                paddle.gather(masks, found),
                paddle.cast(brightness > 0, "int32"),
            )

    spec = [paddle.static.InputSpec([None, *shape], "float32", name) for name, shape in INPUTS.items()]
    model = Toy()
    model.eval()
    paddle.jit.save(paddle.jit.to_static(model, input_spec=spec, full_graph=True), str(path / "model"))
    graph = next(name for name in ("model.json", "model.pdmodel") if (path / name).exists())
    return {"model_file": graph, "params_file": "model.pdiparams"}


def _toy_onnx():
    from onnx import TensorProto, helper, numpy_helper

    node = helper.make_node
    nodes = [
        node("Conv", ["image", "weight"], ["grey"]),
        node("ReduceMean", ["grey"], ["brightness"], axes=[1, 2, 3], keepdims=0),
        node("Greater", ["brightness", "zero"], ["is_bright"]),
        node("Cast", ["is_bright"], ["num"], to=TensorProto.INT32),
        node("NonZero", ["is_bright"], ["found_row"]),
        node("Squeeze", ["found_row", "first_axis"], ["found"]),
        node("Div", ["im_shape", "scale_factor"], ["size_hw"]),
        node("Gather", ["size_hw", "swap"], ["size_wh"], axis=1),
        node("Sub", ["size_wh", "size_wh"], ["corner"]),
        node("Concat", ["corner", "size_wh"], ["all_boxes"], axis=1),
        node("Gather", ["all_boxes", "found"], ["boxes"]),
        node("Sigmoid", ["brightness"], ["all_scores"]),
        node("Gather", ["all_scores", "found"], ["scores"]),
        node("Gather", ["num", "found"], ["labels"]),  # 1 if something is found
        node("Unsqueeze", ["scores", "last_axes"], ["scores_3d"]),
        node("Tile", ["scores_3d", "repeats"], ["masks"]),
    ]
    constants = {
        "weight": np.full((1, 3, 1, 1), 1 / 3, np.float32),
        "zero": np.float32(0),
        "first_axis": np.array([0]),
        "swap": np.array([1, 0]),
        "last_axes": np.array([1, 2]),
        "repeats": np.array([1, 28, 28]),
    }
    outputs = {
        "boxes": (TensorProto.FLOAT, ["m", 4]),
        "scores": (TensorProto.FLOAT, ["m"]),
        "labels": (TensorProto.INT32, ["m"]),
        "masks": (TensorProto.FLOAT, ["m", 28, 28]),
        "num": (TensorProto.INT32, ["n"]),
    }
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "toy",
        [value(name, TensorProto.FLOAT, ["n", *shape]) for name, shape in INPUTS.items()],
        [value(name, kind, shape) for name, (kind, shape) in outputs.items()],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _save_onnx(path: Path) -> dict[str, str]:
    (path / "model.onnx").write_bytes(_toy_onnx().SerializeToString())
    return {"model_file": "model.onnx"}


def _save_openvino(path: Path) -> dict[str, str]:
    import openvino

    model = openvino.Core().read_model(_toy_onnx().SerializeToString())
    openvino.save_model(model, path / "model.xml", compress_to_fp16=False)
    return {"model_file": "model.xml", "params_file": "model.bin"}


# Format -> the packages that are needed to write and run it, and the function that writes it.
_SAVERS = {
    "paddle": (("paddle",), _save_paddle),
    "onnx": (("onnx", "onnxruntime"), _save_onnx),
    "openvino": (("onnx", "openvino"), _save_openvino),
}


def save_toy_classifier(path: Path) -> None:
    """Write a classifier in ONNX's format into a folder: its logits are the mean red, green and blue."""
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [helper.make_node("ReduceMean", ["image"], ["logits"], axes=[2, 3], keepdims=0)],
        "toy_classifier",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, 32, 32])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (path / "model.onnx").write_bytes(model.SerializeToString())
    config = {
        "schema": {"name": "res2net_runtime", "version": 2},
        "task": "classification",
        "formats": {"onnx": {"model_file": "model.onnx"}},
        "outputs": ["logits"],
        "Preprocess": {"size_px": 32},
        "label_list": ["red", "green", "blue"],
    }
    (path / "infer_cfg.yml").write_text(yaml.safe_dump(config), encoding="utf-8")


def compile_in_bfloat16(network):
    """Return a network (or the path of its file) compiled by OpenVINO for bfloat16; skip the test if that is impossible.

    ``ONEDNN_MAX_CPU_ISA`` hides instructions from oneDNN, but not from OpenVINO. If it hides AVX-512 on a CPU that has it,
    some networks cannot be compiled; others fail when they run, and damage the process (seen in OpenVINO 2026.4: a later
    test ended with a segmentation fault).
    """
    import openvino

    limit = find_narrow_isa_limit()
    if limit:
        pytest.skip(f"ONEDNN_MAX_CPU_ISA={limit} hides instructions that OpenVINO's bfloat16 may need")
    compiled = openvino.Core().compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": "bf16"})
    if compiled.get_property("INFERENCE_PRECISION_HINT") != openvino.Type.bf16:
        pytest.skip("OpenVINO has no bfloat16 on this CPU, not even by simulation")
    return compiled
