"""Results of any tool are read, and wrong entries are refused by their place."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pycocotools import mask as mask_utils

from ppdet_res2net.analysis.detections import read_detections, read_result_files, spell_plainly
from ppdet_res2net.errors import DatasetError
from tests.helpers.analysis import objects_of
from tests.helpers.made_detections import make_annotations, make_results

COUNTS = mask_utils.frPyObjects({"size": [40, 60], "counts": [0, 40, 2360]}, 40, 60)["counts"].decode()
MASK = {"size": [40, 60], "counts": [0, 40, 2360]}


@pytest.fixture(scope="module")
def objects():
    names = ["a/000000000007.jpg", "b/dog.png", "c/dog.jpg", "d/12 cats.png"]
    images = [{"id": 7 + place, "file_name": name, "width": 60, "height": 40} for place, name in enumerate(names)]
    annotation = {
        "id": 1,
        "image_id": 7,
        "category_id": 5,
        "bbox": [1, 1, 9, 9],
        "area": 81,
        "segmentation": [[1, 1, 9, 1, 9, 9]],
    }
    categories = [{"id": 5, "name": "cat"}, {"id": 2, "name": "dog"}]
    return objects_of({"images": images, "annotations": [annotation], "categories": categories})


def entry(**changes):
    return {"image_id": 7, "category_id": 5, "bbox": [1, 2, 3, 4], "score": 0.5, "segmentation": MASK, **changes}


def test_columns_hold_what_is_written(objects):
    found = read_detections([entry(), entry(image_id=9, category_id=2, bbox=[0.5, 1, 2, 3], score=1)], objects, "bbox")
    assert found.images.tolist() == [0, 2]
    assert found.classes.tolist() == [0, 1]
    assert found.scores.tolist() == [0.5, 1.0]
    assert found.boxes_xywh.tolist() == [[1, 2, 3, 4], [0.5, 1, 2, 3]]
    assert found.masks is None


@pytest.mark.parametrize(
    ("image_id", "place"),
    [
        (7.0, 0),
        ("7", 0),
        ("000000000007", 0),
        ("000000000007.jpg", 0),
        ("dog.png", 1),
        ("c/dog.jpg", 2),
        ("12 cats", 3),
    ],
)
def test_images_may_be_named_by_numbers_of_any_form_and_by_files(objects, image_id, place):
    assert read_detections([entry(image_id=image_id)], objects, "bbox").images.tolist() == [place]


@pytest.mark.parametrize(
    "segmentation",
    [MASK, {"size": [40, 60], "counts": COUNTS}, [[0, 0, 1, 0, 1, 40, 0, 40]], json.dumps(MASK)],
    ids=["runs", "compressed", "polygon", "text"],
)
def test_masks_in_every_form(objects, segmentation):
    found = read_detections([entry(segmentation=segmentation, bbox=None)], objects, "segm")
    assert mask_utils.area(found.masks[0]) == 40
    assert found.boxes_xywh.tolist() == [[0, 0, 1, 40]]


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        (
            "bbox",
            {"image_id": 99},
            "image_id 99 is not an image of the annotations. Pass the annotations that the results were",
        ),
        ("bbox", {"image_id": "dog"}, "image_id 'dog' is not an image"),  # two files are called so
        ("bbox", {"image_id": None}, "image_id None is not an image"),
        (
            "bbox",
            {"category_id": 0},
            "category_id 0 is not a category of the annotations, which have [5 cat, 2 dog]. Some tools",
        ),
        ("bbox", {"category_id": "cat"}, "category_id 'cat' is not a category"),
        ("bbox", {"score": float("nan")}, "score must be a number from 0 to 1, got nan. Export the results again."),
        ("bbox", {"score": 87}, "score must be a number from 0 to 1, got 87."),
        ("bbox", {"score": -0.1}, "score must be a number from 0 to 1, got -0.1."),
        ("bbox", {"score": None}, "score must be a number from 0 to 1, got None."),
        ("bbox", {"bbox": [1, 2, 3]}, "bbox must be [x, y, width, height] in pixels, got [1, 2, 3]."),
        ("bbox", {"bbox": [9, 9, -3, 4]}, "bbox must be [x, y, width, height] in pixels, got [9, 9, -3, 4]."),
        (
            "bbox",
            {"bbox": [1, 2, float("inf"), 4]},
            "bbox must be [x, y, width, height] in pixels, got [1, 2, inf, 4].",
        ),
        ("bbox", {"bbox": [1, 2, 3e300, 4]}, "bbox must be [x, y, width, height] in pixels, got [1, 2, 3e+300, 4]."),
        ("bbox", {"bbox": "1 2 3 4"}, "bbox must be [x, y, width, height] in pixels, got '1 2 3 4'."),
        ("segm", {"segmentation": None}, "it has no segmentation. Masks need run lengths or polygons in segmentation."),
        (
            "segm",
            {"segmentation": {"size": [60, 40], "counts": [2400]}},
            "it has run lengths of size [60, 40], which is [width,",
        ),
        ("segm", {"segmentation": {"size": [40, 60], "counts": [9]}}, "it has run lengths"),
    ],
)
def test_a_wrong_entry_is_named(objects, kind, changes, message):
    with pytest.raises(DatasetError) as error:
        read_detections([entry(), entry(**changes)], objects, kind)
    assert f"Results of {kind}, entry 1 (from 0): " in str(error.value)
    assert message in str(error.value)


def test_boxes_in_other_units_are_doubted(objects):
    shares = read_detections([entry(bbox=[0.1, 0.1, 0.5, 0.5])] * 3, objects, "bbox")
    assert shares.notes == ["All boxes are smaller than a pixel: are they shares of the image instead of pixels?"]
    corners = read_detections([entry(bbox=[40, 20, 58, 39])] * 3 + [entry()], objects, "bbox")
    assert "3 of 4 boxes of detections reach far beyond their images: are they [x0, y0, x1, y1]" in corners.notes[0]
    assert read_detections([entry()], objects, "bbox").notes == read_detections([], objects, "bbox").notes == []


def write(folder, name, content):
    (folder / name).write_text(json.dumps(content))
    return folder / name


def test_kinds_are_known_by_what_the_files_hold(tmp_path):
    boxes, masks = [{"bbox": [1, 2, 3, 4]}], [{"segmentation": MASK}]
    both = [{"bbox": [1, 2, 3, 4], "segmentation": MASK}]
    a, b, c = (write(tmp_path, name, one) for name, one in (("a.json", boxes), ("b.json", masks), ("c.json", both)))
    assert read_result_files([a]) == {"bbox": boxes}
    assert read_result_files([b, a]) == {"bbox": boxes, "segm": masks}
    assert read_result_files([c]) == {"bbox": both, "segm": both}
    assert read_result_files([c, a]) == {"bbox": boxes, "segm": both}
    assert read_result_files([write(tmp_path, "d.json", {"annotations": boxes})]) == {"bbox": boxes}
    empty = [write(tmp_path, name, []) for name in ("bbox.json", "mask.json")]
    assert read_result_files(empty) == {"bbox": [], "segm": []}


def test_files_that_do_not_fit_are_refused(tmp_path):
    a, b = write(tmp_path, "a.json", [{"bbox": [1, 2, 3, 4]}]), write(tmp_path, "b.json", {"images": []})
    with pytest.raises(DatasetError, match="both hold boxes. Pass one file with boxes and one with masks"):
        read_result_files([a, a])
    with pytest.raises(DatasetError, match="b.json' is not in COCO's result format: expected a list of objects"):
        read_result_files([b])
    with pytest.raises(DatasetError, match="not in COCO's result format"):
        read_result_files([write(tmp_path, "c.json", [[1, 2]])])


def test_made_up_results_are_read_as_they_are():
    content = make_annotations(1)
    results = make_results(content, 1)
    found = read_detections(results, objects_of(content), "segm")
    assert np.array_equal(found.boxes_xywh, [one["bbox"] for one in results])
    assert [one["counts"].decode() for one in found.masks] == [one["segmentation"]["counts"] for one in results]


def test_results_of_any_spelling_become_plain_ones(objects):
    odd = [entry(image_id="dog.png", category_id="5", score="0.5", segmentation=[[0, 0, 1, 0, 1, 40, 0, 40]])]
    box = {"image_id": 8, "category_id": 5, "bbox": [1.0, 2.0, 3.0, 4.0], "score": 0.5}
    assert spell_plainly({"bbox": odd}, objects) == {"bbox": [box]}
    both = spell_plainly({"bbox": odd, "segm": odd}, objects)
    assert both["bbox"] is both["segm"]
    (found,) = both["segm"]
    assert mask_utils.area(found.pop("segmentation")) == 40
    assert found == box
