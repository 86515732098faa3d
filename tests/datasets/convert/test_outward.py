"""convert-dataset coco --to yolo|voc: what is written is read back as the same objects."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as mask_utils

from ppdet_res2net.cli.convert_dataset import main
from ppdet_res2net.data.masks import rasterize, read_mask
from ppdet_res2net.datasets.convert import (
    CocoSplit,
    YoloImages,
    convert_voc,
    convert_yolo,
    read_class_table,
    read_split,
    write_voc,
    write_yolo,
)
from ppdet_res2net.errors import ConfigError, DatasetError
from tests.helpers.layouts import annotations_of, images_of, splits_of, write_json


def objects_of(content: dict) -> dict[str, list]:
    """Return class, box and image of the objects of each file, crowds left out."""
    names = {one["id"]: one["name"] for one in content["categories"]}
    images = {one["id"]: one for one in content["images"]}
    found = defaultdict(list)
    for one in content["annotations"]:
        image = images[one["image_id"]]
        if not one.get("iscrowd"):
            found[Path(image["file_name"]).name].append((names[one["category_id"]], one, image))
    return found


def bitmap(one: dict, image: dict) -> np.ndarray:
    size = image["height"], image["width"]
    mask = read_mask(one["segmentation"], *size).mask
    assert mask is not None
    return mask_utils.decode(rasterize(mask, *size)).astype(bool)


def read_yolo(folder: Path, split: str) -> dict:
    images = YoloImages.of(read_split(folder / "data.yaml", split))
    return convert_yolo(images, None, read_class_table(folder / "data.yaml")).content


@pytest.mark.parametrize("split", ["train", "val"])
def test_yolo_boxes(split, demo_data, tmp_path):
    write_yolo(splits_of(demo_data), tmp_path / "out")
    before, after = objects_of(annotations_of(demo_data, split)), objects_of(read_yolo(tmp_path / "out", split))
    assert {name: len(objects) for name, objects in before.items()} == {
        name: len(objects) for name, objects in after.items()
    }
    for name, objects in before.items():
        for (class_name, one, _), (other_name, other, _) in zip(objects, after[name]):
            assert class_name == other_name and np.allclose(one["bbox"], other["bbox"], atol=0.01)


@pytest.mark.parametrize("as_run_lengths", [False, True])
def test_yolo_outlines(as_run_lengths, demo_data, tmp_path):
    content = annotations_of(demo_data, "train")
    sizes = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
    if as_run_lengths:
        for one in content["annotations"]:
            mask = read_mask(one["segmentation"], *sizes[one["image_id"]]).mask
            rle = rasterize(mask, *sizes[one["image_id"]])
            one["segmentation"] = {"size": list(rle["size"]), "counts": rle["counts"].decode()}
    path = write_json(tmp_path / "train.json", content)
    write_yolo([CocoSplit("train", path, images_of(demo_data, "train"))], tmp_path / "out", with_outlines=True)
    before, after = objects_of(content), objects_of(read_yolo(tmp_path / "out", "train"))
    for name, objects in before.items():
        for (_, one, image), (_, other, _) in zip(objects, after[name], strict=True):
            first, later = bitmap(one, image), bitmap(other, image)
            assert (first & later).sum() >= 0.9 * (first | later).sum()


def test_parts_and_holes_are_in_the_outline(tmp_path):
    picture = np.zeros((60, 80), np.uint8)
    picture[5:40, 5:40] = 1
    picture[15:25, 15:25] = 0
    picture[50:58, 60:75] = 1
    rle = mask_utils.encode(np.asfortranarray(picture))
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": 60, "width": 80}],
        "categories": [{"id": 1, "name": "x"}],
        "annotations": [
            {
                "id": 1, "image_id": 1, "category_id": 1, "bbox": [5, 5, 70, 53], "iscrowd": 0,
                "segmentation": {"size": [60, 80], "counts": rle["counts"].decode()},
            }
        ],
    }  # fmt: skip
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    split = CocoSplit("train", write_json(tmp_path / "a.json", content), tmp_path)
    write_yolo([split], tmp_path / "out", with_outlines=True)
    row = (tmp_path / "out/labels/train/a.txt").read_text().split()
    points = np.array(row[1:], float).reshape(-1, 2) * (80, 60)
    filled = cv2.fillPoly(np.zeros((60, 80), np.uint8), [np.rint(points).astype(np.int32)], 1)
    assert filled[55, 42] == 0 and filled[20, 20] == 0 and filled[10, 10] == 1 and filled[54, 68] == 1


def test_voc(demo_data, tmp_path):
    write_voc(splits_of(demo_data), tmp_path / "out")
    for split in ("train", "val"):
        listed = tmp_path / f"out/ImageSets/Main/{split}.txt"
        content = convert_voc(
            tmp_path / "out/Annotations", tmp_path / "out/JPEGImages", list_file=listed, ignore_difficult=True
        ).content
        before, after = objects_of(annotations_of(demo_data, split)), objects_of(content)
        for name, objects in before.items():
            for (class_name, one, _), (other_name, other, _) in zip(objects, after[name], strict=True):
                assert class_name == other_name and np.allclose(one["bbox"], other["bbox"], atol=1.01)


def test_images_without_objects_get_an_empty_file(demo_data, tmp_path):
    content = annotations_of(demo_data, "train")
    image = content["images"][0]
    content["annotations"] = [one for one in content["annotations"] if one["image_id"] != image["id"]]
    path = write_json(tmp_path / "a.json", content)
    write_yolo([CocoSplit("train", path, images_of(demo_data, "train"))], tmp_path / "out")
    assert (tmp_path / "out/labels/train" / Path(image["file_name"]).with_suffix(".txt")).read_text() == ""


def test_crowds_are_counted_for_yolo_and_difficult_for_voc(demo_data, tmp_path, capsys):
    content = annotations_of(demo_data, "train")
    for one in content["annotations"]:
        one["iscrowd"] = int(one is content["annotations"][0])
    path = write_json(tmp_path / "a.json", content)
    words = ["coco", "--annotations", str(path), "--images", str(images_of(demo_data, "train"))]
    assert main([*words, "--to", "yolo", "--out", str(tmp_path / "yolo")]) == 1
    assert "left out: 1 crowd regions and ignored objects, which YOLO has no place for" in capsys.readouterr().err
    assert main([*words, "--to", "voc", "--out", str(tmp_path / "voc")]) == 0
    text = "".join(file.read_text() for file in (tmp_path / "voc/Annotations").iterdir())
    assert text.count("<difficult>1</difficult>") == 1


def test_links_instead_of_copies(demo_data, tmp_path):
    write_yolo(splits_of(demo_data), tmp_path / "out", link_images=True)
    images = list((tmp_path / "out/images/train").iterdir())
    assert images and all(path.is_symlink() and path.is_file() for path in images)


@pytest.mark.parametrize(
    "name", ["a: b", "it's", '"x"', "# y", "é", "yes", "12", "😀", "a long name " * 20 + "of a class"]
)
def test_any_class_name_survives(name, demo_data, tmp_path):
    content = annotations_of(demo_data, "train")
    content["categories"][0]["name"] = name
    path = write_json(tmp_path / "a.json", content)
    split = CocoSplit("train", path, images_of(demo_data, "train"))
    write_yolo([split], tmp_path / "yolo")
    assert read_class_table(tmp_path / "yolo/data.yaml")[0] == name
    write_voc([split], tmp_path / "voc")
    assert name in convert_voc(tmp_path / "voc/Annotations", tmp_path / "voc/JPEGImages").names


def test_a_failure_leaves_nothing(demo_data, tmp_path):
    content = annotations_of(demo_data, "train")
    content["images"][-1]["file_name"] = "missing.png"
    path = write_json(tmp_path / "a.json", content)
    with pytest.raises(DatasetError, match="there is no file '.*missing.png'"):
        write_yolo([CocoSplit("train", path, images_of(demo_data, "train"))], tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json"]


def test_two_images_cannot_share_a_label_file(demo_data, tmp_path):
    content = annotations_of(demo_data, "train")
    first = content["images"][0]
    other = Path(first["file_name"]).with_suffix(".bmp").name
    picture = cv2.imread(str(images_of(demo_data, "train") / first["file_name"]))
    for image in content["images"]:
        cv2.imwrite(str(tmp_path / image["file_name"]), picture)
    cv2.imwrite(str(tmp_path / other), picture)
    content["images"].append({**first, "id": 999, "file_name": other})
    split = CocoSplit("train", write_json(tmp_path / "a.json", content), tmp_path)
    with pytest.raises(DatasetError, match="has two images .*, which would share a label file"):
        write_yolo([split], tmp_path / "out")


def test_splits_with_other_categories_are_refused(demo_data, tmp_path):
    content = annotations_of(demo_data, "val")
    content["categories"].reverse()
    splits = splits_of(demo_data)
    splits[1] = CocoSplit("val", write_json(tmp_path / "val.json", content), splits[1].image_dir)
    with pytest.raises(DatasetError, match="has other categories than"):
        write_voc(splits, tmp_path / "out")


def test_a_folder_with_files_is_not_written_to(demo_data, tmp_path):
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(DatasetError, match="is not empty. Pass another --out, or remove what is in it"):
        write_yolo(splits_of(demo_data), tmp_path)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--to", "voc", "--segments"], "--segments is for --to yolo"),
        (["--to", "yolo", "--images", "a", "b", "c"], "2 files, but --images 3 folders"),
    ],
)
def test_wrong_arguments(words, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        main(["coco", "--annotations", "a.json", "b.json", "--images", "x", "--out", str(tmp_path / "out"), *words])


def test_the_command_prints_what_it_has_written(demo_data, tmp_path, capsys):
    files = [str(demo_data / f"annotations/instances_{split}2017.json") for split in ("train", "val")]
    folders = [str(images_of(demo_data, split)) for split in ("train", "val")]
    out = tmp_path / "out"
    assert main(["coco", "--annotations", *files, "--images", *folders, "--to", "yolo", "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"wrote {out}: train, val\n"
    assert json.dumps(sorted(path.name for path in out.iterdir())) == '["data.yaml", "images", "labels"]'
