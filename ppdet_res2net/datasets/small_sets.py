"""Small real datasets, written as a folder per class: scikit-learn's digits, and the objects of a COCO dataset."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image

from ppdet_res2net.data.image_names import ImageFolder
from ppdet_res2net.data.transforms import Decode
from ppdet_res2net.errors import DatasetError, SetupError

__all__ = ["write_digits", "write_object_crops"]

_HELD_OUT = 5  # every fifth digit is for validation
_LARGEST_SHADE = 16


def write_digits(output_dir: str | os.PathLike[str]) -> int:
    """Write scikit-learn's 1797 scans of handwritten digits, 8x8 pixels, as ``train/<digit>/`` and ``val/<digit>/``.

    Every fifth is in ``val``. Nothing is downloaded: the scans are part of scikit-learn.

    Returns:
        The number of images.

    Raises:
        DatasetError: The folder cannot be written, or holds something already.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise SetupError(
            "The digits are part of scikit-learn, which is not installed: pip install scikit-learn"
        ) from error
    digits = load_digits()
    root = _new_folder(Path(output_dir))
    for number, (shades, label) in enumerate(zip(digits.images, digits.target)):
        folder = root / ("train" if number % _HELD_OUT else "val") / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        grey = np.rint(shades * (255 / _LARGEST_SHADE)).astype(np.uint8)
        Image.fromarray(grey).save(folder / f"{number:04d}.png")
    return len(digits.target)


def write_object_crops(
    annotation_file: str | os.PathLike[str],
    image_dir: str | os.PathLike[str],
    output_dir: str | os.PathLike[str],
    margin: float = 0.1,
) -> int:
    """Cut the annotated objects out of the images of a COCO dataset, and write them as ``<category>/<id>.png``.

    Args:
        annotation_file: COCO annotations; crowds are left out.
        image_dir: The images.
        output_dir: The new folder, for instance ``crops/train``.
        margin: What is added on each side, as a share of the box's side.

    Returns:
        The number of crops.

    Raises:
        DatasetError: The annotations or an image cannot be read, or the folder cannot be written or is not empty.
    """
    folder = ImageFolder(image_dir)
    try:
        content = json.loads(Path(annotation_file).read_text(encoding="utf-8"))
        names = {category["id"]: category["name"] for category in content["categories"]}
        objects = defaultdict(list)
        for annotation in content["annotations"]:
            if not annotation.get("iscrowd"):
                box = [float(value) for value in annotation["bbox"]]
                objects[annotation["image_id"]].append((annotation["id"], names[annotation["category_id"]], box))
        images = [{**i, "im_file": folder.find(i["file_name"])} for i in content["images"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(
            f"'{annotation_file}' cannot be read as COCO annotations: {error!r}. Check the path."
        ) from error
    root, count = _new_folder(Path(output_dir)), 0
    for image in images:
        if image["im_file"] is None:
            raise DatasetError(f"image id {image['id']}: {folder.explain(image['file_name'])}. Correct the file name.")
        pixels = Decode()({"im_file": image["im_file"], "h": image["height"], "w": image["width"]})["image"]
        for number, name, box in objects[image["id"]]:
            crop = _cut(pixels, box, margin)
            if crop.size:
                (root / name).mkdir(exist_ok=True)
                Image.fromarray(crop).save(root / name / f"{number}.png")
                count += 1
    return count


def _cut(pixels: np.ndarray, box_xywh: list[float], margin: float) -> np.ndarray:
    x, y, width, height = box_xywh
    left, right = np.clip([x - margin * width, x + (1 + margin) * width], 0, pixels.shape[1]).round().astype(int)
    top, bottom = np.clip([y - margin * height, y + (1 + margin) * height], 0, pixels.shape[0]).round().astype(int)
    return np.ascontiguousarray(pixels[top:bottom, left:right])


def _new_folder(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise DatasetError(f"The folder '{folder}' is not empty. Choose a new one, or remove it.")
    except OSError as error:
        raise DatasetError(f"The folder '{folder}' cannot be written: {error}. Choose another one.") from error
    return folder
