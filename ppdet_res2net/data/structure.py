"""What can be wrong with the structure of an annotation file: ids, names, sizes and references."""

from __future__ import annotations

from ppdet_res2net.data.problems import ERROR, NOTE, WARNING, Problem
from ppdet_res2net.data.values import to_whole_number
from res2net_runtime.preprocess import DEFAULT_MAX_PIXELS

__all__ = ["MAX_IMAGE_PIXELS", "MAX_SIDE_PX", "read_size"]

REFUSED = "[is/are] refused"
NOT_USED = "[is/are] not used"
MAX_IMAGE_PIXELS = DEFAULT_MAX_PIXELS  # what the runtime decodes
MAX_SIDE_PX = 65_535

# Singular and plural of the entries of the three lists.
ENTRIES = {"image": "[image/images]", "annotation": "[annotation/annotations]", "category": "[category/categories]"}

NO_ID = {
    what: Problem(
        f"{what}-id" if what == "annotation" else f"{what}-without-id",
        ERROR,
        f"{entries} whose id is not a whole number of at most 64 bits",
        REFUSED,
        "Number them: annotations refer to images and categories by id.",
        what,
    )
    for what, entries in ENTRIES.items()
}
MISSING_ID = Problem(
    "annotation-without-id",
    WARNING,
    "[annotation/annotations] without an id",
    "[gets a number of its/get numbers of their] own",
    "Nothing refers to the ids of annotations, so nothing needs to be done. Number them if other programs need it.",
)
REPEATED_ID = {
    what: Problem(
        f"repeated-{what}-id",
        ERROR,
        f"{entries} that [repeats/repeat] the id of an earlier one",
        REFUSED,
        "Give them new ids. Merged files often have this problem.",
        what,
    )
    for what, entries in ENTRIES.items()
    if what != "annotation"
} | {
    "annotation": Problem(
        "repeated-annotation-id",
        WARNING,
        "[annotation/annotations] that [repeats/repeat] the id of an earlier one",
        "[gets a number of its/get numbers of their] own",
        "Nothing refers to the ids of annotations, but other programs may lose one of two with the same id. Merged files "
        "often have this problem.",
    )
}
SPELLING = {
    what: Problem(
        f"{what}-id-spelling",
        NOTE,
        f"{entries} with ids written as text or with a decimal point",
        "[keeps its/keep their] ids, as whole numbers",
        'Write whole numbers: for other programs, 1 and "1" are different ids.',
        what,
    )
    for what, entries in ENTRIES.items()
}
NO_CATEGORY_NAME = Problem(
    "category-without-name",
    ERROR,
    "[category/categories] without a name",
    REFUSED,
    "Give each of them a name.",
    "category",
)
SHARED_NAME = Problem(
    "shared-category-name",
    WARNING,
    "[category/categories] with the same name as an earlier one (ignoring case and spaces)",
    "[is a class/are classes] of [its/their] own",
    "If they are the same class, give all their annotations one category id and remove the other category.",
    "category",
)
NO_FILE_NAME = Problem(
    "image-without-file-name",
    ERROR,
    "[image/images] without file_name",
    REFUSED,
    "Write the name of the image file as file_name. LVIS has it in coco_url only, as the last part of the address.",
    "image",
)
NO_IMAGE_SIZE = Problem(
    "image-without-size",
    ERROR,
    "[image/images] without a valid width and height",
    REFUSED,
    "Write the size of the image file there: boxes cannot be checked without it.",
    "image",
)
TOO_LARGE = Problem(
    "image-too-large",
    ERROR,
    f"[image/images] of more than {MAX_IMAGE_PIXELS} pixels, or with a side of more than {MAX_SIDE_PX},",
    REFUSED,
    "Correct width and height, or cut the image into tiles.",
    "image",
)
UNKNOWN_CATEGORY = Problem(
    "unknown-category",
    ERROR,
    "[annotation/annotations] of a category that the file does not define",
    REFUSED,
    "Add the category, or remove these annotations.",
)
NO_IMAGE_ID = Problem(
    "annotation-without-image-id",
    ERROR,
    "[annotation/annotations] whose image_id is not a whole number",
    REFUSED,
    "Write the id of the image there, or remove these annotations.",
)
UNLISTED_IMAGE = Problem(
    "unlisted-image",
    WARNING,
    "[annotation/annotations] of images that the file does not list",
    NOT_USED,
    "Add the images to the file, or remove these annotations.",
)
NO_CROWD_FLAG = Problem(
    "no-iscrowd",
    NOTE,
    "[annotation/annotations] without iscrowd",
    "[is treated as a single object/are treated as single objects] (iscrowd 0)",
    "Write iscrowd: 0.",
)
BAD_FLAG = Problem(
    "unclear-flag",
    WARNING,
    "[annotation/annotations] whose iscrowd or ignore is neither 0 nor 1",
    "[is/are] read as if 0 were written there",
    "Write 0 or 1.",
)
CROWD = Problem(
    "crowd",
    NOTE,
    "[annotation/annotations] with iscrowd: 1",
    "[is/are] used only with load_crowd: true",
    "Nothing needs to be done if each is a region with many objects. CVAT and Darwin also write iscrowd: 1 for "
    "single objects whose masks were painted or have several parts; write 0 for them.",
    scoring="[is a region/are regions] in which detections are neither right nor wrong",
)
IGNORED = Problem(
    "ignored",
    NOTE,
    "[annotation/annotations] with ignore: 1",
    NOT_USED,
    "Nothing needs to be done if these objects are meant to be left out.",
    scoring="[is/are] neither found nor missed, and detections on [it/them] are not counted",
)
NO_AREA = Problem(
    "no-area",
    NOTE,
    "[annotation/annotations] without area",
    "[gets/get] the area of [its mask/their masks], or else of [its box/their boxes]",
    "Write area: evaluation uses it to sort objects into small, medium and large.",
)
BAD_AREA = Problem(
    "bad-area",
    NOTE,
    "[annotation/annotations] whose area is not a number, or negative",
    "[gets/get] the area of [its mask/their masks], or else of [its box/their boxes]",
    "Write area in pixels: evaluation uses it to sort objects into small, medium and large.",
)


def read_size(entry: dict) -> tuple[Problem | None, tuple[int, int]]:
    """Return what is wrong with the size of an image entry, or None, and (height, width)."""
    height, width = to_whole_number(entry.get("height")), to_whole_number(entry.get("width"))
    if height is None or width is None or height < 1 or width < 1:
        return NO_IMAGE_SIZE, (0, 0)
    is_large = max(height, width) > MAX_SIDE_PX or height * width > MAX_IMAGE_PIXELS
    return TOO_LARGE if is_large else None, (height, width)
