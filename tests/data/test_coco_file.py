"""One reading of annotation files: every spelling that is exact, and a name for everything else."""

from __future__ import annotations

import copy
import json

import cv2
import numpy as np
import pytest
from pycocotools import mask as mask_utils

from ppdet_res2net.data.annotations import read_annotations, read_json
from ppdet_res2net.data.coco import COCODataSet
from ppdet_res2net.data.coco_file import parse_coco
from ppdet_res2net.data.ground_truth import select_scored_objects
from ppdet_res2net.data.instances import examine_instances, find_set_aside
from ppdet_res2net.data.masks import mask_area, rasterize, read_mask
from ppdet_res2net.datasets.check import DatasetSource, check_datasets, fix_dataset
from ppdet_res2net.errors import DatasetError
from tests.helpers.datasets import FIELDS
from tests.helpers.exports import EXPORTS, HEIGHT, WIDTH, label_studio

SQUARE = [10.0, 10.0, 20.0, 10.0, 20.0, 20.0, 10.0, 20.0]
PAIRS = [[10, 10], [20, 10], [20, 20], [10, 20]]
RUNS = [HEIGHT * 10, HEIGHT * 10, HEIGHT * 40]


def content(**changes) -> dict:
    """Return the content of a file with one annotation, which has the changes."""
    annotation = {
        "id": 4,
        "image_id": 1,
        "category_id": 3,
        "bbox": [10, 10, 10, 10],
        "area": 100,
        "iscrowd": 0,
        "segmentation": [SQUARE],
        **changes,
    }
    return {
        "images": [{"id": 1, "file_name": "a.png", "height": HEIGHT, "width": WIDTH}],
        "categories": [{"id": 3, "name": "apple"}],
        "annotations": [{key: value for key, value in annotation.items() if value is not ...}],
    }


def codes(file) -> list[str]:
    return [finding.problem.code for finding in file.findings]


@pytest.mark.parametrize(
    "spelling", [float, str, lambda n: f" {n} ", lambda n: f"{n}.0", lambda n: f"+{n}", lambda n: f"0{n}"]
)
def test_ids_are_whole_numbers_in_every_exact_spelling(spelling):
    written = content()
    for key, name in (
        ("images", "id"),
        ("categories", "id"),
        *(("annotations", n) for n in ("id", "image_id", "category_id")),
    ):
        one = copy.deepcopy(written)
        one[key][0][name] = spelling(one[key][0][name])
        (annotation,) = parse_coco(one).annotations
        assert (annotation.id, annotation.image.id, annotation.category_id) == (4, 1, 3)
        assert [code.endswith("-id-spelling") for code in codes(parse_coco(one))] == [True]


@pytest.mark.parametrize(
    "number", [True, 1.5, float("nan"), float("inf"), "a7", "1e3", "1_0", "", [1], {}, 2.0**60, "½"]
)
def test_other_ids_are_refused_by_name(number):
    for key, code in (
        ("images", "image-without-id"),
        ("categories", "category-without-id"),
        ("annotations", "annotation-id"),
    ):
        one = content()
        one[key][0]["id"] = number
        (finding,) = [finding for finding in parse_coco(one).findings if finding.problem.code == code]
        assert finding.detail.startswith("entry 0 (counted from 0) has the id ")
    assert codes(parse_coco(content(image_id=number))) == ["annotation-without-image-id"]
    assert codes(parse_coco(content(category_id=number))) == ["unknown-category"]


def test_ids_of_more_than_64_bits():
    one = content(image_id=2**63)
    one["images"][0]["id"] = 2**63
    assert codes(parse_coco(one)) == ["image-without-id"]
    assert parse_coco(content(id=2**70)).annotations[0].id == 2**70  # nothing refers to it


@pytest.mark.parametrize("number", [2**64, 1e20, "a.png", 1.5])
def test_what_refers_to_a_refused_entry_is_no_finding_of_its_own(number):
    one = content(image_id=number)
    one["images"][0]["id"] = number
    assert codes(parse_coco(one)) == ["image-without-id"]
    one = content(category_id=number)
    one["categories"][0]["id"] = number
    assert codes(parse_coco(one)) == ["category-without-id"]


def test_two_spellings_of_an_id_are_a_repeat():
    one = content()
    one["images"].append({**one["images"][0], "id": "1"})
    (finding,) = parse_coco(one).findings
    assert (
        finding.problem.code == "repeated-image-id"
        and finding.detail == "entry 1 (counted from 0) repeats the id of entry 0"
    )


def test_annotations_without_id_get_one():
    one = content()
    one["annotations"] += [{**one["annotations"][0], "id": number} for number in (None, 4, "9")]
    file = parse_coco(one)
    assert [annotation.id for annotation in file.annotations] == [4, 10, 11, 9]
    assert codes(file) == ["annotation-without-id", "repeated-annotation-id", "annotation-id-spelling"]


@pytest.mark.parametrize(
    ("value", "expected", "code"),
    [
        (1, True, None),
        (True, True, None),
        (1.0, True, None),
        ("1", True, None),
        ("True", True, None),
        (0, False, None),
        ("", False, None),
        ("false", False, None),
        ("null", False, None),
        (None, False, "no-iscrowd"),
        (..., False, "no-iscrowd"),
        (2, False, "unclear-flag"),
        ("maybe", False, "unclear-flag"),
        ([], False, "unclear-flag"),
        (float("nan"), False, "unclear-flag"),
    ],
)
def test_flags(value, expected, code):
    file = parse_coco(content(iscrowd=value))
    assert file.annotations[0].is_crowd is expected and codes(file) == ([code] if code else [])
    file = parse_coco(content(ignore=value))
    assert file.annotations[0].is_ignored is expected
    assert codes(file) == (["unclear-flag"] if code == "unclear-flag" else [])
    assert [finding.problem.code for finding in find_set_aside(file.annotations)] == ["ignored"] * expected


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (None, "no-area"),
        (..., "no-area"),
        ("80", "bad-area"),
        (float("nan"), "bad-area"),
        (-3, "bad-area"),
        (True, "bad-area"),
        (10**400, "bad-area"),
        (80.5, None),
    ],
)
def test_areas_that_are_none_are_measured(value, code):
    file = parse_coco(content(area=value))
    assert file.annotations[0].area == (100.0 if code else 80.5) and codes(file) == ([code] if code else [])


@pytest.mark.parametrize("box", [["10", " 10.0 ", "1e1", 10], [10, 10, 10, 10], [10.0] * 4])
def test_boxes_of_exact_numbers(box):
    assert list(parse_coco(content(bbox=box)).annotations[0].box_xywh) == [10.0] * 4


@pytest.mark.parametrize(
    "box",
    [
        None,
        ...,
        [],
        [0, 0, 1],
        [0] * 5,
        [0, 0, 1, None],
        [0, 0, 1, float("inf")],
        [0, 0, 1, True],
        {"x": 1},
        "1 2 3 4",
        [[0] * 4],
        [0, 0, 1, 10**400],
        ["a", 1, 2, 3],
    ],
)
def test_no_boxes(box):
    annotation = parse_coco(content(bbox=box)).annotations[0]
    assert annotation.box_xywh is None
    assert [finding.problem.code for finding in examine_instances([annotation], False).findings] == ["no-box"]


@pytest.mark.parametrize(
    ("width", "height", "code"),
    [
        ("60", 40.0, None),
        (" 60.0", "40", None),
        (60.5, 40, "image-without-size"),
        (True, 40, "image-without-size"),
        (-60, 40, "image-without-size"),
        (60_000, 60_000, "image-too-large"),
        (10**9, 1, "image-too-large"),
        (1, 10**30, "image-too-large"),
    ],
)
def test_sizes_of_images(width, height, code):
    one = content()
    one["images"][0].update(width=width, height=height)
    file = parse_coco(one)
    assert codes(file) == ([code] if code else []) and [image.size for image in file.images] == (
        [] if code else [(40, 60)]
    )


def test_a_category_may_be_called_by_a_number():
    one = content()
    one["categories"][0]["name"] = 3
    file = parse_coco(one)
    assert file.categories[0].name == "3" and not codes(file)


@pytest.mark.parametrize("name", [None, "", "  ", 3.5, True, "a\0b", "\ud800.png"])
def test_names_that_are_no_text(name):
    one = content()
    one["images"][0]["file_name"] = one["categories"][0]["name"] = name
    assert codes(parse_coco(one))[:2] == ["category-without-name", "image-without-file-name"]


@pytest.mark.parametrize(
    ("segmentation", "form"),
    [
        (SQUARE, "a flat list"),
        (PAIRS, "one list of points"),
        ([PAIRS], "lists of points"),
        ([[SQUARE]], "nested lists"),
        ([[PAIRS]], "lists of points"),
        ([[[point] for point in PAIRS]], "a contour of OpenCV"),
        (json.dumps([SQUARE]), "JSON written as text"),
        (json.dumps([PAIRS]), "JSON written as text"),
        ([list(map(str, SQUARE))], "written as text"),
        (list(map(str, SQUARE)), ""),
        ({"all_points_x": [10, 20, 20, 10], "all_points_y": [10, 10, 20, 20]}, "VIA"),
        ([[], SQUARE, None], ""),
        ([[1, 2], SQUARE], ""),
        ([SQUARE, SQUARE], ""),
    ],
)
def test_every_form_of_polygons_is_read(segmentation, form):
    reading = read_mask(segmentation, HEIGHT, WIDTH)
    assert rasterize(reading.mask, HEIGHT, WIDTH) == rasterize(read_mask([SQUARE], HEIGHT, WIDTH).mask, HEIGHT, WIDTH)
    assert form in reading.form and reading.complaint == ""


@pytest.mark.parametrize("counts", [RUNS, list(map(float, RUNS)), list(map(str, RUNS)), [*RUNS, 0]])
@pytest.mark.parametrize("size", [[HEIGHT, WIDTH], [40.0, "60"]])
def test_every_form_of_run_lengths_is_read(counts, size):
    rle = {"size": size, "counts": counts}
    for segmentation in (rle, [rle], [rle, rle], [rle, [450, 10, 460, 10, 460, 20]]):
        assert mask_area(read_mask(segmentation, HEIGHT, WIDTH).mask, HEIGHT, WIDTH) == HEIGHT * 10


@pytest.mark.parametrize(
    "counts", [[0, 0, 400, 0, 0, 400, 1000, 0, 600, 0, 0], [0, 400, 0, 0, 0, 0, 400, 1600], [2400, 0]]
)
def test_runs_without_pixels_are_joined(counts):
    """pycocotools makes boxes of 4e9 pixels of them, and merges two such masks into one with uninitialised memory."""
    pixels = np.repeat(np.arange(len(counts)) % 2, counts).reshape(WIDTH, HEIGHT).T
    packed = mask_utils.frPyObjects({"size": [HEIGHT, WIDTH], "counts": counts}, HEIGHT, WIDTH)["counts"]
    for form in (counts, packed, packed.decode()):
        mask = read_mask({"size": [HEIGHT, WIDTH], "counts": form}, HEIGHT, WIDTH).mask
        assert mask == mask_utils.encode(np.asfortranarray(pixels, np.uint8))


def test_a_number_of_seven_characters_is_refused():
    """pycocotools reads -100 in seven characters as -4, and leaves the rest of the mask uninitialised."""
    size = [20, 25]
    counts = mask_utils.frPyObjects({"size": size, "counts": [100, 200, 100, 100]}, *size)["counts"].decode()
    assert counts.endswith("lL")
    for padding in range(6):
        reading = read_mask({"size": size, "counts": counts[:-1] + "l" + "o" * padding + "O"}, *size)
        assert bool(reading.mask) == (padding < 4)
        assert reading.mask is None or mask_utils.area(reading.mask) == 300
    assert "a number of more than 30 bits" in reading.complaint


@pytest.mark.parametrize(
    ("segmentation", "complaint"),
    [
        (None, "no segmentation"),
        ([], "no segmentation"),
        ([[], None], "no segmentation"),
        ({}, "no segmentation"),
        ([[1, 2]], "polygons of fewer than three points"),
        ([10, 10, 20, 20], "four numbers, perhaps two corners"),
        ([[10, 10, 20, 20]], "four numbers, perhaps two corners"),
        ([SQUARE[:7]], "an odd count of numbers (7)"),
        ([[*SQUARE[:7], float("nan")]], "not finite"),
        ([[*SQUARE[:7], 10**400]], "None|finite|place"),
        ([[*SQUARE[:7], None]], "None in the place of a number"),
        ([[True] * 6], "True in the place of a number"),
        ("x", "'x'"),
        ("[(1, 2), (3, 4)]", "a segmentation that is '[(1, 2), (3, 4)]'"),
        ("[" * 100_000, "a segmentation that is '[[["),
        ([[0] * WIDTH for _ in range(HEIGHT)], "a bitmap of 40 rows of 60 pixels"),
        ({"points": []}, "an object with the keys ['points']"),
        ([[900.0, 900, 990, 900, 990, 990]], "far outside the image"),
        ([[value for k in range(20_000) for value in (0 if k % 2 else 80, k % 28)]], "whose outline is"),
        ({"size": [WIDTH, HEIGHT], "counts": RUNS}, "which is [width, height],"),
        ({"counts": RUNS}, "of size None"),
        ({"size": [10**5, 10**5], "counts": [10**10]}, "of size [100000, 100000]"),
        ({"size": [HEIGHT, WIDTH], "counts": [5, 5]}, "10 instead of 2400"),
        ({"size": [HEIGHT, WIDTH], "counts": [2405, -5]}, "negative"),
        ({"size": [HEIGHT, WIDTH], "counts": [2400.5]}, "2400.5"),
        ({"size": [HEIGHT, WIDTH], "counts": [True] * 2400}, "True among the counts"),
        ({"size": [HEIGHT, WIDTH], "counts": [0] * 2401 + [2400]}, "2402 run lengths for 2400 pixels"),
        ({"size": [HEIGHT, WIDTH], "counts": None}, "None, neither a list nor text"),
        ({"size": [HEIGHT, WIDTH], "counts": "a\0b"}, "characters that COCO's compressed form does not use"),
        ({"size": [HEIGHT, WIDTH], "counts": "café"}, "characters that"),
        ({"size": [HEIGHT, WIDTH], "counts": ""}, "without any"),
        ({"size": [HEIGHT, WIDTH], "counts": "0o"}, "cut off within a number"),
        ({"size": [HEIGHT, WIDTH], "counts": "o" * 8 + "0"}, "more than 30 bits"),
    ],
)
def test_everything_else_is_named_for_what_it_is(segmentation, complaint):
    reading = read_mask(segmentation, HEIGHT, WIDTH)
    assert reading.mask is None and any(words in reading.complaint for words in complaint.split("|"))
    assert ("fewer than three points" in reading.complaint) == (segmentation == [[1, 2]])


def test_rings_with_a_hole_are_named_and_filled():
    hole = [[12, 12], [18, 12], [18, 18], [12, 18]]
    apart = [[30, 10], [40, 10], [40, 20], [30, 20]]
    reading = read_mask([PAIRS, hole, apart], HEIGHT, WIDTH)
    assert reading.lost == "1 of its 3 parts (a polygon inside another one, perhaps a hole, which is filled)"
    assert mask_area(reading.mask, HEIGHT, WIDTH) == mask_area(
        read_mask([PAIRS, apart], HEIGHT, WIDTH).mask, HEIGHT, WIDTH
    )


def test_boxes_as_text_are_read():
    assert parse_coco(content(bbox="[10, 10.5, 10, 10]")).annotations[0].box_xywh == [10, 10.5, 10, 10]
    assert parse_coco(content(bbox="10 10 10 10")).annotations[0].box_xywh is None


def test_a_vertex_far_away_is_clipped_and_changes_nothing_inside():
    far, near = [10, 10, 20, 10, 1e7, 1e7, 10, 20], [10, 10, 20, 10, 2000, 2000, 10, 20]
    reading = read_mask([far], HEIGHT, WIDTH)
    assert reading.clipped == "1 of its 4 points, the first at x 1e+07, y 1e+07"
    assert np.abs(reading.mask[0]).max() <= 2 * WIDTH
    assert abs(mask_area(reading.mask, HEIGHT, WIDTH) - mask_area([np.array(near, float)], HEIGHT, WIDTH)) < 30
    assert read_mask([[float(v) for v in (-50, -50, 100, -50, 100, 90, -50, 90)]], HEIGHT, WIDTH).clipped == ""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    cv2.imwrite(
        str(tmp_path / "images" / "a.png"), np.random.RandomState(0).randint(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    )
    return tmp_path


@pytest.mark.parametrize(("make", "trained", "scored", "kept"), EXPORTS, ids=[make.__name__ for make, *_ in EXPORTS])
def test_exports_of_labelling_tools(folder, make, trained, scored, kept):
    file, fixed = folder / "all.json", folder / "fixed.json"
    images = folder if make is label_studio else folder / "images"
    file.write_text(json.dumps(make()))
    (report,) = check_datasets([DatasetSource(file, images, with_masks=True)])
    assert report.count("error") == 0
    dataset = COCODataSet("", str(images), str(file), FIELDS)
    assert sum(len(record["gt_poly"]) for record in dataset.roidbs) == trained
    assert len(select_scored_objects(read_annotations(file), True, "all.json").objects.annotations) == scored
    fix_dataset(report, fixed)
    written = json.loads(fixed.read_text())
    assert len(written["annotations"]) == kept and written["info"] == make()["info"]
    assert [one.get("attributes") for one in written["annotations"]] == [
        one.get("attributes") for one in make()["annotations"][:kept]
    ]
    (again,) = check_datasets([DatasetSource(fixed, images, with_masks=True)])
    assert not {"image-id-spelling", "annotation-id-spelling", "unusual-segmentation", "no-area", "no-iscrowd"} & {
        problem.code for problem in again.groups
    }


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x1f\x8b\x08\x00rest", "is compressed (gzip). Unpack it first: gunzip FILE."),
        (b'{"images": []}\n{"images": []}', "has several JSON objects, one after the other (JSON lines?)"),
        (b'{"images": [' + b"1" * 5000 + b'], "categories": []}', "has a number that cannot be read"),
        (b"[" * 200_000, "is nested too deeply"),
        (
            b'{"images": [], "categories": [], "annotations": [], "annotations": []}',
            "has 'annotations' twice. Merge the two",
        ),
        (b'{"images": [{}], "categories": [{}], "annotations": null}', "must be a list of objects, got None"),
        (b'{"images": [{}], "categories": [{}], "annotations": [{}, null]}', "but entry 1 (counted from 0) is None"),
        (b'{"images": [{}], "categories": [{}], "annotations": [{"segments_info": []}]}', "a panoptic file of COCO"),
        (b'{"images": [{}], "annotations": 1.5}', "found the keys ['annotations', 'images']"),
        (b'[{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1], "score": 0.5}]', "These are detections"),
    ],
)
def test_files_that_are_no_annotations(tmp_path, data, words):
    (tmp_path / "all.json").write_bytes(data)
    with pytest.raises(DatasetError) as caught:
        read_json(tmp_path / "all.json")
    assert "all.json" in str(caught.value) and words in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings(tmp_path, encoding):
    (tmp_path / "all.json").write_text(json.dumps({**content(), "info": "é"}, ensure_ascii=False), encoding=encoding)
    assert len(read_annotations(tmp_path / "all.json").annotations) == 1
