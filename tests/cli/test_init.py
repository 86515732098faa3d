"""ppdet-res2net init: what it prints, and its refusals."""

from __future__ import annotations

import shlex
import shutil

import pytest

from ppdet_res2net.cli.init import main
from ppdet_res2net.config import load_config
from ppdet_res2net.errors import ConfigError
from tests.helpers.command_lines import parse_only
from tests.helpers.layouts import LAYOUTS, annotations_of, images_of, write_json


def test_what_was_found_chosen_and_what_is_next(demo_data, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    LAYOUTS["labelme"](demo_data, tmp_path / "labels")
    assert main(["labels", "--out", "mine.yml"]) == 0
    printed = capsys.readouterr().out
    for phrase in (
        "found: labelme, 'labels'\n", "'mine_annotations/train.json', images in 'labels'", "3 classes (objects in train + val)",
        "There was one set, so ", "chosen: Mask R-CNN, small: every object has a mask", "epochs of ",
        "wrote 'mine.yml', with the reason for every setting", "next:\n",
    ):  # fmt: skip
        assert phrase in printed
    commands = [shlex.split(line) for line in printed.partition("next:\n")[2].splitlines()]
    for command, words in zip(("train", "export", "runtime"), commands, strict=True):
        start = words.index("res2net_runtime" if command == "runtime" else command)
        parse_only(command, words[start + 1 :])
    assert load_config("mine.yml")["weights"] == "output/mine/best_model"


def test_two_annotation_files(demo_data, tmp_path):
    out = tmp_path / "mine.yml"
    files = [f"--{split}={demo_data}/annotations/instances_{split}2017.json" for split in ("train", "val")]
    folders = [str(images_of(demo_data, split)) for split in ("train", "val")]
    assert main([str(demo_data), *files, "--images", *folders, "--out", str(out)]) == 0
    assert load_config(out)["EvalDataset"].kwargs["image_dir"] == folders[1]


def test_an_annotation_file_alone(demo_data, tmp_path):
    shutil.copytree(images_of(demo_data, "train"), tmp_path / "data" / "images")
    file = write_json(tmp_path / "data" / "annotations" / "all.json", annotations_of(demo_data, "train"))
    out = tmp_path / "mine.yml"
    assert main([str(file), "--out", str(out)]) == 0
    assert load_config(out)["TrainDataset"].kwargs["image_dir"] == str(tmp_path / "data" / "images")


def test_a_data_yaml(demo_data, tmp_path):
    LAYOUTS["yolo"](demo_data, tmp_path / "data")
    out = tmp_path / "mine.yml"
    assert main([str(tmp_path / "data/data.yaml"), "--out", str(out)]) == 0
    assert load_config(out)["num_classes"] == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--out", "mine"], "--out is 'mine'; expected a name that ends in .yml"),
        (["--out", "config.yml"], "the name that every run gives to its own copy"),
        (["--out", "mine.yml", "--val_fraction", "0"], "--val_fraction is 0; expected a number above 0 and below 1"),
        (["--out", "mine.yml", "--val", "x.json"], "--val needs --train"),
        (
            ["--out", "mine.yml", "--images", "a", "b", "c"],
            "--images names 3 folders; expected one for each of the two",
        ),
    ],
)
def test_wrong_arguments(words, message, demo_data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=message):
        main([str(demo_data), *words])
