"""convert-dataset voc: XML files and lists as VOC, labelImg, roLabelImg, CVAT, Roboflow and PaddleDetection write them."""

from __future__ import annotations

import math
import shutil

import cv2
import numpy as np
import pytest

from ppdet_res2net.cli.main import main
from ppdet_res2net.datasets.convert import convert_voc
from ppdet_res2net.errors import DatasetError

SIZE = "<size><width>60</width><height>40</height><depth>3</depth></size>"


def tags(**values):
    return "".join(f"<{key}>{value}</{key}>" for key, value in values.items())


def box(x0=11, y0=6, x1=30, y1=20):
    return f"<bndbox>{tags(xmin=x0, ymin=y0, xmax=x1, ymax=y1)}</bndbox>"


def entry(content=None, name="nut", **more):
    fields = {"name": name, "pose": "Unspecified", "truncated": "0", "difficult": "0", **more}
    return f"<object>{tags(**fields)}{box() if content is None else content}</object>"


def write(folder, *entries, name="a", size=SIZE, file_name=None, head="", encoding="utf-8"):
    text = f"{head}<annotation><filename>{file_name or name + '.png'}</filename>{size}{''.join(entries)}</annotation>"
    path = folder / "labels" / f"{name}.xml"
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_bytes(text.encode(encoding))
    return path


def convert(folder, **options):
    return convert_voc(folder / "labels", folder / "images", **options)


def names_of_images(builder):
    return [image["file_name"] for image in builder.images]


@pytest.mark.parametrize(
    ("declared", "encoding"),
    [
        ("gb2312", "gb18030"),
        ("GBK", "gbk"),
        ("gb18030", "gb18030"),
        ("big5", "big5"),
        ("Shift_JIS", "cp932"),
        ("utf-8", "utf-8"),
        ("UTF-8", "utf-8-sig"),
        ("utf-16", "utf-16"),
        ("UTF-16", "utf-16-le"),
        ("utf-16", "utf-16-be"),
        ("utf-16", "utf-8"),  # .NET declares the encoding of its strings
        ("gbk", "utf-8-sig"),  # the mark decides
        ("utf-32", "utf-32"),
    ],
)
def test_declared_encodings(folder, declared, encoding):
    write(folder, entry(name="本"), head=f'<?xml version="1.0" encoding="{declared}"?>\n', encoding=encoding)
    assert convert(folder).names == ["本"]


@pytest.mark.parametrize(("declared", "name"), [("ISO-8859-1", "écrou"), ("windows-1252", "5€"), ("latin-1", "5€")])
def test_western_encodings(folder, declared, name):
    write(folder, entry(name=name), head=f"<?xml version='1.0' encoding='{declared}'?>", encoding="cp1252")
    assert convert(folder).names == [name]


@pytest.mark.parametrize(
    ("head", "encoding", "message"),
    [
        ("", "gbk", "a.xml': line 1, column .*: the byte 0x.. is not UTF-8. .* as gb18030 it reads '.*螺母"),
        ('<?xml version="1.0" encoding="utf-8"?>', "gbk", "a.xml': line 1, column .*: the byte 0x.. is not UTF-8"),
        ('<?xml version="1.0" encoding="ascii"?>', "utf-8", "the byte 0x.. is not ASCII, which the file declares"),
        (
            '<?xml version="1.0" encoding="x-nowhere"?>',
            "utf-8",
            "a.xml', line 1: the encoding 'x-nowhere' is not known",
        ),
        ('<?xml version="1.0" encoding="hex"?>', "utf-8", "a.xml', line 1: the encoding 'hex' is not known"),
        ('<?xml version="1.0" encoding="idna"?>', "utf-8", "a.xml', line 1: the encoding 'idna' is not known"),
    ],
)
def test_wrong_encodings_are_named(folder, head, encoding, message):
    write(folder, entry(name="螺母"), head=head, encoding=encoding)
    with pytest.raises(DatasetError, match=message):
        convert(folder)


def test_entities_are_not_expanded(folder):
    bomb = '<!DOCTYPE a [<!ENTITY a "nut"><!ENTITY b "&a;&a;&a;&a;">]>'
    for encoding in ("utf-8", "utf-16"):
        write(folder, entry(name="&b;"), head=bomb, encoding=encoding)
        with pytest.raises(DatasetError, match="a.xml' defines entities, which no annotation tool does"):
            convert(folder)
    write(folder, entry(), head='<!DOCTYPE annotation SYSTEM "annotation.dtd">')
    assert len(convert(folder).content["annotations"]) == 1


def test_namespaces_and_upper_case(folder):
    path = write(folder, entry(name="Nut"))
    path.write_text(path.read_text().replace("<annotation>", '<annotation xmlns="http://example.org/voc">'))
    assert convert(folder).content["annotations"][0]["bbox"] == [10, 5, 20, 15]
    for tag in ("annotation", "object", "name", "bndbox", "xmin"):
        path.write_text(path.read_text().replace(f"<{tag}", f"<{tag.title()}").replace(f"/{tag}>", f"/{tag.title()}>"))
    builder = convert(folder)
    assert builder.names == ["Nut"] and builder.content["annotations"][0]["bbox"] == [10, 5, 20, 15]


def test_the_own_name_of_a_file_counts(folder, write_image, capsys):
    write_image(folder / "images" / "b.png")
    write(folder, entry())
    path = write(folder, entry(box(1, 1, 2, 2), "bolt"), name="b", file_name="a.png")
    builder = convert(folder)
    assert names_of_images(builder) == ["a.png", "b.png"]
    assert [one["image_id"] for one in builder.content["annotations"]] == [1, 2]
    kind = "annotation files that name another image than their own; the image of the file's own name was taken"
    assert builder.notes.lines() == [f"1 {kind}: '{path}': 'a.png'"]
    arguments = [
        "--annotations",
        str(folder / "labels"),
        "--images",
        str(folder / "images"),
        "--out",
        str(folder / "o"),
    ]
    assert main(["convert-dataset", "voc", *arguments]) == 0
    assert f"note: 1 {kind}" in capsys.readouterr().err
    (folder / "images" / "b.png").unlink()
    with pytest.raises(DatasetError, match="a.xml' and '.*b.xml' are both for the image 'a.png'"):
        convert(folder)


@pytest.mark.parametrize("file_name", ["a", "a.jpg", "A.PNG", "/home/me/a.png", "C:\\me\\a.png", "images/a.png", " "])
def test_other_spellings_of_the_own_name(folder, file_name):
    write(folder, entry(), file_name=file_name)
    builder = convert(folder)
    assert names_of_images(builder) == ["a.png"]
    assert builder.notes["annotation files that name another image than their own"] == 0


def test_a_name_with_a_dot_and_without_ending(folder, write_image):
    (folder / "images" / "a.png").unlink()
    write_image(folder / "images" / "frame.0012.png")
    write(folder, entry(), name="frame.0012", file_name="frame.0012")
    assert not list(convert(folder).notes)


@pytest.mark.parametrize("root", ["annotations", "html", "doc"])
def test_other_xml_files_are_named(folder, root):
    (folder / "labels" / "a.xml").write_text(f"<{root}><version>1.1</version></{root}>")
    remedy = {"annotations": "In CVAT, export the task again as 'COCO 1.0'", "html": "This is a web page"}.get(
        root, "Check that the file"
    )
    with pytest.raises(DatasetError, match=f"a.xml' has the root <{root}>; expected <annotation>. .*{remedy}"):
        convert(folder)


def test_folders_and_suffixes(folder, write_image):
    for name in ("x/1.png", "y/1.JPG", "frame.0012.png", "b.png"):
        write_image(folder / "images" / name)
    for name in ("x/1", "y/1", "frame.0012", "b.png"):
        write(folder, entry(), name=name, file_name=name.rpartition("/")[2])
    (folder / "labels" / "y" / "1.xml").rename(folder / "labels" / "y" / "1.XML")
    assert names_of_images(convert(folder)) == ["b.png", "frame.0012.png", "x/1.png", "y/1.JPG"]


LISTS = {
    "a\n\nb\n": ["a.png", "b.png"],
    "a 1\nb -1\n": ["a.png"],
    "a  0\nb\t+1\r\n": ["a.png", "b.png"],
    "b.png\na.xml": ["b.png", "a.png"],
    "images/b.jpg": ["b.png"],
    "/data/voc/images/b.jpg": ["b.png"],
    "a\na\n": ["a.png"],
    "./images/a.png ./labels/a.xml\n./images/b.png ./labels/b.xml\n": ["a.png", "b.png"],
    "images/a.png\tlabels/a.xml": ["a.png"],
    "JPEGImages/b.png Annotations/a.xml": ["b.png"],
    "images\\a.png labels\\a.xml": ["a.png"],
    "my photo\nmy photo 2": ["my photo.png", "my photo 2.png"],
    "my photo 1": ["my photo.png"],
    "images/my photo.png labels/my photo.xml": ["my photo.png"],
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("text", LISTS)
def test_lists(folder, write_image, text, encoding):
    for name in ("a", "b", "my photo", "my photo 2"):
        write_image(folder / "images" / f"{name}.png")
        write(folder, entry(), name=name)
    (folder / "list.txt").write_text(text, encoding=encoding)
    assert names_of_images(convert(folder, list_file=folder / "list.txt")) == LISTS[text]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"a\nb \xe9\n",
            "list '.*list.txt': line 2, column 3: the byte 0xe9 is not UTF-8. .* as windows-1252 it reads 'b é'",
        ),
        (b"", "list '.*list.txt' is empty"),
        (b"a -1\n", "list.txt' names no files that are to be taken"),
        (b"a\nc\nd", "names 2 files that are not in '.*labels', first 'c.xml'"),
        (b"images/c.png labels/a.xml", "a.xml': there is no image 'images/c.png' in"),
        (b"x/" * 10**5 + b"z", "names 1 files that are not in"),  # took minutes
        (b"x" * 5000, "names 1 files that are not in '.*labels', first 'x{200}...'. Each"),
        (
            b"images/a.png labels/" + b"x" * 5000 + b".xml",
            "names 1 files that are not in '.*labels', first 'x{200}...'. Each",
        ),
        (b"images/a.png ../../etc/a.xml\n../x.xml", "names 1 files that are not in '.*labels', first 'x.xml'"),
    ],
)
def test_wrong_lists(folder, content, message):
    write(folder, entry())
    (folder / "list.txt").write_bytes(content)
    with pytest.raises(DatasetError, match=message):
        convert(folder, list_file=folder / "list.txt")


def test_missing_files(folder):
    write(folder, entry())
    with pytest.raises(DatasetError, match="list not found: '.*none.txt'"):
        convert(folder, list_file=folder / "none.txt")
    with pytest.raises(DatasetError, match="there is no image folder '.*nowhere'"):
        convert_voc(folder / "labels", folder / "nowhere")
    with pytest.raises(DatasetError, match="there is no folder '.*nowhere'"):
        convert_voc(folder / "nowhere", folder / "images")


@pytest.mark.parametrize(
    "size", ["", "<size/>", SIZE.replace("60", "0"), "<size><width> </width><height>0</height></size>"]
)
def test_a_missing_size_is_measured(folder, size):
    write(folder, entry(), size=size)
    (image,) = convert(folder).content["images"]
    assert (image["height"], image["width"]) == (40, 60)


def test_another_size_than_the_image_has(folder, write_image):
    write_image(folder / "images" / "b.png")
    write(folder, entry(), name="b")
    path = write(folder, entry(), entry(), size=SIZE.replace("60", "1e9"))
    builder = convert(folder)
    assert names_of_images(builder) == ["b.png"]
    kind = "objects of images that do not have the annotated size (--measure_images takes the size of the image)"
    assert builder.skipped.lines() == [f"2 {kind}: '{path}', object 1; '{path}', object 2"]
    assert len(convert(folder, measure_images=True).content["annotations"]) == 3


@pytest.mark.parametrize("swap", [False, True])
def test_turned_images_may_be_annotated_as_shown_or_as_stored(folder, turned_jpeg, swap):  # noqa: F811
    shutil.copy(turned_jpeg, folder / "images" / "t.jpg")  # 20x40 as shown
    sides = (20, 40)[:: -1 if swap else 1]
    write(folder, entry(box(1, 1, 5, 5)), name="t", size=f"<size>{tags(width=sides[0], height=sides[1])}</size>")
    builder = convert(folder)
    assert builder.skipped.total == 0
    assert (builder.images[0]["width"], builder.images[0]["height"]) == sides


def test_pixels_from_zero_or_one(folder):
    write(folder, entry(box("0.0", "0", "20.5", "10.25")), entry())
    builder = convert(folder)
    assert [one["bbox"] for one in builder.content["annotations"]] == [[-1, -1, 21.5, 11.25], [10, 5, 20, 15]]
    assert builder.notes[
        "boxes that begin at pixel 0, though VOC counts from 1 (--first_pixel 0 is for tools that count from 0)"
    ]
    builder = convert(folder, first_pixel=0)
    assert [one["bbox"] for one in builder.content["annotations"]] == [[0, 0, 20.5, 10.25], [11, 6, 19, 14]]
    assert not list(builder.notes)


def test_rotated_boxes_of_rolabelimg(folder):
    angle = 0.5
    rotated = f"<robndbox>{tags(cx=30, cy=20, w=20, h=8, angle=angle)}</robndbox>"
    write(folder, entry(f"<type>robndbox</type>{rotated}"))
    (annotation,) = convert(folder).content["annotations"]
    points = np.reshape(annotation["segmentation"][0], (4, 2))
    # What roLabelImg's own rotatePoint(cx, cy, x, y, -angle) gives for the corners
    corners = np.array([[-10, -4], [10, -4], [10, 4], [-10, 4]])
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    np.testing.assert_allclose(points, corners @ turn + [30, 20], atol=1e-3)
    x, y, width, height = annotation["bbox"]
    np.testing.assert_allclose([x, y, x + width, y + height], [*points.min(0), *points.max(0)], atol=2e-3)


def test_outlines(folder):
    labelme_xml = (
        "<polygon>" + "".join(f"<pt>{tags(x=x, y=y)}</pt>" for x, y in ((1, 1), (9, 1), (1, 9))) + "</polygon>"
    )
    roboflow = f"<polygon>{tags(x1=1, y1=1, x2=9, y2=1, x3=1, y3=9)}</polygon>"
    write(folder, entry(labelme_xml), entry(roboflow + box(2, 2, 9, 9)), entry("<polygon/>" + box()))
    first, second, third = convert(folder).content["annotations"]
    assert first["segmentation"] == second["segmentation"] == [[1, 1, 9, 1, 1, 9]]
    assert first["bbox"] == [1, 1, 8, 8] == second["bbox"] and third["segmentation"] == []


def test_what_is_left_out_is_counted(folder):
    part = f"<part><name>head</name>{box(1, 1, 5, 5)}</part>"
    far = "<polygon>" + "".join(f"<pt>{tags(x=x, y=y)}</pt>" for x, y in ((2e8, 1), (3e8, 1), (2e8, 9))) + "</polygon>"
    path = write(folder, entry(), entry(""), entry(deleted=1), entry(box() + part), entry(far))
    builder = convert(folder)
    assert len(builder.content["annotations"]) == 2 and builder.skipped.total == 3
    assert f"1 objects without a box or an outline: '{path}', object 2" in builder.skipped.lines()
    assert builder.skipped["objects that are marked as deleted"] == 1
    assert builder.skipped["objects with a polygon far outside the image"] == 1
    assert builder.notes["parts of objects, which COCO's format has no place for; their objects were taken"] == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1", 1), ("0", 0), ("true", 1), ("False", 0), ("Unspecified", 0), (" 1 ", 1), ("", 0), ("1.0", 1)],
)
def test_difficult(folder, text, expected):
    write(folder, entry(difficult=text))
    assert convert(folder, ignore_difficult=True).content["annotations"][0]["iscrowd"] == expected
    assert convert(folder).content["annotations"][0]["iscrowd"] == 0


def test_wrong_values_are_named(folder):
    for content, message in (
        (entry(difficult="maybe"), "<difficult> is 'maybe', expected 0 or 1"),
        (entry(box("nan")), "<bndbox/xmin> is 'nan', expected a finite number"),
        (entry(box("10,5")), "<bndbox/xmin> is '10,5', expected a number"),
        (entry("<bndbox/>"), "<object> has no <bndbox/xmin>"),
        (entry(name=" "), "<object> has no <name>"),
        (entry("<robndbox><cx>1</cx></robndbox>"), "<object> has no <robndbox/cy>"),
    ):
        write(folder, content)
        with pytest.raises(DatasetError, match=f"a.xml', object 1: {message}"):
            convert(folder, ignore_difficult=True)


def test_images_without_objects(folder, write_image):
    write_image(folder / "images" / "b.png")
    write(folder, entry())
    write(folder, name="b", size=SIZE.replace("60", "61"))
    builder = convert(folder)
    assert len(builder.images) == 2 and builder.images[1]["width"] == 60 and builder.skipped.total == 0


def test_masks_are_measured_before_they_are_read(folder):
    write(folder, entry())
    cv2.imwrite(str(folder / "labels" / "a.png"), np.zeros((40, 60, 3), np.uint8))
    with pytest.raises(
        DatasetError, match=r"has the shape \(40, 60, 3\), expected \(40, 60\) with one number per pixel"
    ):
        convert(folder, mask_dir=folder / "labels")
