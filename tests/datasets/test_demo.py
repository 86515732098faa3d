"""The built-in dataset: pycocotools and the training side can read it; folders with other content are refused."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from pycocotools import mask as mask_utils
from pycocotools.coco import COCO

from ppdet_res2net.cli.make_demo_data import main
from ppdet_res2net.datasets import demo
from ppdet_res2net.datasets.demo import make_demo_data
from ppdet_res2net.datasets.demo_scenes import CATEGORIES, LARGEST_EXTENT, SMALLEST_EXTENT, draw_scene
from ppdet_res2net.errors import DatasetError

ARGUMENTS = {"train_images": 50, "val_images": 13, "image_size_px": 128, "seed": 5}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_demo_data(tmp_path_factory.mktemp("data") / "demo", **ARGUMENTS)


def load(folder, split) -> COCO:
    return COCO(str(folder / "annotations" / f"instances_{split}2017.json"))


def snapshot(folder) -> dict:
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("split", "images"), [("train", 50), ("val", 13)])
def test_images_are_there_and_have_the_annotated_size(folder, split, images):
    coco = load(folder, split)
    assert len(coco.imgs) == images
    for image in coco.imgs.values():
        pixels = cv2.imread(str(folder / f"{split}2017" / image["file_name"]))
        assert pixels.shape == (image["height"], image["width"], 3)
        assert max(pixels.shape) == ARGUMENTS["image_size_px"]


@pytest.mark.parametrize("split", ["train", "val"])
def test_boxes_areas_and_masks_agree(folder, split):
    coco = load(folder, split)
    for annotation in coco.anns.values():
        mask = coco.annToMask(annotation).astype(bool)
        assert annotation["area"] == mask.sum() > 0
        rows, columns = np.nonzero(mask)
        assert annotation["bbox"] == [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
        x, y, width, height = annotation["bbox"]
        image = coco.imgs[annotation["image_id"]]
        assert 0 <= x < x + width <= image["width"] and 0 <= y < y + height <= image["height"]


def test_masks_of_different_objects_hardly_overlap(folder):
    coco = load(folder, "train")
    for image_id, image in coco.imgs.items():
        owners = np.zeros((image["height"], image["width"]), int)
        for annotation in coco.imgToAnns[image_id]:
            owners += coco.annToMask(annotation)
        # Only the simplified outlines can share pixels: masks are of what is visible.
        assert (owners > 1).sum() <= 0.1 * max((owners > 0).sum(), 1)


def test_polygons_follow_the_visible_pixels():
    overlaps = []
    for number in range(20):
        _, instances = draw_scene(np.random.default_rng(number), 160, with_objects=True, with_crowd=False)
        for instance in instances:
            height, width = instance.mask.shape
            segmentation = demo._annotate(instance)["segmentation"]
            rle = mask_utils.frPyObjects(segmentation, height, width)
            traced = mask_utils.decode(mask_utils.merge(rle) if isinstance(rle, list) else rle).astype(bool)
            overlaps.append((traced & instance.mask).sum() / (traced | instance.mask).sum())
    assert np.mean(overlaps) > 0.97
    assert min(overlaps) > 0.9


def test_it_has_what_a_dataset_can_have(folder):
    coco = load(folder, "train")
    annotations = list(coco.anns.values())
    plain = [annotation for annotation in annotations if not annotation["iscrowd"]]
    assert {category["id"]: category["name"] for category in coco.cats.values()} == CATEGORIES
    assert {annotation["category_id"] for annotation in plain} == {1, 3, 7}
    assert any(not coco.imgToAnns[image_id] for image_id in coco.imgs), "no image without objects"
    crowds = [annotation for annotation in annotations if annotation["iscrowd"]]
    assert crowds and all(isinstance(crowd["segmentation"]["counts"], list) for crowd in crowds)
    assert any(
        isinstance(annotation["segmentation"], list) and len(annotation["segmentation"]) > 1 for annotation in plain
    ), "no object in several parts"
    areas = [annotation["area"] for annotation in plain]
    assert max(areas) > (LARGEST_EXTENT / SMALLEST_EXTENT) ** 2 * min(areas)
    assert not any(annotation["iscrowd"] for annotation in load(folder, "val").anns.values())


def test_an_object_with_a_hole_is_written_as_run_lengths():
    mask = np.zeros((20, 30), bool)
    mask[4:16, 5:20] = True
    mask[8:10, 8:12] = False
    segmentation = demo._segment(mask)
    decoded = mask_utils.decode(mask_utils.frPyObjects(segmentation, 20, 30))
    np.testing.assert_array_equal(decoded, mask)


def test_same_arguments_give_the_same_bytes_and_a_longer_set_the_same_pictures(folder, tmp_path):
    again = make_demo_data(tmp_path / "again", **ARGUMENTS)
    assert snapshot(again) == snapshot(folder)
    longer = make_demo_data(tmp_path / "longer", **{**ARGUMENTS, "train_images": 51})
    pictures = {name: data for name, data in snapshot(folder).items() if name.suffix == ".jpg"}
    assert pictures.items() <= snapshot(longer).items()
    other = make_demo_data(tmp_path / "other", **{**ARGUMENTS, "seed": 6})
    assert snapshot(other) != snapshot(folder)


def test_the_same_dataset_is_reused_and_an_empty_folder_filled(tmp_path):
    arguments = {"train_images": 2, "val_images": 1, "image_size_px": 64}
    target = tmp_path / "demo"
    target.mkdir()
    make_demo_data(target, **arguments)
    times = {path: path.stat().st_mtime_ns for path in target.rglob("*")}
    assert make_demo_data(target, **arguments) == target
    assert {path: path.stat().st_mtime_ns for path in target.rglob("*")} == times


def test_other_content_is_refused_and_left_alone(tmp_path):
    arguments = {"train_images": 2, "val_images": 1, "image_size_px": 64}
    target = tmp_path / "demo"
    make_demo_data(target, **arguments)
    before = snapshot(target)
    with pytest.raises(DatasetError, match=r"holds another demo dataset: wanted .*'train_images': 3.*found"):
        make_demo_data(target, **{**arguments, "train_images": 3})
    assert snapshot(target) == before
    next((target / "train2017").iterdir()).unlink()
    with pytest.raises(DatasetError, match="has lost files: train2017 has 1 of 2 images"):
        make_demo_data(target, **arguments)
    (target / demo.RECIPE_FILE).write_text("{")
    with pytest.raises(DatasetError, match="cannot be read"):
        make_demo_data(target, **arguments)
    (target / demo.RECIPE_FILE).unlink()
    with pytest.raises(DatasetError, match="not empty and was not made by make-demo-data"):
        make_demo_data(target, **arguments)
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(DatasetError, match="is a file, not a folder"):
        make_demo_data(file, **arguments)


def test_an_interrupted_run_leaves_nothing_behind(tmp_path, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "draw_scene", interrupt)
    with pytest.raises(KeyboardInterrupt):
        make_demo_data(tmp_path / "demo")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match="The folder .*file/demo' cannot be written"):
        make_demo_data(tmp_path / "file" / "demo", train_images=1, val_images=1)


@pytest.mark.parametrize(
    ("argument", "value"), [("train_images", 0), ("val_images", -1), ("image_size_px", 63), ("seed", 1.5)]
)
def test_arguments_out_of_range_are_refused(tmp_path, argument, value):
    with pytest.raises(DatasetError, match=f"{argument} must be a whole number of at least .* got {value}"):
        make_demo_data(tmp_path / "demo", **{argument: value})


def test_command_line(tmp_path, capsys):
    target = tmp_path / "demo"
    assert main([str(target), "--train", "3", "--val", "2", "--size", "64", "--seed", "9"]) == 0
    assert capsys.readouterr().out == f"demo dataset: 3 training and 2 validation images in {target}\n"
    recipe = json.loads((target / demo.RECIPE_FILE).read_text())
    assert recipe == {
        "version": demo.RECIPE_VERSION,
        "train_images": 3,
        "val_images": 2,
        "image_size_px": 64,
        "seed": 9,
    }
