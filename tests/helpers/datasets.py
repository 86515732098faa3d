"""Datasets for tests: shared photos if available, a loader over the demo data, and a rotated picture."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as mask_utils

from ppdet_res2net.data.coco import COCODataSet
from ppdet_res2net.data.loader import BatchLoader

FIELDS = ["image", "gt_bbox", "gt_class", "is_crowd", "gt_poly"]
SAMPLE_TRANSFORMS = [
    {"Decode": None},
    {"RandomResize": {"target_size": [[64, 96], [80, 112]], "keep_ratio": True, "interp": 2}},
    {"RandomFlip": {"prob": 0.5}},
    {"NormalizeImage": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "is_scale": True}},
    {"Permute": {}},
]
BATCH_TRANSFORMS = [{"PadBatch": {"pad_to_stride": 32}}]


def shared_data(name: str) -> Path:
    root = Path(os.environ.get("RES2NET_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
    if not (root / name).is_dir():
        pytest.skip(f"{root / name} is not there; set RES2NET_SHARED_DATA to the folder that holds {name}")
    return root / name


def dataset_in(folder, **options) -> COCODataSet:
    arguments = {"data_fields": FIELDS, "load_crowd": True, "allow_empty": True, **options}
    return COCODataSet(str(folder), "train2017", "annotations/instances_train2017.json", **arguments)


def loader_for(dataset, sample_transforms=SAMPLE_TRANSFORMS, batch_transforms=BATCH_TRANSFORMS, **options):
    arguments = {
        "batch_size": 2, "shuffle": True, "drop_last": False, "num_workers": 0, "seed": 7, "num_classes": 3,
        **options,
    }  # fmt: skip
    return BatchLoader(dataset, sample_transforms, batch_transforms, **arguments)


def with_run_length_mask(folder, box, hole=None):
    """Return a dataset of one image with one object, whose mask is run lengths, and the mask as uint8 (H, W).

    Args:
        folder: The dataset to take the image from.
        box: x0, y0, x1, y1 of the object, which fills it, in whole pixels.
        hole: The same for what is left out of it.
    """
    dataset = dataset_in(folder, sample_num=1)
    dataset.parse_dataset()
    record = dataset.roidbs[0]
    mask = np.zeros((int(record["h"]), int(record["w"])), np.uint8)
    for (x0, y0, x1, y1), value in ((box, 1), (hole or (0, 0, 0, 0), 0)):
        mask[y0:y1, x0:x1] = value
    record.update(
        gt_bbox=np.array([box], np.float32), gt_class=np.zeros((1, 1), np.int32),
        is_crowd=np.zeros((1, 1), np.int32), gt_poly=[mask_utils.encode(np.asfortranarray(mask))],
    )  # fmt: skip
    return dataset, mask


@pytest.fixture
def turned_jpeg(tmp_path):
    """Path of a JPEG stored as 40x20 (width x height), red on its left half, whose EXIF orientation turns it by 90 degrees."""
    stored = np.zeros((20, 40, 3), np.uint8)
    stored[:, :20] = (0, 0, 255)
    encoded = cv2.imencode(".jpg", stored)[1].tobytes()
    orientation = b"\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00"
    exif = b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x01" + orientation + b"\x00\x00\x00\x00"
    path = tmp_path / "turned.jpg"
    path.write_bytes(encoded[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + encoded[2:])
    return str(path)
