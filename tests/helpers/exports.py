"""Annotation files as the tools that people label with export them, in their real form. Each function returns the content."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["EXPORTS", "HEIGHT", "WIDTH"]

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
    """Ids count from 0; ignore and iscrowd are both there."""
    return {
        "images": [{"width": WIDTH, "height": HEIGHT, "id": 0, "file_name": "a.png"}],
        "categories": [{"id": 0, "name": "apple"}],
        "annotations": [
            {"id": 0, "image_id": 0, "category_id": 0, "segmentation": [POLYGON], "bbox": BOX, "ignore": 0, "iscrowd": 0,
             "area": 100.0}
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


# The export, how many objects are trained with masks, and how many are scored.
EXPORTS: list[tuple[Callable[[], dict], int, int]] = [
    (roboflow, 1, 1), (cvat, 1, 3), (label_studio, 1, 1), (via, 1, 1), (fiftyone, 1, 2),
]  # fmt: skip
