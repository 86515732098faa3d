"""check-dataset --fix: its result can be trained on, and it lists its changes."""

from __future__ import annotations

import pytest

from ppdet_res2net.data.coco import COCODataSet
from ppdet_res2net.errors import DatasetError
from tests.helpers.spoilt_dataset import CASES, HEIGHT, SQUARE, WIDTH, Dataset, found

UNREADABLE_MASKS = ("one point", "two corners", "run lengths of another size", "too few run lengths")
FIELDS = ["image", "gt_bbox", "gt_class", "is_crowd", "gt_poly"]


@pytest.fixture
def data(tmp_path) -> Dataset:
    return Dataset(tmp_path)


@pytest.mark.parametrize("name", sorted(CASES))
def test_what_is_fixed_trains(data, name):
    spoil, code, *_ = CASES[name]
    spoil(data)
    changes, after, content = data.fix()
    left_to_people = {
        "box-mask-differ", "mask-outside", "tiny-box", "image-without-objects", "unused-category",
        "shared-category-name", "same-picture", "no-mask", "image-listed-twice",
    }  # fmt: skip
    assert (code in found(after)) == (code in left_to_people)
    assert bool(changes) == (code not in left_to_people or name in UNREADABLE_MASKS)
    assert after.count("error") == 0
    dataset = COCODataSet("", str(data.images_dir), str(data.file.with_name("fixed.json")), FIELDS)
    dataset.parse_dataset()
    assert len(dataset) >= 3


def test_what_fixing_does_is_said(data):
    data.annotate(bbox=[5, 5, 0, 9])
    data.annotate(bbox=[50, 30, 30, 5], segmentation=[[50, 30, 60, 30, 60, 35]])
    data.annotate(segmentation=[*SQUARE, [1, 2]], bbox=[10, 10, 10, 11])
    data.annotate(id=11, bbox=[1, 1, 5, 5], segmentation=[[1, 1, 6, 1, 6, 6]])
    data.annotate(category_id=9)
    del data.content["annotations"][0]["iscrowd"]
    data.content["images"][1].pop("width")
    (data.images_dir / "3.png").unlink()
    changes, _, content = data.fix()
    for words in (
        "removed unusable images with their annotations: id 3 (1 in all)",
        "set width and height to those of the file: images id 2 (1 in all)",
        "those annotations: id 13 (1 in all)",
        "removed annotations of unknown images or categories: id 19 (1 in all)",
        "replaced unusable boxes by the boxes around the masks of annotations: id 15 (1 in all)",
        "clipped boxes to the image: annotations id 16 (1 in all)",
        "removed parts that are not polygons from the masks of annotations: id 17 (1 in all)",
        "added iscrowd to annotations: id 11 (1 in all)",
        "gave new ids to annotations: now id 20 (1 in all)",
    ):
        assert words in changes
    by_id = {one["id"]: one for one in content["annotations"]}
    assert by_id[15]["bbox"] == [10, 10, 10, 10] and by_id[16]["bbox"] == [50, 30, 10, 5]
    assert by_id[17]["segmentation"] == SQUARE and by_id[20]["bbox"] == [1, 1, 5, 5]
    assert content["images"][1] == {"id": 2, "file_name": "2.png", "height": HEIGHT, "width": WIDTH}
    assert [image["id"] for image in content["images"]] == [1, 2, 4]


def test_what_an_error_hides_is_fixed_too(data):
    data.content["images"][1].pop("width")
    data.annotate(2, bbox=[50, 30, 30, 5], segmentation=[[50, 30, 60, 30, 60, 35]])
    data.annotate(1, id=12, bbox=[5, 5, 0, 9])  # has the id of a good one
    changes, after, content = data.fix()
    assert "gave new ids to annotations: now id 16 (1 in all)" in changes
    assert "replaced unusable boxes by the boxes around the masks of annotations: id 16 (1 in all)" in changes
    assert "clipped boxes to the image: annotations id 15 (1 in all)" in changes
    assert found(after) == {}
    assert content["annotations"][1]["bbox"] == [10, 10, 10, 10]


def test_boxes_stay_where_masks_are_not_needed(data):
    data.annotate(bbox=[1, 1, 5, 6], segmentation=[[1, 2]])
    changes, _, content = data.fix(with_masks=None)
    assert changes.startswith("removed unusable masks, and kept the boxes, of annotations: id 15 (1 in all)")
    assert content["annotations"][-1]["segmentation"] == [] and content["annotations"][-1]["bbox"] == [
        1,
        1,
        5,
        6,
    ]


def test_images_with_one_id_are_removed_as_nobody_knows_whose_the_annotations_are(data):
    data.content["images"].append({**data.content["images"][1], "id": 1})
    changes, _, content = data.fix()
    assert "removed unusable images with their annotations: id 1 (1 in all)" in changes
    assert [image["id"] for image in content["images"]] == [2, 3, 4]
    assert [one["image_id"] for one in content["annotations"]] == [2, 3, 4]


def test_entries_of_one_file_are_joined(data):
    """Only where one of them has no annotations: otherwise one may have the wrong name, and nobody can tell which."""
    data.content["images"].append({**data.content["images"][1], "id": 9})
    changes, _, content = data.fix()
    assert "removed entries without annotations that name the file of another entry: images id 9 (1 in all)" in changes
    assert [image["id"] for image in content["images"]] == [1, 2, 3, 4]


def test_entries_of_one_file_that_both_have_annotations_are_left_to_people(data):
    data.content["images"].append({**data.content["images"][1], "id": 9})
    data.annotate(9)
    changes, after, content = data.fix()
    assert changes == "" and "image-listed-twice" in found(after)
    assert [one["image_id"] for one in content["annotations"]] == [1, 2, 3, 4, 9]


def test_nothing_left_to_write(data):
    for path in data.images_dir.iterdir():
        path.unlink()
    with pytest.raises(
        DatasetError, match="no image of '.*all.json' can be used.*Check that '.*images' is the right folder"
    ):
        data.fix()


def test_ids_in_other_spellings_are_kept_and_written_as_numbers(data):
    """Ids that are text get numbers, and so do the annotations that refer to them."""
    for image in data.content["images"]:
        image["id"] = f"a{image['id']}"
    for annotation in data.content["annotations"]:
        annotation.update(
            image_id=f"a{annotation['image_id']}", id=str(annotation["id"]), iscrowd="false", attributes={"x": 1}
        )
    data.content["info"] = {"year": 2024}
    changes, after, content = data.fix()
    assert found(after) == {} and len(content["annotations"]) == 4
    assert (
        [image["id"] for image in content["images"]]
        == [one["image_id"] for one in content["annotations"]]
        == [1, 2, 3, 4]
    )
    assert [one["id"] for one in content["annotations"]] == [11, 12, 13, 14] and content["info"] == {"year": 2024}
    assert content["annotations"][0]["attributes"] == {"x": 1} and content["annotations"][0]["iscrowd"] == 0
    assert "gave whole numbers to images with other ids: now id 1, 2, 3, 4 (4 in all)" in changes
    assert "wrote the ids of annotations as whole numbers: id 11, 12, 13, 14 (4 in all)" in changes


def test_files_of_images_with_unclear_ids_are_looked_at_too(data):
    data.content["images"][0].update(id=1.5, file_name="nowhere.png")
    data.content["images"][1].update(id="b", height=None)
    data.content["images"][2].update(id="c", height=7)
    for annotation, number in zip(data.content["annotations"], (1.5, "b", "c")):
        annotation["image_id"] = number
    changes, after, content = data.fix()
    assert after.count("error") == 0 and [image["id"] for image in content["images"]] == [6, 4]
    assert "removed unusable images with their annotations: id 5, 7 (2 in all)" in changes
    assert "set width and height to those of the file: images id 6 (1 in all)" in changes


def test_all_that_is_removed_is_listed(data):
    for number in range(20):
        data.annotate(bbox=[5, 5, 0, number], segmentation=[], id=100 + 2 * number)
    changes, _, _ = data.fix()
    assert "id 100, 102, 104, 106, 108, 110, 112, 114, 116, 118, 120" in changes and "(20 in all)" in changes


def test_what_a_person_has_to_decide_first_is_not_written(data):
    data.content["categories"].append({"id": 3, "name": "pear"})
    with pytest.raises(DatasetError, match="category id 3 is both 'apple' and 'pear', so nobody can tell"):
        data.fix()
    data.content["categories"].pop()
    for annotation in data.content["annotations"]:
        annotation["ignore"] = 1
    with pytest.raises(DatasetError, match="cannot be corrected automatically.*without an object that can be used"):
        data.fix()
