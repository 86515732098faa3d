"""convert-dataset: the allowed contents of single files; wrong files are named."""

from __future__ import annotations

import base64
import json
import shutil

import cv2
import numpy as np
import pytest

from ppdet_res2net.cli.main import main
from ppdet_res2net.data.annotations import read_annotations
from ppdet_res2net.datasets.convert import convert_labelme, convert_voc, convert_yolo, read_names
from ppdet_res2net.errors import DatasetError


def labelme(folder, *shapes, **changes):
    content = {
        "imagePath": "..\\images\\a.png",
        "imageHeight": 40,
        "imageWidth": 60,
        "shapes": list(shapes),
        **changes,
    }
    (folder / "labels" / "a.json").write_text(json.dumps(content))
    return convert_labelme(folder / "labels", folder / "images")


def shape(kind, *points, **changes):
    return {"label": "nut", "shape_type": kind, "points": [list(point) for point in points], **changes}


def test_shapes_of_labelme(folder):
    builder = labelme(
        folder,
        shape("rectangle", (30, 20), (10, 5)),
        shape("circle", (30, 20), (30, 30)),
        shape("point", (1, 1)),
        shape("linestrip", (1, 1), (5, 5)),
        shape("polygon", (1, 1), (5, 5)),
    )
    box, circle = builder.content["annotations"]
    assert box["bbox"] == [10, 5, 20, 15] and box["area"] == 300
    assert circle["bbox"] == [20, 10, 20, 20] and circle["area"] == pytest.approx(np.pi * 100, rel=0.03)
    assert builder.content["images"][0]["file_name"] == "a.png"
    line = builder.write(folder / "out.json")
    assert line.startswith(
        "1 image (0 without objects), 2 objects (2 with masks), 1 class; left out: 1 shapes of type point"
    )


def test_parts_of_one_group_are_one_object(folder):
    triangle = [(1, 1), (9, 1), (1, 9)]
    other = [(30, 1), (39, 1), (30, 9)]
    grouped = [shape("polygon", *triangle, group_id=4), shape("polygon", *other, group_id=4)]
    alone = [shape("polygon", *triangle, group_id=None), shape("polygon", *other, group_id=None)]
    (one,) = labelme(folder, *grouped).content["annotations"]
    assert len(one["segmentation"]) == 2 and one["bbox"] == [1, 1, 38, 8]
    assert len(labelme(folder, *alone).content["annotations"]) == 2


def test_a_mask_that_reaches_out_is_cut(folder):
    part = base64.b64encode(cv2.imencode(".png", np.full((20, 20), 255, np.uint8))[1].tobytes()).decode()
    builder = labelme(folder, shape("mask", (-5, 30), (15, 50), mask=part))
    assert builder.content["annotations"][0]["bbox"] == [0, 30, 15, 10]


@pytest.mark.parametrize(
    ("shapes", "changes", "message"),
    [
        ([{"points": []}], {}, "shape 1 has no label. Name it in labelme"),
        ([shape("polygon", (1, "x"))], {}, "shape 1 has points that are not pairs of numbers"),
        ([shape("mask", (1, 1), mask="?")], {}, "shape 1 is a mask without a readable picture"),
        ([], {"shapes": 3}, "has no list of shapes. Pass a folder that holds labelme's JSON files only"),
    ],
)
def test_wrong_files_of_labelme_are_named(folder, shapes, changes, message):
    with pytest.raises(DatasetError, match=f"a.json'.*{message}"):
        labelme(folder, *shapes, **changes)


def test_broken_json_is_named(folder):
    (folder / "labels" / "a.json").write_text("{")
    with pytest.raises(DatasetError, match="a.json' is not valid JSON: .* at line 1, column 2"):
        convert_labelme(folder / "labels", folder / "images")
    with pytest.raises(DatasetError, match="there are no JSON files in"):
        convert_labelme(folder / "images", folder / "images")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.5 0.5 0.2", "line 2 has 4 numbers; expected 5"),
        ("0 0.1 0.1 0.2 0.2 0.3", "line 2 has 6 numbers; expected 5"),
        ("nut 0.1 0.1 0.2 0.2", "line 2: 'nut 0.1 0.1 0.2 0.2' is not a list of numbers"),
        ("2 0.1 0.1 0.2 0.2", "line 2: class 2 does not exist; there are 2 names, counted from 0"),
        ("0.5 0.1 0.1 0.2 0.2", "line 2: class 0.5 does not exist"),
        ("0 0.1 0.1 nan 0.2", "line 2 has numbers that are not finite"),
    ],
)
def test_wrong_lines_of_yolo_are_named(folder, line, message):
    (folder / "labels" / "a.txt").write_text(f"0 0.5 0.5 0.2 0.2\n{line}\n")
    with pytest.raises(DatasetError, match=f"a.txt', {message}"):
        convert_yolo(folder / "images", folder / "labels", ["nut", "bolt"])


def test_yolo_without_labels(folder):
    with pytest.raises(DatasetError, match="none of the 1 images in .* has a label file in .*--labels"):
        convert_yolo(folder / "images", folder / "labels", ["nut"])
    with pytest.raises(DatasetError, match="there is no label folder"):
        convert_yolo(folder / "images", folder / "nowhere", ["nut"])
    with pytest.raises(DatasetError, match="there are no images in"):
        convert_yolo(folder / "labels", folder / "labels", ["nut"])


def test_yolo_measures_turned_images_as_they_are_shown(folder, turned_jpeg):  # noqa: F811
    shutil.copy(turned_jpeg, folder / "images" / "b.jpg")
    (folder / "labels" / "b.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    entry = convert_yolo(folder / "images", folder / "labels", ["nut"]).content["images"][1]
    assert (entry["height"], entry["width"]) == (40, 20)
    (folder / "images" / "c.jpg").write_bytes(b"no image")
    with pytest.raises(DatasetError, match="cannot read image '.*c.jpg'"):
        convert_yolo(folder / "images", folder / "labels", ["nut"])


def voc(folder, objects, size="<size><width>60</width><height>40</height></size>", **options):
    text = f"<annotation><filename>a.png</filename>{size}{objects}</annotation>"
    (folder / "labels" / "a.xml").write_text(text)
    return convert_voc(folder / "labels", folder / "images", **options)


def voc_object(box=(11, 6, 30, 20), name="<name>nut</name>"):
    corners = "".join(f"<{key}>{value}</{key}>" for key, value in zip(("xmin", "ymin", "xmax", "ymax"), box))
    return f"<object>{name}<bndbox>{corners}</bndbox></object>"


def test_voc_counts_pixels_from_one(folder):
    content = voc(folder, voc_object(), size="").content
    assert content["annotations"][0]["bbox"] == [10, 5, 20, 15]
    assert (content["images"][0]["height"], content["images"][0]["width"]) == (40, 60)


@pytest.mark.parametrize(
    ("objects", "options", "message"),
    [
        (voc_object((30, 6, 11, 20)), {}, "a.xml', object 1: the box ends before it begins"),
        (voc_object(("x", 6, 30, 20)), {}, "a.xml', object 1: <bndbox/xmin> is 'x', expected a number"),
        (
            voc_object(name=""),
            {},
            "a.xml', object 1: <object> has no <name>. Check that the file is in Pascal VOC's format",
        ),
        (
            voc_object(),
            {"names": ["bolt", "nuts"]},
            "the class 'nut' is not among the 2 names given. Did you mean 'nuts'",
        ),
        ("<", {}, "a.xml' is not a readable XML file"),
    ],
)
def test_wrong_files_of_voc_are_named(folder, objects, options, message):
    with pytest.raises(DatasetError, match=message.replace("?", r"\?")):
        voc(folder, objects, **options)


def test_lists_and_masks_of_voc(folder):
    (folder / "list.txt").write_text("a 1\nb -1\n\n")
    assert len(voc(folder, voc_object(), list_file=folder / "list.txt").images) == 1
    (folder / "list.txt").write_text("a\nc\n")
    with pytest.raises(DatasetError, match="names 1 files that are not in .*, first 'c.xml'"):
        voc(folder, voc_object(), list_file=folder / "list.txt")
    with pytest.raises(DatasetError, match="cannot read the instances '.*a.png'"):
        voc(folder, voc_object(), mask_dir=folder)
    cv2.imwrite(str(folder / "a.png"), np.zeros((10, 10), np.uint8))
    with pytest.raises(DatasetError, match=r"has the shape \(10, 10\), expected \(40, 60\)"):
        voc(folder, voc_object(), mask_dir=folder)
    with pytest.raises(DatasetError, match="there are no XML files in"):
        convert_voc(folder / "images", folder / "images")


def test_names(folder):
    for file, text in (
        ("a.yaml", "names: [nut, bolt]"),
        ("b.yml", "names: {1: bolt, 0: nut}"),
        ("c.txt", "nut\n\n bolt \n"),
    ):
        (folder / file).write_text(text)
        assert read_names(folder / file) == ["nut", "bolt"]
    for file, text in (("d.yaml", "path: x"), ("e.txt", "\n"), ("f.yaml", "names: nut")):
        (folder / file).write_text(text)
        with pytest.raises(DatasetError, match="holds no class names"):
            read_names(folder / file)
    with pytest.raises(DatasetError, match="class names not found: '.*nowhere.txt'"):
        read_names(folder / "nowhere.txt")


def test_the_command(folder, capsys):
    (folder / "names.txt").write_text("nut\n")
    (folder / "labels" / "a.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    out, images = folder / "yolo.json", folder / "images"
    assert (
        main(
            [
                "convert-dataset",
                "yolo",
                "--images",
                str(images),
                "--names",
                str(folder / "names.txt"),
                "--out",
                str(out),
            ]
        )
        == 0
    )
    assert read_annotations(out).annotations[0].box_xywh == [24, 16, 12, 8]
    printed = capsys.readouterr().out
    assert f"wrote {out}: 1 image (0 without objects), 1 object (0 with masks), 1 class" in printed
    assert f"next: ppdet-res2net check-dataset --annotations {out} --images {images}" in printed
    voc(folder, voc_object())
    arguments = [
        "--annotations",
        str(folder / "labels"),
        "--images",
        str(images),
        "--out",
        str(folder / "voc.json"),
    ]
    assert main(["convert-dataset", "voc", *arguments]) == 0
    labelme(folder, shape("rectangle", (1, 1), (9, 9)))
    assert main(["convert-dataset", "labelme", *arguments]) == 0
    labelme(folder)
    assert main(["convert-dataset", "labelme", *arguments]) == 1
    assert "no objects were found, so '" in capsys.readouterr().err


def test_flags_without_objects_are_named(folder):
    with pytest.raises(DatasetError, match="no objects were found, .* Note: 1 files with flags for the whole image"):
        labelme(folder, flags={"sharp": True}).write(folder / "out.json")


def test_a_file_is_not_a_folder(folder):
    labelme(folder)
    with pytest.raises(
        DatasetError, match="a.json' is a file. Pass its folder '.*labels': all files in it are converted"
    ):
        convert_labelme(folder / "labels" / "a.json", folder / "images")


@pytest.mark.parametrize("far", [2e8, 1e300, 1.7e308, -1.7e308])
def test_a_point_far_outside_gives_no_warning(folder, far, recwarn):
    builder = labelme(folder, shape("polygon", (0, 0), (30, 0), (0, far)))
    assert len(builder.content["annotations"]) + builder.skipped.total == 1 and not recwarn.list
