"""convert-dataset yolo: images as a data.yaml, Darknet's obj.data or a list names them, and label files in the usual places."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ppdet_res2net.cli.main import main
from ppdet_res2net.datasets.convert import YoloImages, convert_yolo, read_class_table, read_split
from ppdet_res2net.errors import DatasetError

ROW = "0 0.5 0.5 0.2 0.2\n"


@pytest.fixture
def dataset(tmp_path, write_image):
    """Two splits as Ultralytics has them; each image has a label file with one object."""
    for split in ("train", "val"):
        write_image(tmp_path / "images" / split / f"{split}.png")
        (tmp_path / "labels" / split).mkdir(parents=True)
        (tmp_path / "labels" / split / f"{split}.txt").write_text(ROW)
    return tmp_path


def describe(folder, text, name="data.yaml"):
    (folder / name).write_text(text + ("" if "names" in text else "\nnames: [nut]\n"))
    return folder / name


def run(folder, *arguments, name="data.yaml"):
    """Run the command; return the exit code, and the file names and count of objects of what was written."""
    out = folder / "out.json"
    code = main(["convert-dataset", "yolo", "--names", str(folder / name), *map(str, arguments), "--out", str(out)])
    if not out.exists():
        return code, None, None
    content = json.loads(out.read_text())
    return code, [image["file_name"] for image in content["images"]], len(content["annotations"])


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("train: images/train", ["train.png"]),
        ("train: ./images/train/\nval:\ntest: ''", ["train.png"]),
        ("path: .\ntrain: images/train", ["train.png"]),
        ("path: /content/datasets/nuts\ntrain: images/train", ["train.png"]),
        ("path: images\ntrain: train", ["train.png"]),
        ("train: ../images/train", ["train.png"]),
        ("train: images\\train", ["train.png"]),
        ("valid: images/val", ["val.png"]),
        ("validation: images/val", ["val.png"]),
        ("train: images", ["train/train.png", "val/val.png"]),
        ("train: [images/train, images/val]", ["train/train.png", "val/val.png"]),
        ("train:\n- images/train\n- images/train", ["train.png"]),
        ("train: list.txt", ["train/train.png", "val/val.png"]),
        ("train: [list.txt, images/val]", ["train/train.png", "val/val.png"]),
        ("train: images/train/train.png", ["train.png"]),
        ("train: .", ["images/train/train.png", "images/val/val.png"]),
    ],
)
def test_images_of_a_description(dataset, text, names):
    (dataset / "list.txt").write_text("./images/train/train.png\n\nimages/val/val.png\r\nimages/val/val.png\n")
    describe(dataset, text)
    assert run(dataset) == (0, names, len(names))


def test_a_split_is_chosen(dataset, capsys):
    describe(dataset, "train: images/train\nval: images/val")
    assert run(dataset)[0] == 1
    assert "has the images of train, val. Choose one with --split" in capsys.readouterr().err
    assert run(dataset, "--split", "val") == (0, ["val.png"], 1)
    assert f"--images {dataset}/images/val" in capsys.readouterr().out
    assert run(dataset, "--split", "test")[0] == 1
    assert "does not have the split 'test', but train, val." in capsys.readouterr().err
    assert run(dataset, "--split", "val", "--images", dataset)[0] == 1
    assert "--split chooses images of the data.yaml, but --images was given, too" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nc: 1", "does not say where the images are. Pass their folder with --images"),
        ("train: null", "does not say where the images are"),
        ("train: nowhere", r"'nowhere' of 'train' is not there \(looked for '.*nowhere'\). Correct the path"),
        ("train: {a: b}", "the images of 'train' are 'a mapping of 1 keys'; expected a path"),
        ("train: [[a]]", r"the images of 'train' are '\[a\]'; expected a path"),
        (f"train: {'x' * 5000}", "is not there"),
        ("path: images\ntrain: x", r"'x' of 'train' may be '.*images/x' or '.*x'. Pass the right one"),
    ],
)
def test_descriptions_that_do_not_tell(dataset, text, message):
    for name in ("x", "images/x"):
        (dataset / name).mkdir()
    with pytest.raises(DatasetError, match=message):
        read_split(describe(dataset, text), None)


def test_roboflow_means_its_own_folder(tmp_path, write_image):
    write_image(tmp_path / "v1" / "train" / "images" / "a_jpg.rf.0a1b.jpg")
    (tmp_path / "v1" / "train" / "labels").mkdir()
    (tmp_path / "v1" / "train" / "labels" / "a_jpg.rf.0a1b.txt").write_text(ROW)
    describe(tmp_path / "v1", "train: ../train/images\nval: ../valid/images\nnc: 1")
    assert run(tmp_path / "v1", "--split", "train") == (0, ["a_jpg.rf.0a1b.jpg"], 1)
    (tmp_path / "train" / "images").mkdir(parents=True)  # now nobody can tell
    assert run(tmp_path / "v1", "--split", "train")[0] == 1


def test_the_darknet_export_of_cvat(tmp_path, write_image):
    write_image(tmp_path / "obj_train_data" / "a.PNG")
    write_image(tmp_path / "obj_train_data" / "b.PNG")
    (tmp_path / "obj_train_data" / "a.txt").write_text("1 0.5 0.5 0.2 0.2")
    (tmp_path / "obj_train_data" / "b.txt").write_text("")
    (tmp_path / "train.txt").write_text("data/obj_train_data/a.PNG\ndata/obj_train_data/b.PNG\n")
    (tmp_path / "obj.names").write_text("nut\nbolt\n")
    text = "classes = 2\ntrain = data/train.txt\nnames = data/obj.names\nbackup = backup/\n"
    assert read_class_table(describe(tmp_path, text, "obj.data")) == {0: "nut", 1: "bolt"}
    assert run(tmp_path, name="obj.data") == (0, ["a.PNG", "b.PNG"], 1)


def test_lists_name_images_that_are_there(dataset):
    (dataset / "list.txt").write_text("images/train/train.png\nimages/train/gone.png\nlabels/train/train.txt\n")
    with pytest.raises(
        DatasetError, match="list.txt' names 2 images that are not there, of 3; the first is 'images/train/go"
    ):
        YoloImages.of([dataset / "list.txt"])


def test_label_files_of_images_that_are_not_listed(dataset):
    (dataset / "list.txt").write_text("images/val/val.png\n")
    (dataset / "labels" / "val" / "other.txt").write_text(ROW)
    describe(dataset, "val: images/val")
    assert run(dataset, "--images", dataset / "list.txt") == (0, ["val.png"], 1)
    assert run(dataset) == (1, ["val.png"], 1)


@pytest.mark.parametrize(
    ("image", "label", "images"),
    [
        ("images/train/a.jpg", "labels/train/a.txt", "."),
        ("train/images/a.jpg", "train/labels/a.TXT", "."),
        ("train/images/a.jpg", "train/labels/a.txt", "train"),
        ("images/a.jpg", "images/a.txt", "images"),
        ("d/a.b.jpg", "d/a.b.txt", "d"),
        ("images/images/a.jpg", "images/labels/a.txt", "images"),
        ("images/\u00e9.jpg", "labels/e\u0301.txt", "images"),
    ],
)
def test_where_label_files_are(tmp_path, write_image, image, label, images):
    path = write_image(tmp_path / "d.png").rename(tmp_path / "x")
    (tmp_path / image).parent.mkdir(parents=True, exist_ok=True)
    path.rename(tmp_path / image)
    (tmp_path / label).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / label).write_text(ROW)
    builder = convert_yolo(tmp_path / images, None, ["nut"])
    assert len(builder.content["annotations"]) == 1 and builder.skipped.total == 0


def test_relative_folders_and_links(dataset, monkeypatch):
    monkeypatch.chdir(dataset / "images")
    builder = convert_yolo(Path("train"), None, ["nut"])
    assert [image["file_name"] for image in builder.images] == ["train.png"]
    assert len(builder.content["annotations"]) == 1
    for kind in ("images", "labels"):
        (dataset / kind / "linked").symlink_to(dataset / kind / "val")
    builder = convert_yolo(dataset / "images", dataset / "labels", ["nut"])
    assert len(builder.images) == len(builder.content["annotations"]) == 3


def test_without_label_files_both_places_are_named(dataset):
    (dataset / "labels" / "val" / "val.txt").unlink()
    (dataset / "labels" / "val").rmdir()
    places = "'.*labels/val' or '.*images/val'"
    with pytest.raises(DatasetError, match=f"none of the 1 images in .* has a label file in {places}. Pass the folder"):
        convert_yolo(dataset / "images" / "val", None, ["nut"])
