"""Annotation files as the tools that people label with export them, in their real form. Each function returns the content."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["EXPORTS", "HEIGHT", "WIDTH", "label_studio"]

HEIGHT, WIDTH = 40, 60
BOX = [10.0, 10.0, 10.0, 10.0]
POLYGON = [10.0, 10.0, 20.0, 10.0, 20.0, 20.0, 10.0, 20.0]


def roboflow() -> dict:
    """Ids count from 0, and category 0 is the name of the project, with no objects."""
    return {
        "info": {"year": "2024", "version": "1", "description": "Exported from roboflow.com", "contributor": "", "url": ""},
        "licenses": [{"id": 1, "url": "", "name": "CC BY 4.0"}],
        "categories": [
            {"id": 0, "name": "fruit", "supercategory": "none"},
            {"id": 1, "name": "apple", "supercategory": "fruit"},
        ],
        "images": [{"id": 0, "license": 1, "file_name": "a.png", "height": HEIGHT, "width": WIDTH, "date_captured": ""}],
        "annotations": [
            {"id": 0, "image_id": 0, "category_id": 1, "bbox": BOX, "area": 100, "segmentation": [POLYGON], "iscrowd": 0}
        ],
    }  # fmt: skip


def cvat() -> dict:
    """A box has an empty segmentation, a mask is run lengths with iscrowd 1 (CVAT's way to write brushed masks)."""
    return {
        "licenses": [{"name": "", "id": 0, "url": ""}],
        "info": {"contributor": "", "date_created": "", "description": "", "url": "", "version": "", "year": ""},
        "categories": [{"id": 1, "name": "apple", "supercategory": ""}],
        "images": [
            {"id": 1, "width": WIDTH, "height": HEIGHT, "file_name": "a.png", "license": 0, "flickr_url": "", "coco_url": "",
             "date_captured": 0}
        ],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [POLYGON], "area": 100.0, "bbox": BOX, "iscrowd": 0,
             "attributes": {"occluded": False}},
            {"id": 2, "image_id": 1, "category_id": 1, "segmentation": [], "area": 100.0, "bbox": [30.0, 10.0, 10.0, 10.0],
             "iscrowd": 0, "attributes": {"occluded": False, "rotation": 0.0}},
            {"id": 3, "image_id": 1, "category_id": 1, "area": 40.0, "bbox": [0.0, 0.0, 1.0, 40.0], "iscrowd": 1,
             "segmentation": {"counts": [0, 40, WIDTH * HEIGHT - 40], "size": [HEIGHT, WIDTH]},
             "attributes": {"occluded": False}},
        ],
    }  # fmt: skip


def label_studio() -> dict:
    """Ids count from 0; ignore and iscrowd are both there. File names begin with the folder of the export."""
    return {
        "images": [{"width": WIDTH, "height": HEIGHT, "id": 0, "file_name": "images/a.png"}],
        "categories": [{"id": 0, "name": "apple"}],
        "annotations": [
            {"id": 0, "image_id": 0, "category_id": 0, "segmentation": [POLYGON], "bbox": BOX, "ignore": 0, "iscrowd": 0,
             "area": 100.0},
            {"id": 1, "image_id": 0, "category_id": 0, "segmentation": [], "bbox": [30.0, 10.0, 10.0, 10.0], "ignore": 0,
             "iscrowd": 0, "area": 100.0},
        ],
        "info": {"year": 2024, "version": "1.0", "description": "", "contributor": "Label Studio", "url": "",
                 "date_created": "2024-05-01 10:00:00"},
    }  # fmt: skip


def via() -> dict:
    """Ids of images are text, polygons are a flat list of whole numbers."""
    return {
        "info": {"year": 2024, "version": "1", "description": "", "contributor": "", "url": "", "date_created": ""},
        "images": [
            {"id": "0", "width": WIDTH, "height": HEIGHT, "file_name": "a.png", "license": 1, "flickr_url": "a.png",
             "coco_url": "a.png", "date_captured": ""}
        ],
        "annotations": [
            {"id": 0, "image_id": "0", "category_id": 1, "segmentation": list(map(int, POLYGON)), "area": 100,
             "bbox": [10, 10, 10, 10], "iscrowd": 0}
        ],
        "licenses": [{"id": 1, "name": "Unknown", "url": ""}],
        "categories": [{"supercategory": "fruit", "id": 1, "name": "apple"}],
    }  # fmt: skip


def fiftyone() -> dict:
    """What was never set is null, and the category ids count from 0."""
    return {
        "info": {"year": "", "version": "", "description": "Exported from FiftyOne", "contributor": "", "url": "",
                 "date_created": "2024-05-01T10:00:00"},
        "licenses": [],
        "categories": [{"id": 0, "name": "apple", "supercategory": None}],
        "images": [{"id": 1, "file_name": "a.png", "height": HEIGHT, "width": WIDTH, "license": None, "coco_url": None}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 0, "bbox": BOX, "area": None, "iscrowd": None, "segmentation": [POLYGON]},
            {"id": 2, "image_id": 1, "category_id": 0, "bbox": [30.0, 10.0, 10.0, 10.0], "segmentation": None, "area": 100.0,
             "iscrowd": 0},
        ],
    }  # fmt: skip


def via_with_points() -> dict:
    """As newer versions of VIA write: a region with two attributes is there twice, a point has empty lists."""
    region = {
        "segmentation": [POLYGON],
        "area": 100,
        "bbox": BOX,
        "iscrowd": 0,
        "id": 1,
        "image_id": 1,
        "category_id": 1,
    }
    return {
        "info": {"year": 2024, "version": "1.0", "description": "VIA project exported to COCO format", "contributor": ""},
        "images": [
            {"id": 1, "width": WIDTH, "height": HEIGHT, "file_name": "a.png", "license": 0, "flickr_url": "a.png",
             "coco_url": "a.png", "date_captured": ""}
        ],
        "annotations": [
            region,
            dict(region),
            {"segmentation": [[]], "area": [], "bbox": [], "iscrowd": 0, "keypoints": [3, 4, 2], "num_keypoints": 1, "id": 3,
             "image_id": 1, "category_id": 1},
        ],
        "licenses": [{"id": 0, "name": "Unknown License", "url": ""}],
        "categories": [{"supercategory": "fruit", "id": 1, "name": "apple"}],
    }  # fmt: skip


def coco_annotator() -> dict:
    """Flags are booleans, and what has only key points has a box of zeros."""
    common = {"image_id": 7, "category_id": 3, "dataset_id": 1, "iscrowd": False, "isbbox": False, "width": WIDTH,
              "height": HEIGHT, "color": "#a1b2c3", "metadata": {}}  # fmt: skip
    return {
        "info": {"description": "COCO Annotator"},
        "images": [
            {"id": 7, "dataset_id": 1, "category_ids": [3], "path": "/datasets/x/a.png", "width": WIDTH, "height": HEIGHT,
             "file_name": "a.png", "annotated": False, "num_annotations": 2, "metadata": {}, "milliseconds": 0}
        ],
        "categories": [{"id": 3, "name": "apple", "supercategory": "", "color": "#a1b2c3", "metadata": {}}],
        "annotations": [
            {"id": 1, "segmentation": [POLYGON], "area": 100, "bbox": BOX, **common},
            {"id": 2, "segmentation": [], "area": 0, "bbox": [0, 0, 0, 0], "keypoints": [5, 5, 2], **common},
        ],
    }  # fmt: skip


def make_sense() -> dict:
    """Ids of annotations count from 0, those of images and categories from 1."""
    return {
        "info": {"description": "my-project-name"},
        "images": [{"id": 1, "width": WIDTH, "height": HEIGHT, "file_name": "a.png"}],
        "annotations": [
            {"id": 0, "iscrowd": 0, "image_id": 1, "category_id": 1, "segmentation": [POLYGON], "bbox": BOX, "area": 100}
        ],
        "categories": [{"id": 1, "name": "apple"}],
    }  # fmt: skip


def darwin() -> dict:
    """Ids are check sums; an object of several parts is run lengths with iscrowd 1 and area 0."""
    image, category = 3421780262, 2943218873
    return {
        "info": {"description": "Exported from Darwin", "url": "n/a", "version": "n/a", "year": 2024, "contributor": "n/a"},
        "licenses": [{"url": "n/a", "id": 0, "name": "placeholder license"}],
        "images": [
            {"license": 0, "file_name": "a.png", "coco_url": "n/a", "height": HEIGHT, "width": WIDTH, "date_captured": "",
             "flickr_url": "n/a", "darwin_url": None, "id": image, "tag_ids": []}
        ],
        "annotations": [
            {"id": 1, "image_id": image, "category_id": category, "segmentation": [POLYGON], "area": 100.0, "bbox": BOX,
             "iscrowd": 0, "extra": {}},
            {"id": 2, "image_id": image, "category_id": category, "area": 0, "bbox": [0.0, 0.0, 1.0, 40.0], "iscrowd": 1,
             "segmentation": {"counts": [0, 40, WIDTH * HEIGHT - 40], "size": [HEIGHT, WIDTH]}, "extra": {}},
        ],
        "categories": [{"id": category, "name": "apple", "supercategory": "root"}],
        "tag_categories": [],
    }  # fmt: skip


# The export, how many objects are trained with masks, how many are scored, and how many --fix keeps.
EXPORTS: list[tuple[Callable[[], dict], int, int, int]] = [
    (roboflow, 1, 1, 1), (cvat, 1, 3, 3), (label_studio, 1, 2, 2), (via, 1, 1, 1), (via_with_points, 2, 2, 1),
    (fiftyone, 1, 2, 2), (coco_annotator, 1, 1, 1), (make_sense, 1, 1, 1), (darwin, 1, 2, 2),
]  # fmt: skip
