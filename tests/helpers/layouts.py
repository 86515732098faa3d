"""Writes a small dataset in COCO's format in the layouts of annotation tools."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as mask_utils

from ppdet_res2net.data.masks import rasterize, read_mask
from ppdet_res2net.datasets.convert import CocoSplit, write_voc, write_yolo

# Layout -> what writes it: a function of a dataset of make_demo_data and a new folder.
LAYOUTS: dict[str, Callable[[Path, Path], None]] = {}


def _layout(write: Callable[[Path, Path], None]) -> Callable[[Path, Path], None]:
    LAYOUTS[write.__name__] = write
    return write


def annotations_of(data: Path, split: str) -> dict:
    """Return the content of the annotation file of ``train`` or ``val``."""
    return json.loads((data / f"annotations/instances_{split}2017.json").read_text())


def images_of(data: Path, split: str) -> Path:
    """Return the folder of the images of a split."""
    return data / f"{split}2017"


def write_json(path: Path, content: object) -> Path:
    """Write a JSON file, and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def splits_of(data: Path) -> list[CocoSplit]:
    """Return both splits, to be written in another format."""
    return [
        CocoSplit(name, data / f"annotations/instances_{name}2017.json", images_of(data, name))
        for name in ("train", "val")
    ]


@_layout
def coco(data: Path, out: Path) -> None:
    """COCO's own layout, with a file of captions and one of key points."""
    shutil.copytree(data, out)
    content = annotations_of(data, "train")
    write_json(out / "annotations/person_keypoints_train2017.json", content)
    write_json(out / "annotations/captions_train2017.json", {**content, "annotations": [{"id": 1, "caption": "a"}]})


@_layout
def roboflow(data: Path, out: Path) -> None:
    """Roboflow's export: a file beside the images of each split, and a category above the others."""
    for split, folder in (("train", "train"), ("val", "valid")):
        shutil.copytree(images_of(data, split), out / folder)
        content = annotations_of(data, split)
        for category in content["categories"]:
            category["supercategory"] = "things"
        content["categories"].insert(0, {"id": 0, "name": "things", "supercategory": "none"})
        write_json(out / folder / "_annotations.coco.json", content)


@_layout
def cvat(data: Path, out: Path) -> None:
    """CVAT's export of a task: one file for all."""
    shutil.copytree(images_of(data, "train"), out / "images" / "default")
    write_json(out / "annotations/instances_default.json", annotations_of(data, "train"))


@_layout
def label_studio(data: Path, out: Path) -> None:
    """Label Studio's export of COCO on Windows: backslashes in the names."""
    shutil.copytree(images_of(data, "train"), out / "images")
    content = annotations_of(data, "train")
    for image in content["images"]:
        (out / "images" / image["file_name"]).rename(out / "images" / f"0a1b2c3d-{image['file_name']}")
        image["file_name"] = f"images\\0a1b2c3d-{image['file_name']}"
    write_json(out / "result.json", content)


@_layout
def labelme2coco(data: Path, out: Path) -> None:
    """labelme's own script: names begin with the folder of the images."""
    shutil.copytree(images_of(data, "train"), out / "JPEGImages")
    content = annotations_of(data, "train")
    for image in content["images"]:
        image["file_name"] = f"JPEGImages/{image['file_name']}"
    write_json(out / "annotations.json", content)


@_layout
def absolute(data: Path, out: Path) -> None:
    """Absolute paths of another machine."""
    shutil.copytree(images_of(data, "train"), out / "photos")
    content = annotations_of(data, "train")
    for image in content["images"]:
        image["file_name"] = f"/home/jane/photos/{image['file_name']}"
    write_json(out / "coco.json", content)


@_layout
def labelme(data: Path, out: Path) -> None:
    """labelme: the JSON files beside the images."""
    shutil.copytree(images_of(data, "train"), out)
    write_labelme(annotations_of(data, "train"), out)


@_layout
def labelme_splits(data: Path, out: Path) -> None:
    """labelme with a folder for each split."""
    for split in ("train", "val"):
        shutil.copytree(images_of(data, split), out / split)
        write_labelme(annotations_of(data, split), out / split)


@_layout
def labelme_apart(data: Path, out: Path) -> None:
    """labelme with the JSON files in a folder of their own."""
    shutil.copytree(images_of(data, "train"), out / "images")
    write_labelme(annotations_of(data, "train"), out / "json")


@_layout
def yolo(data: Path, out: Path) -> None:
    """YOLO with a data.yaml."""
    write_yolo(splits_of(data), out)


@_layout
def yolo_outlines(data: Path, out: Path) -> None:
    """YOLO with outlines."""
    write_yolo(splits_of(data), out, with_outlines=True)


@_layout
def yolo_without_yaml(data: Path, out: Path) -> None:
    """YOLO as labelImg writes it: label files and classes.txt beside the images."""
    shutil.copytree(images_of(data, "train"), out)
    whole = out.with_name(f"{out.name}_whole")
    write_yolo(splits_of(data)[:1], whole)
    for path in (whole / "labels/train").iterdir():
        shutil.copy(path, out)
    shutil.rmtree(whole)
    names = [category["name"] for category in annotations_of(data, "train")["categories"]]
    (out / "classes.txt").write_text("\n".join(names) + "\n")


@_layout
def cvat_yolo(data: Path, out: Path) -> None:
    """CVAT's YOLO 1.1: obj.data, a list of images for each subset, and paths that begin with 'data/'."""
    whole = out / "whole"
    write_yolo(splits_of(data), whole)
    for split, name in (("train", "train"), ("val", "valid")):
        folder = out / f"obj_{name}_data"
        shutil.copytree(whole / "images" / split, folder)
        shutil.copytree(whole / "labels" / split, folder, dirs_exist_ok=True)
        paths = sorted((whole / "images" / split).iterdir())
        (out / f"{name}.txt").write_text("".join(f"data/obj_{name}_data/{path.name}\n" for path in paths))
    shutil.rmtree(whole)
    names = [category["name"] for category in annotations_of(data, "train")["categories"]]
    (out / "obj.names").write_text("\n".join(names) + "\n")
    (out / "obj.data").write_text(
        "classes = 3\nnames = data/obj.names\ntrain = data/train.txt\nvalid = data/valid.txt\nbackup = backup/\n"
    )


@_layout
def yolo_folders(data: Path, out: Path) -> None:
    """YOLO's folders with a list of classes, and no data.yaml."""
    write_yolo(splits_of(data), out)
    (out / "data.yaml").unlink()
    names = [category["name"] for category in annotations_of(data, "train")["categories"]]
    (out / "classes.txt").write_text("\n".join(names) + "\n")


@_layout
def yolo_moved(data: Path, out: Path) -> None:
    """A data.yaml with the paths of another machine."""
    write_yolo(splits_of(data), out)
    text = (out / "data.yaml").read_text()
    (out / "data.yaml").write_text(text.replace("images/", "/content/datasets/things/images/"))


@_layout
def yolo_once(data: Path, out: Path) -> None:
    """A data.yaml that evaluates on the images that it trains on, as people write it who have one set."""
    write_yolo(splits_of(data)[:1], out)
    (out / "data.yaml").write_text("val: images/train\n" + (out / "data.yaml").read_text())


@_layout
def paddlex(data: Path, out: Path) -> None:
    """PaddleX's lists with an image and an XML file in each line, beside the folders."""
    write_voc(splits_of(data), out)
    for split in ("train", "val"):
        stems = (out / f"ImageSets/Main/{split}.txt").read_text().split()
        suffix = next((out / "JPEGImages").iterdir()).suffix
        lines = [f"JPEGImages/{stem}{suffix} Annotations/{stem}.xml\n" for stem in stems]
        (out / f"{split}_list.txt").write_text("".join(lines))
    shutil.rmtree(out / "ImageSets")
    (out / "labels.txt").write_text("circle\nsquare\n")


@_layout
def voc(data: Path, out: Path) -> None:
    """Pascal VOC with lists of the splits."""
    write_voc(splits_of(data), out)


@_layout
def voc_masks(data: Path, out: Path) -> None:
    """Pascal VOC with a picture of the objects' masks for each image."""
    write_voc(splits_of(data), out)
    (out / "SegmentationObject").mkdir()
    for split in ("train", "val"):
        content = annotations_of(data, split)
        for image in content["images"]:
            size = image["height"], image["width"]
            picture = np.zeros(size, np.uint8)
            objects = [one for one in content["annotations"] if one["image_id"] == image["id"]]
            for number, one in enumerate(objects, 1):
                mask = read_mask(one["segmentation"], *size).mask
                assert mask is not None
                picture[mask_utils.decode(rasterize(mask, *size)) > 0] = number
            cv2.imwrite(str(out / "SegmentationObject" / f"{Path(image['file_name']).stem}.png"), picture)


@_layout
def voc_without_lists(data: Path, out: Path) -> None:
    """XML files and images in two folders, as many datasets on the web have them."""
    write_voc(splits_of(data)[:1], out)
    shutil.rmtree(out / "ImageSets")
    (out / "Annotations").rename(out / "annotations")
    (out / "JPEGImages").rename(out / "images")


@_layout
def voc_roboflow(data: Path, out: Path) -> None:
    """Roboflow's VOC: XML files beside the images of each split."""
    for split, folder in (("train", "train"), ("val", "valid")):
        whole = out / "whole"
        write_voc([CocoSplit("train", data / f"annotations/instances_{split}2017.json", images_of(data, split))], whole)
        shutil.copytree(whole / "JPEGImages", out / folder)
        shutil.copytree(whole / "Annotations", out / folder, dirs_exist_ok=True)
        shutil.rmtree(whole)


def write_labelme(content: dict, folder: Path) -> None:
    """Write a JSON file of labelme for each image."""
    names = {category["id"]: category["name"] for category in content["categories"]}
    for image in content["images"]:
        shapes = [
            {
                "label": names[one["category_id"]],
                "points": [list(point) for point in zip(part[::2], part[1::2])],
                "group_id": one["id"],
                "shape_type": "polygon",
                "flags": {},
            }
            for one in content["annotations"]
            if one["image_id"] == image["id"] and isinstance(one["segmentation"], list)
            for part in one["segmentation"]
        ]
        file = {
            "version": "5.4.1",
            "flags": {},
            "shapes": shapes,
            "imagePath": image["file_name"],
            "imageData": None,
            "imageHeight": image["height"],
            "imageWidth": image["width"],
        }
        write_json(folder / f"{Path(image['file_name']).stem}.json", file)


def without_masks(content: dict, every: int = 1) -> dict:
    """Return annotations without the masks of every so many objects."""
    changed = copy.deepcopy(content)
    for one in changed["annotations"][::every]:
        one["segmentation"] = []
    return changed
