"""mmdetection's detectors with synthetic weights under its own names, and a comparison with what its own code finds."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
from paddle import nn
from pycocotools import mask as coco_mask

from ppdet_res2net.config import Config, load_config
from ppdet_res2net.detection.model import Classes
from ppdet_res2net.ppdet_modules.registry import create_from_config
from ppdet_res2net.zoo.catalog import get_model_spec
from ppdet_res2net.zoo.coco_categories import COCO_CATEGORIES
from ppdet_res2net.zoo.load import load_into
from ppdet_res2net.zoo.weights import to_our_names
from res2net_runtime.results import Detections
from tests.goldens.source_names import mmdet_detector_shapes
from tests.goldens.synthetic import (
    PHOTO_SCALE,
    PHOTO_SHAPES,
    make_detector_tensor,
    make_photo,
    without_random_weights,
)

GOLDEN = json.loads((Path(__file__).parents[1] / "goldens" / "mmdet_detectors.json").read_text())
CLASSES = Classes(tuple(COCO_CATEGORIES.values()), tuple(COCO_CATEGORIES))
LIMITS = {"box_px": 0.01, "score": 2e-4, "mask_iou": 0.98}


def make_config(name: str) -> Config:
    """Return the recipe of a detector; only its images are smaller, as 800 x 1333 pixels would take minutes."""
    config = load_config(get_model_spec(name).recipe, ["use_gpu=false", "pretrain_weights=null"])
    for operator in config["TestReader"]["sample_transforms"]:
        if "Resize" in operator:
            operator["Resize"]["target_size"] = list(reversed(PHOTO_SCALE))
    return config


def create_detector(name: str, config: Config) -> nn.Layer:
    """Return a detector of a recipe with the weights of mmdetection, which come under mmdetection's names."""
    shapes = mmdet_detector_shapes(get_model_spec(name))
    tensors = {key: make_detector_tensor(key, shape) for key, shape in shapes.items() if "num_batches" not in key}
    with without_random_weights():
        detector = create_from_config(config, config["architecture"])
    load_into(detector, to_our_names(tensors))
    detector.eval()
    return detector


def write_photos(folder: Path) -> list[Path]:
    """Write the photos of the goldens."""
    paths = [folder / f"{number}.png" for number in range(len(PHOTO_SHAPES))]
    for number, path in enumerate(paths):
        cv2.imwrite(str(path), make_photo(number, PHOTO_SHAPES[number]))
    return paths


def differences(found: Detections, golden: dict) -> list[str]:
    """List what is beyond the limits; every detection of one side needs its own counterpart on the other."""
    wrong = []
    if len(found) != len(golden["scores"]):
        wrong.append(f"{len(found)} detections instead of {len(golden['scores'])}")
    free = np.ones(len(found), bool)
    masks = [one["segmentation"] for one in found.to_coco(0)] if found.masks is not None else None
    for number, (box, score, label) in enumerate(zip(golden["boxes"], golden["scores"], golden["labels"])):
        box_px = np.abs(found.boxes_xyxy - np.float32(box)).max(axis=1, initial=0)
        fits = free & (found.labels == label) & (np.abs(found.scores - score) < LIMITS["score"])
        fits &= box_px < LIMITS["box_px"]
        if not fits.any():
            wrong.append(f"no counterpart of {label} {score:.4f} {np.round(box, 2)}")
            continue
        match = int(np.where(fits, box_px, np.inf).argmin())
        free[match] = False
        # Whether a row of pixels belongs to a box that is flatter than a pixel may hang on the last bits of its corners.
        is_flat = min(box[2] - box[0], box[3] - box[1]) < 1
        if masks is not None and "masks" in golden and not is_flat:
            theirs = {"size": golden["size"], "counts": golden["masks"][number]}
            if _are_different(masks[match], theirs):
                wrong.append(f"another mask of {label} {score:.4f} {np.round(box, 2)}")
    return wrong


def _are_different(one: dict, other: dict) -> bool:
    union = coco_mask.area(coco_mask.merge([one, other]))
    common = coco_mask.area(coco_mask.merge([one, other], intersect=True))
    return bool(common < LIMITS["mask_iou"] * union)
