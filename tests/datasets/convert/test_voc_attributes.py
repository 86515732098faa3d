"""convert-dataset voc: attributes as CVAT writes them. A turned box is written as the box before turning."""

from __future__ import annotations

import pytest

from ppdet_res2net.datasets.convert import convert_voc
from ppdet_res2net.errors import DatasetError

BOX = "<bndbox><xmin>11</xmin><ymin>6</ymin><xmax>30</xmax><ymax>20</ymax></bndbox>"
LOST = "objects with attributes, which COCO's format has no place for"


def convert(folder, **attributes):
    written = "".join(
        f"<attribute><name>{name}</name><value>{value}</value></attribute>" for name, value in attributes.items()
    )
    text = f"<object><name>nut</name><occluded>0</occluded>{BOX}<attributes>{written}</attributes></object>"
    (folder / "labels" / "a.xml").write_text(f"<annotation><filename>a.png</filename>{text}</annotation>")
    return convert_voc(folder / "labels", folder / "images")


@pytest.mark.parametrize("angle", ["90.0", "270", "-90", "450"])
def test_a_turned_box_is_turned_around_its_centre(folder, angle):
    (found,) = convert(folder, rotation=angle).content["annotations"]
    assert found["bbox"] == [12.5, 2.5, 15, 20] and found["area"] == pytest.approx(300, rel=0.1)


def test_the_turn_is_clockwise(folder):
    (found,) = convert(folder, rotation="30.0").content["annotations"]
    points = list(zip(found["segmentation"][0][::2], found["segmentation"][0][1::2]))
    # The upper left corner of the box moves up and to the right: y points downwards.
    assert points[0] == pytest.approx((20 - 10 * 0.866025 + 7.5 * 0.5, 12.5 - 10 * 0.5 - 7.5 * 0.866025), abs=0.01)


@pytest.mark.parametrize("angle", ["0", "0.0", "360", "-0.0"])
def test_a_box_that_is_not_turned_stays_a_box(folder, angle):
    builder = convert(folder, rotation=angle, occluded="false")
    (found,) = builder.content["annotations"]
    assert found["bbox"] == [10, 5, 20, 15] and found["segmentation"] == [] and not builder.notes.lines()


def test_other_attributes_are_noted(folder):
    builder = convert(folder, colour="red", rotation="0.0")
    assert builder.notes[LOST] == 1 and len(builder.content["annotations"]) == 1


def test_an_angle_that_is_none_is_named(folder):
    with pytest.raises(DatasetError, match="a.xml', object 1: <value> is 'left', expected a number"):
        convert(folder, rotation="left")


def test_images_without_an_annotation_file_are_noted(folder, write_image):
    write_image(folder / "images" / "b.png")
    kind = "images without an annotation file, which are not in the result"
    assert convert(folder).notes.lines() == [f"1 {kind}: 'b.png'"]
    (folder / "list.txt").write_text("a\n")
    assert not convert_voc(folder / "labels", folder / "images", list_file=folder / "list.txt").notes.lines()
