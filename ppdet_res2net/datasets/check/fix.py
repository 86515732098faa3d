"""Writes a corrected copy of an annotation file: it corrects what is certain, and removes what cannot be used."""

from __future__ import annotations

import copy
import os
from collections import Counter, defaultdict

import numpy as np

from ppdet_res2net.data.annotations import (
    compute_area,
    fill_in,
    outline_box,
    read_polygons,
    read_rle,
    write_annotations,
)
from ppdet_res2net.data.image_files import (
    MISSING_FILE,
    SIZE_DIFFERS,
    UNREADABLE,
    decode_as_annotated,
    read_image_file,
)
from ppdet_res2net.data.image_names import resolve_image_path
from ppdet_res2net.data.instances import BAD_PART, CUT, NO_BOX, NO_BOX_SIZE, NO_MASK, OUTSIDE
from ppdet_res2net.data.problems import list_first
from ppdet_res2net.data.structure import (
    NO_FILE_NAME,
    REPEATED_ID,
    UNKNOWN_CATEGORY,
    get_size,
    keep_first,
    refers_to,
)
from ppdet_res2net.datasets.check.content import AREA_DIFFERS, REPEATED
from ppdet_res2net.datasets.check.run import DatasetReport, check_content
from ppdet_res2net.errors import DatasetError, Res2NetError

__all__ = ["fix_dataset"]


def fix_dataset(report: DatasetReport, out_path: str | os.PathLike) -> list[str]:
    """Write a corrected annotation file.

    Nothing is guessed. Unusable images are removed with their annotations, unusable annotations are removed, and a wrong
    box is replaced by the one around the mask if there is a mask. What a person has to decide is left as it is: a box and
    a mask in different places, categories without a name, pictures in two splits.

    Args:
        report: The report of a check that has read the images.
        out_path: File to write; replaced as a whole.

    Returns:
        What was done, one sentence each; empty if there was nothing to do.

    Raises:
        DatasetError: Nothing would be left, or the file cannot be written.
    """
    fixer = _Fixer(report)
    fixer.run()
    if not fixer.content["images"]:
        raise DatasetError(
            f"no image of '{report.source.annotation_path}' can be used, so there is nothing to write to '{out_path}'. "
            f"Check that '{report.source.image_dir}' is the right folder."
        )
    write_annotations(fixer.content, out_path)
    return fixer.changes


class _Fixer:
    def __init__(self, report: DatasetReport) -> None:
        self.source = report.source
        self.groups = report.groups
        self.content = copy.deepcopy(report.content)
        self.content.setdefault("annotations", [])
        self.changes: list[str] = []

    def run(self) -> None:
        self._mend_categories()
        self._mend_images()
        self._renumber()
        # Annotations whose id or image was unclear before can be examined only now.
        self.groups = check_content(self.source, self.content).groups
        self._mend_annotations()

    def _ids(self, *problems) -> set:
        return {finding.subject_id for problem in problems for finding in self.groups.get(problem, [])}

    def _say(self, text: str, ids) -> None:
        ids = sorted(set(ids))
        if ids:
            self.changes.append(f"{text}{'' if ': ' in text else ':'} id {list_first(ids)} ({len(ids)} in all)")

    def _mend_categories(self) -> None:
        names = defaultdict(set)
        for category in self.content["categories"]:
            names[category.get("id")].add(category.get("name"))
        copies = [number for number in self._ids(REPEATED_ID["category"]) if len(names[number]) == 1]
        seen: set[int] = set()
        kept = []
        for one in self.content["categories"]:
            if one.get("id") not in copies or one["id"] not in seen:
                kept.append(one)
                seen.add(one.get("id"))
        self.content["categories"] = kept
        self._say("removed repeated categories", copies)

    def _mend_images(self) -> None:
        names = defaultdict(set)
        for image in self.content["images"]:
            names[image.get("id")].add(image.get("file_name"))
        # If two images share an id, it is unclear which of them its annotations belong to.
        unclear = {number for number in self._ids(REPEATED_ID["image"]) if len(names[number]) > 1}
        unusable = self._ids(MISSING_FILE, UNREADABLE, SIZE_DIFFERS, NO_FILE_NAME) | unclear
        measured = []
        images = keep_first(self.content["images"])
        for image in images:
            if image["id"] not in unusable and get_size(image) is None:
                size = self._measure(image)
                if size is None:
                    unusable.add(image["id"])
                else:
                    image["height"], image["width"] = size
                    measured.append(image["id"])
        first_of: dict[str, int] = {}
        joined = {}
        for image in images:
            if image["id"] not in unusable:
                first = first_of.setdefault(image["file_name"], image["id"])
                if first != image["id"]:
                    joined[image["id"]] = first
        for annotation in self.content["annotations"]:
            if refers_to(annotation.get("image_id"), joined):
                annotation["image_id"] = joined[annotation["image_id"]]
        before = len(self.content["images"])
        self.content["images"] = [one for one in images if one["id"] not in unusable and one["id"] not in joined]
        self._say("removed unusable images with their annotations", unusable)
        self._say("set width and height to those of the file: images", measured)
        self._say("merged entries of the same file into the first one, with their annotations: images", joined)
        others = before - len(self.content["images"]) - len(unusable & set(names)) - len(joined)
        if others > 0:
            self.changes.append(f"removed {others} image entries that have no id or repeat another one")

    def _measure(self, image: dict) -> tuple[int, int] | None:
        """Return the size of an image file, or None if it cannot be read."""
        try:
            data = read_image_file(resolve_image_path(self.source.image_dir, image["file_name"]))
            return decode_as_annotated(data, None)[0].shape[:2]
        except Res2NetError:
            return None

    def _mend_annotations(self) -> None:
        sizes = {image["id"]: size for image in self.content["images"] if (size := get_size(image)) is not None}
        unusable = self._ids(UNKNOWN_CATEGORY, REPEATED)
        no_mask, wrong_box = self._ids(NO_MASK), self._ids(NO_BOX, NO_BOX_SIZE, OUTSIDE)
        cut, bad_part, wrong_area = self._ids(CUT), self._ids(BAD_PART), self._ids(AREA_DIFFERS)
        done = defaultdict(list)
        kept = []
        for annotation in self.content["annotations"]:
            number, image_id = annotation["id"], annotation.get("image_id")
            is_lost = number in no_mask and self.source.with_masks
            if number in unusable or is_lost or not refers_to(image_id, sizes):
                done["removed annotations that are unusable or repeat another one"].append(number)
                continue
            height, width = sizes[image_id]
            if number in no_mask and annotation.get("segmentation"):
                annotation["segmentation"] = []
                done["removed unusable masks, and kept the boxes, of annotations"].append(number)
            if number in bad_part:
                parts = read_polygons(annotation["segmentation"])
                annotation["segmentation"] = [part.tolist() for part in parts]
                done["removed parts that are not polygons from the masks of annotations"].append(number)
            if number in wrong_box:
                box = _box_of_mask(annotation.get("segmentation"), height, width)
                if box is None:
                    done["removed annotations without a usable box or mask"].append(number)
                    continue
                annotation["bbox"] = box
                done["replaced unusable boxes by the boxes around the masks of annotations"].append(number)
            elif number in cut:
                annotation["bbox"] = _cut(annotation["bbox"], height, width)
                done["clipped boxes to the image: annotations"].append(number)
            if number in wrong_area:
                annotation["area"] = compute_area(annotation, (height, width))
                done["computed the area again: annotations"].append(number)
            kept.append(annotation)
        for text, numbers in done.items():
            self._say(text, numbers)
        self.content["annotations"] = kept
        missing = Counter(key for one in kept for key in ("iscrowd", "area") if key not in one)
        fill_in(self.content)
        self.changes += [f"added {key} to {count} annotations" for key, count in missing.items()]

    def _renumber(self) -> None:
        """Give a new id to each annotation that has none, or repeats that of an earlier one."""
        annotations = self.content["annotations"]
        firsts = {id(one) for one in keep_first(annotations)}
        others = [one for one in annotations if id(one) not in firsts]
        following = max((one["id"] for one in annotations if id(one) in firsts), default=0) + 1
        for number, annotation in enumerate(others, following):
            annotation["id"] = number
        self._say("gave new ids to annotations: now", [one["id"] for one in others])


def _box_of_mask(segmentation: object, height: int, width: int) -> list[float] | None:
    usable = read_rle(segmentation, height, width) if isinstance(segmentation, dict) else read_polygons(segmentation)
    if not usable:
        return None
    outline = outline_box(usable)
    box = _cut([*outline[:2], *(outline[2:] - outline[:2])], height, width)
    return box if min(box[2:]) > 0 else None


def _cut(box_xywh: list[float], height: int, width: int) -> list[float]:
    x, y, w, h = box_xywh
    corners = np.clip([x, y, x + w, y + h], 0, [width, height, width, height])
    return [round(float(value), 3) for value in (*corners[:2], *(corners[2:] - corners[:2]))]
