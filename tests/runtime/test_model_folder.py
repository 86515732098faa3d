"""Exported folders that are incomplete, damaged, or written by something else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from res2net_runtime import ModelFolderError, Predictor
from res2net_runtime.model_folder import load_model_folder
from tests.helpers.runtime_toys import toy_model_dir


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
        ({"schema": {"name": "res2net_runtime", "version": 1}}, "has schema version 1, but this runtime reads 2"),
        ({"task": "keypoints"}, "is for task 'keypoints'"),
        ({"label_list": None}, "infer_cfg.yml' does not have the key 'label_list'. Export the model again"),
        ({"label_list": "cat"}, r"has label_list: cat, which is of the wrong type \(expected a list\). Export"),
        ({"label_list": ["cat"]}, "has 1 names in label_list but 2 category_ids"),
        ({"category_ids": ["a", "b"]}, "has a in category_ids, expected whole numbers"),
        ({"formats": None}, "does not have the key 'formats'"),
        ({"formats": {}}, "names no formats. Export the model again"),
        ({"formats": {"caffe": {}}}, "has the format 'caffe' with {}, expected paddle with model_file and params"),
        ({"formats": {"paddle": {"model_file": "model.json"}}}, "has the format 'paddle' with .*, expected paddle"),
        (
            {"formats": {"onnx": {"model_file": "gone.onnx"}}},
            "The model folder has no '.*gone.onnx', which infer_cfg.yml names as model_file of format onnx. Copy",
        ),
        (
            {"outputs": ["boxes", "scores"]},
            "names the outputs boxes, scores, expected boxes, scores, labels",
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
    with pytest.raises(ModelFolderError, match="has no infer_cfg.yml. Pass the folder that export_model.py wrote"):
        load_model_folder(broken_dir)


@pytest.mark.parametrize("address", ["hf://ann/nuts", "https://huggingface.co/ann/nuts", "s3://bucket/model"])
def test_an_address_is_no_folder(address):
    with pytest.raises(ModelFolderError) as caught:
        load_model_folder(Path(address))
    assert f"'{address}' is an address, and a folder on this machine is expected." in str(caught.value)
    assert "Predictor and Classifier take hf://" in str(caught.value)
