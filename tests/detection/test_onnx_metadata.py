"""model.onnx by itself: its metadata describe it, the documented example runs it, and int8 keeps them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from ppdet_res2net.detection.export import export_model
from res2net_runtime import Predictor
from res2net_runtime.quantize import quantize_model
from tests.helpers.training_runs import image_files, make_config

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def exported(detecting, demo_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx")
    return export_model(make_config(demo_data, folder, f"weights={detecting}"), str(folder / "out"), formats=["onnx"])


def _metadata(file: Path) -> dict:
    meta = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"]).get_modelmeta()
    return {name: json.loads(text) for name, text in meta.custom_metadata_map.items() if not name.startswith("onnx.")}


def test_the_metadata_are_those_of_the_folder(exported):
    described = yaml.safe_load((exported / "infer_cfg.yml").read_text())
    for name in ("formats", "versions"):
        del described[name]
    assert _metadata(exported / "model.onnx") == {**described, "color_order": "RGB"}


def test_a_quantised_model_keeps_them(exported, demo_data):
    quantize_model(exported, image_files(demo_data)[:2])
    assert _metadata(exported / "model_int8.onnx") == _metadata(exported / "model.onnx")


def test_the_documented_example_finds_what_the_runtime_finds(exported, demo_data, monkeypatch):
    text = (ROOT / "docs" / "deployment.md").read_text("utf-8").partition("### model.onnx by itself")[2]
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
    photo = image_files(demo_data)[0]
    names = {"model.onnx": str(exported / "model.onnx"), "photo.jpg": str(photo)}
    for name, path in names.items():
        assert f'"{name}"' in code
        code = code.replace(f'"{name}"', repr(path))
    found: dict = {}
    exec(code, found)
    with Predictor(exported, backend="onnxruntime", cpu_threads=1) as predictor:
        expected = predictor(photo)
    outputs = found["outputs"]
    assert len(expected) > 0
    np.testing.assert_allclose(outputs["boxes"], expected.boxes_xyxy, atol=0.01)
    np.testing.assert_allclose(outputs["scores"], expected.scores, atol=1e-4)
    assert outputs["labels"].tolist() == expected.labels.tolist()
