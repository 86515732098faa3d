"""convert-dataset labelme: shapes of labelme, AnyLabeling and X-AnyLabeling as these write them."""

from __future__ import annotations

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from ppdet_res2net.cli.main import main
from ppdet_res2net.data.annotations import read_annotations
from ppdet_res2net.datasets.convert import convert_labelme
from ppdet_res2net.errors import DatasetError

CORNERS = [[10, 5], [30, 5], [30, 20], [10, 20]]
DIAMOND = [[20, 5], [30, 15], [20, 25], [10, 15]]


def shape(kind, points, **changes):
    return {"label": "nut", "points": points, "group_id": None, "shape_type": kind, "flags": {}, **changes}


def write(folder, shapes, name="a", encoding="utf-8", **changes):
    content = {
        "version": "5.4.1",
        "flags": {},
        "shapes": shapes,
        "imagePath": f"../images/{name}.png",
        "imageData": None,
        "imageHeight": 40,
        "imageWidth": 60,
        **changes,
    }
    path = folder / "labels" / f"{name}.json"
    path.write_text(json.dumps(content, ensure_ascii=False), encoding=encoding)
    return path


def convert(folder, **options):
    return convert_labelme(folder / "labels", folder / "images", **options)


def only_object(folder, one):
    write(folder, [one])
    builder = convert(folder)
    assert builder.skipped.total == 0
    (annotation,) = builder.content["annotations"]
    return annotation


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("is_mirrored", [False, True])
def test_a_rectangle_has_two_or_four_corners_in_any_order(folder, turns, is_mirrored):
    corners = CORNERS[turns:] + CORNERS[:turns]
    corners = corners[::-1] if is_mirrored else corners
    for points in (corners, corners[::2]):
        found = only_object(folder, shape("rectangle", points))
        assert found["bbox"] == [10, 5, 20, 15] and found["area"] == 300


@pytest.mark.parametrize("kind", ["rotation", "quadrilateral", "oriented_rectangle", "rectangle"])
def test_four_corners_that_are_turned_are_an_outline(folder, kind):
    found = only_object(folder, shape(kind, DIAMOND, direction=0.785, difficult=False, attributes={}))
    assert found["segmentation"] == [[20, 5, 30, 15, 20, 25, 10, 15]]
    assert found["bbox"] == [10, 5, 20, 20] and found["area"] == pytest.approx(200, abs=20)


def test_a_shape_without_type_is_a_polygon(folder):
    for missing in (None, ""):
        assert only_object(folder, shape(missing, CORNERS))["bbox"] == [10, 5, 20, 15]


@pytest.mark.parametrize(
    ("one", "kind"),
    [
        (shape("point", [[1, 1]]), "shapes of type point (no area)"),
        (shape("points", [[1, 1], [2, 2]]), "shapes of type points (no area)"),
        (shape("line", [[1, 1], [9, 9]]), "shapes of type line (no area)"),
        (shape("linestrip", [[1, 1], [9, 9], [20, 3]]), "shapes of type linestrip (no area)"),
        (shape("polygon", [[1, 1], [9, 9]]), "polygons of fewer than three points (no area)"),
        (shape("polygon", []), "polygons of fewer than three points (no area)"),
        (shape("cuboid", CORNERS + DIAMOND), "shapes of type cuboid (a body in space)"),
        (shape("rectangle", CORNERS[:3]), "shapes of type rectangle with 3 points"),
        (shape("rotation", CORNERS[:2]), "shapes of type rotation with 2 points"),
        (shape("circle", CORNERS[:1]), "shapes of type circle with 1 points"),
        (shape("ellipse", CORNERS), "shapes of type 'ellipse', which is not known"),
        (shape("rectangle", [[10, 5], [10, 5]]), "objects without width or height"),
        (shape("circle", [[10, 5], [10, 5]]), "objects without width or height"),
    ],
)
def test_what_has_no_area_is_counted_and_named(folder, one, kind):
    path = write(folder, [shape("polygon", CORNERS), one])
    builder = convert(folder)
    assert builder.skipped[kind] == builder.skipped.total == 1
    assert builder.skipped.lines() == [f"1 {kind}: '{path}', shape 2"]
    assert len(builder.content["annotations"]) == 1


def test_the_exit_code_says_that_shapes_were_left_out(folder, capsys):
    write(folder, [shape("polygon", CORNERS), *[shape("point", [[n, 1]]) for n in range(5)]])
    command = [
        "convert-dataset",
        "labelme",
        "--annotations",
        str(folder / "labels"),
        "--images",
        str(folder / "images"),
    ]
    command += ["--out", str(folder / "out.json")]
    assert main(command) == 1
    printed = capsys.readouterr()
    assert len(read_annotations(folder / "out.json").annotations) == 1
    assert "1 object (1 with masks), 1 class; left out: 5 shapes of type point (no area)" in printed.out
    assert "left out: 5 shapes of type point (no area): '" in printed.err
    assert "shape 2; '" in printed.err and "; and 2 more" in printed.err
    assert "Not everything was converted; with --skip_unsupported, the exit code is 0" in printed.err
    assert main([*command, "--skip_unsupported"]) == 0


@pytest.mark.parametrize(
    ("label", "expected"), [("nut", "nut"), (" nut ", "nut"), (7, "7"), ("螺母", "螺母"), ("null", "null")]
)
def test_labels(folder, label, expected):
    write(folder, [shape("polygon", CORNERS, label=label)])
    assert [one["name"] for one in convert(folder).content["categories"]] == [expected]


@pytest.mark.parametrize("label", [None, "", "  ", [], {}, 1.5, True])
def test_a_shape_without_a_label_is_named(folder, label):
    write(folder, [shape("polygon", CORNERS), shape("polygon", CORNERS, label=label)])
    with pytest.raises(DatasetError, match="a.json', shape 2 has no label.*Name it in labelme"):
        convert(folder)


def test_a_label_that_no_file_can_hold_is_named(folder):
    write(folder, []).write_text(json.dumps({"shapes": [shape("polygon", CORNERS, label="\ud83d")]}))
    with pytest.raises(DatasetError, match=r"a.json', shape 1: the class name '\\ud83d' has half of a character"):
        convert(folder)


def test_class_names_with_a_zero_byte_are_named(folder):
    write(folder, [shape("polygon", CORNERS, label="a\x00")])
    with pytest.raises(DatasetError, match=r"a.json', shape 1: the class name 'a\\x00' is empty or has a zero byte"):
        convert(folder)


def test_groups_are_joined_by_label_and_id(folder):
    write(folder, [shape("polygon", CORNERS, group_id=one) for one in (1, 1, "1", 0, None, None)])
    assert len(convert(folder).content["annotations"]) == 5
    write(folder, [shape("polygon", CORNERS, group_id=[1])])
    with pytest.raises(DatasetError, match=r"shape 1 has the group_id \[1\]; expected a whole number or null"):
        convert(folder)


@pytest.mark.parametrize(
    "points", [[[1, 2, 3], [4, 5, 6]], [1, 2, 3, 4], [[1, 2], [3]], [[1, "x"]], {"x": 1}, "abc", [[10**400, 1]], 7]
)
def test_points_that_are_no_pairs_are_named(folder, points):
    write(folder, [shape("polygon", points)])
    with pytest.raises(DatasetError, match="a.json', shape 1 has points that are not pairs of numbers"):
        convert(folder)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "null"])
def test_points_that_are_not_finite_are_named(folder, number):
    path = write(folder, [shape("polygon", [[1, 1], [2, 2], [3, 777]])])
    path.write_text(path.read_text().replace("777", number))
    with pytest.raises(DatasetError, match="a.json', shape 1 has points that are not finite"):
        convert(folder)


@pytest.mark.parametrize("x, y", [(2e8, 3e8), (1e308, -1.7e308)])
@pytest.mark.parametrize("kind", ["polygon", "rotation", "rectangle", "circle"])
def test_points_far_away_take_no_memory(folder, kind, x, y):
    far = {"rectangle": [[1, 1], [x, y]], "circle": [[10, 10], [x, y]]}
    write(folder, [shape(kind, far.get(kind, [[1, 1], [30, 1], [x, y], [1, 30]]))])
    builder = convert(folder)
    assert len(builder.content["annotations"]) + builder.skipped.total == 1
    assert sum(builder.notes[kind] for kind in builder.notes) + builder.skipped.total == 1


def png(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


def test_masks(folder):
    pixels = np.zeros((10, 20), bool)
    pixels[2:8, 3:9] = True
    found = only_object(folder, shape("mask", [[5, 6], [24, 15]], mask=png(pixels)))
    assert found["bbox"] == [8, 8, 6, 6] and found["area"] == 36
    together = [shape("mask", [[5, 6], [24, 15]], mask=png(pixels), group_id=1), shape("polygon", CORNERS, group_id=1)]
    write(folder, together)
    (annotation,) = convert(folder).content["annotations"]
    assert annotation["bbox"] == [8, 5, 22, 15]
    write(folder, [shape("mask", [[5, 6], [24, 15]], mask=png(~np.ones_like(pixels)))])
    assert convert(folder).skipped["objects without width or height"] == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mask": png(np.ones((41, 20), bool))}, "a mask of 20x41 pixels, but the image has 60x40"),
        ({"mask": png(np.ones((4, 4, 3), np.uint8))}, "a mask without one value per pixel"),
        ({"mask": png(np.ones((4, 4), bool))[:40]}, "a mask without a readable picture"),
        ({"mask": None}, "a mask without a readable picture"),
        ({}, "a mask without a readable picture"),
        ({"mask": png(np.ones((4, 4), bool)), "points": []}, "a mask without a point for its corner"),
    ],
)
def test_wrong_masks_are_named(folder, changes, message):
    write(folder, [{**shape("mask", [[1, 1], [2, 2]]), **changes}])
    with pytest.raises(DatasetError, match=f"a.json', shape 1 is {message}"):
        convert(folder)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_encodings(folder, encoding):
    write(folder, [shape("polygon", CORNERS, label="螺母")], encoding=encoding)
    assert convert(folder).names == ["螺母"]


def test_other_encodings_are_named(folder):
    write(folder, [shape("polygon", CORNERS, label="螺母")], encoding="gbk")
    with pytest.raises(
        DatasetError, match="a.json': line 1, column .* as gb18030 it reads '.*螺母.*Save the file as UTF-8"
    ):
        convert(folder)


@pytest.mark.parametrize("size", [{}, {"imageHeight": None, "imageWidth": None}, {"imageHeight": 0, "imageWidth": "?"}])
def test_a_missing_size_is_measured(folder, size):
    path = write(folder, [shape("polygon", CORNERS)])
    content = json.loads(path.read_text())
    del content["imageHeight"], content["imageWidth"]
    path.write_text(json.dumps({**content, **size}))
    (image,) = convert(folder).content["images"]
    assert (image["height"], image["width"]) == (40, 60)


def test_another_size_than_the_image_has(folder, write_image):
    write_image(folder / "images" / "b.png")
    write(folder, [shape("polygon", CORNERS)], "b")
    path = write(folder, [shape("polygon", CORNERS)] * 2, imageHeight=80, imageWidth=10**9)
    builder = convert(folder)
    kind = "objects of images that do not have the annotated size (--measure_images takes the size of the image)"
    assert builder.skipped.lines() == [f"2 {kind}: '{path}', shape 1; '{path}', shape 2"]
    assert [image["file_name"] for image in builder.images] == ["b.png"]
    assert len(convert(folder, measure_images=True).content["annotations"]) == 3


def test_a_stale_image_path(folder, write_image):
    write_image(folder / "images" / "b.png")
    path = write(folder, [shape("polygon", CORNERS)], imagePath="C:\\data\\b.png")
    builder = convert(folder)
    assert [image["file_name"] for image in builder.images] == ["a.png"]
    kind = "annotation files that name another image than their own; the image of the file's own name was taken"
    unused = "1 images without an annotation file, which are not in the result: 'b.png'"
    assert builder.notes.lines() == [f"1 {kind}: '{path}': 'C:\\data\\b.png'", unused]


def test_an_image_of_another_name_is_taken_if_there_is_none_of_the_own_name(folder, write_image):
    (folder / "images" / "a.png").rename(folder / "images" / "b.png")
    path = write(folder, [shape("polygon", CORNERS)], imagePath="b.png")
    builder = convert(folder)
    assert [image["file_name"] for image in builder.images] == ["b.png"]
    assert builder.notes.lines()[0].endswith(f"the image that they name was taken: '{path}': 'b.png'")
    write(folder, [], "c", imagePath="b.png")
    with pytest.raises(DatasetError, match="a.json' and '.*c.json' are both for the image 'b.png'"):
        convert(folder)


def test_a_missing_image(folder):
    (folder / "images" / "a.png").rename(folder / "images" / "other.png")
    write(folder, [], imagePath="Other%2Epng")
    with pytest.raises(DatasetError, match="its image 'Other%2Epng' is not in '.*', but there is 'other.png'"):
        convert(folder)
    write(folder, [], imagePath=None)
    with pytest.raises(
        DatasetError, match="a.json': its image 'a.jpg' is not in .* Pass the image folder with --images"
    ):
        convert(folder)
    write(folder, [], imageData="aGVsbG8=")
    with pytest.raises(DatasetError, match="a copy of the image in it .imageData.; --extract_images writes it there"):
        convert(folder)


def test_images_of_one_name_in_two_folders(folder, write_image):
    write_image(folder / "images" / "x" / "b.png")
    write_image(folder / "images" / "y" / "b.png")
    (folder / "labels" / "y").mkdir()
    write(folder, [shape("polygon", CORNERS)], "y/b", imagePath="b.png")
    assert [image["file_name"] for image in convert(folder).images] == ["y/b.png"]
    (folder / "labels" / "y" / "b.json").rename(folder / "labels" / "b.json")
    with pytest.raises(
        DatasetError, match="2 images in '.*' could be its image 'b', 'x/b.png' and 'y/b.png' among them"
    ):
        convert(folder)


def test_two_images_of_one_stem(folder, write_image):
    write_image(folder / "images" / "a.jpg")
    write(folder, [], imagePath="a.png")
    assert [image["file_name"] for image in convert(folder, names=["nut"]).images] == ["a.png"]
    write(folder, [], imagePath="old.png")
    with pytest.raises(DatasetError, match="2 images in '.*' could be its image 'a', 'a.jpg' and 'a.png' among them"):
        convert(folder)


def test_flags_and_attributes_are_noted(folder):
    path = write(folder, [], flags={"blurred": True, "dark": False})
    builder = convert(folder, names=["nut"])
    assert builder.skipped.total == 0 and len(builder.images) == 1
    kind = "files with flags for the whole image, which COCO's format has no place for"
    assert builder.notes.lines() == [f"1 {kind}: '{path}'"]
    write(
        folder,
        [shape("polygon", CORNERS, attributes={"colour": "red"}), shape("polygon", CORNERS, flags={"cut": True})],
    )
    assert (
        convert(folder).notes["shapes with flags, attributes or a description, which COCO's format has no place for"]
        == 2
    )


def test_difficult_objects(folder):
    write(folder, [shape("polygon", CORNERS, difficult=one) for one in (True, False, None)])
    assert [one["iscrowd"] for one in convert(folder).content["annotations"]] == [0, 0, 0]
    assert [one["iscrowd"] for one in convert(folder, ignore_difficult=True).content["annotations"]] == [1, 0, 0]


def test_other_json_files(folder):
    write(folder, [shape("polygon", CORNERS)])
    convert(folder).write(folder / "labels" / "train.json")
    (folder / "labels" / ".checkpoints").mkdir()
    (folder / "labels" / ".checkpoints" / "a.json").write_text("{}")
    assert convert(folder).notes["JSON files that are COCO's and not labelme's"] == 1
    (folder / "labels" / "b.json").write_text(json.dumps({"info": {"description": "ISAT"}, "objects": []}))
    with pytest.raises(DatasetError, match="b.json' has no list of shapes. This is ISAT's own file"):
        convert(folder)
    (folder / "labels" / "b.json").write_text("[]")
    with pytest.raises(
        DatasetError, match="b.json' has no list of shapes. Pass a folder that holds labelme's JSON files"
    ):
        convert(folder)


def test_a_folder_of_coco_files_only(folder):
    (folder / "labels" / "train.json").write_text('{"images": [], "categories": []}')
    with pytest.raises(DatasetError, match="the JSON files in '.*labels' are in COCO's format already"):
        convert(folder)


def test_no_label_is_replaced(folder, capsys):
    path = write(folder, [shape("polygon", CORNERS)])
    before = path.read_bytes()
    command = [
        "convert-dataset",
        "labelme",
        "--annotations",
        str(folder / "labels"),
        "--images",
        str(folder / "images"),
    ]
    assert main([*command, "--out", str(path)]) == 1
    assert (
        "exists and is not an annotation file in COCO's format. Choose another name for --out"
        in capsys.readouterr().err
    )
    assert path.read_bytes() == before
    for _ in range(2):  # an earlier output is replaced
        assert main([*command, "--out", str(folder / "labels" / "train.json")]) == 0


def test_an_image_whose_name_is_not_utf_8_fails_alone(folder, write_image):
    write(folder, [shape("polygon", CORNERS)])
    strange = "\udcd6\udcd0"
    (folder / "images" / "a.png").with_name(f"{strange}.png").write_bytes((folder / "images" / "a.png").read_bytes())
    write(folder, [shape("polygon", CORNERS)], "b", imagePath="b.png")
    path = folder / "labels" / "b.json"
    path.rename(path.with_name(f"{strange}.json"))
    builder = convert(folder)
    assert [image["file_name"] for image in builder.images] == ["a.png"]
    assert builder.skipped.lines() == [r"1 images whose file names are not UTF-8 (rename them): '\xd6\xd0.png'"]


def test_composed_and_decomposed_letters_match(folder, write_image):
    (folder / "images" / "a.png").unlink()
    write_image(folder / "images" / "cafe\u0301.png")
    write(folder, [shape("polygon", CORNERS)], "caf\u00e9")
    builder = convert(folder)
    assert [image["file_name"] for image in builder.images] == ["cafe\u0301.png"] and not list(builder.notes)


def test_names_that_labelme_has_for_no_class(folder):
    write(folder, [shape("polygon", CORNERS), shape("polygon", DIAMOND, label="__ignore__")])
    for names in (["__ignore__", "_background_", "nut"], ["nut"], None):
        builder = convert(folder, names=names)
        assert builder.content["categories"] == [{"id": 1, "name": "nut"}]
        place = f"'{folder / 'labels' / 'a.json'}', shape 2"
        assert builder.skipped.lines() == [f"1 objects of '__ignore__', which labelme has for no class: {place}"]
        assert bool(builder.notes.lines()) == (names is not None and len(names) > 1)
