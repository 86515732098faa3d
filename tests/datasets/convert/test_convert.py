"""convert-dataset: annotations survive the conversion to other formats and back, and wrong files are named."""

from __future__ import annotations

import base64
import copy
import json
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_utils

from ppdet_res2net.data.coco import COCODataSet
from ppdet_res2net.data.masks import rasterize, read_mask
from ppdet_res2net.datasets.check import DatasetSource, check_datasets
from ppdet_res2net.datasets.convert import convert_labelme, convert_voc, convert_yolo
from ppdet_res2net.datasets.demo import make_demo_data
from tests.helpers.datasets import shared_data


class Source:
    """A dataset in COCO's format, to be written in others."""

    def __init__(self, image_dir: Path, annotation_path: Path) -> None:
        self.image_dir = image_dir
        self.content = json.loads(annotation_path.read_text())
        self.names = {one["id"]: one["name"] for one in self.content["categories"]}
        self.label_of = {category_id: label for label, category_id in enumerate(self.names)}
        self.members = defaultdict(list)
        for annotation in self.content["annotations"]:
            if not annotation["iscrowd"]:
                self.members[annotation["image_id"]].append(annotation)

    def objects(self):
        for image in self.content["images"]:
            yield image, self.members[image["id"]]


@pytest.fixture(scope="module", params=["demo", "coco_tiny", "nuts"])
def source(request, tmp_path_factory) -> Source:
    if request.param == "demo":
        folder = make_demo_data(tmp_path_factory.mktemp("data") / "demo", 12, 1, image_size_px=96)
    else:
        folder = shared_data(request.param)
    split = "train" if request.param == "nuts" else "train2017"
    return Source(folder / split, folder / f"annotations/instances_{split}.json")


def bitmap(annotation, image) -> np.ndarray:
    size = image["height"], image["width"]
    mask = read_mask(annotation["segmentation"], *size).mask
    assert mask is not None
    return mask_utils.decode(rasterize(mask, *size))


def write_voc(source: Source, folder: Path, with_masks: bool) -> None:
    (folder / "masks").mkdir()
    for image, members in source.objects():
        root = ElementTree.Element("annotation")
        ElementTree.SubElement(root, "filename").text = image["file_name"]
        size = ElementTree.SubElement(root, "size")
        for key in ("width", "height"):
            ElementTree.SubElement(size, key).text = str(image[key])
        instances = np.zeros((image["height"], image["width"]), np.uint8)
        for number, annotation in enumerate(members, 1):
            entry = ElementTree.SubElement(root, "object")
            ElementTree.SubElement(entry, "name").text = source.names[annotation["category_id"]]
            ElementTree.SubElement(entry, "difficult").text = str(number % 2)
            x, y, width, height = annotation["bbox"]
            box = ElementTree.SubElement(entry, "bndbox")
            for key, value in zip(("xmin", "ymin", "xmax", "ymax"), (x + 1, y + 1, x + width, y + height)):
                ElementTree.SubElement(box, key).text = repr(value)
            instances[bitmap(annotation, image) > 0] = number
        stem = Path(image["file_name"]).stem
        ElementTree.ElementTree(root).write(folder / f"{stem}.xml")
        if with_masks:
            picture = Image.fromarray(instances).convert("P")
            picture.save(folder / "masks" / f"{stem}.png")


def write_labelme(source: Source, folder: Path) -> None:
    for image, members in source.objects():
        shapes = []
        for number, annotation in enumerate(members):
            label = source.names[annotation["category_id"]]
            if isinstance(annotation["segmentation"], dict):
                mask = bitmap(annotation, image)
                x, y, width, height = map(int, mask_utils.toBbox(mask_utils.encode(np.asfortranarray(mask))))
                part = cv2.imencode(".png", mask[y : y + height, x : x + width] * 255)[1].tobytes()
                shapes.append({
                    "label": label, "shape_type": "mask", "points": [[x, y], [x + width, y + height]],
                    "mask": base64.b64encode(part).decode(), "group_id": None,
                })  # fmt: skip
                continue
            for polygon in annotation["segmentation"]:
                points = np.reshape(polygon, (-1, 2)).tolist()
                shapes.append(
                    {
                        "label": label,
                        "shape_type": "polygon",
                        "points": points,
                        "group_id": number,
                        "flags": {},
                    }
                )
        content = {
            "version": "5.4.1", "imagePath": image["file_name"], "imageData": None, "imageHeight": image["height"],
            "imageWidth": image["width"], "shapes": shapes,
        }  # fmt: skip
        (folder / f"{Path(image['file_name']).stem}.json").write_text(json.dumps(content))


def write_yolo(source: Source, folder: Path, segments: bool) -> None:
    for image, members in source.objects():
        lines = []
        scale = np.array([image["width"], image["height"]])
        for annotation in members:
            x, y, width, height = annotation["bbox"]
            points = np.array([[x + width / 2, y + height / 2], [width, height]])
            if segments:
                points = np.reshape(annotation["segmentation"][0], (-1, 2))
            numbers = " ".join(map(repr, (points / scale).ravel().tolist()))
            lines.append(f"{source.label_of[annotation['category_id']]} {numbers}")
        if lines:
            (folder / f"{Path(image['file_name']).stem}.txt").write_text("\n".join(lines) + "\n")


def compare(source: Source, builder):
    """Yield (image, original, converted) of every object, after comparing images, classes and boxes."""
    content = builder.content
    names = {one["id"]: one["name"] for one in content["categories"]}
    images = {one["file_name"]: one for one in content["images"]}
    converted = defaultdict(list)
    for annotation in content["annotations"]:
        converted[annotation["image_id"]].append(annotation)
    assert len(images) == len(source.content["images"])
    for image, members in source.objects():
        other = images[image["file_name"]]
        assert (other["height"], other["width"]) == (image["height"], image["width"])
        assert len(converted[other["id"]]) == len(members)
        for original, found in zip(members, converted[other["id"]]):
            assert names[found["category_id"]] == source.names[original["category_id"]]
            yield image, original, found


def assert_is_sound(source: Source, builder, tmp_path) -> None:
    """The result passes the check, and is loaded for training."""
    builder.write(tmp_path / "out.json")
    (report,) = check_datasets([DatasetSource(tmp_path / "out.json", source.image_dir)], read_images=False)
    assert report.count("error") == 0
    dataset = COCODataSet("", str(source.image_dir), str(tmp_path / "out.json"), ["image", "gt_bbox", "gt_class"])
    dataset.parse_dataset()
    assert len(dataset) > 0


def test_voc_boxes(source, tmp_path):
    write_voc(source, tmp_path, with_masks=False)
    builder = convert_voc(tmp_path, source.image_dir, list(source.names.values()))
    for _, original, found in compare(source, builder):
        np.testing.assert_allclose(found["bbox"], original["bbox"], atol=2e-3)
        assert found["iscrowd"] == 0 and found["segmentation"] == []
    assert [one["name"] for one in builder.content["categories"]] == list(source.names.values())
    assert_is_sound(source, builder, tmp_path)
    crowds = [
        one["iscrowd"] for one in convert_voc(tmp_path, source.image_dir, ignore_difficult=True).content["annotations"]
    ]
    assert 0 < sum(crowds) < len(crowds)


def test_voc_instances(source, tmp_path):
    write_voc(source, tmp_path, with_masks=True)
    builder = convert_voc(tmp_path, source.image_dir, mask_dir=tmp_path / "masks")
    for entry in builder.content["annotations"]:
        assert mask_utils.area(entry["segmentation"]) == entry["area"] > 0
    hidden = builder.skipped["objects without pixels in SegmentationObject"]
    total = sum(len(members) for _, members in source.objects())
    assert len(builder.content["annotations"]) + hidden == total and hidden < total / 4
    assert_is_sound(source, builder, tmp_path)


def test_labelme(source, tmp_path):
    write_labelme(source, tmp_path)
    builder = convert_labelme(tmp_path, source.image_dir)
    for image, original, found in compare(source, builder):
        # Coordinates are kept to a thousandth of a pixel, which moves a few pixels of an edge.
        mask = bitmap(original, image)
        assert (bitmap(found, image) != mask).sum() <= max(2, 0.002 * mask.sum())
        if isinstance(original["segmentation"], list):
            assert len(found["segmentation"]) == len(original["segmentation"])
            for part, expected in zip(found["segmentation"], original["segmentation"]):
                np.testing.assert_allclose(part, expected, atol=6e-4)
    assert_is_sound(source, builder, tmp_path)


def test_yolo_boxes(source, tmp_path):
    write_yolo(source, tmp_path, segments=False)
    builder = convert_yolo(source.image_dir, tmp_path, list(source.names.values()))
    for _, original, found in compare(source, builder):
        np.testing.assert_allclose(found["bbox"], original["bbox"], atol=2e-3)
    assert_is_sound(source, builder, tmp_path)


def test_yolo_segments(source, tmp_path):
    source = copy.copy(source)
    source.members = defaultdict(list)
    for annotation in source.content["annotations"]:
        # A line of YOLO is one outline.
        if isinstance(annotation["segmentation"], list) and len(annotation["segmentation"]) == 1:
            source.members[annotation["image_id"]].append(annotation)
    write_yolo(source, tmp_path, segments=True)
    builder = convert_yolo(source.image_dir, tmp_path, list(source.names.values()))
    for _, original, found in compare(source, builder):
        np.testing.assert_allclose(found["segmentation"][0], original["segmentation"][0], atol=1e-3)
    assert_is_sound(source, builder, tmp_path)
