"""Exported folders that are incomplete, damaged, or written by something else."""

from __future__ import annotations

import shutil

import pytest
import yaml
from test_runtime_predictor import toy_model_dir

from res2net_runtime import BackendError, ModelFolderError, Predictor
from res2net_runtime.backends import create_backend
from res2net_runtime.model_folder import load_model_folder


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    return toy_model_dir(tmp_path_factory)


@pytest.fixture
def broken_dir(model_dir, tmp_path):
    return shutil.copytree(model_dir, tmp_path / "model")


def rewrite(path, **changes):
    config = yaml.safe_load((path / "infer_cfg.yml").read_text())
    config.update(changes)
    kept = {key: value for key, value in config.items() if value is not None}
    (path / "infer_cfg.yml").write_text(yaml.safe_dump(kept))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": None}, "has no schema named res2net_runtime: it was not written by this project"),
        ({"schema": {"name": "res2net_runtime", "version": 2}}, "has schema version 2, this runtime reads 1"),
        ({"task": "keypoints"}, "is for task 'keypoints'"),
        ({"label_list": None}, "infer_cfg.yml' lacks the key 'label_list'. Export the model again"),
        ({"label_list": "cat"}, "has label_list: 'cat', which is of the wrong type"),
        ({"label_list": ["cat"]}, "has 1 names in label_list but 2 category_ids"),
        (
            {"model_file": "gone.json"},
            "The model folder lacks '.*gone.json', which infer_cfg.yml names as model_file",
        ),
        (
            {"outputs": ["boxes", "scores"]},
            r"names the outputs \['boxes', 'scores'\], expected boxes, scores, labels",
        ),
        ({"Preprocess": [{"type": "Mosaic"}]}, "Unknown preprocessing operator .*Mosaic"),
    ],
)
def test_wrong_config(broken_dir, changes, message):
    rewrite(broken_dir, **changes)
    with pytest.raises(ModelFolderError, match=message):
        Predictor(broken_dir)


def test_wrong_folders(broken_dir, tmp_path):
    with pytest.raises(
        ModelFolderError, match="There is no model folder '.*nowhere'. Pass the folder that export_model"
    ):
        load_model_folder(tmp_path / "nowhere")
    for text, message in (("a: [", "Cannot read '.*infer_cfg.yml'"), ("- 1", "is not a mapping of settings")):
        (broken_dir / "infer_cfg.yml").write_text(text)
        with pytest.raises(ModelFolderError, match=message):
            load_model_folder(broken_dir)
    (broken_dir / "infer_cfg.yml").unlink()
    with pytest.raises(
        ModelFolderError, match="has no infer_cfg.yml. Pass the folder that export_model.py wrote"
    ):
        load_model_folder(broken_dir)


def test_folder_for_another_engine_or_with_another_graph(broken_dir):
    rewrite(broken_dir, outputs=["boxes", "scores", "labels", "num"])
    with pytest.raises(
        BackendError, match=r"has 5 outputs, infer_cfg.yml names 4 \(boxes, scores, labels, num\)"
    ):
        Predictor(broken_dir)
    rewrite(broken_dir, backend="onnxruntime")
    with pytest.raises(BackendError, match="was exported for 'onnxruntime', this runtime runs 'paddle'"):
        create_backend(load_model_folder(broken_dir), "auto", "fp32", "cpu", None)


def test_damaged_graph(broken_dir):
    graph = load_model_folder(broken_dir).model_path
    graph.write_bytes(graph.read_bytes()[:100])
    with pytest.raises(
        BackendError, match=f"cannot load '.*{graph.name}': .*Choose another backend, or export"
    ):
        Predictor(broken_dir, backend="paddle")
