"""The scores from which detections are shown: for all classes, or for each."""

from __future__ import annotations

import json
import shutil

import cv2
import numpy as np
import pytest
import yaml

from res2net_runtime import Detections, ModelFolderError, Predictor, Res2NetError
from res2net_runtime.cli import main as infer
from res2net_runtime.folder_changes import changing_folder, save_thresholds
from res2net_runtime.model_folder import load_model_folder
from res2net_runtime.thresholds import describe_thresholds
from tests.helpers.runtime_toys import BRIGHT, picture, toy_model_dir


@pytest.fixture
def folder(tmp_path_factory, tmp_path):
    return shutil.copytree(toy_model_dir(tmp_path_factory), tmp_path / "model")


def settings(folder):
    return yaml.safe_load((folder / "infer_cfg.yml").read_text("utf-8"))


def test_detections_are_filtered_by_the_threshold_of_their_class():
    scores, labels = np.array([0.9, 0.7, 0.5, 0.3], np.float32), np.array([0, 1, 0, 1])
    found = Detections(np.zeros((4, 4), np.float32), scores, labels, None, (9, 9), ("cat", "dog"), (17, 18))
    assert found.filter((0.6, 0.3)).scores.tolist() == scores[[0, 1, 3]].tolist()
    assert found.filter(0.7).scores.tolist() == scores[:2].tolist()  # 0.7 of float32 is less than Python's
    assert found.filter((0.7, 0.7)).scores.tolist() == scores[:2].tolist()
    assert len(found[:0].filter((0.6, 0.3))) == 0


@pytest.mark.parametrize(
    ("threshold", "text"),
    [(0.5, "0.5"), ((0.25, 0.25), "0.25"), ((0.35, 0.8, 0.5), "0.35 to 0.8, depending on the class")],
)
def test_thresholds_in_words(threshold, text):
    assert describe_thresholds(threshold) == text


def test_written_thresholds_are_those_that_are_drawn(folder, tmp_path, capsys):
    before = settings(folder)
    cv2.imwrite(str(tmp_path / "7.png"), picture(40, 60))
    call = ["--model_dir", str(folder), "--image_file", str(tmp_path / "7.png"), "--output_dir", str(tmp_path / "out")]
    for class_thresholds, is_drawn in (((0.1, 0.8), False), ((0.8, 0.7), True), (None, False)):
        save_thresholds(folder, 0.9, class_thresholds)
        more = {} if class_thresholds is None else {"class_thresholds": list(class_thresholds)}
        assert settings(folder) == {**before, "draw_threshold": 0.9, **more}
        assert infer([*call, "--device", "CPU", "--save_labels", "coco", "--overwrite_labels"]) == 0
        assert (cv2.imread(str(tmp_path / "out" / "7.png")) != BRIGHT).any() == is_drawn
        labels = json.loads((tmp_path / "out" / "labels" / "annotations.json").read_text())
        assert len(labels["annotations"]) == is_drawn
    assert "1 detections with a score of at least 0.7 to 0.8, depending on the class" in capsys.readouterr().out
    assert not list(folder.glob("*.part*"))


def test_a_folder_without_the_key_works_as_before(folder):
    info = load_model_folder(folder)
    assert info.class_thresholds is None and info.least_scores == 0.5


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([0.5], "has 1 numbers in class_thresholds, expected 2 numbers from 0 to 1, one per class. Correct the file"),
        ([0.5, 1.5], "has 1.5 in class_thresholds"),
        ([0.5, float("nan")], "has nan in class_thresholds"),
        ([0.5, True], "has True in class_thresholds"),
        ([0.5, "a\nb"], "has a.*b in class_thresholds"),
        (0.5, r"has class_thresholds: 0.5, which is of the wrong type \(expected a list\)"),
    ],
)
def test_wrong_thresholds_in_the_file(folder, value, message):
    (folder / "infer_cfg.yml").write_text(yaml.safe_dump({**settings(folder), "class_thresholds": value}))
    with pytest.raises(ModelFolderError, match=message):
        Predictor(folder)


def test_what_cannot_be_written(folder):
    content = (folder / "infer_cfg.yml").read_bytes()
    with pytest.raises(ValueError, match="Got 3 thresholds for 2 classes"):
        save_thresholds(folder, 0.5, (0.1, 0.2, 0.3))
    with pytest.raises(ValueError, match="a number from 0 to 1, got nan"):
        save_thresholds(folder, float("nan"))
    with changing_folder(folder), pytest.raises(Res2NetError, match="model' is being written by another process"):
        save_thresholds(folder, 0.6)
    with pytest.raises(ModelFolderError, match="There is no model folder"):
        save_thresholds(folder / "nowhere", 0.6)
    assert (folder / "infer_cfg.yml").read_bytes() == content
