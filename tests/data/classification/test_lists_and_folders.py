"""Lists of images, lists of names and folders of classes, as people write them; wrong ones are named."""

from __future__ import annotations

import pytest
from PIL import Image

from ppdet_res2net.data.classification.sources import ClassFolderDataSet, ClassListDataSet
from ppdet_res2net.errors import DatasetError


def write_image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6)).save(path)


def list_of(folder, line, labels=None):
    (folder / "train_list.txt").write_text(line)
    if labels is not None:
        (folder / "labels.txt").write_text(labels)
    return ClassListDataSet(str(folder))


@pytest.mark.parametrize("line", ["a b.jpg 2", "a b.jpg\t2", "a b.jpg\t 2 \r", "  a b.jpg   2", "a b.jpg \t2"])
def test_separators_in_lists(tmp_path, line):
    dataset = list_of(tmp_path, f"{line}\n\n")
    assert list(dataset.contents.names) == [str(tmp_path / "a b.jpg")] and dataset.labels.tolist() == [2]


@pytest.mark.parametrize("line", ["a.jpg 0 1", "a.JPEG\t0\t1", "x y/a.png 0 1 1", "a.jpg 0, 1"])
def test_several_labels_are_refused(tmp_path, line):
    with pytest.raises(DatasetError, match="line 1: '.*' has several labels; a classifier learns one for each image"):
        list_of(tmp_path, line).parse_dataset()


@pytest.mark.parametrize("path", ["a 1", "photo.jpg/7 8", "frame 12.jp2"])
def test_numbers_in_names_are_no_labels(tmp_path, path):
    assert list(list_of(tmp_path, f"{path} 3").contents.names) == [str(tmp_path / path)]


def test_numbers_with_a_colon_are_labels(tmp_path):
    assert list_of(tmp_path, "a.jpg 1", "1: dog\n0: cat\n").class_names == ("cat", "dog")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("cat\n\ndog\n", "labels.txt', line 2 is blank, so the labels of the classes below it are not certain"),
        ("{0: 'tench, Tinca tinca',\n 1: 'goldfish'}", "is not a list with one class name per line; it begins with"),
        ('["cat", "dog"]', "is not a list with one class name per line"),
        ("names: [cat, dog]", "is not a list with one class name per line"),
    ],
)
def test_files_that_are_no_lists_of_names(tmp_path, labels, message):
    with pytest.raises(DatasetError, match=message):
        list_of(tmp_path, "a.jpg 0", labels).parse_dataset()


def test_folders_and_names_match_by_their_letters(tmp_path):
    write_image(tmp_path / "train" / "cafe\u0301" / "a.png")
    (tmp_path / "labels.txt").write_text("tea\ncaf\u00e9\n", encoding="utf-8")
    dataset = ClassFolderDataSet(str(tmp_path), "train")
    assert dataset.labels.tolist() == [1] and dataset.class_names == ("tea", "caf\u00e9")


def test_names_of_folders_are_not_repeated(tmp_path):
    write_image(tmp_path / "train" / "crane" / "a.png")
    (tmp_path / "labels.txt").write_text("0 crane\n1 crane\n")
    with pytest.raises(DatasetError, match="labels.txt' names two classes 'crane', so the folder of neither is known"):
        ClassFolderDataSet(str(tmp_path), "train").parse_dataset()


def test_splits_are_no_classes(tmp_path):
    for split in ("train", "val"):
        write_image(tmp_path / split / "cat" / "a.png")
    with pytest.raises(
        DatasetError, match="are train, val: these are splits, not classes. Set image_dir to one of them"
    ):
        ClassFolderDataSet(str(tmp_path)).parse_dataset()
