"""Exports for other programs: PaddleDetection's outputs and description, and Triton's model repository."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import numpy as np
import paddle
import pytest
import yaml

from ppdet_res2net.cli.main import main
from ppdet_res2net.detection.export_for_others import describe_for_paddledetection, export_for_others
from ppdet_res2net.detection.inference import RCNNInference
from ppdet_res2net.detection.paddledetection_form import PaddleDetectionForm, paste_masks
from ppdet_res2net.errors import ExportError
from ppdet_res2net.export.folder import move_export
from res2net_runtime import ModelFolderError, Predictor
from res2net_runtime.backends import create_backend
from res2net_runtime.masks import masks_to_bitmaps
from res2net_runtime.model_folder import ModelFiles, ModelFolder, ModelInfo
from res2net_runtime.preprocess import Preprocessor, collate, decode_image
from tests.helpers import tiny_detector as tiny
from tests.helpers.training_runs import image_files, make_config

INFO = ModelInfo(
    arch="MaskRCNN",
    outputs=("boxes", "scores", "labels", "masks", "num"),
    preprocess=({"type": "Resize", "target_size": 640}, {"type": "Permute"}, {"type": "PadStride", "stride": 32}),
    label_list=("bear", "cat"),
    category_ids=(1, 7),
    draw_threshold=0.4,
    mask_threshold=0.5,
)


def run_form(model, inputs, mask_threshold=0.5) -> dict[str, np.ndarray]:
    form = PaddleDetectionForm(RCNNInference(model), mask_threshold)
    form.eval()
    with paddle.no_grad():
        outputs = form(inputs["image"], inputs["im_shape"], inputs["scale_factor"])
    return {name: tensor.numpy() for name, tensor in zip(form.output_names, outputs)}


@pytest.mark.parametrize("architecture", ["FasterRCNN", "MaskRCNN"])
def test_the_outputs_are_those_of_paddledet(architecture):
    config = tiny.detector_config(architecture)
    model = tiny.build_ours(config)
    inputs = tiny.make_inputs([(150, 180)], [(1.5, 1.5)])
    ours, expected = run_form(model, inputs), tiny.detect_as_paddledet(tiny.build_paddledets(config, model), inputs)
    assert list(ours) == ["bbox", "bbox_num", "mask"][: 3 if architecture == "MaskRCNN" else 2]
    assert ours["bbox_num"].dtype == np.int32
    assert ours["bbox_num"].tolist() == expected["num"].tolist() != [0]
    np.testing.assert_array_equal(ours["bbox"][:, 0], expected["labels"])
    np.testing.assert_allclose(ours["bbox"][:, 1], expected["scores"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(ours["bbox"][:, 2:], expected["boxes"], rtol=0, atol=1e-3)
    if architecture == "MaskRCNN":
        assert ours["mask"].dtype == np.int32
        assert ours["mask"].shape == expected["bitmaps"].shape == (len(ours["bbox"]), 100, 120)
        assert (ours["mask"] == expected["bitmaps"]).mean() > 0.9999  # a value may equal the threshold up to rounding


def test_a_batch_has_masks_of_the_largest_image():
    model = tiny.build_ours(tiny.detector_config())
    inputs = tiny.make_inputs([(150, 180), (100, 160)], [(1.5, 1.5), (1.0, 2.0)])
    ours, separate = run_form(model, inputs), tiny.detect(model, inputs)
    first = separate["num"][0]
    assert ours["mask"].shape[1:] == (100, 120)
    assert (ours["mask"][:first] >= 0).all()
    assert (ours["mask"][first:, :, 80:] == -1).all()
    assert (ours["mask"][first:, :, :80] >= 0).all()
    expected = masks_to_bitmaps(separate["masks"][first:], separate["boxes"][first:], (100, 80))
    assert ((ours["mask"][first:, :, :80] == 1) == expected).mean() > 0.9999


def test_nothing_found_gives_empty_outputs():
    model = tiny.build_ours(tiny.detector_config())
    model.bbox_post_process.nms.score_threshold = 0.9999
    ours = run_form(model, tiny.make_inputs([(150, 180)], [(1.5, 1.5)]))
    assert {name: value.shape for name, value in ours.items()} == {
        "bbox": (0, 6), "bbox_num": (1,), "mask": (0, 100, 120)
    }  # fmt: skip
    assert ours["bbox_num"].tolist() == [0]


def test_masks_are_sampled_as_the_runtime_samples_them():
    generator = np.random.default_rng(0)
    masks = generator.random((6, 28, 28), np.float32)
    corner = generator.uniform(-5, 40, (6, 2))
    boxes = np.concatenate([corner, corner + generator.uniform(0.3, 60, (6, 2))], axis=1).astype(np.float32)
    sizes = np.repeat(np.array([[47, 61]], np.float32), 6, axis=0)
    pasted = paste_masks(*map(paddle.to_tensor, (masks, boxes, sizes))).numpy()
    for threshold in (0.3, 0.5, 0.9):
        expected = masks_to_bitmaps(masks, boxes, (47, 61), threshold)
        assert expected.any()
        assert (np.abs(pasted - threshold)[(pasted >= threshold) != expected] < 1e-5).all()


def test_the_description_has_the_keys_of_paddledetection():
    assert describe_for_paddledetection(INFO) == {
        "mode": "paddle",
        "draw_threshold": 0.4,
        "metric": "COCO",
        "use_dynamic_shape": True,
        "arch": "RCNN",
        "min_subgraph_size": 40,
        "mask": True,
        "Preprocess": [
            {"type": "Resize", "target_size": [640, 640], "keep_ratio": True, "interp": 1},
            {"type": "Permute"},
            {"type": "PadStride", "stride": 32},
        ],
        "label_list": ["bear", "cat"],
    }


def test_a_resize_that_paddledetection_does_not_know_is_refused():
    info = ModelInfo(**{**vars(INFO), "preprocess": ({"type": "Resize", "target_size": 64, "round_size": True},)})
    with pytest.raises(
        ExportError, match=r"round_size: true, .*PaddleDetection's deploy/python/infer.py cannot resize like"
    ):
        describe_for_paddledetection(info)


def test_im_shape_in_whole_pixels_changes_nothing_if_the_image_was_enlarged():
    model = tiny.build_ours(tiny.detector_config())
    exact = tiny.make_inputs([(150.3, 180.4)], [(1.503, 1.804)])
    rounded = {**exact, "im_shape": paddle.to_tensor([[150.0, 180.0]])}
    first, second = run_form(model, exact), run_form(model, rounded)
    np.testing.assert_array_equal(first["bbox"], second["bbox"])
    np.testing.assert_array_equal(first["mask"], second["mask"])


def test_a_folder_for_paddledetection(detecting, demo_data, tmp_path):
    config = make_config(demo_data, tmp_path, f"weights={detecting}")
    folder = export_for_others(config, str(tmp_path / "out"), "paddledetection")
    assert folder.name == "demo_mask_rcnn_paddledetection"
    graph = next(path for path in (folder / "model.json", folder / "model.pdmodel") if path.is_file())
    image = image_files(demo_data)[0]
    description = yaml.safe_load((folder / "infer_cfg.yml").read_text())
    files = {"paddle": ModelFiles(graph, folder / "model.pdiparams")}
    info = ModelInfo(**{**vars(INFO), "outputs": ("bbox", "bbox_num", "mask")})
    backend = create_backend(
        ModelFolder(**vars(info), path=folder, formats=files, versions={}), "paddle", "fp32", "cpu", 1
    )
    result = backend.run(collate([Preprocessor.from_config(description["Preprocess"])(decode_image(image))]))
    backend.close()
    assert result["bbox_num"].tolist() == [len(result["bbox"])] != [0]
    assert set(np.unique(result["mask"])) == {0, 1}
    with pytest.raises(
        ModelFolderError, match="is in PaddleDetection's form, for its deploy/python/infer.py. Run the folder"
    ):
        Predictor(folder)


@pytest.fixture(scope="module")
def repository(detecting, demo_data, tmp_path_factory) -> Path:
    pytest.importorskip("onnx")
    folder = tmp_path_factory.mktemp("triton")
    config = make_config(demo_data, folder, f"weights={detecting}")
    return export_for_others(config, str(folder / "out"), "triton")


@pytest.fixture
def triton(monkeypatch):
    """A stand-in of the module that Triton's Python backend gives to its models."""

    class Tensor:
        def __init__(self, name, array):
            assert isinstance(array, np.ndarray)
            self.name, self._array = name, array

        def as_numpy(self):
            return self._array

    module = types.ModuleType("triton_python_backend_utils")
    module.Tensor = Tensor
    module.TritonError = str
    module.InferenceResponse = lambda output_tensors, error=None: types.SimpleNamespace(
        tensors={one.name: one.as_numpy() for one in output_tensors}, error=error
    )
    module.get_input_tensor_by_name = lambda request, name: Tensor(name, request[name])
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", module)
    return module


def load_python_model(folder: Path):
    """Load and initialise a Python model as Triton does."""
    names: dict = {}
    exec((folder / "1" / "model.py").read_text(), names)
    model = names["TritonPythonModel"]()
    model.initialize({"model_repository": str(folder), "model_version": "1", "model_name": folder.name})
    return model


def test_the_ensemble_finds_what_the_predictor_finds(repository, demo_data, triton, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    name = "demo_mask_rcnn"
    prepare, finish = (load_python_model(repository / f"{name}_{one}") for one in ("prepare", "finish"))
    network = onnxruntime.InferenceSession(
        str(repository / f"{name}_network/1/model.onnx"), providers=["CPUExecutionProvider"]
    )
    config = read_config(repository / name)
    photo = image_files(demo_data)[0]
    requests = [{"IMAGE": np.frombuffer(data, np.uint8)} for data in (photo.read_bytes(), b"no image")]
    good, bad = prepare.execute(requests)
    assert bad.error.startswith("Cannot decode image '<8 bytes>'")
    outputs = network.run(None, {one.name: good.tensors[one.name] for one in network.get_inputs()})
    between = {one.name: value for one, value in zip(network.get_outputs(), outputs)}
    (answer,) = finish.execute([{**between, "IMAGE_SIZE": good.tensors["IMAGE_SIZE"]}])
    assert list(answer.tensors) == [one["name"] for one in config["output"]]

    folder = tmp_path / "ours"
    folder.mkdir()
    (folder / "model.onnx").write_bytes((repository / f"{name}_network/1/model.onnx").read_bytes())
    description = yaml.safe_load((repository / f"{name}_prepare/1/infer_cfg.yml").read_text())
    (folder / "infer_cfg.yml").write_text(
        yaml.safe_dump({**description, "formats": {"onnx": {"model_file": "model.onnx"}}})
    )
    with Predictor(folder, backend="onnxruntime") as predictor:
        expected = predictor(photo)
    assert len(expected)
    np.testing.assert_allclose(answer.tensors["BOXES"], expected.boxes_xyxy, atol=1e-3)
    np.testing.assert_allclose(answer.tensors["SCORES"], expected.scores, atol=1e-5)
    assert answer.tensors["LABELS"].tolist() == expected.labels.tolist()
    assert answer.tensors["CATEGORY_IDS"].tolist() == [expected.category_ids[label] for label in expected.labels]
    assert [one.decode() for one in answer.tensors["CLASS_NAMES"]] == expected.class_names
    assert [json.loads(one)["size"] for one in answer.tensors["RLES"]] == [list(expected.image_hw)] * len(expected)
    same = [
        json.loads(one)["counts"] == rle["counts"].decode() for one, rle in zip(answer.tensors["RLES"], expected.rles())
    ]
    assert np.mean(same) > 0.9


def read_config(model: Path) -> dict:
    """Read a config.pbtxt with protobuf's own parser, by a message type with the fields of Triton's that are written."""
    from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory, text_format

    file = descriptor_pb2.FileDescriptorProto(name="triton_part.proto", package="part", syntax="proto3")
    fields = {
        "Tensor": {"name": "string", "data_type": "enum", "dims": "int64*"},
        "Pair": {"key": "string", "value": "string"},
        "Step": {"model_name": "string", "model_version": "int64", "input_map": "Pair*", "output_map": "Pair*"},
        "Ensemble": {"step": "Step*"},
        "Model": {"name": "string", "platform": "string", "backend": "string", "max_batch_size": "int64", "input": "Tensor*",
                  "output": "Tensor*", "ensemble_scheduling": "Ensemble"},
    }  # fmt: skip
    kinds = descriptor_pb2.FieldDescriptorProto
    types_ = file.enum_type.add(name="DataType")
    for number, one in enumerate(
        ["TYPE_INVALID", "TYPE_UINT8", "TYPE_INT32", "TYPE_INT64", "TYPE_FP32", "TYPE_STRING"]
    ):
        types_.value.add(name=one, number=number)
    for message, its in fields.items():
        descriptor = file.message_type.add(name=message)
        for number, (field, kind) in enumerate(its.items(), 1):
            one = descriptor.field.add(name=field, number=number)
            one.label = kinds.LABEL_REPEATED if kind.endswith("*") else kinds.LABEL_OPTIONAL
            kind = kind.rstrip("*")
            if kind == "enum":
                one.type, one.type_name = kinds.TYPE_ENUM, ".part.DataType"
            elif kind in fields:
                one.type, one.type_name = kinds.TYPE_MESSAGE, f".part.{kind}"
            else:
                one.type = kinds.TYPE_STRING if kind == "string" else kinds.TYPE_INT64
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    parsed = text_format.Parse(
        (model / "config.pbtxt").read_text("utf-8"),
        message_factory.GetMessageClass(pool.FindMessageTypeByName("part.Model"))(),
    )
    return json_format.MessageToDict(parsed, preserving_proto_field_name=True)


def test_every_tensor_is_that_of_the_onnx_file(repository):
    import onnx

    name = "demo_mask_rcnn"
    graph = onnx.load(str(repository / f"{name}_network/1/model.onnx")).graph
    network = read_config(repository / f"{name}_network")
    for declared, values in ((network["input"], graph.input), (network["output"], graph.output)):
        assert len(declared) == len(values)
        for one, value in zip(declared, values):
            kind = value.type.tensor_type
            assert one["name"] == value.name
            assert one["data_type"] == {1: "TYPE_FP32", 6: "TYPE_INT32"}[kind.elem_type]
            assert list(map(int, one["dims"])) == [dim.dim_value or -1 for dim in kind.shape.dim]
    assert network["backend"] == "onnxruntime"


def test_the_steps_of_the_ensemble_fit_together(repository):
    ensemble = read_config(repository / "demo_mask_rcnn")
    assert ensemble["platform"] == "ensemble"
    available = {one["name"]: (one["data_type"], one["dims"]) for one in ensemble["input"]}
    for step in ensemble["ensemble_scheduling"]["step"]:
        model = read_config(repository / step["model_name"])
        assert model["name"] == step["model_name"]
        inputs, outputs = (
            {one["name"]: (one["data_type"], one["dims"]) for one in model[end]} for end in ("input", "output")
        )
        assert {pair["key"]: available[pair["value"]] for pair in step["input_map"]} == inputs
        available |= {pair["value"]: outputs[pair["key"]] for pair in step["output_map"]}
    for one in ensemble["output"]:
        assert available[one["name"]] == (one["data_type"], one["dims"])


def test_classifiers_are_refused(tmp_path, capsys):
    for form, reason in (
        ("paddledetection", "PaddleDetection's deploy/python/infer.py runs no classifiers"),
        ("triton", "Triton serves a classifier's model.onnx without anything around it"),
    ):
        command = ["export", "--model", "timm/res2net50_26w_4s", "--weights", "x", "--format", form]
        assert main([*command, "--output_dir", str(tmp_path)]) == 1
        error = capsys.readouterr().err
        assert f"--format {form} is for detectors, and this is a classifier. {reason}" in error
        assert "Use --format paddle, onnx or openvino." in error


def test_all_formats_are_listed_before_anything_is_written(tmp_path, capsys):
    assert main(["export", "-c", "demo_mask_rcnn", "--output_dir", str(tmp_path), "--format", "onnx,trition"]) == 1
    known = "paddle, onnx, openvino, paddledetection, triton, triton_openvino"
    assert f"There is no format 'trition'; choose one of {known}. Did you mean 'triton'" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_a_folder_of_something_else_is_kept(tmp_path):
    new, there = tmp_path / "new", tmp_path / "there"
    for folder in (new, there):
        (folder / "model").mkdir(parents=True)
    (new / "model/config.pbtxt").touch()
    (there / "model/notes.txt").write_text("mine")
    with pytest.raises(ExportError, match="'.*there/model' is a folder of something else. Move it, or pass another"):
        move_export(there, new)
    assert (there / "model/notes.txt").read_text() == "mine"
    (there / "model/config.pbtxt").touch()
    move_export(there, new)
    assert [path.name for path in (there / "model").iterdir()] == ["config.pbtxt"]
