"""Images that are only in labelme's JSON files."""

from __future__ import annotations

import base64
import json

import cv2
import numpy as np
import pytest

from ppdet_res2net.cli.main import main
from ppdet_res2net.datasets.convert import convert_labelme
from ppdet_res2net.errors import DatasetError

SHAPE = {"label": "nut", "shape_type": "polygon", "points": [[1, 1], [20, 1], [1, 20]]}


def picture(suffix: str) -> bytes:
    return cv2.imencode(suffix, np.full((40, 60, 3), 90, np.uint8))[1].tobytes()


def write(folder, image_data, name="x/b.c.json"):
    path = folder / "labels" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"shapes": [SHAPE], "imagePath": "..\\gone.jpg", "imageData": image_data}))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp"])
@pytest.mark.parametrize("prefix", ["", "data:image/x;base64,"])
def test_missing_images_are_written_as_they_are(folder, suffix, prefix):
    write(folder, prefix + base64.b64encode(picture(suffix)).decode())
    builder = convert_labelme(folder / "labels", folder / "images", extract_images=True)
    assert [image["file_name"] for image in builder.images] == [f"x/b.c{suffix}"]
    assert (folder / "images" / "x" / f"b.c{suffix}").read_bytes() == picture(suffix)
    again = convert_labelme(folder / "labels", folder / "images")
    assert again.content == builder.content and len(again.content["annotations"]) == 1


def test_the_command_makes_the_folder(folder, capsys):
    write(folder, base64.b64encode(picture(".png")).decode(), "b.json")
    arguments = ["convert-dataset", "labelme", "--annotations", str(folder / "labels"), "--out", str(folder / "o.json")]
    assert main(arguments) == 1
    assert "(imageData), --extract_images writes them." in capsys.readouterr().err
    assert main([*arguments, "--images", str(folder / "new"), "--extract_images"]) == 0
    assert [path.name for path in (folder / "new").iterdir()] == ["b.png"]


def test_images_that_are_there_stay(folder):
    before = (folder / "images" / "a.png").read_bytes()
    write(folder, base64.b64encode(picture(".bmp")).decode(), "a.json")
    convert_labelme(folder / "labels", folder / "images", extract_images=True)
    assert (folder / "images" / "a.png").read_bytes() == before
    assert [path.name for path in (folder / "images").iterdir()] == ["a.png"]


@pytest.mark.parametrize(
    ("image_data", "message"),
    [
        ("aGVsbG8=", "it is not a picture in a known format"),
        ("a", "it is not in base64"),
        (7, "it is not text in base64"),
    ],
)
def test_unreadable_copies_are_named(folder, image_data, message):
    write(folder, image_data)
    with pytest.raises(
        DatasetError, match=rf"b.c.json': its copy of the image \(imageData\) cannot be read: {message}"
    ):
        convert_labelme(folder / "labels", folder / "images", extract_images=True)


def test_several_fitting_images_are_not_a_missing_one(folder, write_image):
    for name in ("1/gone.jpg", "2/gone.jpg"):
        write_image(folder / "images" / name)
    write(folder, base64.b64encode(picture(".png")).decode())
    with pytest.raises(DatasetError, match="2 images in .* could be its image"):
        convert_labelme(folder / "labels", folder / "images", extract_images=True)


@pytest.mark.parametrize(("first", "second", "count"), [("", "", 2), (1.0, 1, 1), (None, None, 2), ("a", "a", 1)])
def test_group_ids(folder, first, second, count):
    shapes = [{**SHAPE, "group_id": first}, {**SHAPE, "group_id": second}]
    (folder / "labels" / "a.json").write_text(json.dumps({"shapes": shapes}))
    builder = convert_labelme(folder / "labels", folder / "images")
    assert len(builder.content["annotations"]) == count


@pytest.mark.parametrize("mask", [None, "", "aGVsbG8=", "!"])
def test_masks_without_picture_are_explained(folder, mask):
    shape = {"label": "nut", "shape_type": "mask", "points": [[1, 1]], "mask": mask}
    (folder / "labels" / "a.json").write_text(json.dumps({"shapes": [shape]}))
    with pytest.raises(DatasetError, match="a mask without a readable picture: it is .* Draw it again") as caught:
        convert_labelme(folder / "labels", folder / "images")
    assert "0x" not in str(caught.value)
