"""convert-dataset yolo: names and rows as Darknet, labelImg, Ultralytics and Roboflow write them."""

from __future__ import annotations

import pytest

from ppdet_res2net.cli.main import main
from ppdet_res2net.datasets.convert import convert_yolo, read_class_table, read_names
from ppdet_res2net.errors import DatasetError

ROW = "0 0.5 0.5 0.2 0.2"
OUTLINE = "0 0.1 0.1 0.5 0.1 0.5 0.5"


def convert(folder, text, names=("nut", "bolt"), encoding="utf-8"):
    (folder / "labels" / "a.txt").write_text(text, encoding=encoding)
    return convert_yolo(folder / "images", folder / "labels", names)


def names_file(folder, text, name="data.yaml", encoding="utf-8"):
    (folder / name).write_text(text, encoding=encoding)
    return folder / name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("names: [nut, bolt]", {0: "nut", 1: "bolt"}),
        ("names:\n- nut\n- bolt\n", {0: "nut", 1: "bolt"}),
        ("names:\n  1: nut\n  2: bolt\nnc: 2", {1: "nut", 2: "bolt"}),
        ("names: {0: person, 2: car, 3: bus}\nnc: 4", {0: "person", 2: "car", 3: "bus"}),
        ("names: {'1': bolt, \"0\": nut}", {0: "nut", 1: "bolt"}),
        ("names: {10: k, 9: j}", {9: "j", 10: "k"}),
        ("names: [' nut', 'bolt ']", {0: "nut", 1: "bolt"}),
        (
            "names: [no, on, 1e3, 007, null, 2024-05-01, 1.0, Yes, ~, 0x10, .5]",
            dict(enumerate(["no", "on", "1e3", "007", "null", "2024-05-01", "1.0", "Yes", "~", "0x10", ".5"])),
        ),
        ("names: {0: yes, 1: 3}", {0: "yes", 1: "3"}),
        ("path: ../x\ntrain: images\nkpt_shape: [17, 3]\nnames: [nut]  # one", {0: "nut"}),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_names_in_yaml(folder, text, expected, encoding):
    path = names_file(folder, text, encoding=encoding)
    assert read_class_table(path) == expected
    assert read_names(path) == list(expected.values())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names: {a: nut}", "'a' among the names is not the number of a class. Write them as '0: cat'"),
        ("names: {-1: nut}", "'-1' among the names is not the number"),
        ("names: {1.0: nut}", "'1.0' among the names is not the number"),
        ("names: {0: nut, 0: bolt}", "line 1: this is not valid YAML: '0' is there twice"),
        ("names: {0: nut, 00: bolt}", "gives the class '00' two names"),
        ("names: [nut, nut]", "names two classes 'nut': 0 and 1. Every class needs a name of its own"),
        ("names: [nut, '']", "class 1 has no name, but ''"),
        ("names: [nut, [bolt]]", r"class 1 has no name, but '\[bolt\]'"),
        (r'names: ["\ud83d"]', r"class 0 has no name, but '\\ud83d'"),
        ("names: [nut]\nnc: 2", "names 1 classes, but says 'nc: 2'. Correct one of them"),
        ("names: []", "holds no class names"),
        ("names: nowhere.names", "holds no class names"),
        ("names: data.yaml", "holds no class names"),
        ("names: ../data.names", "holds no class names"),
        (f"names: {'x' * 5000}", "holds no class names"),
        ("[nut]", "holds no class names"),
        ("names: [nut]\nkpt_shape: 17", "kpt_shape is '17'; expected the number of key points and 2 or 3"),
        ("names: [nut]\nkpt_shape: [17, 4]", "kpt_shape is .* expected the number of key points and 2 or 3"),
        ("names: [nut", "data.yaml', line 1: this is not valid YAML"),
    ],
)
def test_wrong_names_in_yaml(folder, text, message):
    (folder.parent / "data.names").write_text("nut")
    path = names_file(folder, text)
    with pytest.raises(DatasetError, match=message):
        read_class_table(path)


def test_aliases_are_not_written_out(folder):
    lines = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60))]
    for end in ("names: [*a59]", "names: [nut]\nnc: *a59", "names: [nut]\nkpt_shape: [*a59, 3]"):
        with pytest.raises(
            DatasetError, match="data.yaml', line 18: there are more than 1000000 values, if each alias"
        ):
            read_class_table(names_file(folder, "\n".join([*lines, end])))
    with pytest.raises(DatasetError, match=r"data.yaml', line 1: the alias \*a is inside of what it stands for"):
        read_class_table(names_file(folder, "names: &a [*a]"))


def test_tags_in_yaml_run_nothing(folder):
    assert read_names(names_file(folder, "names: !!python/object/apply:os.abort [nut]")) == ["nut"]


def test_names_in_text(folder):
    for text in ("nut\nbolt\n", "nut \r\n bolt\r\n\r\n", "\ufeffnut\nbolt\n\n\n"):
        assert read_class_table(names_file(folder, text, "classes.txt")) == {0: "nut", 1: "bolt"}
    names_file(folder, "nut\n\nbolt\n", "obj.names")
    assert read_names(folder / "obj.names") == ["nut", "bolt"]
    with pytest.raises(DatasetError, match="obj.names', line 2 is blank. Some tools count blank lines and some do not"):
        read_class_table(folder / "obj.names")
    names_file(folder, "nut\nnut\n", "obj.names")
    with pytest.raises(DatasetError, match="names two classes 'nut': 0 and 1"):
        read_names(folder / "obj.names")
    names_file(folder, "nut\nécrou\n", "obj.names", "latin-1")
    with pytest.raises(DatasetError, match="class names '.*obj.names': line 2, column 1: the byte 0xe9 is not UTF-8"):
        read_names(folder / "obj.names")
    names_file(folder, "nut\nbolt", "obj.names")
    assert read_class_table(names_file(folder, "nc: 2\nnames: obj.names")) == {0: "nut", 1: "bolt"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0 nut\n1 bolt\n", {0: "nut", 1: "bolt"}),
        ("1: nut\n 2:  hex bolt\n", {1: "nut", 2: "hex bolt"}),
        ("1 euro\n2 euro\n", {0: "1 euro", 1: "2 euro"}),
        ("0 nut\nbolt\n", {0: "0 nut", 1: "bolt"}),
        ("007\n8\n", {0: "007", 1: "8"}),
        ("# tag\nnut, hex\n", {0: "# tag", 1: "nut, hex"}),
        ("classes = 2\nnames = x.names\n", {0: "nut", 1: "bolt"}),
        ("# Darknet\nclasses=2\ntrain=a.txt\nnames=data/x.names\n", {0: "nut", 1: "bolt"}),
    ],
)
def test_numbers_in_lists_of_names(folder, text, expected):
    names_file(folder, "nut\nbolt\n", "x.names")
    assert read_class_table(names_file(folder, text, "obj.data")) == expected


@pytest.mark.parametrize(
    "text",
    [
        '["nut", "bolt"]',
        "{0: nut}",
        "names: [nut, bolt]\nnc: 2\n",
        "- nut\n- bolt\n",
        "nut,bolt\n",
        "item {\n  id: 1\n}\n",
        "<?xml version='1.0'?>",
    ],
)
def test_other_files_are_no_lists_of_names(folder, text):
    with pytest.raises(DatasetError, match="x.txt' is not a list with one class name per line; it begins with '"):
        read_names(names_file(folder, text, "x.txt"))


def test_a_darknet_file_that_counts_otherwise(folder):
    names_file(folder, "nut\n", "x.names")
    with pytest.raises(DatasetError, match="obj.data' names 1 classes, but says 'nc: 2'"):
        read_names(names_file(folder, "classes = 2\nnames = x.names\n", "obj.data"))


def test_the_keys_of_names_count(folder):
    table = read_class_table(names_file(folder, "names:\n  1: nut\n  3: bolt\n"))
    builder = convert(folder, "1 .5 .5 .2 .2\n3 .5 .5 .2 .2\n", table)
    assert builder.content["categories"] == [{"id": 1, "name": "nut"}, {"id": 2, "name": "bolt"}]
    assert [one["category_id"] for one in builder.content["annotations"]] == [1, 2]
    for missing in (0, 2, 4):
        with pytest.raises(
            DatasetError, match=f"line 1: class {missing} does not exist; the names have the numbers 1, 3"
        ):
            convert(folder, f"{missing} .5 .5 .2 .2", table)


@pytest.mark.parametrize(
    "text",
    [
        f"{ROW}\n",
        f"\ufeff{ROW}",
        f"\n  {ROW}  \r\n\r\n",
        ROW.replace(" ", "\t"),
        ROW.replace(" ", "   "),
        ROW.replace("0 ", "0.0 ", 1),
        ROW.replace("0.", "."),
        "0 5e-1 5.0E-1 0.2 +0.2",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_spellings_of_a_row(folder, text, encoding):
    builder = convert(folder, text, encoding=encoding)
    (annotation,) = builder.content["annotations"]
    assert annotation["bbox"] == [24, 16, 12, 8] and not list(builder.notes) and builder.skipped.total == 0


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("0 300 200 50 60", "line 1 has the coordinate 300; expected fractions .* These look like pixels"),
        ("0 0.5 0.5 1.2 0.2", "line 1 has the coordinate 1.2; expected fractions of the image's width and height"),
        ("0 0.5 -0.2 0.2 0.2", "line 1 has the coordinate -0.2; expected fractions"),
        ("0 0.5 0.5 -0.005 0.2", "line 1: the box has a negative width or height"),
        ("0 0.1 0.1 0.9 0.1 120 90", "line 1 has the coordinate 120; expected fractions"),
        (f"{ROW} 0.93", "line 1 has 6 numbers; expected 5 .* A sixth number is the confidence of a detection"),
        (f"{ROW} 0.1 0.1 0.1", "line 1 has 8 numbers; expected 5"),
        (
            f"{ROW} .45 .45 2 .55 .45 1",
            "line 1 looks like a box with key points and their visibility. Pass a data.yaml",
        ),
        (f"{ROW} .45 .45 0 .55 .45 2 .6 .6 1 .4 .4 2", "line 1 looks like a box with key points"),
        ("-1 0.5 0.5 0.2 0.2", "line 1: class -1 does not exist"),
        ("1e400 0.5 0.5 0.2 0.2", "line 1 has numbers that are not finite"),
        ("0,0.5,0.5,0.2,0.2", "line 1: '0,0.5,0.5,0.2,0.2' is not a list of numbers"),
        ("# class x y w h", "line 1: '# class x y w h' is not a list of numbers"),
        (f"{ROW} # a comment", "line 1: '.* # a comment' is not a list of numbers"),
    ],
)
def test_rows_that_are_no_labels_are_named(folder, row, message):
    with pytest.raises(DatasetError, match=f"a.txt', {message}"):
        convert(folder, row)


def test_a_box_may_reach_a_little_over_the_edge(folder):
    builder = convert(folder, "0 1.004 0.5 0.2 0.2\n0 -0.004 0.1 0.5 0.1 0.5 1.008")
    assert len(builder.content["annotations"]) == 2


@pytest.mark.parametrize("shape", [(4, 3), (4, 2), (2, 2)])
def test_key_points_are_left_out_and_the_box_is_taken(folder, shape):
    points, values = shape
    table = read_class_table(names_file(folder, f"names: [nut]\nkpt_shape: [{points}, {values}]"))
    row = ROW + " 0.45 0.45 2"[: 10 if values == 2 else None] * points
    builder = convert(folder, f"{ROW}\n{row}\n", table)
    assert [one["bbox"] for one in builder.content["annotations"]] == [[24, 16, 12, 8]] * 2
    assert all(one["segmentation"] == [] for one in builder.content["annotations"])
    assert builder.notes["key points of objects, whose boxes were taken"] == 1
    with pytest.raises(
        DatasetError, match=f"line 1 has {len(row.split()) + 2} numbers; expected 5, or {len(row.split())} with"
    ):
        convert(folder, f"{row} .1 .1", table)


def test_outlines_are_noted(folder):
    oriented = "1 0.1 0.1 0.5 0.1 0.5 0.5 0.1 0.5"  # a class and four corners: an outline of four points
    builder = convert(folder, f"{ROW}\n{OUTLINE}\n{oriented}\n")
    assert [len(one["segmentation"]) for one in builder.content["annotations"]] == [0, 1, 1]
    assert builder.content["annotations"][2]["bbox"] == [6, 4, 24, 16]
    kind = "rows of more than five numbers, which were read as outlines (a data.yaml with kpt_shape reads key points)"
    path = folder / "labels" / "a.txt"
    assert builder.notes.lines() == [f"2 {kind}: '{path}', line 2; '{path}', line 3"]


def test_boxes_without_area_are_counted(folder):
    builder = convert(folder, f"{ROW}\n0 0.5 0.5 0 0.2\n0 .1 .1 .1 .1 .1 .1\n")
    assert builder.skipped["objects without width or height"] == builder.skipped.total == 2


def test_empty_and_missing_label_files(folder, write_image):
    for name in ("b.png", "c.png"):
        write_image(folder / "images" / name)
    (folder / "labels" / "b.txt").write_text("")
    builder = convert(folder, ROW)
    assert len(builder.images) == 3 and builder.skipped.total == 0 and len(builder.content["annotations"]) == 1


def test_label_files_without_image(folder, capsys):
    for name in ("classes.txt", "README.roboflow.txt", "train.txt", ".b.txt"):
        (folder / "labels" / name).write_text("nut")
    assert convert(folder, ROW).skipped.total == 0
    (folder / "labels" / "notes.txt").write_text("images/a.png\n")
    (folder / "labels" / "b.txt").write_text(ROW)
    builder = convert(folder, ROW)
    assert builder.skipped.lines() == [f"1 label files without an image of their name: '{folder}/labels/b.txt'"]
    arguments = ["--images", str(folder / "images"), "--names", str(names_file(folder, "names: [nut]"))]
    assert main(["convert-dataset", "yolo", *arguments, "--out", str(folder / "o.json")]) == 1
    assert "left out: 1 label files without an image of their name: '" in capsys.readouterr().err


def test_two_images_with_one_label_file(folder, write_image):
    write_image(folder / "images" / "a.jpg")
    with pytest.raises(DatasetError, match="the images '.*a.jpg' and '.*a.png' share the label file '.*a.txt'"):
        convert(folder, ROW)
    write_image(folder / "images" / "b.png")
    (folder / "labels" / "a.txt").unlink()
    (folder / "labels" / "b.TXT").write_text(ROW)
    assert len(convert_yolo(folder / "images", folder / "labels", ["nut"]).images) == 3


def test_labels_beside_the_images_and_in_subfolders(folder, write_image):
    write_image(folder / "images" / "x" / "b.PNG")
    (folder / "images" / "x" / "b.txt").write_text(ROW)
    (folder / "images" / "classes.txt").write_text("nut\n")
    builder = convert_yolo(folder / "images", folder / "images", read_class_table(folder / "images" / "classes.txt"))
    assert [image["file_name"] for image in builder.images] == ["a.png", "x/b.PNG"]
    assert [one["image_id"] for one in builder.content["annotations"]] == [2] and builder.skipped.total == 0


def test_other_encodings_are_named(folder):
    with pytest.raises(DatasetError, match="label file '.*a.txt': line 2, column 1: the byte 0x93 is not UTF-8"):
        (folder / "labels" / "a.txt").write_bytes(ROW.encode() + b"\n\x930 1")
        convert_yolo(folder / "images", folder / "labels", ["nut"])
