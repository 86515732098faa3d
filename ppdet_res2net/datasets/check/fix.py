"""Writes a corrected copy of an annotation file: it corrects what is certain, and removes what cannot be used."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from ppdet_res2net.data.annotations import write_annotations
from ppdet_res2net.data.coco_file import CocoAnnotation
from ppdet_res2net.data.image_files import (
    MISSING_FILE,
    SIZE_DIFFERS,
    UNREADABLE,
    decode_as_annotated,
    read_image_file,
)
from ppdet_res2net.data.image_names import resolve_image_path
from ppdet_res2net.data.instances import CUT, DROPPED_BOX
from ppdet_res2net.data.masks import Mask, outline_box
from ppdet_res2net.data.problems import ERROR, describe, list_first
from ppdet_res2net.data.structure import SPELLING, read_size
from ppdet_res2net.data.values import MAX_ID, is_text, to_category_name, to_flag, to_whole_number
from ppdet_res2net.datasets.check.content import AREA_DIFFERS, REPEATED
from ppdet_res2net.datasets.check.run import DatasetReport, check_content
from ppdet_res2net.errors import DatasetError, Res2NetError

__all__ = ["fix_dataset"]


def fix_dataset(report: DatasetReport, out_path: str | os.PathLike) -> list[str]:
    """Write a corrected annotation file.

    Nothing is guessed. Ids become whole numbers, values in unusual spellings are written in COCO's form, and other keys stay
    as they are. Unusable images are removed with their annotations, as are annotations with neither a usable box nor a
    usable mask. A wrong box is replaced by the one around the mask. What a person has to decide is left as it is: a box
    and a mask in different places, two entries of the same file, pictures in two splits.

    Args:
        report: The report of a check that has read the images.
        out_path: File to write; replaced as a whole.

    Returns:
        What was done, one sentence each; empty if there was nothing to do. Whatever is removed is listed in full.

    Raises:
        DatasetError: Nothing would be left, a person has to correct something first, or the file cannot be written.
    """
    fixer = _Fixer(report)
    fixer.run()
    source = report.source
    if not fixer.content["images"]:
        raise DatasetError(
            f"no image of '{source.annotation_path}' can be used, so there is nothing to write to '{out_path}'. "
            f"Check that '{source.image_dir}' is the right folder."
        )
    for problem, findings in check_content(source, fixer.content).groups.items():
        if problem.severity == ERROR:
            raise DatasetError(
                f"'{source.annotation_path}' cannot be corrected automatically, so '{out_path}' is not written: "
                f"{describe(problem, findings)} ({findings[0].detail}). {problem.remedy}"
            )
    write_annotations(fixer.content, out_path)
    return fixer.changes


class _Fixer:
    def __init__(self, report: DatasetReport) -> None:
        self.report, self.source = report, report.source
        self.content = {**report.content}
        for key in ("categories", "images", "annotations"):
            self.content[key] = [dict(entry) for entry in report.content.get(key, [])]
        self.changes: list[str] = []

    def run(self) -> None:
        for problem, what in zip(SPELLING.values(), ("images", "annotations", "categories")):
            findings = self.report.groups.get(problem, [])
            self._say(f"wrote the ids of {what} as whole numbers", [one.subject_id for one in findings])
        self._number("category", "categories", "category_id")
        self._number("image", "images", "image_id")
        self._mend_categories()
        self._mend_images()
        # Annotations whose id or image was unclear before can be examined only now.
        self._mend_annotations()

    def _say(self, text: str, ids: Iterable[int], removed: bool = False) -> None:
        ids = sorted(set(ids))
        if ids:
            shown = _ranges(ids) if removed else list_first(ids)
            self.changes.append(f"{text}{'' if ': ' in text else ':'} id {shown} ({len(ids)} in all)")

    def _number(self, what: str, key: str, reference: str) -> None:
        """Write ids as whole numbers. Other ids, as "a7", get numbers of their own, also where annotations refer to them."""
        entries = self.content[key]
        known = {number for entry in entries if (number := _to_id(entry.get("id"))) is not None}
        following = max(known, default=0)
        new: dict[str, int] = {}
        for entry in entries:
            written = entry.get("id")
            number = _to_id(written)
            if number is None and written is not None:
                if repr(written) not in new:
                    following += 1
                    new[repr(written)] = following
                number = new[repr(written)]
            elif number is None and what == "category":  # no annotation can refer to it, but its place counts
                following += 1
                number = following
                self._say("gave ids to categories without one: now", [number])
            if number is not None:
                entry["id"] = number
        for annotation in self.content["annotations"]:
            written = annotation.get(reference)
            number = _to_id(written)
            if number is None and written is not None:
                number = new.get(repr(written))
            if number is not None:
                annotation[reference] = number
        self._say(f"gave whole numbers to {key} with other ids: now", new.values())

    def _mend_categories(self) -> None:
        first_of: dict[int, dict] = {}
        copies = []
        for category in self.content["categories"]:
            first = first_of.setdefault(category["id"], category)
            if first is not category:
                if first.get("name") != category.get("name"):
                    raise DatasetError(
                        f"'{self.source.annotation_path}': category id {category['id']} is both {first.get('name')!r} and "
                        f"{category.get('name')!r}, so nobody can tell which of them its annotations mean. Correct that first."
                    )
                copies.append(category["id"])
        self.content["categories"] = list(first_of.values())
        self._say("removed repeated categories", copies, removed=True)
        nameless = [one for one in first_of.values() if to_category_name(one.get("name")) is None]
        for category in first_of.values():
            category["name"] = to_category_name(category.get("name")) or f"category {category['id']}"
        self._say('named categories without a name "category ID"', [one["id"] for one in nameless])

    def _mend_images(self) -> None:
        entries = self.content["images"]
        names = defaultdict(set)
        for image in entries:
            names[image.get("id")].add(repr(image.get("file_name")))
        # If two images share an id, it is unclear which of them its annotations belong to.
        unusable = {number for number, found in names.items() if number is not None and len(found) > 1}
        bad_files = {
            finding.subject_id
            for problem in (MISSING_FILE, UNREADABLE, SIZE_DIFFERS)
            for finding in self.report.groups.get(problem, [])
        }
        first_of: dict[int, dict] = {}
        for image in entries:
            if image.get("id") is not None:
                first_of.setdefault(image["id"], image)
        measured = []
        # The check has not looked at the files of entries whose id or size was unclear.
        examined = {id(entries[image.position]) for image in self.report.file.images}
        annotated = {_image_id(one) for one in self.content["annotations"]}
        for number, image in first_of.items():
            if number in bad_files or not is_text(image.get("file_name")):
                unusable.add(number)
            if number in unusable:
                continue
            problem, size = read_size(image)
            if problem is not None or id(image) not in examined:
                found = self._measure(image, size if problem is None else None)
                if found is None:
                    unusable.add(number)
                    continue
                if problem is not None:
                    size = found
                    measured.append(number)
            image["height"], image["width"] = size
        joined = self._find_empty_copies([one for one in first_of.values() if one["id"] not in unusable], annotated)
        kept = [image for number, image in first_of.items() if number not in unusable and number not in joined]
        lost = [one for one in self.content["annotations"] if _image_id(one) in unusable]
        self.content["annotations"] = [one for one in self.content["annotations"] if _image_id(one) not in unusable]
        self.content["images"] = kept
        self._say("removed unusable images with their annotations", unusable, removed=True)
        self._say(
            "those annotations", [n for one in lost if (n := to_whole_number(one.get("id"))) is not None], removed=True
        )
        self._say("set width and height to those of the file: images", measured)
        self._say(
            "removed entries without annotations that name the file of another entry: images", joined, removed=True
        )
        without_id = [repr(image.get("file_name")) for image in entries if image.get("id") is None]
        if without_id:
            self.changes.append(f"removed {len(without_id)} image entries that have no id: {', '.join(without_id)}")
        repeated = [
            image["id"] for image in entries if image.get("id") in first_of and first_of[image["id"]] is not image
        ]
        self._say("removed image entries that repeat another one", set(repeated) - unusable, removed=True)

    def _find_empty_copies(self, images: list[dict], annotated: set) -> set[int]:
        """Return the images without annotations whose file another entry names.

        Entries that both have annotations stay: they may be of two pictures, one of which has the wrong name.
        """
        by_name = defaultdict(list)
        for image in images:
            by_name[image["file_name"]].append(image["id"])
        copies: set[int] = set()
        for numbers in by_name.values():
            keep = next((number for number in numbers if number in annotated), numbers[0])
            copies |= {number for number in numbers if number != keep and number not in annotated}
        return copies

    def _measure(self, image: dict, annotated_hw: tuple[int, int] | None) -> tuple[int, int] | None:
        """Return the size of an image file, or None if it cannot be read or does not have the annotated size."""
        try:
            data = read_image_file(resolve_image_path(self.source.image_dir, image["file_name"]))
            return decode_as_annotated(data, annotated_hw)[0].shape[:2]
        except Res2NetError:
            return None

    def _mend_annotations(self) -> None:
        report = check_content(self.source, self.content)
        entries = self.content["annotations"]
        found = {
            problem: {finding.subject_id for finding in report.groups.get(problem, [])}
            for problem in (REPEATED, CUT, AREA_DIFFERS)
        }
        wrong_box = {one.subject_id for problem in DROPPED_BOX for one in report.groups.get(problem, [])}
        new_ids = [
            one.id for one in report.file.annotations if to_whole_number(entries[one.position].get("id")) != one.id
        ]
        self._say("gave new ids to annotations: now", new_ids)
        done = defaultdict(list)
        kept = []
        for annotation in report.file.annotations:
            entry, number = entries[annotation.position], annotation.id
            if number in found[REPEATED]:
                done["removed annotations that repeat another one"].append(number)
                continue
            entry.update(id=number, image_id=annotation.image.id, category_id=annotation.category_id)
            mask = self._write_segmentation(entry, annotation, done)
            has_new_box = number in wrong_box or number in found[CUT]
            if number in wrong_box:
                box = _box_of_mask(mask, *annotation.image.size)
                if box is None:
                    done["removed annotations without a usable box or mask"].append(number)
                    continue
                entry["bbox"] = box
                done["replaced unusable boxes by the boxes around the masks of annotations"].append(number)
            elif number in found[CUT]:
                entry["bbox"] = _cut(annotation.box_xywh, *annotation.image.size)
                done["clipped boxes to the image: annotations"].append(number)
            elif entry["bbox"] != annotation.box_xywh:
                entry["bbox"] = annotation.box_xywh
                done["wrote boxes as numbers: annotations"].append(number)
            self._write_values(entry, annotation, done, number in found[AREA_DIFFERS], has_new_box, mask)
            kept.append(entry)
        positions = {one.position for one in report.file.annotations}
        lost = [position for position in range(len(entries)) if position not in positions]
        self._say_lost([entries[position] for position in lost])
        for text, numbers in done.items():
            self._say(text, numbers, removed=text.startswith("removed"))
        self.content["annotations"] = kept

    def _say_lost(self, entries: list[dict]) -> None:
        """List annotations of images or categories that the file does not have."""
        numbers = [number for one in entries if (number := to_whole_number(one.get("id"))) is not None]
        self._say("removed annotations of unknown images or categories", numbers, removed=True)
        if len(entries) > len(numbers):
            self.changes.append(
                f"removed {len(entries) - len(numbers)} annotations without id, of unknown images or categories"
            )

    def _write_segmentation(self, entry: dict, annotation: CocoAnnotation, done: dict) -> Mask | None:
        """Write the segmentation in COCO's form if it is in another one; return the mask."""
        if not annotation.has_segmentation:
            if "segmentation" in entry:
                entry["segmentation"] = []
            return None
        reading, number = annotation.reading, annotation.id
        if reading.mask is None:
            entry["segmentation"] = []
            done["removed unusable masks, and kept the boxes, of annotations"].append(number)
            return None
        if reading.lost:
            done["removed parts that are not polygons from the masks of annotations"].append(number)
        if reading.clipped:
            done["clipped masks to the surroundings of the image: annotations"].append(number)
        plain = _to_plain(reading.mask)
        if reading.form and not reading.lost:
            done["wrote masks in COCO's form: annotations"].append(number)
        if reading.form or reading.lost or reading.clipped or isinstance(reading.mask, dict):
            written = entry["segmentation"]
            if isinstance(plain, dict) and isinstance(written, dict) and _are_whole(written["counts"]):
                entry["segmentation"] = {**written, "size": plain["size"]}
            else:
                entry["segmentation"] = plain
        return reading.mask

    def _write_values(
        self, entry: dict, annotation: CocoAnnotation, done: dict, has_wrong_area: bool, has_new_box: bool, mask
    ) -> None:
        for key, flag in (("iscrowd", annotation.is_crowd), ("ignore", annotation.is_ignored)):
            if key == "ignore" and key not in entry:
                continue
            if key not in entry:
                done["added iscrowd to annotations"].append(annotation.id)
            elif type(entry[key]) is not int or entry[key] != flag:
                what = "unclear " if to_flag(entry[key]) is None else ""
                done[f"wrote {what}{key} as 0 or 1: annotations"].append(annotation.id)
            entry[key] = int(flag)
        if "area" not in entry:
            done["added area to annotations"].append(annotation.id)
        elif has_wrong_area or annotation.has_no_area:
            done["computed the area again: annotations"].append(annotation.id)
        else:
            return
        if has_new_box and mask is None:
            entry["area"] = float(entry["bbox"][2] * entry["bbox"][3])
        else:
            entry["area"] = annotation.measured_area


def _image_id(annotation: dict) -> int | None:
    """Return the id of its image, or None if there is no whole number, which :meth:`_Fixer._number` would have written."""
    number = annotation.get("image_id")
    return number if type(number) is int else None


def _to_id(value: object) -> int | None:
    number = to_whole_number(value)
    return number if number is not None and abs(number) <= MAX_ID else None


def _are_whole(counts: object) -> bool:
    return isinstance(counts, list) and set(map(type, counts)) == {int}


def _to_plain(mask: Mask) -> list | dict:
    """Return a mask as JSON holds it."""
    if isinstance(mask, dict):
        return {"size": [int(side) for side in mask["size"]], "counts": mask["counts"].decode("ascii")}
    return [polygon.tolist() for polygon in mask]


def _box_of_mask(mask: Mask | None, height: int, width: int) -> list[float] | None:
    if mask is None:
        return None
    outline = outline_box(mask)
    box = _cut([*outline[:2], *(outline[2:] - outline[:2])], height, width)
    return box if min(box[2:]) > 0 else None


def _cut(box_xywh, height: int, width: int) -> list[float]:
    x, y, w, h = box_xywh
    corners = np.clip([x, y, x + w, y + h], 0, [width, height, width, height])
    return [round(float(value), 3) for value in (*corners[:2], *(corners[2:] - corners[:2]))]


def _ranges(ids: list[int]) -> str:
    """Write sorted ids in full, neighbours as ranges: ``"3, 7-12"``."""
    parts: list[list[int]] = []
    for number in ids:
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ", ".join(
        str(low) if low == high else f"{low}{', ' if high == low + 1 else '-'}{high}" for low, high in parts
    )
