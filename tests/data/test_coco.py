"""COCODataSet: PaddleDetection's records for good data, and clear messages about everything else."""

from __future__ import annotations

import json
import logging
import os
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as mask_utils

from ppdet_res2net.data.annotations import read_annotations, read_categories
from ppdet_res2net.data.coco import COCODataSet
from ppdet_res2net.data.masks import read_mask
from ppdet_res2net.errors import ConfigError, DatasetError
from tests.helpers.datasets import shared_data

FIELDS = ["image", "gt_bbox", "gt_class", "is_crowd", "gt_poly"]
HEIGHT, WIDTH = 40, 60
SQUARE = [[10.0, 10.0, 20.0, 10.0, 20.0, 20.0, 10.0, 20.0]]


def annotation(annotation_id, image_id=1, **changes):
    return {
        "id": annotation_id, "image_id": image_id, "category_id": 3, "bbox": [10, 10, 10, 10], "area": 100,
        "iscrowd": 0, "segmentation": SQUARE, **changes,
    }  # fmt: skip


TWO_OBJECTS = [annotation(11), annotation(12, 2)]


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a dataset of two images and returns the keyword arguments to load it."""
    (tmp_path / "images").mkdir()
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(tmp_path / "images" / name), np.zeros((HEIGHT, WIDTH, 3), np.uint8))

    def write(annotations=TWO_OBJECTS, text=None, **changes):
        content = {
            "images": [
                {"id": image_id, "file_name": name, "height": HEIGHT, "width": WIDTH}
                for image_id, name in ((2, "b.png"), (1, "a.png"))
            ],
            "categories": [{"id": 7, "name": "pear"}, {"id": 3, "name": "apple"}],
            "annotations": annotations,
            **changes,
        }
        content = {key: value for key, value in content.items() if value is not None}
        (tmp_path / "all.json").write_text(json.dumps(content) if text is None else text)
        return {"dataset_dir": str(tmp_path), "image_dir": "images", "anno_path": "all.json"}

    return write


def load(arguments, **options) -> COCODataSet:
    dataset = COCODataSet(**{"data_fields": FIELDS, **arguments, **options})
    dataset.parse_dataset()
    return dataset


def error_of(arguments, **options) -> str:
    with pytest.raises(DatasetError) as caught:
        load(arguments, **options)
    return str(caught.value)


def run_lengths(mask):
    flat = mask.flatten(order="F")
    counts = np.diff(np.concatenate([[0], np.flatnonzero(np.diff(flat)) + 1, [flat.size]])).tolist()
    return {"size": list(mask.shape), "counts": [0, *counts] if flat[0] else counts}


def test_records_and_categories(write):
    dataset = load(write())
    assert dataset.class_names == ["pear", "apple"] and dataset.category_ids == [7, 3]
    assert dataset.catid2clsid == {7: 0, 3: 1} and dataset.cname2cid == {"pear": 0, "apple": 1}
    assert [int(record["im_id"][0]) for record in dataset.roidbs] == [1, 2]
    record = dataset.roidbs[0]
    assert record["im_file"] == dataset.image_path(1) and os.path.isfile(record["im_file"])
    assert (record["h"], record["w"]) == (HEIGHT, WIDTH)
    np.testing.assert_array_equal(record["gt_bbox"], [[10, 10, 20, 20]])
    assert record["gt_bbox"].dtype == np.float32
    np.testing.assert_array_equal(record["gt_class"], [[1]])
    assert record["gt_class"].dtype == record["is_crowd"].dtype == np.int32
    np.testing.assert_array_equal(record["gt_poly"][0], SQUARE)
    with pytest.raises(DatasetError, match="image id 99 is not among the images"):
        dataset.image_path(99)


def test_categories_are_read_without_images(write):
    arguments = write(annotations=[])
    for image in Path(arguments["dataset_dir"], "images").iterdir():
        image.unlink()
    assert read_categories(Path(arguments["dataset_dir"], "all.json")) == (["pear", "apple"], [7, 3])
    assert COCODataSet(**arguments).class_names == ["pear", "apple"]


def test_parsing_twice_reads_once(write):
    dataset = load(write())
    records = dataset.roidbs
    os.remove(dataset.annotation_path)
    dataset.parse_dataset()
    assert dataset.roidbs is records


def test_items_are_copies_and_repeat(write):
    dataset = load(write(), repeat=2)
    assert len(dataset) == 4
    dataset[3]["gt_bbox"][:] = 0
    np.testing.assert_array_equal(dataset[1]["gt_bbox"], [[10, 10, 20, 20]])
    dataset.set_transform(lambda record: record["im_id"])
    assert dataset[3] == 2 and dataset() is dataset
    with pytest.raises(IndexError, match="index 4 is outside a dataset of 4"):
        dataset[4]


def test_a_dropped_annotation_takes_its_box_class_and_mask_along(write, caplog):
    bad = [
        annotation(20, segmentation=[]),
        annotation(21, bbox=[5, 5, 0, 9]),
        annotation(22, bbox=[90, 5, 5, 5]),
    ]
    good = [
        annotation(30 + label, category_id=(7, 3)[label % 2], bbox=[label, label, 5 + label, 6]) for label in range(3)
    ]
    dataset = load(write([bad[0], good[0], bad[1], good[1], bad[2], good[2]]))
    record = dataset.roidbs[0]
    np.testing.assert_array_equal(record["gt_class"], [[0], [1], [0]])
    np.testing.assert_array_equal(record["gt_bbox"], [[0, 0, 5, 6], [1, 1, 7, 7], [2, 2, 9, 8]])
    assert len(record["gt_poly"]) == len(record["is_crowd"]) == 3
    assert "1 annotation without a usable mask is not used where masks are trained: annotation id 20" in caplog.text
    assert "1 annotation with a box of zero or negative size is not used: annotation id 21" in caplog.text
    assert "1 annotation with a box outside its image is not used: annotation id 22" in caplog.text


@pytest.mark.parametrize("box", [[1, 2, float("nan"), 4], [1, 2, 3], None, ["a", 1, 2, 3], [0, 0, float("inf"), 1]])
def test_boxes_that_are_no_numbers_are_dropped(write, caplog, box):
    dataset = load(write([annotation(5, bbox=box), annotation(6)]))
    assert len(dataset.roidbs[0]["gt_bbox"]) == 1
    assert "1 annotation without a box of four finite numbers is not used: annotation id 5" in caplog.text


def test_boxes_are_cut_at_the_border(write, caplog):
    dataset = load(write([annotation(8, bbox=[-5, 30, 20, 20]), annotation(9, bbox=[0, 0, 60.5, 40])]))
    np.testing.assert_array_equal(dataset.roidbs[0]["gt_bbox"], [[0, 30, 15, 40], [0, 0, 60, 40]])
    assert "1 box that reaches beyond its image is clipped to it: annotation id 8" in caplog.text


def test_only_the_first_ids_are_named(write, caplog):
    load(write([annotation(number, bbox=[0, 0, 0, 0]) for number in range(1, 10)] + [annotation(10)]))
    assert "9 annotations with a box of zero or negative size are not used" in caplog.text
    assert "annotation id 1, 2, 3, 4, 5 and 4 more" in caplog.text


def test_run_length_instances_keep_their_mask(write):
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[0:9, 0:20] = 1
    compressed = mask_utils.encode(np.asfortranarray(mask))
    as_text = {"size": compressed["size"], "counts": compressed["counts"].decode()}
    dataset = load(write([annotation(1, segmentation=as_text), annotation(2, segmentation=run_lengths(mask))]))
    for rle in dataset.roidbs[0]["gt_poly"]:
        np.testing.assert_array_equal(mask_utils.decode(rle), mask)
    np.testing.assert_array_equal(dataset.roidbs[0]["is_crowd"], [[0], [0]])


@pytest.mark.parametrize(
    "counts", [[5, 5], [HEIGHT * WIDTH + 1], [-1, HEIGHT * WIDTH + 1], ["x"], "garbage", "", None, [2400.5]]
)
def test_run_lengths_that_do_not_fill_the_image_are_no_mask(counts):
    assert read_mask({"size": [HEIGHT, WIDTH], "counts": counts}, HEIGHT, WIDTH).mask is None


def test_run_lengths_of_another_size_are_no_mask():
    rle = run_lengths(np.ones((WIDTH, HEIGHT), np.uint8))
    reading = read_mask(rle, HEIGHT, WIDTH)
    assert reading.mask is None and "size [60, 40], which is [width, height], in an image of" in reading.complaint
    assert read_mask(rle, WIDTH, HEIGHT).mask is not None


def test_parts_that_are_no_polygons_are_left_out():
    good = [0, 0, 4, 0, 4, 4]
    parts = [[1, 2, 3, 4], good, [0, 0, 1, 1, 2, 2, 3], [0, 0, 1, 1, 2, float("nan")], "no", [[1, 2]]]
    reading = read_mask(parts, HEIGHT, WIDTH)
    np.testing.assert_array_equal(reading.mask, [good])
    assert reading.lost.startswith("5 of its 6 parts (four numbers")
    assert read_mask(None, HEIGHT, WIDTH).mask is None and read_mask("x", HEIGHT, WIDTH).mask is None


def test_crowds_are_loaded_only_on_demand(write, caplog):
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[5:9, 2:30] = 1
    arguments = write([annotation(1), annotation(2, iscrowd=1, segmentation=run_lengths(mask))])
    np.testing.assert_array_equal(load(arguments).roidbs[0]["is_crowd"], [[0]])
    record = load(arguments, load_crowd=True).roidbs[0]
    np.testing.assert_array_equal(record["is_crowd"], [[0], [1]])
    said = "1 annotation with iscrowd: 1 is used only with load_crowd: true: annotation id 2"
    assert [said in message for message in caplog.messages].count(True) == 1  # not said where they are loaded

    np.testing.assert_array_equal(mask_utils.decode(record["gt_poly"][1]), mask)


def test_images_alone_come_in_the_order_of_their_ids(write):
    dataset = load(write([annotation(1, image_id=2)]), data_fields=["image"], allow_empty=True)
    assert [int(record["im_id"][0]) for record in dataset.roidbs] == [1, 2]
    assert all(set(record) == {"im_file", "im_id", "h", "w"} for record in dataset.roidbs)


def test_without_masks_asked_for_annotations_need_none(write):
    dataset = load(write([annotation(1, segmentation=[])]), data_fields=FIELDS[:-1])
    assert len(dataset.roidbs[0]["gt_bbox"]) == 1 and "gt_poly" not in dataset.roidbs[0]


def test_box_only_data_is_refused_for_masks(write):
    message = error_of(write([annotation(1, segmentation=[]), annotation(2, 2, segmentation=None)]))
    assert "none of the 2 annotations" in message and "Use a Faster R-CNN recipe" in message


def test_missing_area_and_iscrowd_are_filled_in_and_said_once(write, caplog):
    bare = {key: value for key, value in annotation(1).items() if key not in ("area", "iscrowd")}
    box_only = {**bare, "id": 2, "segmentation": [], "bbox": [1, 1, 4, 5]}
    arguments = write([bare, box_only, annotation(3)])
    annotations = read_annotations(Path(arguments["dataset_dir"], "all.json")).annotations
    assert [one.area for one in annotations] == [100.0, 20.0, 100]
    assert [one.is_crowd for one in annotations] == [False, False, False]
    taken = "2 annotations without iscrowd are treated as single objects (iscrowd 0): annotation id 1, 2"
    assert caplog.text.count(taken) == 1
    assert caplog.text.count("2 annotations without area get the area of their masks, or else of their boxes") == 1


def test_images_without_objects(write, caplog):
    arguments = write([annotation(1, 2), annotation(2, 1, ignore=True)])
    assert [int(record["im_id"][0]) for record in load(arguments).roidbs] == [2]
    with caplog.at_level(logging.INFO):
        dataset = load(arguments, allow_empty=True)
    assert [int(record["im_id"][0]) for record in dataset.roidbs] == [2, 1]
    empty = dataset.roidbs[1]
    shapes = {key: np.shape(empty[key]) for key in ("gt_bbox", "gt_class", "is_crowd")}
    assert shapes == {"gt_bbox": (0, 4), "gt_class": (0, 1), "is_crowd": (0, 1)}
    assert empty["gt_poly"] == [] and empty["gt_bbox"].dtype == np.float32
    assert "1 image with 1 object, 1 image without any, 0 images not used" in caplog.text
    assert len(load(arguments, allow_empty=True, empty_ratio=0.1)) == 1
    assert len(load(arguments, allow_empty=True, empty_ratio=0.5)) == 2
    assert "no image of" in error_of(write([])) and "allow_empty: true" in error_of(write([]))
    assert len(load(write([]), allow_empty=True)) == 2


def test_sample_num_takes_the_first_ids(write):
    assert [int(record["im_id"][0]) for record in load(write(), sample_num=1).roidbs] == [1]


def test_a_file_without_annotations_is_for_prediction(write, caplog):
    for_prediction = "has no annotations, so its images can be used for prediction only"
    dataset = load(write(annotations=None), data_fields=["image"])
    assert len(dataset) == 2 and "gt_bbox" not in dataset.roidbs[0]
    assert for_prediction in caplog.text
    assert for_prediction in error_of(write(annotations=None))  # training would end with a traceback


def test_annotations_of_unlisted_images_are_named(write, caplog):
    load(write([annotation(1), annotation(2, image_id=99)]))
    assert "1 annotation of images that the file does not list is not used: annotation id 2" in caplog.text


def test_unknown_category(write):
    message = error_of(write([annotation(1), annotation(77, category_id=8)]))
    assert "1 annotation of a category that the file does not define is refused: annotation id 77 (the " in message
    assert "first: its category id is 8; the file defines 3, 7). Add the category, or remove these" in message
    assert "check-dataset --annotations" in message and "--fix FILE writes a corrected copy" in message


def test_repeated_ids(write, caplog):
    assert len(load(write([annotation(5), annotation(5, 2)])).roidbs) == 2
    assert "1 annotation that repeats the id of an earlier one gets a number of its own: annotation id 5" in caplog.text
    image = {"id": 1, "file_name": "a.png", "height": HEIGHT, "width": WIDTH}
    assert "1 image that repeats the id of an earlier one is refused: image id 1" in error_of(
        write(images=[image, image])
    )
    category = {"id": 3, "name": "apple"}
    assert "1 category that repeats the id of an earlier one is refused: category id 3" in error_of(
        write(categories=[category, category])
    )
    assert "1 annotation whose id is not a whole number of at most 64 bits is refused (the first: entry 0" in error_of(
        write([annotation("x")])
    )


def test_a_shared_category_name_is_said(write, caplog):
    load(write(categories=[{"id": 3, "name": "apple"}, {"id": 4, "name": "apple"}]))
    assert (
        "1 category with the same name as an earlier one (ignoring case and spaces) is a class of its own"
        in caplog.text
    )


def test_incomplete_entries(write):
    assert "lists no images" in error_of(write(images=[]))
    assert "lists no categories" in error_of(write(categories=[]))
    assert "1 category without a name is refused: category id 3" in error_of(write(categories=[{"id": 3}]))
    assert "1 image without file_name is refused: image id 1" in error_of(
        write(images=[{"id": 1, "height": HEIGHT, "width": WIDTH}])
    )
    message = error_of(write(images=[{"id": 1, "file_name": "a.png", "height": 0}]))
    assert "1 image without a valid width and height is refused: image id 1" in message
    assert "(the first: 'a.png' has width None and height 0). Write the size of the image file there" in message


def test_broken_files(write):
    assert "is empty; perhaps a copy was interrupted. Copy or write it again." in error_of(write(text=" \n"))
    message = error_of(write(text='{"images": [1,\n 2'))
    assert re.search(r"all.json' is not valid JSON: .* at line 2, column 3 \(character 17 of 17\)", message)
    assert "not in COCO's format: expected an object with images" in error_of(write(text="[1, 2]"))
    assert "found the keys ['images']" in error_of(write(text='{"images": []}'))
    assert "'images' of annotation file" in error_of(write(text='{"images": [1], "categories": []}'))
    arguments = write()
    assert "is a folder. Correct anno_path" in error_of({**arguments, "anno_path": "images"})


def test_missing_paths_say_what_was_looked_for(write, tmp_path):
    arguments = write()
    message = error_of({**arguments, "anno_path": "al.json"})
    assert "annotation file not found" in message and "Did you mean 'all.json'?" in message
    assert "Nothing is downloaded: correct dataset_dir" in message
    message = error_of({**arguments, "image_dir": "imagse/train"})
    assert "image folder not found" in message and "has no 'imagse'" in message and "'images'?" in message
    assert "dataset folder not found" in error_of({**arguments, "dataset_dir": str(tmp_path / "nowhere")})
    with pytest.raises(DatasetError, match="anno_path is not set"):
        COCODataSet(dataset_dir=str(tmp_path)).check_or_download_dataset()


def test_missing_images_are_counted_and_named(write, tmp_path):
    names = [f"{number}.png" for number in range(1, 8)]
    images = [{"id": n, "file_name": name, "height": HEIGHT, "width": WIDTH} for n, name in enumerate(names)]
    message = error_of(write([annotation(n + 1, n) for n in range(7)], images=images))
    assert "7 of 7 image files of" in message and "'5.png'" not in message
    assert str(tmp_path / "images" / "5.png") in message and "6.png" not in message and "..." in message
    assert "Nothing is downloaded" in message


def test_arguments(write):
    with pytest.raises(ConfigError, match="unknown entry 'gt_box' in data_fields.*Did you mean 'gt_bbox'?"):
        COCODataSet(data_fields=["image", "gt_box"])
    with pytest.raises(ConfigError, match="repeat must be at least 1, got 0"):
        COCODataSet(repeat=0)
    dataset = COCODataSet(**write())
    dataset.set_kwargs(mixup_epoch=-1, other=3)
    with pytest.raises(ConfigError, match="mosaic_epoch are not supported"):
        dataset.set_kwargs(mosaic_epoch=3)
    assert dataset.get_anno() == dataset.annotation_path and COCODataSet().get_anno() is None


@pytest.mark.parametrize(
    ("name", "image_dir", "anno_path"),
    [
        ("coco_tiny", "train2017", "annotations/instances_train2017.json"),
        ("coco_tiny", "val2017", "annotations/instances_val2017.json"),
        ("nuts", "train", "annotations/instances_train.json"),
    ],
)
def test_same_records_as_paddledetection_on_real_data(name, image_dir, anno_path):
    from ppdet_res2net.compat import prepare_ppdet

    prepare_ppdet()
    from ppdet.data.source.coco import COCODataSet as PaddleDetectionDataSet

    arguments = {"dataset_dir": str(shared_data(name)), "image_dir": image_dir, "anno_path": anno_path}
    arguments.update(data_fields=FIELDS, allow_empty=True, load_crowd=False)
    ours, theirs = load(arguments), PaddleDetectionDataSet(**arguments)
    theirs.parse_dataset()
    assert ours.catid2clsid == theirs.catid2clsid and ours.cname2cid == theirs.cname2cid
    assert len(ours.roidbs) == len(theirs.roidbs)
    for mine, other in zip(ours.roidbs, theirs.roidbs):
        assert mine.keys() == other.keys()
        for key in ("im_file", "h", "w", "im_id"):
            assert mine[key] == other[key]
        for key in ("is_crowd", "gt_class"):
            np.testing.assert_array_equal(mine[key], other[key])
            assert mine[key].dtype == other[key].dtype
        # Ours are cut at the border; some of COCO's reach a fraction of a pixel beyond it.
        np.testing.assert_allclose(mine["gt_bbox"], other["gt_bbox"], atol=0.01)
        assert len(mine["gt_poly"]) == len(other["gt_poly"])
        for parts, other_parts in zip(mine["gt_poly"], other["gt_poly"]):
            assert [part.tolist() for part in parts] == other_parts


def test_real_crowds_keep_their_masks():
    folder = shared_data("coco_tiny")
    dataset = load(
        {
            "dataset_dir": str(folder),
            "image_dir": "val2017",
            "anno_path": "annotations/instances_val2017.json",
        },
        load_crowd=True,
    )
    annotations = json.loads(Path(dataset.annotation_path).read_text())["annotations"]
    written = [sum(one["segmentation"]["counts"][1::2]) for one in annotations if one["iscrowd"]]
    found = [
        int(mask_utils.area(segmentation))
        for record in dataset.roidbs
        for segmentation, is_crowd in zip(record["gt_poly"], record["is_crowd"][:, 0])
        if is_crowd
    ]
    assert sorted(found) == sorted(written)
