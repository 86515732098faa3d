"""What looks wrong in the annotations themselves, beyond what training leaves out or refuses."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

import numpy as np

from ppdet_res2net.data.annotations import compute_area, outline_box
from ppdet_res2net.data.instances import DROPPED, InstanceSelection
from ppdet_res2net.data.problems import NOTE, WARNING, Finding, Problem
from res2net_runtime.boxes import box_iou

__all__ = ["find_content_problems"]

USED = "are used as they are"

# COCO's own boxes follow their masks to a fraction of a pixel. A box drawn by hand is off by a few pixels.
MIN_BOX_MASK_IOU = 0.7
TOLERATED_OVERHANG_PX = 2.0
AREA_RATIO, AREA_DIFFERENCE_PX = 2.0, 32.0
MIN_SIDE_PX = 2.0
FEW_OBJECTS = 10
IMBALANCE = 100

BOX_AND_MASK_DIFFER = Problem(
    "box-mask-differ",
    WARNING,
    "annotations whose box and mask are in different places",
    USED,
    "One of them belongs to another object or image, or has different units. Correct it.",
)
MASK_OUTSIDE = Problem(
    "mask-outside",
    WARNING,
    "masks that reach beyond their image",
    "are clipped to it",
    "Check that the image is the one that was annotated.",
)
AREA_DIFFERS = Problem(
    "area-differs",
    NOTE,
    "annotations whose area does not match their mask or box",
    "are used as they are, but evaluation sorts them into small, medium and large by that area",
    "Compute the area again, from the mask or else from the box.",
)
TINY_BOX = Problem(
    "tiny-box",
    NOTE,
    "boxes thinner than two pixels",
    USED,
    "Usually an accidental click. Look at them, and remove those that contain no object.",
)
REPEATED = Problem(
    "repeated-annotation",
    WARNING,
    "annotations that repeat an earlier one of the same image",
    "count twice",
    "Remove the copies. Otherwise a detected object also counts as a missed one.",
)
LISTED_TWICE = Problem(
    "image-listed-twice",
    WARNING,
    "images that name the same file as an earlier one",
    "are used with their own annotations only, so that the objects of the other entry count as background",
    "List each file once, with all its annotations.",
    "image",
)
UNUSED_CATEGORY = Problem(
    "unused-category",
    WARNING,
    "categories without objects",
    "have no examples to learn from",
    "Annotate some objects, or remove the category. A mistyped category id may be the cause.",
    "category",
)
RARE_CATEGORY = Problem(
    "rare-category",
    NOTE,
    f"categories with fewer than {FEW_OBJECTS} objects",
    USED,
    "So few objects are usually not enough to learn from, and the AP of these categories is mostly chance. Annotate more.",
    "category",
)
IMBALANCED = Problem(
    "imbalance",
    NOTE,
    f"categories more than {IMBALANCE} times rarer than the most frequent one",
    USED,
    "Annotate more of them, or use a copy of the annotation file that lists the images with them several times.",
    "category",
)
WITHOUT_OBJECTS = Problem(
    "image-without-objects",
    NOTE,
    "images without a usable object",
    "are used only with allow_empty: true",
    "If they are meant as background, set allow_empty: true in TrainDataset; otherwise annotate them.",
    "image",
)


def find_content_problems(
    images: dict[int, dict], categories: dict[int, str], instances: InstanceSelection
) -> Iterator[Finding]:
    """Find what looks wrong in annotations that are valid one by one.

    Args:
        images: Image id -> entry of the annotation file.
        categories: Category id -> name.
        instances: All annotations of these images, examined.
    """
    dropped = {finding.subject_id for finding in instances.findings if finding.problem in DROPPED}
    kept = [index for index, one in enumerate(instances.annotations) if one["id"] not in dropped]
    for index in kept:
        annotation = instances.annotations[index]
        size = images[annotation["image_id"]]["height"], images[annotation["image_id"]]["width"]
        found = _check_shape(annotation, instances.boxes_xyxy[index], instances.segmentations[index], size)
        for problem, detail in found:
            yield Finding(problem, annotation["id"], annotation["image_id"], detail)
    yield from _find_repeated(instances.annotations)
    yield from _find_listed_twice(images)
    used = [instances.annotations[index] for index in kept]
    yield from _check_classes(categories, used)
    with_objects = {annotation["image_id"] for annotation in used}
    for image_id, image in images.items():
        if image_id not in with_objects:
            yield Finding(WITHOUT_OBJECTS, image_id, image_id, f"'{image['file_name']}'")


def _check_shape(annotation: dict, box_xyxy, segmentation, size) -> Iterator[tuple[Problem, str]]:
    sides_px = box_xyxy[2:] - box_xyxy[:2]
    if sides_px.min() < MIN_SIDE_PX:
        yield TINY_BOX, f"{sides_px[0]:.1f} x {sides_px[1]:.1f} pixels"
    if segmentation is not None:
        outline = outline_box(segmentation)
        limits = np.array([size[1], size[0]] * 2)
        overhang_px = np.abs(outline - np.clip(outline, 0, limits)).max()
        if overhang_px > TOLERATED_OVERHANG_PX:
            yield MASK_OUTSIDE, f"by {overhang_px:.0f} pixels"
        iou = box_iou(box_xyxy[None], np.clip(outline, 0, limits)[None]).item()
        is_far_px = np.abs(outline - box_xyxy).max() > TOLERATED_OVERHANG_PX
        if iou < MIN_BOX_MASK_IOU and is_far_px:
            shown = [round(float(value), 1) for value in (*outline[:2], *(outline[2:] - outline[:2]))]
            yield (
                BOX_AND_MASK_DIFFER,
                f"bbox {annotation['bbox']}, box around the mask {shown}, IoU {iou:.2f}",
            )
    area = annotation.get("area")
    if isinstance(area, (int, float)):
        measured = compute_area(annotation, (int(size[0]), int(size[1])))
        low, high = sorted((max(area, 0.0), measured))
        if high > AREA_RATIO * low and high - low > AREA_DIFFERENCE_PX:
            yield AREA_DIFFERS, f"area {area:g}, measured {measured:g} pixels"


def _find_repeated(annotations: list[dict]) -> Iterator[Finding]:
    first_of: dict[tuple, dict] = {}
    for annotation in annotations:
        parts = (annotation.get(key) for key in ("category_id", "bbox", "segmentation", "iscrowd"))
        key = (annotation["image_id"], *map(repr, parts))
        first = first_of.setdefault(key, annotation)
        if first is not annotation:
            yield Finding(REPEATED, annotation["id"], annotation["image_id"], f"of annotation id {first['id']}")


def _find_listed_twice(images: dict[int, dict]) -> Iterator[Finding]:
    first_of: dict[str, int] = {}
    for image_id, image in images.items():
        first = first_of.setdefault(image["file_name"], image_id)
        if first != image_id:
            yield Finding(LISTED_TWICE, image_id, image_id, f"'{image['file_name']}', also image id {first}")


def _check_classes(categories: dict[int, str], annotations: list[dict]) -> Iterator[Finding]:
    counts = Counter(annotation["category_id"] for annotation in annotations)
    images = defaultdict(set)
    for annotation in annotations:
        images[annotation["category_id"]].add(annotation["image_id"])
    most = max(counts.values(), default=0)
    for category_id, name in categories.items():
        count = counts[category_id]
        detail = f"'{name}': {count} objects in {len(images[category_id])} images"
        if not count:
            yield Finding(UNUSED_CATEGORY, category_id, None, f"'{name}'")
        elif count < FEW_OBJECTS:
            yield Finding(RARE_CATEGORY, category_id, None, detail)
        if count and count * IMBALANCE < most:
            yield Finding(IMBALANCED, category_id, None, f"{detail}; the most frequent one has {most}")
