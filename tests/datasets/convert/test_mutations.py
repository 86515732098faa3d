"""convert-dataset with mutated files: never a traceback, no memory beyond the image, and the counts add up."""

from __future__ import annotations

import json
import resource
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppdet_res2net.data.coco_file import parse_coco
from ppdet_res2net.data.problems import ERROR
from ppdet_res2net.datasets.convert import (
    YoloImages,
    convert_labelme,
    convert_voc,
    convert_yolo,
    read_class_table,
    read_split,
)
from ppdet_res2net.errors import DatasetError

MOST_KILOBYTES = 300 * 1024
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "gb18030", "latin-1")
tried = settings(max_examples=100, deadline=None, database=None)

numbers = st.one_of(
    st.integers(-5, 70),
    st.floats(-5, 70),
    st.sampled_from([0, 1, 0.5, -0.0, 2e8, -3e8, 1e9, 1e30, 1e308, 2**63, 10**400, float("nan"), float("inf"), True]),
    st.sampled_from([None, "", "7", "x", "1e3", "１", [], {}]),
)
fractions = st.one_of(
    st.floats(0, 1), st.sampled_from([0, 1, 2, 1.005, -0.005, 0.5, 300, "nan", "inf", "x", "-1", "1e999"])
)
words = st.one_of(
    st.sampled_from(["nut", " nut ", "螺母", "a/b", "..", "\ud83d", "", " ", "<", "&amp;", None, 7, []]), st.text()
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("mutations")
    for name in ("images", "labels", "voc", "yolo"):
        (folder / name).mkdir()
    cv2.imwrite(str(folder / "images" / "a.png"), np.zeros((40, 60, 3), np.uint8))
    return folder


@pytest.fixture(autouse=True)
def bounded_memory():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_KILOBYTES


@st.composite
def damaged(draw, text: str) -> bytes:
    """The text in some encoding, with a few bytes removed, inserted or changed."""
    data = bytearray(text.encode(draw(st.sampled_from(ENCODINGS)), "replace"))
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(data)))
        length = draw(st.integers(0, 8))
        data[place : place + length] = draw(st.binary(max_size=8))
    return bytes(data)


def check(convert, expected: int | None) -> None:
    """Convert; what comes out is sound, and as many objects go in as come out or are counted."""
    try:
        builder = convert()
    except DatasetError as error:
        assert str(error)
        return
    content = json.loads(json.dumps(builder.content, ensure_ascii=False).encode())
    assert not [one for one in parse_coco(content).findings if one.problem.severity == ERROR]
    if expected is not None:
        assert len(content["annotations"]) + builder.skipped.total == expected, builder.skipped.lines()


def convert_of(kind: str, folder: Path, data: bytes):
    """Write a file of a kind and return a function that converts it."""
    images = folder / "images"
    if kind == "labelme":
        (folder / "labels" / "a.json").write_bytes(data)
        return lambda: convert_labelme(folder / "labels", images)
    if kind == "voc":
        (folder / "voc" / "a.xml").write_bytes(data)
        return lambda: convert_voc(folder / "voc", images, ignore_difficult=True)
    (folder / "yolo" / "a.txt").write_bytes(data)
    return lambda: convert_yolo(images, folder / "yolo", ["nut", "bolt"])


kinds = [
    "polygon",
    "rectangle",
    "rotation",
    "circle",
    "point",
    "linestrip",
    "mask",
    "cuboid",
    "quadrilateral",
    "?",
    None,
    3,
]
shapes = st.fixed_dictionaries(
    {
        "label": words,
        "shape_type": st.sampled_from(kinds),
        "points": st.one_of(
            st.lists(st.lists(numbers, min_size=2, max_size=2), max_size=9), st.lists(numbers), numbers
        ),
    },
    optional={"mask": words, "flags": numbers, "attributes": words, "difficult": numbers},
)


@tried
@given(st.lists(shapes, max_size=3), numbers, numbers, words)
def test_shapes_of_labelme(folder, members, height, width, image_path):
    content = {"shapes": members, "imageHeight": height, "imageWidth": width, "imagePath": image_path}
    check(convert_of("labelme", folder, json.dumps(content).encode()), len(members))


@tried
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["polygon", "rectangle", "rotation", "circle"]),
            st.lists(st.tuples(*[st.integers(-99, 10**9)] * 2)),
        ),
        max_size=4,
    )
)
def test_sound_shapes_of_labelme_add_up(folder, members):
    content = {"shapes": [{"label": "nut", "shape_type": kind, "points": points} for kind, points in members]}
    builder = convert_of("labelme", folder, json.dumps(content).encode())()
    assert len(builder.content["annotations"]) + builder.skipped.total == len(members)


@tried
@given(
    st.lists(st.lists(fractions, min_size=1, max_size=18), max_size=4), st.sampled_from([" ", "\t", ",", "\r\n", "  "])
)
def test_rows_of_yolo(folder, rows, separator):
    text = "\n".join("0 " + separator.join(map(str, row)) for row in rows)
    check(convert_of("yolo", folder, text.encode()), sum(bool(line.strip()) for line in text.splitlines()))


@tried
@given(
    st.lists(st.tuples(words, *[numbers] * 4, st.sampled_from(["bndbox", "robndbox", "polygon", "none"])), max_size=3),
    numbers,
    words,
)
def test_objects_of_voc(folder, members, width, difficult):
    entries = ""
    for name, one, two, three, four, box in members:
        tags = {"bndbox": ("xmin", "ymin", "xmax", "ymax"), "robndbox": ("cx", "cy", "w", "h")}.get(
            box, ("x1", "y1", "x2", "y2")
        )
        sides = "".join(f"<{tag}>{value}</{tag}>" for tag, value in zip(tags, (one, two, three, four)))
        entries += f"<object><name>{name}</name><difficult>{difficult}</difficult>"
        entries += f"<{box}>{sides}<angle>1</angle></{box}></object>"
    text = f"<annotation><size><width>{width}</width><height>40</height></size>{entries}</annotation>"
    check(convert_of("voc", folder, text.encode("utf-8", "backslashreplace")), len(members))


SOUND = {
    "labelme": json.dumps(
        {
            "imagePath": "a.png",
            "imageHeight": 40,
            "imageWidth": 60,
            "shapes": [{"label": "螺母", "shape_type": "polygon", "points": [[1, 1], [20, 1], [1, 20]]}],
        },
        ensure_ascii=False,
    ),
    "voc": "<?xml version='1.0' encoding='gb2312'?><annotation><filename>a.png</filename><object><name>螺母</name><bndbox>"
    "<xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>20</ymax></bndbox></object></annotation>",
    "yolo": "0 0.5 0.5 0.2 0.2\n1 0.1 0.1 0.5 0.1 0.5 0.5\n",
}


@pytest.mark.parametrize("kind", SOUND)
def test_damaged_files(folder, kind):
    @tried
    @given(damaged(SOUND[kind]))
    def run(data):
        check(convert_of(kind, folder, data), None)

    run()


entries_of_yaml = st.one_of(
    words,
    numbers,
    st.lists(words, max_size=3),
    st.dictionaries(st.integers(-1, 4), words, max_size=3),
    st.just("images"),
)


@tried
@given(st.dictionaries(st.sampled_from(["path", "train", "val", "names", "nc", "kpt_shape"]), entries_of_yaml))
def test_descriptions_of_yolo(folder, content):
    path = folder / "data.yaml"
    path.write_bytes(json.dumps(content).encode())
    (folder / "yolo" / "a.txt").write_text("0 0.5 0.5 0.2 0.2")
    check(lambda: convert_yolo(YoloImages.of(read_split(path, None)), folder / "yolo", read_class_table(path)), None)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("data.yaml", "path: .\ntrain: images\nnames:\n  0: 螺母\n  1: bolt\n"),
        ("obj.data", "classes = 2\ntrain = list.txt\nnames = n.names\n"),
        ("list.txt", "images/a.png\n./images/a.png\n"),
        ("n.names", "0: 螺母\n1: bolt\n"),
    ],
)
def test_damaged_descriptions(folder, name, text):
    (folder / "yolo" / "a.txt").write_text("0 0.5 0.5 0.2 0.2")

    @tried
    @given(damaged(text))
    def run(data):
        (folder / "list.txt").write_text("images/a.png\n")
        (folder / "n.names").write_text("nut\nbolt\n")
        (folder / name).write_bytes(data)
        description = folder / (name if name == "data.yaml" else "obj.data")
        if name != description.name:
            description.write_text("train = list.txt\nnames = n.names\n")
        check(
            lambda: convert_yolo(
                YoloImages.of(read_split(description, None)), folder / "yolo", read_class_table(description)
            ),
            None,
        )

    run()
