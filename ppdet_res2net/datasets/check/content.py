"""What looks wrong in the annotations themselves, beyond what training leaves out or refuses."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

import numpy as np

from ppdet_res2net.data.coco_file import CocoAnnotation, CocoImage
from ppdet_res2net.data.instances import DROPPED, InstanceSelection
from ppdet_res2net.data.masks import Mask, outline_box
from ppdet_res2net.data.problems import NOTE, WARNING, Finding, Problem, say_count
from ppdet_res2net.data.values import show
from res2net_runtime.boxes import box_iou

__all__ = ["find_content_problems"]

USED = "[is used as it is/are used as they are]"

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
    "[annotation/annotations] whose box and mask are in different places",
    USED,
    "One of them belongs to another object or image, or has different units. Correct it.",
)
MASK_OUTSIDE = Problem(
    "mask-outside",
    WARNING,
    "[mask that reaches beyond its/masks that reach beyond their] image",
    "[is/are] clipped to it",
    "Check that the image is the one that was annotated.",
)
AREA_DIFFERS = Problem(
    "area-differs",
    NOTE,
    "[annotation whose area does not match its/annotations whose area does not match their] mask or box",
    USED,
    "Compute the area again, from the mask or else from the box.",
    scoring="[counts/count] as small, medium or large by that area",
)
TINY_BOX = Problem(
    "tiny-box",
    NOTE,
    "[box/boxes] thinner than two pixels",
    USED,
    "Usually an accidental click. Look at them, and remove those that contain no object.",
)
REPEATED = Problem(
    "repeated-annotation",
    WARNING,
    "[annotation that repeats/annotations that repeat] an earlier one of the same image",
    "[counts/count] twice",
    "Remove the copies. Otherwise a detected object also counts as a missed one.",
)
LISTED_TWICE = Problem(
    "image-listed-twice",
    WARNING,
    "[image that names/images that name] the same file as an earlier one",
    "[is/are] used with [its/their] own annotations only, so that the objects of the other entry count as background",
    "List each file once, with all its annotations.",
    "image",
)
UNUSED_CATEGORY = Problem(
    "unused-category",
    WARNING,
    "[category/categories] without objects",
    "[has/have] no examples to learn from",
    "Annotate some objects, or remove the category. A mistyped category id may be the cause.",
    "category",
    scoring="[has/have] no AP",
)
RARE_CATEGORY = Problem(
    "rare-category",
    NOTE,
    f"[category/categories] with fewer than {FEW_OBJECTS} objects",
    USED,
    "So few objects are usually not enough to learn from, and the AP of these categories is mostly chance. Annotate more.",
    "category",
)
IMBALANCED = Problem(
    "imbalance",
    NOTE,
    f"[category/categories] more than {IMBALANCE} times rarer than the most frequent one",
    USED,
    "Annotate more of them, or use a copy of the annotation file that lists the images with them several times.",
    "category",
)
WITHOUT_OBJECTS = Problem(
    "image-without-objects",
    NOTE,
    "[image/images] without a usable object",
    "[is/are] used only with allow_empty: true",
    "If they are meant as background, set allow_empty: true in TrainDataset; otherwise annotate them.",
    "image",
    scoring="[is/are] used: whatever is detected there is wrong",
)


def find_content_problems(
    images: dict[int, CocoImage], categories: dict[int, str], instances: InstanceSelection
) -> Iterator[Finding]:
    """Find what looks wrong in annotations that are valid one by one.

    Args:
        images: Image id -> image.
        categories: Category id -> name.
        instances: All annotations of these images, examined.
    """
    used = instances.without(*DROPPED)
    for annotation, box_xyxy, mask in zip(used.annotations, used.boxes_xyxy, used.segmentations):
        for problem, detail in _check_shape(annotation, box_xyxy, mask):
            yield Finding(problem, annotation.id, annotation.image.id, detail)
    yield from _find_repeated(instances.annotations)
    yield from _find_listed_twice(images)
    yield from _check_classes(categories, used.annotations)
    with_objects = {annotation.image.id for annotation in used.annotations}
    for image_id, image in images.items():
        if image_id not in with_objects:
            yield Finding(WITHOUT_OBJECTS, image_id, image_id, f"'{image.file_name}'")


def _check_shape(annotation: CocoAnnotation, box_xyxy: np.ndarray, mask: Mask | None) -> Iterator[tuple[Problem, str]]:
    sides_px = box_xyxy[2:] - box_xyxy[:2]
    if sides_px.min() < MIN_SIDE_PX:
        yield TINY_BOX, f"{sides_px[0]:.1f} x {sides_px[1]:.1f} pixels"
    if mask is not None:
        outline = outline_box(mask)
        limits = np.array([annotation.image.width, annotation.image.height] * 2)
        overhang_px = np.abs(outline - np.clip(outline, 0, limits)).max()
        if overhang_px > TOLERATED_OVERHANG_PX:
            yield MASK_OUTSIDE, f"by {overhang_px:.0f} pixels"
        iou = box_iou(box_xyxy[None], np.clip(outline, 0, limits)[None]).item()
        is_far_px = np.abs(outline - box_xyxy).max() > TOLERATED_OVERHANG_PX
        if iou < MIN_BOX_MASK_IOU and is_far_px:
            shown = [round(float(value), 1) for value in (*outline[:2], *(outline[2:] - outline[:2]))]
            yield (
                BOX_AND_MASK_DIFFER,
                f"bbox {show(annotation.written_box)}, box around the mask {shown}, IoU {iou:.2f}",
            )
    area, measured = annotation.area, annotation.measured_area
    low, high = sorted((area, measured))
    if high > AREA_RATIO * low and high - low > AREA_DIFFERENCE_PX:
        yield AREA_DIFFERS, f"area {area:g}, measured {measured:g} pixels"


def _find_repeated(annotations: list[CocoAnnotation]) -> Iterator[Finding]:
    first_of: dict[tuple, CocoAnnotation] = {}
    for annotation in annotations:
        parts = (annotation.image.id, annotation.category_id, annotation.is_crowd, repr(annotation.written_box))
        first = first_of.setdefault((*parts, annotation.written_segmentation), annotation)
        if first is not annotation:
            yield Finding(REPEATED, annotation.id, annotation.image.id, f"of annotation id {first.id}")


def _find_listed_twice(images: dict[int, CocoImage]) -> Iterator[Finding]:
    first_of: dict[str, int] = {}
    for image_id, image in images.items():
        first = first_of.setdefault(image.file_name, image_id)
        if first != image_id:
            yield Finding(LISTED_TWICE, image_id, image_id, f"'{image.file_name}', also image id {first}")


def _check_classes(categories: dict[int, str], annotations: list[CocoAnnotation]) -> Iterator[Finding]:
    counts = Counter(annotation.category_id for annotation in annotations)
    images = defaultdict(set)
    for annotation in annotations:
        images[annotation.category_id].add(annotation.image.id)
    most = max(counts.values(), default=0)
    for category_id, name in categories.items():
        count = counts[category_id]
        detail = f"'{name}': {say_count(count, 'object')} in {say_count(len(images[category_id]), 'image')}"
        if not count:
            yield Finding(UNUSED_CATEGORY, category_id, None, f"'{name}'")
        elif count < FEW_OBJECTS:
            yield Finding(RARE_CATEGORY, category_id, None, detail)
        if count and count * IMBALANCE < most:
            yield Finding(IMBALANCED, category_id, None, f"{detail}; the most frequent one has {most}")
