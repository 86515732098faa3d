"""The built-in dataset: generated shapes in COCO's format and layout, to try everything without a download."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as mask_utils

from ppdet_res2net.datasets.demo_scenes import CATEGORIES, Instance, draw_scene
from ppdet_res2net.errors import DatasetError
from ppdet_res2net.files import new_folder, remove_abandoned

__all__ = ["make_demo_data"]

# Written into the folder. A folder with an equal recipe is reused. Raise the version when pictures change.
RECIPE_FILE = "demo_dataset.json"
RECIPE_VERSION = 2
SPLITS = ("train2017", "val2017")
MIN_IMAGE_SIZE_PX = 64

# Every so many pictures show no object at all, or (training only) a crowd. Fixed rather than random, so that small sets
# have both.
EMPTY_EVERY = 12
CROWD_EVERY = 25
JPEG_QUALITY = 92
# Masks are traced on an enlarged copy, so that outlines follow the edges of pixels and not their centres.
TRACE_ENLARGEMENT = 4
TRACE_TOLERANCE_PX = 0.72
MIN_PART_AREA_PX = 4.0


@dataclass(frozen=True)
class _Recipe:
    version: int
    train_images: int
    val_images: int
    image_size_px: int
    seed: int


def make_demo_data(
    out_dir: str | os.PathLike,
    train_images: int = 400,
    val_images: int = 80,
    image_size_px: int = 192,
    seed: int = 0,
) -> Path:
    """Write the dataset, or reuse the same one if it is already there.

    The layout is COCO's: ``train2017/``, ``val2017/``, ``annotations/instances_{train,val}2017.json``. Masks
    cover what is visible: polygons, in several parts if an object is cut in two, and run lengths if it has a hole. The
    folder appears under its name only when it is complete. A picture depends only on ``seed`` and its number.

    Args:
        out_dir: Folder to create; it may exist if it is empty.
        train_images: Number of training pictures.
        val_images: Number of validation pictures.
        image_size_px: Long side of the pictures.
        seed: Determines the pictures.

    Returns:
        ``out_dir`` as a path.

    Raises:
        DatasetError: An argument is out of range, the folder cannot be written, or it holds something else.
    """
    out_dir = Path(out_dir)
    recipe = _Recipe(RECIPE_VERSION, train_images, val_images, image_size_px, seed)
    _check_recipe(recipe)
    if _is_reusable(out_dir, recipe):
        return out_dir
    with new_folder(out_dir, "folder", DatasetError) as unfinished_dir:
        _write_dataset(unfinished_dir, recipe)
    return out_dir


def _check_recipe(recipe: _Recipe) -> None:
    minima = {"train_images": 1, "val_images": 1, "image_size_px": MIN_IMAGE_SIZE_PX, "seed": 0}
    for name, minimum in minima.items():
        value = getattr(recipe, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
            raise DatasetError(f"{name} must be a whole number of at least {minimum}, got {value!r}.")


def _is_reusable(out_dir: Path, recipe: _Recipe) -> bool:
    """Return whether ``out_dir`` holds the dataset of ``recipe``; refuse it if it holds anything else."""
    if not out_dir.exists():
        return False
    if not out_dir.is_dir():
        raise DatasetError(f"'{out_dir}' is a file, not a folder. Choose another folder for the demo dataset.")
    remove_abandoned(out_dir)
    if not any(out_dir.iterdir()):
        return False
    advice = "Choose another folder, or remove this one if it is not needed."
    recipe_file = out_dir / RECIPE_FILE
    if not recipe_file.is_file():
        raise DatasetError(f"'{out_dir}' is not empty and was not made by make-demo-data. {advice}")
    try:
        found = json.loads(recipe_file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"'{recipe_file}' cannot be read: {error}. {advice}") from error
    if found != asdict(recipe):
        raise DatasetError(f"'{out_dir}' holds another demo dataset: wanted {asdict(recipe)}, found {found}. {advice}")
    for split, wanted in zip(SPLITS, (recipe.train_images, recipe.val_images)):
        images = len(list((out_dir / split).glob("*.jpg")))
        if images != wanted or not _annotation_file(out_dir, split).is_file():
            raise DatasetError(
                f"the demo dataset in '{out_dir}' has lost files: {split} has {images} of {wanted} images "
                f"and its annotations should be in '{_annotation_file(out_dir, split)}'. Remove the folder "
                "and make it again."
            )
    return True


def _annotation_file(folder: Path, split: str) -> Path:
    return folder / "annotations" / f"instances_{split}.json"


def _write_dataset(folder: Path, recipe: _Recipe) -> None:
    (folder / "annotations").mkdir(parents=True)
    for split_number, (split, images) in enumerate(zip(SPLITS, (recipe.train_images, recipe.val_images))):
        (folder / split).mkdir()
        dataset = {
            "info": {"description": f"Generated shapes, {split}", "version": str(RECIPE_VERSION)},
            "images": [],
            "annotations": [],
            "categories": [
                {"id": category_id, "name": name, "supercategory": "shape"} for category_id, name in CATEGORIES.items()
            ],
        }
        for number in range(images):
            _add_picture(folder / split, dataset, recipe, split_number, number)
        _annotation_file(folder, split).write_text(json.dumps(dataset), encoding="utf-8")
    (folder / RECIPE_FILE).write_text(json.dumps(asdict(recipe), indent=2) + "\n", encoding="utf-8")


def _add_picture(image_dir: Path, dataset: dict, recipe: _Recipe, split_number: int, number: int) -> None:
    rng = np.random.default_rng([recipe.seed, split_number, number])
    picture, instances = draw_scene(
        rng,
        recipe.image_size_px,
        with_objects=number % EMPTY_EVERY != EMPTY_EVERY - 1,
        with_crowd=SPLITS[split_number].startswith("train") and number % CROWD_EVERY == CROWD_EVERY - 1,
    )
    # Ids start high and differ between the splits, as COCO's do: they are not positions in the list.
    image_id = 100_000 * (split_number + 1) + number
    file_name = f"{image_id:012d}.jpg"
    height, width = picture.shape[:2]
    encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    (image_dir / file_name).write_bytes(encoded.tobytes())
    dataset["images"].append({"id": image_id, "file_name": file_name, "height": height, "width": width})
    for instance in instances:
        annotation_id = len(dataset["annotations"]) + 1
        dataset["annotations"].append({"id": annotation_id, "image_id": image_id, **_annotate(instance)})


def _annotate(instance: Instance) -> dict:
    """Return the visible part of ``instance`` as a COCO annotation."""
    height, width = instance.mask.shape
    segmentation = _run_lengths(instance.mask) if instance.is_crowd else _segment(instance.mask)
    runs = mask_utils.frPyObjects(segmentation, height, width)
    merged = mask_utils.merge(runs) if isinstance(runs, list) else runs
    return {
        "category_id": instance.category_id,
        "iscrowd": int(instance.is_crowd),
        "bbox": mask_utils.toBbox(merged).tolist(),
        "area": float(mask_utils.area(merged)),
        "segmentation": segmentation,
    }


def _segment(mask: np.ndarray) -> list[list[float]] | dict:
    """Return the outlines of ``mask`` as polygons, or its run lengths if it has holes, which polygons cannot express."""
    scale = TRACE_ENLARGEMENT
    enlarged = cv2.resize(mask.astype(np.uint8), None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)
    contours, hierarchy = cv2.findContours(enlarged, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    has_hole = bool((hierarchy[0, :, 3] >= 0).any())
    if has_hole:
        return _run_lengths(mask)
    outlines = [cv2.approxPolyDP(contour, TRACE_TOLERANCE_PX * scale, True) for contour in contours]
    minimum = MIN_PART_AREA_PX * scale**2
    parts = [outline for outline in outlines if len(outline) >= 3 and cv2.contourArea(outline) >= minimum]
    # The centre of an enlarged pixel lies half of it from its edge.
    return [np.round((part.reshape(-1) + 0.5) / scale, 2).tolist() for part in parts]


def _run_lengths(mask: np.ndarray) -> dict:
    """Return COCO's uncompressed RLE: runs in column order, the first one counting zeros."""
    column_order = mask.flatten(order="F")
    edges = np.flatnonzero(np.diff(column_order)) + 1
    counts = np.diff(np.concatenate([[0], edges, [column_order.size]])).tolist()
    return {"size": list(mask.shape), "counts": [0, *counts] if column_order[0] else counts}
