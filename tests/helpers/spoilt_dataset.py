"""Shared by the tests of check-dataset: a small dataset, and a list of ways to spoil it."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import cv2
import numpy as np

from ppdet_res2net.data.problems import Finding
from ppdet_res2net.datasets.check import DatasetSource, check_datasets, fix_dataset

HEIGHT, WIDTH = 40, 60
SQUARE = [[10.0, 10.0, 20.0, 10.0, 20.0, 20.0, 10.0, 20.0]]


class Dataset:
    """A small dataset on disk, for tests to spoil."""

    def __init__(self, folder: Path, images: int = 4) -> None:
        self.images_dir, self.file = folder / "images", folder / "all.json"
        self.images_dir.mkdir(parents=True)
        rng = np.random.RandomState(len(str(folder)))
        self.content = {"images": [], "annotations": [], "categories": [{"id": 3, "name": "apple"}]}
        for number in range(1, images + 1):
            name = f"{number}.png"
            cv2.imwrite(str(self.images_dir / name), rng.randint(0, 255, (HEIGHT, WIDTH, 3), np.uint8))
            self.content["images"].append({"id": number, "file_name": name, "height": HEIGHT, "width": WIDTH})
            self.annotate(number)

    def annotate(self, image_id=1, **changes) -> dict:
        annotation = {
            "id": len(self.content["annotations"]) + 11, "image_id": image_id, "category_id": 3, "iscrowd": 0,
            "bbox": [10, 10, 10, 10], "area": 100, "segmentation": copy.deepcopy(SQUARE), **changes,
        }  # fmt: skip
        self.content["annotations"].append(annotation)
        return annotation

    def check(self, **options):
        self.file.write_text(json.dumps(self.content))
        (report,) = check_datasets([DatasetSource(self.file, self.images_dir, **options)])
        return report

    def fix(self, with_masks=True):
        fixed = self.file.with_name("fixed.json")
        changes = fix_dataset(self.check(with_masks=with_masks), fixed)
        (report,) = check_datasets([DatasetSource(fixed, self.images_dir)])
        return "\n".join(changes), report, json.loads(fixed.read_text())

    def arguments(self, *others) -> list[str]:
        self.file.write_text(json.dumps(self.content))
        return ["check-dataset", "--annotations", str(self.file), "--images", str(self.images_dir), *others]


def found(report) -> dict[str, list[Finding]]:
    """Return the findings by code, without those that every small dataset has."""
    return {problem.code: findings for problem, findings in report.groups.items() if problem.code != "rare-category"}


def ids(report, code) -> list:
    return [finding.subject_id for finding in found(report)[code]]


def spoil_box(**changes):
    return lambda data: data.annotate(**changes)


def rle(*counts, size=(HEIGHT, WIDTH)) -> dict:
    return {"size": list(size), "counts": list(counts)}


# Change of the dataset -> code, subject id, words of the detail
CASES = {
    "box of zero width": (spoil_box(bbox=[5, 5, 0, 9]), "empty-box", 15, "[5, 5, 0, 9]"),
    "box of negative height": (spoil_box(bbox=[5, 5, 4, -9]), "empty-box", 15, "[5, 5, 4, -9]"),
    "box outside": (spoil_box(bbox=[90, 5, 5, 5]), "box-outside", 15, "in an image of 60x40"),
    "box not a number": (spoil_box(bbox=[1, float("nan"), 5, 5]), "no-box", 15, "nan"),
    "no box": (spoil_box(bbox=None), "no-box", 15, "bbox None"),
    "box reaching out": (
        spoil_box(bbox=[50, 30, 30, 5], segmentation=[[50, 30, 60, 30, 60, 35]]), "box-cut", 15, "60x40",
    ),
    "two corners": (spoil_box(segmentation=[[1, 2, 3, 4]]), "no-mask", 15, "four numbers"),
    "one point": (spoil_box(segmentation=[[1, 2]]), "no-mask", 15, "fewer than three points"),
    "no mask": (spoil_box(segmentation=[]), "no-mask", 15, "no segmentation"),
    "a part of two points": (spoil_box(segmentation=[*SQUARE, [1, 2, 3, 4]]), "unusable-polygon", 15, "1 of its 2"),
    "run lengths of another size": (spoil_box(segmentation=rle(100, size=(10, 10))), "no-mask", 15, "[10, 10]"),
    "too few run lengths": (spoil_box(segmentation=rle(100, 20)), "no-mask", 15, "do not add up"),
    "mask elsewhere": (
        spoil_box(area=45, segmentation=[[40, 30, 50, 30, 50, 39]]), "box-mask-differ", 15, "box around the mask [40.0, 30.0",
    ),
    "mask beyond the image": (
        spoil_box(bbox=[40, 10, 20, 10], segmentation=[[40, 10, 70, 10, 70, 20, 40, 20]]), "mask-outside", 15, "by 10",
    ),
    "wrong area": (spoil_box(bbox=[11, 10, 10, 10], area=5000), "area-differs", 15, "area 5000, measured 100"),
    "thin box": (spoil_box(bbox=[10, 10, 1, 10]), "tiny-box", 15, "1.0 x 10.0"),
    "copy": (spoil_box(), "repeated-annotation", 15, "of annotation id 11"),
    "unknown category": (spoil_box(category_id=8), "unknown-category", 15, "category id is 8; the file defines 3"),
    "category that is a list": (spoil_box(category_id=[3]), "unknown-category", 15, "[3]"),
    "unlisted image": (spoil_box(image_id=99), "unlisted-image", 15, "image id is 99"),
    "repeated id": (spoil_box(id=11, bbox=[1, 1, 5, 5]), "repeated-annotation-id", 11, "entry 4"),
    "no id": (spoil_box(id=None), "annotation-without-id", None, "the id None"),
    "repeated image": (
        lambda data: data.content["images"].append(dict(data.content["images"][0])), "repeated-image-id", 1, "entry 4",
    ),
    "listed twice": (
        lambda data: (data.content["images"].append({**data.content["images"][0], "id": 7}), data.annotate(7)),
        "image-listed-twice", 7, "'1.png', also image id 1",
    ),
    "no size": (lambda data: data.content["images"][1].pop("width"), "image-without-size", 2, "width None"),
    "no file name": (lambda data: data.content["images"][1].pop("file_name"), "image-without-file-name", 2, "None"),
    "no objects": (lambda data: data.content["annotations"].pop(), "image-without-objects", 4, "'4.png'"),
    "unused category": (
        lambda data: data.content["categories"].append({"id": 5, "name": "pear"}), "unused-category", 5, "'pear'",
    ),
    "shared name": (
        lambda data: data.content["categories"].append({"id": 5, "name": "Apple "}), "shared-category-name", 5,
        "'Apple ', and category id 3 is 'apple'",
    ),
    "category without name": (
        lambda data: data.content["categories"].append({"id": 5}), "category-without-name", 5, "None",
    ),
    "missing file": (lambda data: (data.images_dir / "2.png").unlink(), "missing-image", 2, "2.png'"),
    "file elsewhere": (
        lambda data: (data.images_dir / "2.png").rename(data.images_dir / "2.PNG"), "missing-image", 2, "there is '2.PNG'",
    ),
    "no image": (
        lambda data: (data.images_dir / "2.png").write_bytes(b"no image"), "unreadable-image", 2, "Cannot decode image",
    ),
    "empty file": (
        lambda data: (data.images_dir / "2.png").write_bytes(b""), "unreadable-image", 2, "is empty (0 bytes)",
    ),
    "another size": (
        lambda data: data.content["images"][1].update(width=30, height=20), "size-differs", 2,
        "60x40 pixels (width x height), but the annotation file says 30x20",
    ),
    "same picture": (
        lambda data: (data.images_dir / "3.png").write_bytes((data.images_dir / "2.png").read_bytes()), "same-picture",
        3, "'3.png' is the same file as",
    ),
}  # fmt: skip
