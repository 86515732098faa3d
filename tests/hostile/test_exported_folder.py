"""Exported folders made to do harm: what infer_cfg.yml may say, and which files it may name."""

from __future__ import annotations

import os
import zlib  # noqa: F401  (before paddle: Paddle 2.6.2 brings zlib symbols of its own)
from pathlib import Path

import pytest
import yaml

from res2net_runtime import BackendError, ModelFolderError, Predictor
from res2net_runtime.classification import Classifier
from res2net_runtime.model_folder import load_model_folder
from tests.helpers.runtime_toys import CONFIG

GOLDENS = Path(__file__).parents[1] / "goldens"


@pytest.fixture
def folder(tmp_path):
    """A folder whose graph no engine reads; infer_cfg.yml is read before."""
    path = tmp_path / "model"
    path.mkdir()
    (path / "model.onnx").write_bytes(b"graph")
    write_config(path)
    return path


def write_config(path, **changes):
    config = {**CONFIG, "formats": {"onnx": {"model_file": "model.onnx"}}, **changes}
    (path / "infer_cfg.yml").write_text(yaml.safe_dump(config), encoding="utf-8")


def alias_bomb(levels: int) -> str:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]" for level in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            alias_bomb(30), r"Line [56]: there are more than 100000 values, if each alias counts", id="alias bomb"
        ),
        pytest.param("a: &a [*a]", r"Line 1: the alias \*a is inside of what it stands for", id="circle"),
        pytest.param("[" * 500, "Line 1: the values are nested more than 20 deep", id="nested"),
        pytest.param(
            "a: !!timestamp abc", "Line 1 has the tag tag:yaml.org,2002:timestamp; plain values", id="timestamp"
        ),
        pytest.param(
            "a: !!python/object/apply:os.abort []", "Line 1 has the tag .*os.abort; plain values", id="python"
        ),
        pytest.param("a: " + "9" * 5000, "a number has 5000 characters; at most 200 are read", id="digits"),
        pytest.param("a: " + "1:" * 10**6 + "1", "a number has 2000001 characters", id="base 60"),
        pytest.param("a: 2024-99-99", "is not valid YAML: month must be in", id="date"),
        pytest.param('a: "\\ud800"', "is not valid YAML", id="surrogate"),
        pytest.param("? [a]\n: b", "is not valid YAML: found unhashable key", id="key"),
        pytest.param("a: \x1b[31mred", "is not valid YAML", id="control"),
        pytest.param("#" * 4_000_001, "It has 4000001 bytes; the limit is 4000000", id="size"),
        pytest.param("", "is not a mapping of settings", id="empty"),
    ],
)
def test_yaml_that_does_harm(folder, text, message):
    (folder / "infer_cfg.yml").write_text(text, encoding="utf-8")
    with pytest.raises(ModelFolderError, match=message) as caught:
        load_model_folder(folder)
    assert len(str(caught.value)) < 600
    assert "infer_cfg.yml" in str(caught.value) and str(caught.value).isprintable()


@pytest.mark.parametrize("key", [key for key in CONFIG if key != "versions"])
@pytest.mark.parametrize(
    "value", [None, True, [], {}, -1, 10**300, "x" * 100_000, ["x" * 100_000] * 2, [[]], [{"type": []}]]
)
def test_wrong_values_are_told_in_few_words(folder, key, value):
    write_config(folder, **{key: value})
    with pytest.raises((ModelFolderError, BackendError)) as caught:
        Predictor(folder, backend="onnxruntime")
    assert len(str(caught.value)) < 1000 and str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"draw_threshold": float("nan")}, "has draw_threshold: nan, expected a number from 0 to 1. Correct the file"),
        (
            {"category_ids": [1, 2**80]},
            "has 1208925819614629174706176 in category_ids, expected whole numbers of 64 bits",
        ),
        ({"category_ids": [1, True]}, "has True in category_ids"),
        ({"label_list": ["cat", False]}, "has False as entry 1 of label_list, expected text of .* Put it in quotes"),
        (
            {"Preprocess": [{"type": "Resize", "target_size": [10**5, 10**5], "keep_ratio": False}]},
            "at most 67108864 pixels",
        ),
        (
            {"Preprocess": [{"type": "Permute"}, {"type": "PadStride", "stride": 10**9}]},
            "a whole number of at most 1024",
        ),
        (
            {"Preprocess": [{"type": "NormalizeImage", "mean": [0, 0, 0], "std": [1e-320, 1, 1]}]},
            "mean and std must be finite",
        ),
        (
            {"Preprocess": [{"type": "Resize", "target_size": [float("inf"), 1], "keep_ratio": True}]},
            "cannot convert float inf",
        ),
    ],
)
def test_numbers_that_take_all_memory_or_mean_nothing(folder, changes, message):
    write_config(folder, **changes)
    with pytest.raises(ModelFolderError, match=message):
        load_model_folder(folder)


def test_the_preprocessing_of_classifiers_is_bounded(folder):
    write_config(folder, task="classification", outputs=["logits"], Preprocess={"size_px": 224, "crop_fraction": 1e-9})
    with pytest.raises(ModelFolderError, match="size_px / crop_fraction is above 8192"):
        Classifier(folder)


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../secret.onnx", "a/../../secret.onnx", "C:\\secret.onnx", "..\\secret.onnx"]
)
def test_a_folder_names_files_inside_itself(folder, name):
    (folder.parent / "secret.onnx").write_bytes(b"graph")
    write_config(folder, formats={"onnx": {"model_file": name}})
    with pytest.raises(
        ModelFolderError, match="as model_file of format onnx. A model folder may only name files inside"
    ):
        load_model_folder(folder)


@pytest.mark.parametrize("name", ["x" * 2000, "x/" * 1000, ["model.onnx"], 7, None])
def test_names_that_no_file_has_are_told_in_few_words(folder, name):
    write_config(folder, formats={"onnx": {"model_file": name}})
    with pytest.raises(ModelFolderError, match="as model_file of format onnx, expected the name of a file") as caught:
        load_model_folder(folder)
    assert len(str(caught.value)) < 600


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("name", ["model.onnx", "infer_cfg.yml"])
def test_pipes_and_links_out_of_the_folder_are_not_opened(folder, name):
    content = (folder / name).read_bytes()
    outside = folder.parent / "outside"
    outside.write_bytes(content)
    (folder / name).unlink()
    (folder / name).symlink_to(outside)
    with pytest.raises(ModelFolderError, match=f"{name}' is a link to '.*outside', outside of the model folder. Copy"):
        load_model_folder(folder)
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(ModelFolderError, match=f"{name}' is not a file. Copy the whole model folder"):
        load_model_folder(folder)
    (folder / name).unlink()
    (folder / "inside").write_bytes(content)
    (folder / name).symlink_to("inside")
    assert load_model_folder(folder).formats["onnx"].model_path == folder / "model.onnx"
