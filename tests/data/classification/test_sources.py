"""Datasets of labelled images, in every layout, and the messages about wrong ones."""

from __future__ import annotations

import io
import json
import logging
import pickle
import tarfile

import numpy as np
import pytest
from PIL import Image

from ppdet_res2net.data.classification.cifar import CIFARDataSet
from ppdet_res2net.data.classification.imagenet import ImageNetDataSet
from ppdet_res2net.data.classification.layout import open_dataset
from ppdet_res2net.data.classification.names import read_class_names
from ppdet_res2net.data.classification.sources import ClassFolderDataSet, ClassListDataSet
from ppdet_res2net.datasets.check_images import find_bad_images
from ppdet_res2net.datasets.small_sets import write_digits, write_object_crops
from ppdet_res2net.errors import ConfigError, DatasetError


def write_image(path, shade=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6), (shade,) * 3).save(path)


@pytest.fixture
def folder(tmp_path):
    for split in ("train", "val"):
        for label, name in enumerate(("cat", "dog")):
            for number in range(label + 1):
                write_image(tmp_path / split / name / f"{number}.png", 10 * label)
    write_image(tmp_path / "val/dog/deeper/2.png")
    return tmp_path


def test_folder_per_class(folder):
    (folder / "val/dog/notes.txt").write_text("not an image")
    dataset = open_dataset(folder)
    assert isinstance(dataset, ClassFolderDataSet)
    assert dataset.class_names == ("cat", "dog") and dataset.labels.tolist() == [0, 1, 1, 1] and len(dataset) == 4
    record = dataset.roidbs[3]
    assert record["im_id"].tolist() == [3] and record["label"] == 1 and record["im_file"].endswith("deeper/2.png")
    assert open_dataset(folder, "train").labels.tolist() == [0, 1, 1]
    assert open_dataset(folder / "val").class_names == ("cat", "dog")
    with pytest.raises(IndexError):
        dataset.roidbs[4]


def test_names_of_the_classes_give_the_labels(folder):
    (folder / "labels.txt").write_text("dog\ncat\n")
    assert open_dataset(folder).labels.tolist() == [1, 0, 0, 0]
    (folder / "other.txt").write_text("bird\ncat\ndog\n")
    dataset = open_dataset(folder, label_file=str(folder / "other.txt"))
    assert dataset.labels.tolist() == [1, 2, 2, 2] and dataset.class_names == ("bird", "cat", "dog")


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda d: (d / "val/bird").mkdir(), "The class folder '{}/val/bird' has no image (.jpg"),
        (
            lambda d: (d / "labels.txt").write_text("cat\ndig\n"),
            "has a folder 'dog', which is not among the 2 classes that ",
        ),
        (lambda d: (d / "labels.txt").write_text("cat\ncat\n"), "names the class 'cat' twice"),
        (lambda d: (d / "labels.txt").write_text(" \n"), "'{}/labels.txt' names no class."),
        (lambda d: (d / "labels.txt").write_text("0 cat\n2 dog\n"), "numbers 2 classes, but label 1 is missing"),
        (
            lambda d: (d / "labels.txt").write_bytes(b"\xff\xfe\x00"),
            "class names '{}/labels.txt': line 1, column 1: the file ends in the middle of a character",
        ),
    ],
)
def test_wrong_folders(folder, change, message):
    change(folder)
    with pytest.raises(DatasetError) as error:
        open_dataset(folder)
    assert message.format(folder) in str(error.value)


def test_an_empty_class_may_be_allowed(folder):
    (folder / "val/bird").mkdir()
    dataset = ClassFolderDataSet(str(folder), "val", allow_empty=True)
    assert dataset.class_names == ("bird", "cat", "dog") and dataset.labels.tolist() == [1, 2, 2, 2]


def test_nothing_to_open(tmp_path):
    with pytest.raises(DatasetError, match="There is no dataset '.*gone'. Check the path; nothing is downloaded"):
        open_dataset(tmp_path / "gone")
    with pytest.raises(DatasetError, match="has no folders; expected one per class"):
        open_dataset(tmp_path)
    (tmp_path / "train").mkdir()
    with pytest.raises(DatasetError, match="has other splits, but neither 'val/' nor 'val_list.txt'"):
        open_dataset(tmp_path)
    with pytest.raises(DatasetError, match="There is no image folder"):
        ClassFolderDataSet(str(tmp_path), "gone").parse_dataset()


def test_list_file(tmp_path):
    for name in ("a b.png", "c.png"):
        write_image(tmp_path / "images" / name)
    (tmp_path / "val_list.txt").write_text("images/a b.png 2\n\nimages/c.png\t0\n")
    dataset = open_dataset(tmp_path)
    assert dataset.labels.tolist() == [2, 0] and dataset.class_names == ("0", "1", "2")
    assert [record["im_file"] for record in dataset.roidbs] == [str(tmp_path / f"images/{n}.png") for n in ("a b", "c")]
    (tmp_path / "labels.txt").write_text("x\ny\n")
    with pytest.raises(DatasetError) as error:
        open_dataset(tmp_path)
    assert str(error.value).startswith(
        f"'{tmp_path}/val_list.txt', line 1: the label of 'images/a b.png' is 2, but '{tmp_path}/labels.txt' names 2 classes, "
        f"so labels go from 0 to 1."
    )


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_encodings_of_lists_and_names(tmp_path, encoding):
    (tmp_path / "val_list.txt").write_text("图/螺母.png 1\r\n", encoding=encoding)
    (tmp_path / "labels.txt").write_text("螺栓\n螺母\n", encoding=encoding)
    dataset = ClassListDataSet(str(tmp_path), "val_list.txt")
    assert dataset.class_names == ("螺栓", "螺母") and dataset.roidbs[0]["im_file"].endswith("图/螺母.png")
    for file, what in (("labels.txt", "class names"), ("val_list.txt", "image list")):
        (tmp_path / file).write_text("螺栓\n", encoding="gbk")
        with pytest.raises(DatasetError, match=f"{what} '.*{file}': line 1, column 1: .* as gb18030 it reads '螺栓'"):
            ClassListDataSet(str(tmp_path), "val_list.txt").parse_dataset()


def test_a_class_folder_whose_name_is_not_utf_8(folder):
    (folder / "val" / "\udcd6\udcd0").mkdir()
    with pytest.raises(DatasetError, match=r"The name of the class folder '.*val/\\xd6\\xd0' is not UTF-8"):
        open_dataset(folder)


@pytest.mark.parametrize(
    "line", ["image.png", "image.png -1", "image.png cat", "3", "image.png 99999999999", "a.png ²"]
)
def test_wrong_lines_of_a_list(tmp_path, line):
    (tmp_path / "list.txt").write_text(f"good.png 0\n{line}\n")
    with pytest.raises(
        DatasetError, match=f"list.txt', line 2: got '{line}', expected 'path label' with a label of 0 or"
    ):
        ClassListDataSet(str(tmp_path), "list.txt").parse_dataset()


def test_empty_and_missing_lists(tmp_path):
    (tmp_path / "list.txt").write_text("\n")
    with pytest.raises(DatasetError, match="The list '.*list.txt' holds no image"):
        ClassListDataSet(str(tmp_path), "list.txt").parse_dataset()
    with pytest.raises(DatasetError, match="image list not found: '.*none.txt'"):
        ClassListDataSet(str(tmp_path), "none.txt").parse_dataset()


def test_forms_of_class_names(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("n02000002 second, one\nn01000001 first\n")
    assert read_class_names(path).folders == ("n01000001", "n02000002")
    assert read_class_names(path).names == ("first", "second, one")
    path.write_text("1 crane\n0 crane\n")  # ImageNet has two cranes
    assert read_class_names(path).names == ("crane", "crane")


# CIFAR


def cifar_files(version, count=3):
    rows = (np.arange(count * 3072) % 251).astype(np.uint8).reshape(count, 3072)
    labels = [i % 2 for i in range(count)]
    if version == 10:
        batch, files = {"data": rows, "labels": labels}, [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
        return {**{file: batch for file in files}, "batches.meta": {"label_names": ["plane", "car"]}}
    batch = {"data": rows, "fine_labels": labels, "coarse_labels": labels}
    return {
        "train": batch,
        "test": batch,
        "meta": {"fine_label_names": ["apple", "pear"], "coarse_label_names": ["fruit"]},
    }


def write_archive(path, folder, files):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            data = content if isinstance(content, bytes) else pickle.dumps(content, protocol=2)
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


@pytest.mark.parametrize(
    "version, folder, names, train",
    [(10, "cifar-10-batches-py", ("plane", "car"), 15), (100, "cifar-100-python", ("apple", "pear"), 3)],
)
def test_cifar(tmp_path, version, folder, names, train):
    archive = tmp_path / f"cifar-{version}-python.tar.gz"
    write_archive(archive, folder, cifar_files(version))
    for path in (archive, tmp_path, tmp_path / folder):
        if path == tmp_path:
            with tarfile.open(archive) as packed:
                packed.extractall(tmp_path)
        dataset = open_dataset(path, "train")
        assert isinstance(dataset, CIFARDataSet) and len(dataset) == train and dataset.class_names == names
        assert len(open_dataset(path, "val")) == 3 and open_dataset(path).labels.tolist() == [0, 1, 0]
        image = dataset.roidbs[1]["image"]
        assert image.shape == (32, 32, 3) and image[0, 1].tolist() == [(3072 + i * 1024 + 1) % 251 for i in range(3)]


class Evil:
    def __reduce__(self):
        return print, ("this must not run",)


@pytest.mark.parametrize(
    "file, content, message",
    [
        ("test_batch", {"data": Evil(), "labels": [0]}, "refers to builtins.print, which CIFAR's files do not need"),
        ("test_batch", b"garbage", "is damaged"),
        ("test_batch", {"labels": [0]}, "holds no images in CIFAR's format"),
        (
            "test_batch",
            {"data": np.zeros((1, 3072), np.uint8), "labels": [2]},
            "has the label 2; labels go from 0 to 1",
        ),
        ("test_batch", [1], "has no 'labels'"),
        ("batches.meta", {}, "has no 'label_names'"),
    ],
)
def test_wrong_cifar(tmp_path, capsys, file, content, message):
    archive = tmp_path / "cifar-10-python.tar.gz"
    write_archive(archive, "cifar-10-batches-py", {**cifar_files(10), file: content})
    with pytest.raises(DatasetError) as error:
        open_dataset(archive)
    assert message in str(error.value) and "must not run" not in capsys.readouterr().out


def test_no_cifar(tmp_path):
    with pytest.raises(DatasetError, match="is not a CIFAR dataset: expected an archive"):
        CIFARDataSet(str(tmp_path)).parse_dataset()
    with pytest.raises(ConfigError, match="CIFARDataSet: split is 'dev'; choose one of train, val, test"):
        CIFARDataSet(str(tmp_path), "dev")
    archive = tmp_path / "cifar-10-python.tar.gz"
    archive.write_bytes(b"no archive")
    with pytest.raises(DatasetError, match="The archive '.*' cannot be read"):
        CIFARDataSet(str(archive)).parse_dataset()
    write_archive(archive, "cifar-10-batches-py", {"test_batch": b""})
    with pytest.raises(DatasetError, match="has no 'cifar-10-batches-py/batches.meta'"):
        CIFARDataSet(str(archive)).parse_dataset()
    write_archive(archive, "other", {"test_batch": b""})
    with pytest.raises(DatasetError, match="holds neither cifar-10-batches-py nor cifar-100-python"):
        CIFARDataSet(str(archive)).parse_dataset()


# ImageNet


def synset(number):
    return f"n{number:08d}"


def write_names(folder, count=1000):
    lines = "".join(f"{synset(number)} thing {number}\n" for number in range(count))
    (folder / "LOC_synset_mapping.txt").write_text(lines)


def test_imagenet_in_part(tmp_path, caplog):
    for number in (7, 900):
        write_image(tmp_path / "val" / synset(number) / "x.JPEG")
    with pytest.raises(
        DatasetError, match="has 2 classes, but ImageNet-1k has 1000. For a subset, the labels come from a file"
    ):
        ImageNetDataSet(str(tmp_path), "val").parse_dataset()
    write_names(tmp_path)
    dataset = ImageNetDataSet(str(tmp_path), "val")
    assert dataset.labels.tolist() == [7, 900] and dataset.class_names[900] == "thing 900"


def test_imagenet_without_names(tmp_path, caplog):
    for number in range(1000):
        (tmp_path / "train" / synset(number)).mkdir(parents=True)
        (tmp_path / "train" / synset(number) / "x.JPEG").touch()
    with caplog.at_level(logging.INFO):
        dataset = ImageNetDataSet(str(tmp_path))
        assert len(dataset) == 1000 and dataset.class_names[3] == synset(3)
    assert "classes are named after their folders; put LOC_synset_mapping.txt into" in caplog.text


def test_imagenet_as_kaggle_hands_it_out(tmp_path):
    write_image(tmp_path / "val/ILSVRC2012_val_00000001.JPEG")
    (tmp_path / "LOC_val_solution.csv").write_text(
        f"ImageId,PredictionString\nILSVRC2012_val_00000001,{synset(5)} 1 2 3 4 {synset(5)} 5 6 7 8\n"
    )
    with pytest.raises(
        DatasetError, match="names classes by WordNet ids. Put LOC_synset_mapping.txt, which gives their order, into"
    ):
        open_dataset(tmp_path)
    write_names(tmp_path)
    dataset = open_dataset(tmp_path)
    assert dataset.labels.tolist() == [5] and dataset.roidbs[0]["im_file"].endswith("val/ILSVRC2012_val_00000001.JPEG")
    (tmp_path / "LOC_val_solution.csv").write_text("ImageId,PredictionString\nx,n09999999 1 2 3 4\n")
    with pytest.raises(DatasetError, match="'n09999999' of x.JPEG is not a class of"):
        open_dataset(tmp_path)


def test_imagenet_as_paddleclas_lists_it(tmp_path):
    (tmp_path / "val_list.txt").write_text("val/a.JPEG 0\nval/b.JPEG 999\n")
    assert len(ImageNetDataSet(str(tmp_path), "val").class_names) == 1000
    with pytest.raises(
        DatasetError, match="does not have ImageNet's layout: there is no '.*train' with a folder per class"
    ):
        ImageNetDataSet(str(tmp_path), "train").parse_dataset()
    with pytest.raises(ConfigError, match="ImageNetDataSet: split is 'test'; choose train or val"):
        ImageNetDataSet(str(tmp_path), "test")


# What is written, and the check


def test_corrupt_images_are_named(folder):
    assert list(find_bad_images(open_dataset(folder))) == []
    (folder / "val/dog/0.png").write_bytes(b"x")
    (problem,) = find_bad_images(open_dataset(folder))
    assert problem.startswith(f"Cannot decode image '{folder}/val/dog/0.png'")


def test_digits(tmp_path):
    assert write_digits(tmp_path / "digits") == 1797
    train, val = (open_dataset(tmp_path / "digits", split) for split in ("train", "val"))
    assert (len(train), len(val)) == (1437, 360) and val.class_names == tuple("0123456789")
    shades = np.asarray(Image.open(val.roidbs[0]["im_file"]))
    assert shades.shape == (8, 8) and shades[0, 2] == 80  # 5 of 16
    with pytest.raises(DatasetError, match="is not empty. Pass another DIR, or remove what is in it"):
        write_digits(tmp_path / "digits")


def test_object_crops(tmp_path):
    write_image(tmp_path / "images/1.png")
    content = {
        "images": [{"id": 1, "file_name": "1.png", "width": 8, "height": 6}],
        "categories": [{"id": 3, "name": "nut"}],
        "annotations": [
            {"id": 5, "image_id": 1, "category_id": 3, "bbox": [4, 2, 4, 4]},
            {"id": 6, "image_id": 1, "category_id": 3, "bbox": [0, 0, 8, 6], "iscrowd": 1},
            {"id": 7, "image_id": 1, "category_id": 3, "bbox": [8, 6, 0, 0]},
        ],
    }
    file = tmp_path / "instances.json"
    file.write_text(json.dumps(content))
    assert write_object_crops(file, tmp_path / "images", tmp_path / "crops", margin=0.25) == 1
    assert Image.open(tmp_path / "crops/nut/5.png").size == (5, 5)
    file.write_text("{}")
    with pytest.raises(DatasetError, match="is not in COCO's format"):
        write_object_crops(file, tmp_path / "images", tmp_path / "other")


def test_class_names_are_no_paths(tmp_path, caplog):
    """Nothing is written outside the folder, and different classes never share one."""
    write_image(tmp_path / "images/1.png")
    names = ["a/b", "..", "a_b", "A_B", "con", "/etc", "a:b ", "x\n\x1b[0m", "猫", "é" * 200]
    content = {
        "images": [{"id": 1, "file_name": "1.png", "width": 8, "height": 6}],
        "categories": [{"id": number, "name": name} for number, name in enumerate(names)],
        "annotations": [
            {"id": number, "image_id": 1, "category_id": number, "bbox": [0, 0, 4, 4]} for number in range(len(names))
        ],
    }
    file = tmp_path / "instances.json"
    file.write_text(json.dumps(content))
    assert write_object_crops(file, tmp_path / "images", tmp_path / "out" / "crops") == len(names)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["crops"]
    crops = {int(path.stem): path.parent.name for path in (tmp_path / "out").rglob("*.png")}
    assert crops[2] == "a_b" and crops[8] == "猫" and crops[0].startswith("a_b_") and crops[4] == "_con"
    assert len({folder.casefold() for folder in crops.values()}) == len(names)
    assert all(len(folder.encode()) < 130 and folder.isprintable() for folder in crops.values())
    assert "the objects of class '..' are in the folder '_'" in caplog.text


@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "a/../../secret.png"])
def test_a_list_names_nothing_outside_its_folder(tmp_path, name):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/list.txt").write_text(f"a.png 0\n{name} 0\n")
    dataset = ClassListDataSet(str(tmp_path / "data"), "list.txt")
    with pytest.raises(
        DatasetError, match=rf"list.txt', line 2: '{name}' is outside the image folder '.*data'; if this is"
    ):
        len(dataset)
    inside = ClassListDataSet(str(tmp_path / "data"), "list.txt", image_dir="/")
    if name.startswith("/"):
        assert inside.roidbs[1]["im_file"] == name
