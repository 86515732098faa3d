"""The structure of an annotation file: ids, names, sizes and references. Training refuses files where it is wrong."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Container, Iterator
from typing import TypeGuard

from ppdet_res2net.data.problems import ERROR, NOTE, WARNING, Finding, Problem, list_first

__all__ = ["find_structure_problems", "get_size", "is_box", "is_number", "keep_first", "refers_to"]

REFUSED = "are refused"

# Singular and plural of the entries of the three lists.
PLURALS = {"image": "images", "annotation": "annotations", "category": "categories"}

NO_ID = {
    what: Problem(
        f"{what}-without-id",
        ERROR,
        f"{many} whose id is not a whole number",
        REFUSED,
        "Number them: annotations refer to images and categories by id.",
        what,
    )
    for what, many in PLURALS.items()
}
REPEATED_ID = {
    what: Problem(
        f"repeated-{what}-id",
        ERROR,
        f"{many} that repeat the id of an earlier one",
        REFUSED,
        "Give them new ids. Merged files often have this problem.",
        what,
    )
    for what, many in PLURALS.items()
}
NO_CATEGORY_NAME = Problem(
    "category-without-name", ERROR, "categories without a name", REFUSED, "Give each of them a name.", "category"
)
SHARED_NAME = Problem(
    "shared-category-name",
    WARNING,
    "categories with the same name as an earlier one (ignoring case and spaces)",
    "are treated as separate classes",
    "If they are the same class, give all their annotations one category id and remove the other category.",
    "category",
)
NO_FILE_NAME = Problem(
    "image-without-file-name",
    ERROR,
    "images without file_name",
    REFUSED,
    "Write the name of the image file.",
    "image",
)
NO_IMAGE_SIZE = Problem(
    "image-without-size",
    ERROR,
    "images without a valid width and height",
    REFUSED,
    "Write the size of the image file there: boxes cannot be checked without it.",
    "image",
)
UNKNOWN_CATEGORY = Problem(
    "unknown-category",
    ERROR,
    "annotations of a category that the file does not define",
    REFUSED,
    "Add the category, or remove these annotations.",
)
UNLISTED_IMAGE = Problem(
    "unlisted-image",
    WARNING,
    "annotations of images that the file does not list",
    "are not used",
    "Add the images to the file, or remove these annotations.",
)
NO_CROWD_FLAG = Problem(
    "no-iscrowd",
    NOTE,
    "annotations without iscrowd",
    "are treated as single objects (iscrowd 0)",
    "Write iscrowd: 0.",
)
NO_AREA = Problem(
    "no-area",
    NOTE,
    "annotations without area",
    "get the area of their mask, or else of their box",
    "Write area: evaluation uses it to sort objects into small, medium and large.",
)


def find_structure_problems(dataset: dict) -> Iterator[Finding]:
    """Find what training refuses in the entries of an annotation file, and missing values that it fills in.

    Args:
        dataset: Lists of dicts ``images`` and ``categories``, and maybe ``annotations``.

    Yields:
        Findings: first of categories, then of images, then of annotations.
    """
    yield from _check_categories(dataset["categories"])
    yield from _check_images(dataset["images"])
    yield from _check_annotations(dataset)


def get_size(image: dict) -> tuple[int, int] | None:
    """Return (height, width) of an image entry, or None if they are missing or not positive numbers."""
    height, width = image.get("height"), image.get("width")
    if is_number(height) and is_number(width) and height >= 1 and width >= 1:
        return int(height), int(width)
    return None


def is_number(value: object) -> TypeGuard[float]:
    """Return whether ``value`` is a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def is_box(value: object) -> TypeGuard[list[float]]:
    """Return whether ``value`` is a list of four finite numbers, as ``bbox`` must be. They may still describe no area."""
    return isinstance(value, list) and len(value) == 4 and all(map(is_number, value))


def refers_to(number: object, ids: Container[int]) -> bool:
    """Return whether ``number`` is one of ``ids``. A file may hold a value of any type there."""
    return _is_id(number) and number in ids


def keep_first(entries: list[dict]) -> list[dict]:
    """Return the entries with a valid id; of several with the same id, the first."""
    by_id: dict[int, dict] = {}
    for entry in entries:
        if _is_id(entry.get("id")):
            by_id.setdefault(entry["id"], entry)
    return list(by_id.values())


def _is_id(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_ids(entries: list[dict], what: str) -> Iterator[Finding]:
    seen: Counter[int] = Counter()
    for position, entry in enumerate(entries):
        number = entry.get("id")
        image_id = number if what == "image" else entry.get("image_id")
        if not _is_id(number):
            yield Finding(NO_ID[what], None, image_id, f"entry {position} (counted from 0) has the id {number!r}")
            continue
        seen[number] += 1
        if seen[number] > 1:
            yield Finding(REPEATED_ID[what], number, image_id, f"entry {position} (counted from 0) repeats the id")


def _check_categories(categories: list[dict]) -> Iterator[Finding]:
    yield from _check_ids(categories, "category")
    first_of: dict[str, dict] = {}
    for category in categories:
        name = category.get("name")
        if not isinstance(name, str) or not name.strip():
            yield Finding(NO_CATEGORY_NAME, category.get("id"), None, f"its name is {name!r}")
            continue
        other = first_of.setdefault(" ".join(name.lower().split()), category)
        if other is not category:
            detail = f"{name!r}, and category id {other.get('id')} is {other['name']!r}"
            yield Finding(SHARED_NAME, category.get("id"), None, detail)


def _check_images(images: list[dict]) -> Iterator[Finding]:
    yield from _check_ids(images, "image")
    for image in images:
        number, name = image.get("id"), image.get("file_name")
        if not isinstance(name, str) or not name:
            yield Finding(NO_FILE_NAME, number, number, f"its file_name is {name!r}")
        if get_size(image) is None:
            detail = f"'{name}' has width {image.get('width')!r} and height {image.get('height')!r}"
            yield Finding(NO_IMAGE_SIZE, number, number, detail)


def _check_annotations(dataset: dict) -> Iterator[Finding]:
    annotations = dataset.get("annotations", [])
    yield from _check_ids(annotations, "annotation")
    categories = {one["id"] for one in dataset["categories"] if _is_id(one.get("id"))}
    images = {one["id"] for one in dataset["images"] if _is_id(one.get("id"))}
    known = list_first(sorted(categories))
    for annotation in annotations:
        number, image_id = annotation.get("id"), annotation.get("image_id")
        if not refers_to(annotation.get("category_id"), categories):
            detail = f"its category id is {annotation.get('category_id')!r}; the file defines {known}"
            yield Finding(UNKNOWN_CATEGORY, number, image_id, detail)
        if not refers_to(image_id, images):
            yield Finding(UNLISTED_IMAGE, number, image_id, f"its image id is {image_id!r}")
        if "iscrowd" not in annotation:
            yield Finding(NO_CROWD_FLAG, number, image_id)
        if "area" not in annotation:
            yield Finding(NO_AREA, number, image_id)
