"""The result object and the pictures made from it."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from res2net_runtime import BackendError, Detections, draw_detections
from res2net_runtime.draw import class_color

SHARED = {"label_list": ("person", "Bär", "汽车"), "category_ids": (1, 23, 3), "mask_threshold": 0.5}


def make_detections(count: int = 3, with_masks: bool = True, **changes) -> Detections:
    values = {
        "boxes_xyxy": np.tile(np.float32([10, 20, 40, 60]), (count, 1))
        + 5 * np.arange(count, dtype=np.float32)[:, None],
        "scores": np.linspace(0.9, 0.3, count).astype(np.float32),
        "labels": np.arange(count, dtype=np.int32) % 3,
        "masks": np.ones((count, 28, 28), np.float32) if with_masks else None,
        "image_hw": (100, 80),
        **SHARED,
    }
    return Detections(**{**values, **changes})


def test_filter_keeps_the_fields_together():
    detections = make_detections(4)
    kept = detections.filter(0.5)
    assert len(detections) == 4 and len(kept) == 3 and len(kept.filter(1.1)) == 0
    np.testing.assert_array_equal(kept.boxes_xyxy, detections.boxes_xyxy[:3])
    assert kept.masks.shape == (3, 28, 28)
    assert kept.class_names == ["person", "Bär", "汽车"]
    assert len(detections.filter(float(detections.scores[0]))) == 1  # "at least", not "more than"


@pytest.mark.parametrize("with_masks", [True, False])
@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (0, [0]),
        (-1, [3]),
        (np.int64(2), [2]),
        (np.array(2), [2]),
        (slice(1, 3), [1, 2]),
        (slice(None, None, -1), [3, 2, 1, 0]),
        (slice(9, 12), []),
        ([2, 0], [2, 0]),
        ([-1, 1], [3, 1]),
        ([], []),
        (np.array([3, 3], np.int32), [3, 3]),
        ([True, False, False, True], [0, 3]),
        (np.array([False, True, False, False]), [1]),
        (np.zeros(4, bool), []),
        (np.zeros(0, np.float32), []),
    ],
)
def test_indexing_keeps_the_fields_together(index, expected, with_masks):
    detections = make_detections(4, with_masks)
    if with_masks:
        detections.masks[:] = np.arange(4, dtype=np.float32)[:, None, None] / 4
    chosen = detections[index]
    np.testing.assert_array_equal(chosen.boxes_xyxy, detections.boxes_xyxy[expected].reshape(-1, 4))
    np.testing.assert_array_equal(chosen.scores, detections.scores[expected])
    np.testing.assert_array_equal(chosen.labels, detections.labels[expected])
    assert len(chosen) == len(expected) and chosen.image_hw == (100, 80)
    assert len(chosen.class_names) == len(chosen.to_coco(1)) == len(expected)
    if with_masks:
        assert chosen.masks.shape == (len(expected), 28, 28)
        np.testing.assert_array_equal(chosen.masks, detections.masks[expected])
    else:
        assert chosen.masks is None


def test_indexing_by_scores_is_what_filter_does():
    detections = make_detections(4)
    np.testing.assert_array_equal(detections[detections.scores >= 0.5].boxes_xyxy, detections.filter(0.5).boxes_xyxy)


def test_iteration_yields_each_detection():
    detections = make_detections(3)
    assert [one.class_names for one in detections] == [["person"], ["Bär"], ["汽车"]]
    assert [entry for one in detections for entry in one.to_coco(7)] == detections.to_coco(7)
    assert list(make_detections(0)) == []
    assert make_detections(0)[[]].masks.shape == (0, 28, 28)
    assert len(make_detections(0)[np.zeros(0, bool)]) == 0


@pytest.mark.parametrize(
    ("index", "error", "message"),
    [
        (3, IndexError, "There are 3 detections, so 3 is out of range."),
        (-4, IndexError, "There are 3 detections, so -4 is out of range."),
        ([0, 5], IndexError, r"There are 3 detections, so \[0, 5\] is out of range."),
        ([True], IndexError, r"Got 1 booleans for 3 detections. Make them .* detections\[detections.scores > 0.5\]."),
        (True, TypeError, "indexed by a number, a slice, .* got True. Fields are attributes: detections.scores."),
        (1.5, TypeError, "got 1.5. Fields are"),
        (None, TypeError, "got None. Fields are"),
        ("scores", TypeError, "got 'scores'. Fields are"),
        ((0, 1), TypeError, r"got \(0, 1\). Fields are"),
        ([0.0, 1.0], TypeError, r"got \[0.0, 1.0\]. Fields are"),
        (np.zeros((3, 4), bool), TypeError, r"got bool \(3, 4\). Fields are"),
    ],
)
def test_wrong_indices(index, error, message):
    with pytest.raises(error, match=message):
        make_detections(3)[index]


def test_to_coco_can_be_written_as_json_and_read_by_pycocotools():
    detections = make_detections(3)
    entries = json.loads(json.dumps(detections.to_coco(image_id=7)))
    assert [entry["category_id"] for entry in entries] == [1, 23, 3]
    assert entries[1]["image_id"] == 7
    assert entries[1]["bbox"] == [15, 25, 30, 40]
    assert entries[1]["score"] == pytest.approx(0.6)
    assert entries[1]["segmentation"]["size"] == [100, 80]
    areas = [coco_mask.area(entry["segmentation"]) for entry in entries]
    assert areas == detections.bitmaps().sum(axis=(1, 2)).tolist() and min(areas) > 1100


def test_without_masks():
    detections = make_detections(2, with_masks=False)
    assert set(detections.to_coco(1)[0]) == {"image_id", "category_id", "bbox", "score"}
    assert detections.filter(0.5).masks is None
    for method in (detections.rles, detections.bitmaps):
        with pytest.raises(ValueError, match="have no masks: the detector finds boxes only"):
            method()


def test_no_detections():
    detections = make_detections(0)
    assert len(detections) == 0 and detections.to_coco(1) == [] and detections.rles() == []
    assert detections.bitmaps().shape == (0, 100, 80)
    image = np.zeros((100, 80, 3), np.uint8)
    np.testing.assert_array_equal(draw_detections(image, detections), image)


def test_from_outputs_splits_a_batch():
    whole = make_detections(5)
    outputs = {
        "boxes": whole.boxes_xyxy, "scores": whole.scores, "labels": whole.labels, "masks": whole.masks,
        "num": np.array([2, 0, 3], np.int32),
    }  # fmt: skip
    first, empty, last = Detections.from_outputs(outputs, [(100, 80), (5, 6), (7, 8)], **SHARED)
    assert (len(first), len(empty), len(last)) == (2, 0, 3)
    np.testing.assert_array_equal(last.scores, whole.scores[2:])
    assert empty.image_hw == (5, 6) and empty.masks.shape == (0, 28, 28)
    assert last.label_list == SHARED["label_list"]
    outputs["num"] = np.array([2, 2, 3])
    with pytest.raises(BackendError, match=r"returned \[2, 2, 3\] detections per image for 3 images, but outputs"):
        Detections.from_outputs(outputs, [(1, 1)] * 3, **SHARED)
    outputs.update(num=np.array([5]), labels=whole.labels + 1)
    with pytest.raises(BackendError, match="labels from 1 to 3, but label_list in infer_cfg.yml has 3 names"):
        Detections.from_outputs(outputs, [(1, 1)], **SHARED)


def test_results_come_best_first_whatever_the_order_of_the_engine():
    whole = make_detections(4)
    shuffled = [1, 0, 3, 2]
    outputs = {
        "boxes": whole.boxes_xyxy[shuffled], "scores": whole.scores[shuffled], "labels": whole.labels[shuffled],
        "masks": whole.masks[shuffled] * whole.scores[shuffled, None, None], "num": np.array([2, 2], np.int32),
    }  # fmt: skip
    first, last = Detections.from_outputs(outputs, [(9, 9), (9, 9)], **SHARED)
    for part, rows in ((first, slice(0, 2)), (last, slice(2, 4))):
        np.testing.assert_array_equal(part.scores, whole.scores[rows])
        np.testing.assert_array_equal(part.boxes_xyxy, whole.boxes_xyxy[rows])
        np.testing.assert_array_equal(part.labels, whole.labels[rows])
        np.testing.assert_array_equal(part.masks[:, 0, 0], whole.scores[rows])


def test_drawing_marks_the_box_the_mask_and_the_label():
    image = np.full((200, 300, 3), 128, np.uint8)
    box = np.float32([[100, 80, 220, 180]])
    detections = make_detections(1, boxes_xyxy=box, image_hw=(200, 300))
    picture = draw_detections(image, detections)
    assert picture.dtype == np.uint8 and picture.shape == image.shape and (image == 128).all()
    changed = (picture != image).any(axis=2)
    assert changed[85:175, 105:215].all()  # mask
    assert changed[68:80, 101:120].all()  # label above the box
    assert not changed[:60].any() and not changed[184:].any() and not changed[:, 224:].any()
    assert tuple(picture[130, 100]) == class_color(0)
    assert not (draw_detections(image, detections, score_threshold=0.95) != image).any()


def test_label_stays_inside_the_picture():
    image = np.zeros((60, 300, 3), np.uint8)
    corner = make_detections(1, False, boxes_xyxy=np.float32([[250, 0, 900, 58]]), image_hw=(60, 300))
    picture = draw_detections(image, corner)
    assert (picture[2:10, 225:245] != 0).any()  # moved to the left of the box, to have room


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (200, 3)])
def test_tiny_pictures_can_be_drawn_into(size):
    boxes = np.float32([[0, 0, 500, 500], [-5, -5, 0.5, 0.5], [np.nan] * 4])
    detections = make_detections(3, boxes_xyxy=boxes, image_hw=size, scores=np.ones(3, np.float32))
    assert draw_detections(np.zeros((*size, 3), np.uint8), detections).shape == (*size, 3)


def draw_name(name: str) -> np.ndarray:
    detections = make_detections(1, False, boxes_xyxy=np.float32([[5, 40, 280, 90]]), image_hw=(100, 300))
    detections = make_detections(
        1, False, boxes_xyxy=detections.boxes_xyxy, image_hw=(100, 300), label_list=(name, "b", "c")
    )
    return draw_detections(np.zeros((100, 300, 3), np.uint8), detections)


def test_letters_beyond_ascii_are_drawn_as_themselves():
    pictures = [draw_name(name) for name in ("Bär", "Bar", "B?r", "Bår")]
    for index, one in enumerate(pictures):
        for other in pictures[index + 1 :]:
            assert (one != other).any()


def test_letters_that_no_font_has_are_said_aloud(caplog):
    with caplog.at_level(logging.WARNING, logger="res2net_runtime"):
        picture = draw_name("\U000f0000")  # private use: no font has it
    assert "No installed font has all letters of the class name" in caplog.text
    assert "its label says 'class 0'" in caplog.text
    np.testing.assert_array_equal(picture, draw_name("class 0"))


def test_colours_are_stable_and_distinct():
    colors = np.array([class_color(label) for label in range(20)], int)
    distances = np.abs(colors[:, None] - colors[None]).sum(axis=2) + 1000 * np.eye(20, dtype=int)
    assert distances.min() > 20
    assert class_color(3) == class_color(3)


def test_another_picture_is_refused():
    with pytest.raises(ValueError, match=r"made on an image of height and width \(100, 80\), got \(80, 100\)"):
        draw_detections(np.zeros((80, 100, 3), np.uint8), make_detections(1))
