"""Annotations of other tools, given where a COCO file is expected: the answer is the command that converts them."""

from __future__ import annotations

import pytest

from ppdet_res2net.data.annotations import read_json
from ppdet_res2net.data.foreign_formats import recognise
from ppdet_res2net.errors import DatasetError

XML = "<?xml version='1.0'?>\n<annotation><filename>a.jpg</filename></annotation>"


@pytest.fixture
def folder(tmp_path):
    for name in ("JPEGImages", "Annotations", "images/train", "labels/train"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


def test_voc(folder):
    (folder / "Annotations" / "a.xml").write_text(XML)
    images, annotations = folder / "JPEGImages", folder / "Annotations"
    command = f"convert-dataset voc --annotations {annotations} --images {images} --out train.json"
    for given in (annotations / "a.xml", annotations, folder):
        assert command in recognise(given)
    (folder / "Annotations" / "a.xml").write_bytes(XML.replace("annotation", "Annotation").encode("utf-16"))
    assert command in recognise(annotations / "a.xml")


def test_yolo(folder):
    for text in ("path: .\ntrain: images/train\nnames: [cat]\n", "train: images/train\nnc: 1\nnames:\n  0: cat\n"):
        (folder / "data.yaml").write_text(text)
        for given in (folder / "data.yaml", folder):
            found = recognise(given)
            assert f"convert-dataset yolo --names {folder}/data.yaml --split train --out train.json" in found
    (folder / "data.yaml").write_text("names: [cat]\n")
    assert f"yolo --names {folder}/data.yaml --images IMAGES --out" in recognise(folder / "data.yaml")
    (folder / "data.yaml").rename(folder / "obj.data")
    (folder / "obj.data").write_text("classes= 1\ntrain  = data/train.txt\nnames = data/obj.names\n")
    for given in (folder / "obj.data", folder):
        assert f"yolo --names {folder}/obj.data --split train --out" in recognise(given)
    (folder / "labels" / "train" / "a.txt").write_text("0 0.5 0.5 1e-1 .1\n")
    for given in (folder / "labels" / "train" / "a.txt", folder / "labels" / "train"):
        found = recognise(given)
        assert f"--images {folder}/images/train --labels {folder}/labels/train --names NAMES" in found


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"version": "5.0", "shapes": []}, "convert-dataset labelme --annotations"),
        ({"a.jpg123": {"filename": "a.jpg", "size": 123, "regions": []}}, "In VIA, choose Annotation > Export"),
        ({"_via_settings": {}, "_via_img_metadata": {"a": {"filename": "a.jpg", "regions": {}}}}, "In VIA, choose"),
        ({"info": {"description": "ISAT"}, "objects": []}, "In ISAT, convert"),
        ({"images": [], "annotations": [{"segments_info": []}]}, "a panoptic file of COCO"),
        ([{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1], "score": 0.5}], "These are detections"),
        ([{"id": 1, "data": {"image": "a.jpg"}, "annotations": []}], "Export the project again as 'COCO'"),
        ([{"image": "a.jpg", "annotations": []}], "CreateML's format"),
        ({"images": []}, None),
        ([], None),
        ({}, None),
        (3, None),
    ],
)
def test_json(folder, content, expected):
    found = recognise(folder / "a.json", content)
    assert found is None if expected is None else expected in found


def test_folders_and_files_that_are_nothing_known(folder):
    assert recognise(folder / "images") is None
    for content in (b"\x89PNG\r\n\xff", b"{", b"some text", b"<head></head>", b"a: 1", b"a: ["):
        for name in ("a.json", "a.yaml"):
            (folder / "images" / name).write_bytes(content)
            assert recognise(folder / "images" / name) is None


def test_other_xml_and_folders_of_json(folder):
    (folder / "a.xml").write_text("<annotations><version>1.1</version></annotations>")
    assert "export the task again as 'COCO 1.0'" in recognise(folder / "a.xml")
    (folder / "images" / "a.json").write_text("{}")
    assert f"convert-dataset labelme --annotations {folder}/images --out" in recognise(folder / "images")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "./JPEGImages/a.jpg ./Annotations/a.xml\n",
            "convert-dataset voc --annotations ANNOTATIONS --images IMAGES --list",
        ),
        ("images/a.jpg,xml/a.xml\nimages/b c.png,xml/b c.xml\n", "a list of images and VOC's XML files"),
        ("images/a.jpg\n\n/data/b.PNG\r\n", "a list of images and holds no objects"),
        ("a.jpg 0\nb/c d.jpeg\t12\n", "a list of images with labels, for classification (ClassListDataSet)"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "'git lfs pull' downloads the file itself"),
        ("<!DOCTYPE html>\n<html>", "This is a web page"),
        ("nut\nbolt\n", None),
    ],
)
def test_lists_and_stand_ins(folder, text, expected):
    (folder / "x.txt").write_text(text)
    found = recognise(folder / "x.txt")
    assert found is None if expected is None else expected in found


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"filename,width\na.jpg,3\n",
            "nor is it JSON at all: it begins with 'filename,width'. Export the annotations in",
        ),
        (b"1 2 plane 0", "nor is it JSON at all: it begins with '1 2 plane 0'"),
        (b"\x89PNG\r\n\x1a\n\0", "There are control characters, too: this is no text, but perhaps an image"),
        (b"\x80\x04\x95", "There are control characters, too"),
        (b'{"images": [', "is not valid JSON: .* It may be cut off"),
    ],
)
def test_files_that_are_no_json(folder, content, message):
    (folder / "x.json").write_bytes(content)
    with pytest.raises(DatasetError, match=message):
        read_json(folder / "x.json")
