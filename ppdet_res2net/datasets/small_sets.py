"""Small real datasets, written as a folder per class: scikit-learn's digits, and the objects of a COCO dataset."""

from __future__ import annotations

import logging
import os
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ppdet_res2net.commands import command_line
from ppdet_res2net.data.annotations import read_annotations
from ppdet_res2net.data.coco_file import CocoImage
from ppdet_res2net.data.image_names import ImageFolder
from ppdet_res2net.data.instances import select_instances
from ppdet_res2net.data.transforms import Decode
from ppdet_res2net.errors import DatasetError, SetupError
from ppdet_res2net.files import new_folder
from res2net_runtime.texts import clip

__all__ = ["folder_names", "write_digits", "write_object_crops"]

logger = logging.getLogger(__name__)

_NOT_IN_NAMES = '/\\:*?"<>|'
# Names that Windows gives to devices, in any folder and with any suffix.
_RESERVED = {"CON", "PRN", "AUX", "NUL", *(f"{port}{number}" for port in ("COM", "LPT") for number in range(10))}
_MAX_NAME_BYTES = 120

_SHOWN_IDS = 10

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
    with new_folder(output_dir, "DIR", DatasetError) as root:
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

    A category whose name cannot be a folder's gets a folder with a similar name; the log says which.

    Args:
        annotation_file: COCO annotations; crowds, ignored objects and those without a usable box are left out.
        image_dir: The images.
        output_dir: The new folder, for instance ``crops/train``.
        margin: What is added on each side, as a share of the box's side.

    Returns:
        The number of crops.

    Raises:
        DatasetError: The annotations or an image cannot be read, no object can be cut out, or the folder cannot be written or
            is not empty.
    """
    file = read_annotations(annotation_file)
    source = os.fspath(annotation_file)
    selection = select_instances(file.annotations, with_masks=False, load_crowd=False, source=source)
    objects = defaultdict(list)
    for annotation in selection.annotations:
        objects[annotation.image.id].append(annotation)
    folders = folder_names([category.name for category in file.categories])
    folder_of = {category.id: folder for category, folder in zip(file.categories, folders)}
    for category, folder in zip(file.categories, folders):
        if folder != category.name:
            logger.warning(
                "the objects of class '%s' are in the folder '%s': its name cannot be a folder's",
                clip(category.name),
                folder,
            )
    if not objects:
        check = command_line("check-dataset", "--annotations", Path(source), "--images", Path(image_dir))
        raise DatasetError(
            f"'{source}' has no object that can be cut out. '{check}' says what is wrong with its annotations."
        )
    images = [image for image in file.images if image.id in objects]
    paths = _find_images(images, image_dir)
    count, tiny = 0, []
    with new_folder(output_dir, "DIR", DatasetError) as root:
        for image, path in zip(images, paths):
            try:
                pixels = Decode()({"im_file": path, "h": image.height, "w": image.width})["image"]
            except DatasetError as error:
                raise DatasetError(f"image id {image.id} ('{path}'): {error}") from error
            for annotation in objects[image.id]:
                crop = _cut(pixels, annotation.box_xywh or (), margin)
                if not crop.size:
                    tiny.append(annotation.id)
                    continue
                class_dir = root / folder_of[annotation.category_id]
                class_dir.mkdir(exist_ok=True)
                Image.fromarray(crop).save(class_dir / f"{annotation.id}.png")
                count += 1
        if not count:
            raise DatasetError(f"'{source}': all boxes are smaller than a pixel, so there is nothing to write.")
    if tiny:
        ids = ", ".join(map(str, tiny[:_SHOWN_IDS])) + ", ..." * (len(tiny) > _SHOWN_IDS)
        logger.warning(
            "'%s': boxes without a whole pixel, which were left out: %d (annotation ids %s)", source, len(tiny), ids
        )
    return count


def _find_images(images: Sequence[CocoImage], image_dir: str | os.PathLike[str]) -> list[str]:
    folder = ImageFolder(image_dir)
    if not Path(image_dir).is_dir():
        raise DatasetError(f"there is no image folder '{os.fspath(image_dir)}'. Pass the folder of the images.")
    paths = [folder.find(image.file_name) for image in images]
    missing = [image for image, path in zip(images, paths) if path is None]
    if missing:
        more = f" ({len(missing)} of {len(images)} files are missing)" if len(missing) > 1 else ""
        first = missing[0]
        raise DatasetError(f"image id {first.id}: {folder.explain(first.file_name)}{more}. Correct the file name.")
    return [path for path in paths if path is not None]


def folder_names(names: Sequence[str]) -> list[str]:
    """Return a name for the folder of each class: its own where every file system takes it, or else one like it.

    A class name is text from a file, and never a path. Different names get different folders, also on file systems that
    ignore case; equal names share one.
    """
    folder_of: dict[str, str] = {}
    taken: set[str] = set()
    safe = {name: _safe_name(name) for name in names}
    # Names that need no change come first, so that they keep their folder.
    for name in sorted(safe, key=lambda one: safe[one] != one):
        folder, number = safe[name], 1
        while unicodedata.normalize("NFC", folder).casefold() in taken:
            number += 1
            folder = f"{safe[name]}_{number}"
        taken.add(unicodedata.normalize("NFC", folder).casefold())
        folder_of[name] = folder
    return [folder_of[name] for name in names]


def _safe_name(name: str) -> str:
    kept = "".join("_" if one in _NOT_IN_NAMES or unicodedata.category(one)[0] == "C" else one for one in name).strip()
    kept = kept.encode("utf-8")[:_MAX_NAME_BYTES].decode("utf-8", "ignore").rstrip(". ")
    is_reserved = kept.partition(".")[0].rstrip().upper() in _RESERVED
    return f"_{kept}" if is_reserved or not kept or kept.startswith(".") else kept


def _cut(pixels: np.ndarray, box_xywh: Sequence[float], margin: float) -> np.ndarray:
    x, y, width, height = box_xywh
    left, right = np.clip([x - margin * width, x + (1 + margin) * width], 0, pixels.shape[1]).round().astype(int)
    top, bottom = np.clip([y - margin * height, y + (1 + margin) * height], 0, pixels.shape[0]).round().astype(int)
    return np.ascontiguousarray(pixels[top:bottom, left:right])
