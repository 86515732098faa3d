"""An annotation file in COCO's format as typed entries: the one reading that check, training and evaluation use."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from ppdet_res2net.data.masks import Mask, MaskReading, mask_area, read_mask
from ppdet_res2net.data.problems import Finding, list_first
from ppdet_res2net.data.structure import (
    BAD_AREA,
    BAD_FLAG,
    MISSING_ID,
    NO_AREA,
    NO_CATEGORY_NAME,
    NO_CROWD_FLAG,
    NO_FILE_NAME,
    NO_ID,
    NO_IMAGE_ID,
    REPEATED_ID,
    SHARED_NAME,
    SPELLING,
    UNKNOWN_CATEGORY,
    UNLISTED_IMAGE,
    read_size,
)
from ppdet_res2net.data.values import (
    MAX_ID,
    is_text,
    parse_text,
    show,
    to_category_name,
    to_flag,
    to_number,
    to_whole_number,
)

__all__ = ["CocoAnnotation", "CocoCategory", "CocoFile", "CocoImage", "parse_coco"]

NO_CATEGORY = MAX_ID + 1
_FLOAT = frozenset((float,))
_ABSENT = object()


@dataclass(slots=True)
class CocoCategory:
    """A category.

    Attributes:
        id: Its id.
        name: Its name.
        position: Its place in the list of the file, from 0.
    """

    id: int
    name: str
    position: int


@dataclass(slots=True)
class CocoImage:
    """An image.

    Attributes:
        id: Its id.
        file_name: The name of its file, as it is written.
        height: Annotated height in pixels.
        width: Annotated width in pixels.
        position: Its place in the list of the file, from 0.
    """

    id: int
    file_name: str
    height: int
    width: int
    position: int

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.height, self.width


@dataclass(slots=True)
class CocoAnnotation:
    """An object, or a region with a crowd of objects.

    Attributes:
        id: The id in the file, or a new one if the file has none, or has the same one twice.
        image: Its image.
        category_id: Id of its category; ``NO_CATEGORY`` if the file does not define the category.
        box_xywh: x, y, width, height in pixels, as they are in the file; None if there are no four finite numbers.
        is_crowd: Whether it is a crowd region.
        is_ignored: Whether neither training nor scoring counts it.
        position: Its place in the list of the file, from 0.
        written_box: What the file has as ``bbox``, for messages.
    """

    id: int
    image: CocoImage
    category_id: int
    box_xywh: Sequence[float] | None
    is_crowd: bool
    is_ignored: bool
    position: int
    written_box: object
    _area: float | None
    _segmentation: object
    _reading: MaskReading | None = field(default=None)

    @property
    def has_segmentation(self) -> bool:
        """Whether the file has anything in ``segmentation``."""
        return bool(self._segmentation)

    @property
    def written_segmentation(self) -> str:
        """What the file has as ``segmentation``, to compare annotations."""
        return repr(self._segmentation)

    @property
    def reading(self) -> MaskReading:
        """What its segmentation holds; read on first use."""
        if self._reading is None:
            self._reading = read_mask(self._segmentation, self.image.height, self.image.width)
        return self._reading

    @property
    def mask(self) -> Mask | None:
        """Its mask, or None if it has no usable one."""
        return self.reading.mask

    @property
    def has_no_area(self) -> bool:
        """Whether the file has no valid area."""
        return self._area is None

    @property
    def area(self) -> float:
        """Its area in pixels, as the file says, or else as :attr:`measured_area`."""
        return self.measured_area if self._area is None else self._area

    @property
    def measured_area(self) -> float:
        """The area in pixels of its mask; without a mask, of its box; without a box, 0."""
        if self.mask is not None:
            return mask_area(self.mask, self.image.height, self.image.width)
        return max(self.box_xywh[2], 0.0) * max(self.box_xywh[3], 0.0) if self.box_xywh else 0.0


@dataclass(slots=True)
class CocoFile:
    """What an annotation file holds. Entries that are refused are left out; ``findings`` names them.

    Attributes:
        images: The images, in the order of the file.
        categories: The categories, in the order of the file: labels are positions in it.
        annotations: The annotations of these images and categories.
        unknown: The annotations of these images whose category the file does not define.
        has_annotations: Whether the file has a list of annotations. Without it, its images are only for prediction.
        findings: What is wrong with the structure: of categories, of images, then of annotations.
    """

    images: list[CocoImage]
    categories: list[CocoCategory]
    annotations: list[CocoAnnotation]
    unknown: list[CocoAnnotation]
    has_annotations: bool
    findings: list[Finding]


def parse_coco(content: dict) -> CocoFile:
    """Make typed entries of the content of an annotation file.

    Args:
        content: Lists of dicts ``images`` and ``categories``, and maybe ``annotations``.
    """
    findings: list[Finding] = []
    categories, category_ids = _parse_categories(content["categories"], findings)
    images, image_ids = _parse_images(content["images"], findings)
    parser = _AnnotationParser({image.id: image for image in images}, image_ids, category_ids, findings)
    parser.refused_images = _list_refused(content["images"])
    parser.refused_categories = _list_refused(content["categories"])
    annotations, unknown = parser.parse(content.get("annotations", []))
    return CocoFile(images, categories, annotations, unknown, "annotations" in content, findings)


def _parse_ids(entries: list[dict], what: str, findings: list[Finding]) -> list[int | None]:
    """Return the id of each entry; None where it is unreadable, or that of an earlier entry."""
    first_of: dict[int, int] = {}
    ids: list[int | None] = []
    for position, entry in enumerate(entries):
        written = entry.get("id")
        number = to_whole_number(written)
        ids.append(None)
        if number is None or abs(number) > MAX_ID:
            detail = f"entry {position} (counted from 0) has the id {show(written)}"
            findings.append(Finding(NO_ID[what], None, None, detail))
            continue
        first = first_of.setdefault(number, position)
        if first != position:
            detail = f"entry {position} (counted from 0) repeats the id of entry {first}"
            findings.append(Finding(REPEATED_ID[what], number, number if what == "image" else None, detail))
            continue
        if type(written) is not int:
            findings.append(Finding(SPELLING[what], number, number if what == "image" else None, f"id {show(written)}"))
        ids[-1] = number
    return ids


def _list_refused(entries: list[dict]) -> set[int | str]:
    """Return the ids that are refused, to compare with. What refers to them is refused with them, without a finding."""
    written = [number for entry in entries if (number := entry.get("id")) is not None]
    wide = (one for one in written if type(one) is not int or abs(one) > MAX_ID)
    return {spelt for one in wide if isinstance(spelt := _spell(one), str) or abs(spelt) > MAX_ID}


def _spell(written: object) -> int | str:
    number = to_whole_number(written)
    return show(written) if number is None else number


def _parse_categories(entries: list[dict], findings: list[Finding]) -> tuple[list[CocoCategory], set[int]]:
    """Return the sound categories, and the ids of all."""
    ids = _parse_ids(entries, "category", findings)
    categories: list[CocoCategory] = []
    first_of: dict[str, CocoCategory] = {}
    for position, (number, entry) in enumerate(zip(ids, entries)):
        name = to_category_name(entry.get("name"))
        if name is None:
            subject = entry.get("id") if number is None else number
            findings.append(Finding(NO_CATEGORY_NAME, subject, None, f"its name is {show(entry.get('name'))}"))
        elif number is not None:
            category = CocoCategory(number, name, position)
            other = first_of.setdefault(" ".join(name.lower().split()), category)
            if other is not category:
                detail = f"{name!r}, and category id {other.id} is {other.name!r}"
                findings.append(Finding(SHARED_NAME, number, None, detail))
            categories.append(category)
    return categories, {number for number in ids if number is not None}


def _parse_images(entries: list[dict], findings: list[Finding]) -> tuple[list[CocoImage], set[int]]:
    """Return the sound images, and the ids of all."""
    ids = _parse_ids(entries, "image", findings)
    images = []
    for position, (number, entry) in enumerate(zip(ids, entries)):
        name = entry.get("file_name")
        if not is_text(name):
            findings.append(Finding(NO_FILE_NAME, number, number, f"its file_name is {show(name)}"))
        problem, size = read_size(entry)
        if problem is not None:
            detail = f"{show(name)} has width {show(entry.get('width'))} and height {show(entry.get('height'))}"
            findings.append(Finding(problem, number, number, detail))
        elif number is not None and is_text(name):
            images.append(CocoImage(number, name, *size, position))
    return images, {number for number in ids if number is not None}


class _AnnotationParser:
    """Reads the list of annotations."""

    def __init__(
        self, images: dict[int, CocoImage], image_ids: set[int], category_ids: set[int], findings: list[Finding]
    ) -> None:
        self.images, self.image_ids, self.category_ids, self.findings = images, image_ids, category_ids, findings
        self.refused_images: set[int | str] = set()
        self.refused_categories: set[int | str] = set()
        self.known = list_first(sorted(category_ids))

    def parse(self, entries: list[dict]) -> tuple[list[CocoAnnotation], list[CocoAnnotation]]:
        """Return the annotations of listed images: those of known categories, and the others."""
        annotations: list[CocoAnnotation] = []
        unknown: list[CocoAnnotation] = []
        for position, (number, entry) in enumerate(zip(self._number(entries), entries)):
            image_id, category_id = entry.get("image_id"), entry.get("category_id")
            if type(image_id) is not int or type(category_id) is not int:
                image_id, category_id = self._respell(entry, number)
            if image_id is None:
                continue
            is_known = category_id is not None and category_id in self.category_ids
            if category_id is None or not is_known:
                category_id, written = NO_CATEGORY, entry.get("category_id")
                if _spell(written) not in self.refused_categories:
                    detail = f"its category id is {show(written)}; the file defines {self.known}"
                    self.findings.append(Finding(UNKNOWN_CATEGORY, number, image_id, detail))
            image = self.images.get(image_id)
            if image is None:
                if image_id not in self.image_ids and image_id not in self.refused_images:
                    detail = f"its image id is {show(entry.get('image_id'))}"
                    self.findings.append(Finding(UNLISTED_IMAGE, number, image_id, detail))
                continue
            annotation = self._parse_one(entry, number, image, category_id, position)
            (annotations if is_known else unknown).append(annotation)
        return annotations, unknown

    def _number(self, entries: list[dict]) -> list[int]:
        """Return an id for each annotation: its own, or a new one."""
        written_ids = [entry.get("id") for entry in entries]
        if {int}.issuperset(map(type, written_ids)) and len(set(written_ids)) == len(written_ids):
            return written_ids  # type: ignore[return-value]
        seen: set[int] = set()
        ids: list[int | None] = []
        for entry in entries:
            number = to_whole_number(entry.get("id"))
            if number is None or number in seen:
                ids.append(None)
            else:
                seen.add(number)
                ids.append(number)
        following = max(seen, default=0)
        for position, (number, entry) in enumerate(zip(ids, entries)):
            written = entry.get("id")
            if number is None:
                following += 1
                ids[position] = following
                self._say_new(written, position, following)
            elif type(written) is not int:
                self.findings.append(Finding(SPELLING["annotation"], number, None, f"id {show(written)}"))
        return ids  # type: ignore[return-value]

    def _say_new(self, written: object, position: int, number: int) -> None:
        where = f"entry {position} (counted from 0)"
        if to_whole_number(written) is not None:
            finding = Finding(REPEATED_ID["annotation"], to_whole_number(written), None, f"{where} is now {number}")
        elif written is None:
            finding = Finding(MISSING_ID, None, None, f"{where} has the id None, and is now {number}")
        else:
            finding = Finding(NO_ID["annotation"], None, None, f"{where} has the id {show(written)}")
        self.findings.append(finding)

    def _respell(self, entry: dict, number: int) -> tuple[int | None, int | None]:
        """Return image and category id where one of them is not simply a whole number."""
        written = entry.get("image_id"), entry.get("category_id")
        image_id, category_id = map(to_whole_number, written)
        if image_id is None:
            if _spell(written[0]) not in self.refused_images:
                self.findings.append(Finding(NO_IMAGE_ID, number, None, f"its image_id is {show(written[0])}"))
            return None, None
        respelt = [
            f"{key} {show(value)}"
            for key, value, read in zip(("image_id", "category_id"), written, (image_id, category_id))
            if read is not None and type(value) is not int
        ]
        if respelt:
            self.findings.append(Finding(SPELLING["annotation"], number, image_id, " and ".join(respelt)))
        return image_id, category_id

    def _parse_one(self, entry: dict, number: int, image: CocoImage, category_id: int, position: int) -> CocoAnnotation:
        findings = self.findings
        is_crowd = entry.get("iscrowd", _ABSENT)
        if type(is_crowd) is not int or is_crowd not in (0, 1):
            if is_crowd is None or is_crowd is _ABSENT:
                findings.append(Finding(NO_CROWD_FLAG, number, image.id))
                is_crowd = False
            else:
                is_crowd = self._flag("iscrowd", is_crowd, number, image.id)
        is_ignored = entry.get("ignore", 0)
        if is_ignored != 0 or type(is_ignored) is not int:
            is_ignored = self._flag("ignore", is_ignored, number, image.id)
        area = entry.get("area")
        if type(area) is float and 0.0 <= area < float("inf") or type(area) is int and 0 <= area < MAX_ID:
            pass
        else:
            problem, detail = (NO_AREA, "") if area is None else (BAD_AREA, f"area {show(area)}")
            findings.append(Finding(problem, number, image.id, detail))
            area = None
        box = entry.get("bbox")
        return CocoAnnotation(
            number,
            image,
            category_id,
            _to_box(box),
            bool(is_crowd),
            bool(is_ignored),
            position,
            box,
            area,
            entry.get("segmentation"),
        )

    def _flag(self, key: str, written: object, number: int, image_id: int) -> bool:
        flag = to_flag(written)
        if flag is None:
            self.findings.append(Finding(BAD_FLAG, number, image_id, f"{key} {show(written)}"))
        return bool(flag)


def _to_box(box: object) -> Sequence[float] | None:
    if type(box) is list and len(box) == 4 and _FLOAT.issuperset(map(type, box)) and math.isfinite(sum(box)):
        return box  # by far the most
    box = parse_text(box)
    if not isinstance(box, list) or len(box) != 4:
        return None
    numbers = [to_number(number) for number in box]
    return None if None in numbers else numbers  # type: ignore[return-value]
