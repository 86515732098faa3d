"""init finds the annotations and images in the layouts of people's tools, or says which it cannot choose between."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ppdet_res2net.data.annotations import read_annotations
from ppdet_res2net.data.image_names import ImageFolder
from ppdet_res2net.datasets.own_recipe import RecipeOptions, create_recipe
from ppdet_res2net.errors import ConfigError, DatasetError
from tests.helpers.layouts import LAYOUTS, annotations_of, images_of, without_masks, write_json, write_labelme

# Layouts that hold the training images of the demo data only, so that init has to split them.
ONE_SET = {
    "cvat", "label_studio", "labelme2coco", "absolute", "labelme", "labelme_apart", "yolo_without_yaml", "voc_without_lists",
    "yolo_once",
}  # fmt: skip
BOXES = {name for name in LAYOUTS if "yolo" in name or "voc" in name} - {"yolo_outlines", "voc_masks"} | {"paddlex"}


@pytest.fixture
def data(tmp_path):
    return tmp_path / "data"


def init(data: Path, **options):
    return create_recipe(data.parent / "mine.yml", RecipeOptions(data, **options))


def objects_of(*paths: Path) -> int:
    return sum(len(read_annotations(path).annotations) for path in paths)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout, demo_data, data):
    LAYOUTS[layout](demo_data, data)
    before = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
    recipe = init(data)
    sets = recipe.prepared.train, recipe.prepared.val
    for one in sets:
        folder = ImageFolder(one.image_dir)
        names = [image.file_name for image in read_annotations(one.annotation_path).images]
        assert names and all(folder.find(name) for name in names)
    splits = ["train"] if layout in ONE_SET else ["train", "val"]
    expected = sum(len(annotations_of(demo_data, split)["annotations"]) for split in splits)
    assert objects_of(*(one.annotation_path for one in sets)) == expected
    assert list(recipe.measures.class_counts) == [
        one["name"] for one in annotations_of(demo_data, "train")["categories"]
    ]
    assert recipe.settings.has_masks == (layout not in BOXES)
    assert {path: path.read_bytes() for path in data.rglob("*") if path.is_file()} == before


def test_coco_files_that_need_no_change_are_used_where_they_are(demo_data, data):
    LAYOUTS["coco"](demo_data, data)
    recipe = init(data)
    assert recipe.prepared.train.annotation_path == data / "annotations/instances_train2017.json"
    assert not (data.parent / "mine_annotations").exists()


def test_renamed_images_are_said(demo_data, data):
    LAYOUTS["absolute"](demo_data, data)
    (note, _) = init(data).prepared.notes
    assert "calls the images by names that no file has; they were found by the last part, as 'photos/" in note


def test_validation_categories_in_another_order_get_the_numbers_of_training(demo_data, data):
    LAYOUTS["coco"](demo_data, data)
    path = data / "annotations/instances_val2017.json"
    content = json.loads(path.read_text())
    by_id = {one["id"]: one["name"] for one in content["categories"]}
    objects = [by_id[one["category_id"]] for one in content["annotations"]]
    content["categories"] = [{"id": 100 - one["id"], "name": one["name"]} for one in reversed(content["categories"])]
    for one in content["annotations"]:
        one["category_id"] = 100 - one["category_id"]
    write_json(path, content)
    recipe = init(data)
    assert any("numbers its classes in another way" in note for note in recipe.prepared.notes)
    train, val = (read_annotations(one.annotation_path) for one in (recipe.prepared.train, recipe.prepared.val))
    assert [(one.id, one.name) for one in val.categories] == [(one.id, one.name) for one in train.categories]
    names = {one.id: one.name for one in val.categories}
    assert [names[one.category_id] for one in val.annotations] == objects


def test_a_class_that_only_the_validation_set_has(demo_data, data):
    LAYOUTS["labelme_splits"](demo_data, data)
    file = next((data / "val").glob("*.json"))
    content = json.loads(file.read_text())
    content["shapes"][0]["label"] = "a new one"
    write_json(file, content)
    recipe = init(data)
    classes = [one["name"] for one in annotations_of(demo_data, "train")["categories"]]
    assert list(recipe.measures.class_counts) == [*classes, "a new one"]
    assert any("1 category without objects has no examples to learn from" in note for note in recipe.prepared.notes)
    train, val = (read_annotations(one.annotation_path) for one in (recipe.prepared.train, recipe.prepared.val))
    assert [(one.id, one.name) for one in val.categories] == [(one.id, one.name) for one in train.categories]


def test_a_class_that_only_coco_s_validation_file_has_is_an_error(demo_data, data):
    LAYOUTS["coco"](demo_data, data)
    path = data / "annotations/instances_val2017.json"
    content = json.loads(path.read_text())
    content["categories"].append({"id": 50, "name": "a new one"})
    write_json(path, content)
    with pytest.raises(DatasetError, match="whose categories differ.*it adds 'a new one'"):
        init(data)


def test_flags_of_the_conversion_are_said_to_be_its_own(demo_data, data):
    LAYOUTS["labelme_apart"](demo_data, data)
    shutil.rmtree(data / "images")
    with pytest.raises(
        DatasetError, match=r"--extract_images writes them. These flags are for 'ppdet-res2net convert-dataset'"
    ):
        init(data)
    LAYOUTS["labelme"](demo_data, data.with_name("other"))
    file = next(data.with_name("other").glob("*.json"))
    write_json(file, {**json.loads(file.read_text()), "imageWidth": 7})
    assert "These flags are for" in "".join(init(data.with_name("other")).prepared.notes)


def test_a_test_set_is_left_alone(demo_data, data):
    LAYOUTS["roboflow"](demo_data, data)
    (data / "valid").rename(data / "test")
    recipe = init(data)
    assert recipe.prepared.val.image_dir == data / "train"
    assert any("is left for a final test" in note for note in recipe.prepared.notes)


def test_several_formats_are_listed(demo_data, data):
    LAYOUTS["labelme"](demo_data, data)
    write_json(data / "all.json", annotations_of(demo_data, "train"))
    with pytest.raises(DatasetError, match=r"several formats.*\n- --format coco: COCO, 'all.json'\n- --format labelme"):
        init(data)
    assert init(data, form="labelme").found.train.form == "labelme"


def test_a_format_that_cannot_be_read_is_listed_beside_one_that_can(demo_data, data):
    LAYOUTS["yolo_without_yaml"](demo_data, data)
    (data / "classes.txt").unlink()
    write_json(data / "all.json", annotations_of(demo_data, "train"))
    with pytest.raises(
        DatasetError, match=r"\n- --format coco: COCO, 'all.json'\n- --format yolo: .*the classes have no names"
    ):
        init(data)
    assert init(data, form="coco").found.train.form == "coco"


def test_several_sets_are_listed(demo_data, data):
    for name, split in (("a", "train"), ("b", "val")):
        shutil.copytree(images_of(demo_data, split), data / name)
        write_json(data / f"{name}.json", annotations_of(demo_data, split))
    with pytest.raises(DatasetError, match=r"2 sets of annotated images.*'a.json', 'b.json'. Choose with --train FILE"):
        init(data)
    recipe = init(data, train=data / "a.json", val=data / "b.json")
    assert recipe.prepared.train.image_dir == data / "a" and recipe.prepared.val.image_dir == data / "b"


def test_images_in_two_places_are_listed(demo_data, data):
    for name in ("one", "two"):
        shutil.copytree(images_of(demo_data, "train"), data / name)
    write_json(data / "annotations.json", annotations_of(demo_data, "train"))
    with pytest.raises(DatasetError, match=r"are in 2 folders: '.*one', '.*two'. Pass the right one with --images"):
        init(data)
    assert init(data, images=[data / "two"]).prepared.train.image_dir == data / "two"


def test_splits_inside_each_other_are_refused(demo_data, data):
    LAYOUTS["labelme"](demo_data, data)
    shutil.copytree(images_of(demo_data, "val"), data / "val")
    write_labelme(annotations_of(demo_data, "val"), data / "val")
    with pytest.raises(DatasetError, match="would also be those of its folder"):
        init(data)


def test_label_files_without_class_names_are_refused(demo_data, data):
    LAYOUTS["yolo_without_yaml"](demo_data, data)
    names = (data / "classes.txt").rename(data.parent / "my_names")
    with pytest.raises(DatasetError, match="neither a data.yaml nor a classes.txt.*Pass a file.*--names"):
        init(data)
    assert init(data, names=names).measures.objects


def test_a_folder_without_annotations(demo_data, data):
    shutil.copytree(images_of(demo_data, "train"), data)
    with pytest.raises(DatasetError, match="no annotations of COCO, Pascal VOC, labelme or YOLO in .*, but 12 images"):
        init(data)


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("via.json", {"_via_img_metadata": {"a": {"filename": "a.png", "regions": []}}}, "This is a project of VIA"),
        ("tasks.json", [{"data": {}, "annotations": []}], "This is Label Studio's own export"),
        ("bbox.json", [{"image_id": 1, "score": 0.5}], "These are detections"),
    ],
)
def test_annotations_that_have_to_be_exported_again(name, content, what, demo_data, data):
    shutil.copytree(images_of(demo_data, "train"), data)
    write_json(data / name, content)
    with pytest.raises(DatasetError, match=what):
        init(data)


def test_what_a_data_yaml_says_wrong_is_noted(demo_data, data):
    LAYOUTS["yolo_moved"](demo_data, data)
    (note,) = init(data).prepared.notes
    assert "is not there" in note and note.endswith("The folders of label files were taken instead.")


def test_an_archive(data):
    data.with_suffix(".zip").write_bytes(b"PK")
    with pytest.raises(
        DatasetError, match="data.zip' is a file; expected the folder of a dataset.*Unpack an archive first"
    ):
        init(data.with_suffix(".zip"))


def test_one_folder_for_the_splits_of_yolo_is_split_again(demo_data, data):
    LAYOUTS["yolo"](demo_data, data)
    recipe = init(data, images=[data / "images"])
    expected = sum(len(annotations_of(demo_data, split)["annotations"]) for split in ("train", "val"))
    assert objects_of(recipe.prepared.train.annotation_path, recipe.prepared.val.annotation_path) == expected


def test_both_splits_in_one_folder_of_images(demo_data, data):
    for split in ("train", "val"):
        content = annotations_of(demo_data, split)
        for image in content["images"]:
            name = f"{split}_{image['file_name']}"
            (data / "images").mkdir(parents=True, exist_ok=True)
            shutil.copy(images_of(demo_data, split) / image["file_name"], data / "images" / name)
            image["file_name"] = name
        write_json(data / f"{split}.json", content)
    recipe = init(data)
    assert recipe.prepared.train.image_dir == recipe.prepared.val.image_dir == data / "images"


def test_names_that_both_splits_have_are_told_apart_by_folders(demo_data, data):
    for split in ("train", "val"):
        content = annotations_of(demo_data, split)
        for number, image in enumerate(content["images"]):
            (data / split / "img").mkdir(parents=True, exist_ok=True)
            name = f"img/{number}.png"
            shutil.copy(images_of(demo_data, split) / image["file_name"], data / split / name)
            image["file_name"] = name
        write_json(data / "annotations" / f"{split}.json", content)
    recipe = init(data)
    assert [one.image_dir for one in (recipe.prepared.train, recipe.prepared.val)] == [data / "train", data / "val"]


def test_a_class_without_an_object_to_evaluate_on_is_said(demo_data, data):
    LAYOUTS["cvat"](demo_data, data)
    path = data / "annotations/instances_default.json"
    content = json.loads(path.read_text())
    content["categories"].append({"id": 50, "name": "rare"})
    content["annotations"][0]["category_id"] = 50
    write_json(path, content)
    assert "No image to evaluate on has 'rare': no AP will be known there." in init(data).prepared.notes


def test_no_folder(data):
    with pytest.raises(DatasetError, match="there is no folder"):
        init(data)


def test_a_spoilt_annotation_file_is_not_overlooked(demo_data, data):
    LAYOUTS["coco"](demo_data, data)
    path = data / "annotations/instances_train2017.json"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DatasetError, match="instances_train2017.json"):
        init(data)


def test_errors_are_those_of_the_check(demo_data, data):
    LAYOUTS["coco"](demo_data, data)
    path = data / "annotations/instances_train2017.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["category_id"] = 77
    write_json(path, content)
    with pytest.raises(
        DatasetError, match=r"(?s)has errors.*of a category that the file does not define.*check-dataset"
    ):
        init(data)
    assert not (data.parent / "mine.yml").exists()


def test_the_same_picture_in_both_sets_is_said(demo_data, data):
    LAYOUTS["coco"](demo_data, data)
    content = json.loads((data / "annotations/instances_val2017.json").read_text())
    train = annotations_of(demo_data, "train")["images"][0]
    content["images"].append({**train, "id": 999, "file_name": "copy.png"})
    shutil.copy(data / "train2017" / train["file_name"], data / "val2017/copy.png")
    write_json(data / "annotations/instances_val2017.json", content)
    notes = "\n".join(init(data).prepared.notes)
    assert "val: 1 image that is also in another split" in notes and "'copy.png' is the same file as" in notes


def test_nothing_is_replaced(demo_data, data):
    LAYOUTS["cvat"](demo_data, data)
    init(data)
    with pytest.raises(ConfigError, match="mine.yml' exists already"):
        init(data)
    (data.parent / "mine.yml").unlink()
    with pytest.raises(ConfigError, match="mine_annotations' exists already"):
        init(data)


def test_own_annotations_are_not_found_again(demo_data, tmp_path):
    LAYOUTS["labelme"](demo_data, tmp_path / "data")
    options = RecipeOptions(tmp_path / "data")
    create_recipe(tmp_path / "data" / "mine.yml", options)
    shutil.rmtree(tmp_path / "data" / "mine_annotations")
    (tmp_path / "data" / "mine.yml").unlink()
    assert create_recipe(tmp_path / "data" / "mine.yml", options).found.train.form == "labelme"


@pytest.mark.parametrize(
    ("every", "kind", "has_masks", "why"),
    [
        (1, None, False, "no object has a mask"),
        (3, None, False, "would be taught as background"),
        (3, "masks", True, "chosen with --predict masks"),
    ],
)
def test_boxes_or_masks(every, kind, has_masks, why, demo_data, data):
    LAYOUTS["cvat"](demo_data, data)
    path = data / "annotations/instances_default.json"
    write_json(path, without_masks(json.loads(path.read_text()), every))
    settings = init(data, kind=kind).settings
    assert settings.has_masks == has_masks and why in settings.why_kind


def test_rectangles_drawn_as_masks_are_boxes(demo_data, data):
    LAYOUTS["cvat"](demo_data, data)
    path = data / "annotations/instances_default.json"
    content = json.loads(path.read_text())
    for one in content["annotations"]:
        x, y, width, height = one["bbox"] = [float(round(value)) for value in one["bbox"]]
        one["segmentation"] = [[x, y, x + width, y, x + width, y + height, x, y + height]]
    write_json(path, content)
    settings = init(data).settings
    assert not settings.has_masks and "rectangles" in settings.why_kind
