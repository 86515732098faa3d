"""From an exported ONNX model to int8: the file, the folder's description, and the comparison."""

from __future__ import annotations

import shutil

import cv2
import numpy as np
import pytest
import yaml

from res2net_runtime import BackendError, Detections, ModelFolderError, Predictor, quantize
from res2net_runtime.quantize import main, quantize_model
from tests.helpers.runtime_toys import BRIGHT, DARK, picture, toy_model_dir

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.fixture
def model_dir(tmp_path_factory, tmp_path):
    return shutil.copytree(toy_model_dir(tmp_path_factory, "onnx"), tmp_path / "model")


@pytest.fixture
def image_dir(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for index, value in enumerate([BRIGHT, DARK, 150]):
        cv2.imwrite(str(folder / f"{index}.png"), picture(50, 70 + index, value))
    return folder


def test_int8_model_finds_the_same(model_dir, image_dir, capsys):
    before = yaml.safe_load((model_dir / "infer_cfg.yml").read_text())
    assert main(["--model_dir", str(model_dir), "--image_dir", str(image_dir), "--cpu_threads", "1"]) == 0
    out = capsys.readouterr().out
    assert "Measuring activations on 3 images" in out and "model_int8.onnx'" in out
    assert "3 images: " in out and "times as fast" in out and "(int8, cpu). Of 2 detections" in out
    assert "int8 misses 0; it adds 0." in out
    after = yaml.safe_load((model_dir / "infer_cfg.yml").read_text())
    assert after["formats"].pop("onnx_int8") == {"model_file": "model_int8.onnx"} and after == before
    assert sorted(path.name for path in model_dir.iterdir()) == ["infer_cfg.yml", "model.onnx", "model_int8.onnx"]


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_engines_run_int8(model_dir, image_dir, engine):
    pytest.importorskip(engine)
    quantize_model(model_dir, sorted(image_dir.iterdir()))
    scores = []
    for precision in ("fp32", "int8"):
        with Predictor(model_dir, backend=engine, precision=precision, cpu_threads=1) as predictor:
            scores.append(predictor(picture(50, 70)).scores)
            assert len(predictor(picture(50, 70, DARK))) == 0
            assert predictor.description.endswith(f"({precision}, cpu)")
    np.testing.assert_allclose(*scores, atol=0.02)
    assert scores[0] != scores[1]  # really another network


def test_quantising_again_replaces_the_file(model_dir, image_dir):
    first = quantize_model(model_dir, sorted(image_dir.iterdir())).read_bytes()
    second = quantize_model(model_dir, [image_dir / "1.png"]).read_bytes()
    assert first != second


def test_what_cannot_be_quantised(model_dir, image_dir, tmp_path, capsys):
    arguments = ["--model_dir", str(model_dir), "--image_dir"]
    assert main([*arguments, str(tmp_path / "gone")]) == 1
    assert "Error: There is no image folder" in capsys.readouterr().err
    (image_dir / "3.png").write_bytes(b"nonsense")
    assert main([*arguments, str(image_dir)]) == 1
    assert "Error: Cannot decode image '" in capsys.readouterr().err
    assert not (model_dir / "model_int8.onnx").exists()
    with pytest.raises(ValueError, match="at least one image"):
        quantize_model(model_dir, [])
    (model_dir / "model.onnx").write_bytes(b"nonsense")
    with pytest.raises(BackendError, match="ONNX Runtime cannot load '.*model.onnx'"):
        quantize_model(model_dir, [image_dir / "0.png"])
    config = yaml.safe_load((model_dir / "infer_cfg.yml").read_text())
    config["formats"] = {"paddle": {"model_file": "model.onnx", "params_file": "model.onnx"}}
    (model_dir / "infer_cfg.yml").write_text(yaml.safe_dump(config))
    with pytest.raises(ModelFolderError, match="holds paddle, but int8 is made from onnx. Export the model again"):
        quantize_model(model_dir, [image_dir / "0.png"])


def test_missing_package(model_dir, image_dir, monkeypatch):
    monkeypatch.setitem(quantize.sys.modules, "onnx", None)
    with pytest.raises(BackendError, match="Cannot import onnx .*Install it with: pip install onnx"):
        quantize_model(model_dir, [image_dir / "0.png"])


def test_missing_detections_are_counted_by_class_and_place():
    def detections(*rows):
        boxes = np.float32([row[1:] for row in rows]).reshape(-1, 4)
        labels = np.int32([row[0] for row in rows])
        return Detections(boxes, np.ones(len(rows)), labels, None, (99, 99), ("a", "b"), (1, 2))

    wanted = detections((0, 0, 0, 10, 10), (1, 50, 50, 60, 60))
    assert quantize._count_missing(wanted, wanted) == 0
    assert quantize._count_missing(wanted, detections((0, 1, 0, 11, 10), (0, 50, 50, 60, 60))) == 1
    assert quantize._count_missing(wanted, detections((0, 6, 0, 16, 10))) == 2
    assert quantize._count_missing(wanted, detections()) == 2 and quantize._count_missing(detections(), wanted) == 0
