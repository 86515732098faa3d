"""Joins annotation files in COCO's format: categories by name, with new ids throughout."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ppdet_res2net.data.annotations import read_annotations, read_json
from ppdet_res2net.data.coco_file import CocoFile
from ppdet_res2net.data.image_names import composed
from ppdet_res2net.errors import DatasetError

__all__ = ["Part", "merge_datasets", "merge_parts"]


@dataclass(frozen=True)
class Part:
    """One of the files to join.

    Attributes:
        path: The file, for messages.
        content: Its content, as it is written.
        file: What it holds.
        folder: What is put before the names of its images, with slashes; empty for nothing.
    """

    path: Path
    content: dict
    file: CocoFile
    folder: str = ""


def _merge_categories(parts: Sequence[Part]) -> tuple[list[dict], list[dict[int, int]]]:
    """Return the categories of all parts, each name once, and for each part its ids as the new ones.

    New ids begin at 1 and follow the order of the first part, then of the next ones.
    """
    merged: dict[str, dict] = {}
    ids: list[dict[int, int]] = []
    for part in parts:
        ids.append({})
        for category in part.file.categories:
            written = part.content["categories"][category.position]
            entry = merged.setdefault(category.name, {**written, "id": len(merged) + 1, "name": category.name})
            ids[-1][category.id] = entry["id"]
    return list(merged.values()), ids


def merge_parts(parts: Sequence[Part]) -> dict:
    """Return the content of one annotation file with the images and annotations of all parts.

    Keys that are not COCO's stay where they are. ``info`` and ``licenses`` are those of the first part.

    Raises:
        DatasetError: Two parts have an image of the same name.
    """
    categories, category_ids = _merge_categories(parts)
    images: list[dict] = []
    annotations: list[dict] = []
    owners: dict[str, Path] = {}
    for part, ids in zip(parts, category_ids):
        image_ids = {}
        for image in part.file.images:
            name = os.path.normpath(f"{part.folder}/{image.file_name}") if part.folder else image.file_name
            owner = owners.setdefault(composed(name), part.path)
            if owner is not part.path:
                raise DatasetError(
                    f"'{owner}' and '{part.path}' both have an image '{name}'. Pass the image folder of each file with "
                    "--images: names then begin with the folder. If it is the same picture, remove it from one of them."
                )
            image_ids[image.id] = len(images) + 1
            images.append({**part.content["images"][image.position], "id": len(images) + 1, "file_name": name})
        for one in part.file.annotations:
            annotations.append(
                {
                    **part.content["annotations"][one.position],
                    "id": len(annotations) + 1,
                    "image_id": image_ids[one.image.id],
                    "category_id": ids[one.category_id],
                }
            )
    return {**parts[0].content, "images": images, "annotations": annotations, "categories": categories}


def merge_datasets(paths: Sequence[Path], image_dirs: Sequence[Path] = ()) -> tuple[dict, Path | None]:
    """Join annotation files.

    Args:
        paths: The files.
        image_dirs: The folder of the images of each. Names of images become relative to the folder that holds all of these.
            Without them, names stay as they are.

    Returns:
        The content of the new file, and the folder that the names of its images are relative to, if it is known.

    Raises:
        DatasetError: A file cannot be read or has errors, a folder is missing, or two files have an image of the same name.
    """
    missing = next((folder for folder in image_dirs if not folder.is_dir()), None)
    if missing is not None:
        raise DatasetError(f"there is no image folder '{missing}'. Check the path.")
    common = Path(os.path.commonpath([os.path.abspath(folder) for folder in image_dirs])) if image_dirs else None
    folders = [os.path.relpath(folder, common).replace(os.sep, "/") for folder in image_dirs] or [""] * len(paths)
    parts = [
        Part(path, read_json(path), read_annotations(path), "" if folder == "." else folder)
        for path, folder in zip(paths, folders, strict=True)
    ]
    return merge_parts(parts), None if common is None else Path(os.path.relpath(common))
