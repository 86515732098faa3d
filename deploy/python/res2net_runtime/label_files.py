"""Writes labels in the formats of labelling tools, one file per image or one for all, and replaces none unasked."""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import yaml
from pycocotools import mask as coco_mask

from res2net_runtime.errors import ImageError, Res2NetError
from res2net_runtime.files import make_output_folder, save_text
from res2net_runtime.image_lists import ImageFile
from res2net_runtime.labels import LabelledImage, LabelledObject, LabelOutput, make_object
from res2net_runtime.outlines import join_outlines
from res2net_runtime.texts import printable, storable
from res2net_runtime.thresholds import reach_threshold

__all__ = ["LabelWriter", "open_labels"]

# To be read after a number of masks.
_HOLES = "with holes, which are filled: polygons have none"
_NO_PIXELS = "without a pixel, of which the box is written"


class LabelWriter(ABC):
    """Writes the labels of a job; use it as a context manager.

    Args:
        output: Where they go.
        names: Class names, by label.
        category_ids: COCO's category id of each label.
        suffix: What the name of a file for all images has before its ending.
    """

    def __init__(self, output: LabelOutput, names: Sequence[str], category_ids: Sequence[int], suffix: str) -> None:
        self._output, self._category_ids, self._suffix = output, category_ids, suffix
        self._names = [storable(name) for name in names]
        self.count = 0
        self._notes = {_HOLES: 0, _NO_PIXELS: 0}

    @property
    def directory(self) -> Path:
        """The folder of the labels."""
        return self._output.directory

    def prepare(self, images: Sequence[ImageFile]) -> None:
        """Create the folder, and check that no file in it would be replaced.

        Args:
            images: The images that will be added.

        Raises:
            ImageError: Two images would share a label file.
            Res2NetError: A label file is there, or the folder cannot be written.
        """
        make_output_folder(self._output.directory, option="--labels_dir")
        owners: dict[Path, ImageFile] = {}
        for image in images:
            path = self._path_of(image)
            if path in owners and path != self._shared_path():
                raise ImageError(
                    f"The images '{printable(owners[path].name)}' and '{printable(image.name)}' would share the label file "
                    f"'{printable(path)}'. Rename one of them."
                )
            owners[path] = image
        there = [path for path in owners if os.path.lexists(path)]
        if there and not self._output.overwrite:
            others = f" and {len(there) - 1} others are" if len(there) > 1 else " is"
            raise Res2NetError(
                f"The label file '{printable(there[0])}'{others} there already. Choose another --labels_dir, or replace "
                "what is there with --overwrite_labels."
            )

    def add(self, labelled: LabelledImage) -> None:
        """Write the labels of one image.

        Raises:
            Res2NetError: The file cannot be written.
        """
        for one in labelled.objects:
            self._notes[_HOLES] += one.has_holes
            self._notes[_NO_PIXELS] += one.rle is not None and not one.parts
        self._add(labelled)
        self.count += 1

    def add_done(self, record: Mapping[str, Any], threshold: float | Sequence[float]) -> None:  # noqa: B027  (its file is there already)
        """Take in an image that an earlier run has done, if this run's file is for all images.

        Args:
            record: The image in ``results.jsonl``.
            threshold: Smallest score of a label: one for all classes, or one per class.

        Raises:
            Res2NetError: The record is incomplete.
        """

    def notes(self) -> list[str]:
        """Return what the labels could not hold."""
        return [f"{count} mask{'s' * (count != 1)} {what}" for what, count in self._notes.items() if count]

    def __enter__(self) -> LabelWriter:
        return self

    def __exit__(self, *exception: object) -> None:  # noqa: B027  (a format with a file per image has nothing to finish)
        """Write what is not written yet."""

    def _shared_path(self) -> Path | None:
        return None

    @abstractmethod
    def _path_of(self, image: ImageFile) -> Path:
        """Return the file that an image's labels go to."""

    @abstractmethod
    def _add(self, labelled: LabelledImage) -> None: ...

    def _save(self, path: Path, text: str) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Res2NetError(
                f"The folder '{printable(path.parent)}' cannot be created: {error.strerror}. Choose another --labels_dir."
            ) from error
        save_text(path, text)


class _CocoLabels(LabelWriter):
    """One file for all images. It is written at the end, also if the job ends early."""

    def __init__(self, *settings: Any) -> None:
        super().__init__(*settings)
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []

    def __exit__(self, *exception: object) -> None:
        if exception[0] is not None and not self._images:
            return
        categories = [{"id": number, "name": name} for number, name in zip(self._category_ids, self._names)]
        content = {"images": self._images, "annotations": self._annotations, "categories": categories}
        self._save(self._shared_path(), json.dumps(content) + "\n")

    def add_done(self, record: Mapping[str, Any], threshold: float | Sequence[float]) -> None:
        try:
            image = ImageFile(Path(record["file_name"]), record["file_name"], record["image_id"])
            found = []
            for one in record["detections"]:
                label = self._category_ids.index(one["category_id"])
                if reach_threshold([one["score"]], [label], threshold)[0]:
                    x, y, width, height = one["bbox"]
                    box = [round(value, 3) for value in (x, y, x + width, y + height)]
                    found.append(make_object(label, one["score"], box, one.get("segmentation")))
            labelled = LabelledImage(image, (record["height"], record["width"]), found)
        except (KeyError, TypeError, ValueError) as error:
            raise Res2NetError(
                f"The results of '{printable(record['file_name'])}' by an earlier run are not those of this model. Choose "
                "another --output_dir, or leave --skip_done out."
            ) from error
        self.add(labelled)

    def _shared_path(self) -> Path:
        return self._output.directory / f"annotations{self._suffix}.json"

    def _path_of(self, image: ImageFile) -> Path:
        return self._shared_path()

    def _add(self, labelled: LabelledImage) -> None:
        height, width = labelled.image_hw
        image_id = labelled.image.image_id
        self._images.append({"id": image_id, "file_name": labelled.image.name, "width": width, "height": height})
        for one in labelled.objects:
            x0, y0, x1, y1 = one.box
            size = [round(x1 - x0, 3), round(y1 - y0, 3)]
            area = size[0] * size[1] if not one.parts else float(coco_mask.area(one.rle))
            self._annotations.append(
                {
                    "id": len(self._annotations) + 1,
                    "image_id": image_id,
                    "category_id": self._category_ids[one.label],
                    "bbox": [x0, y0, *size],
                    "area": round(area, 3),
                    "iscrowd": 0,
                    "segmentation": [part.reshape(-1).tolist() for part in one.parts],
                    "score": one.score,
                }
            )


class _LabelmeLabels(LabelWriter):
    """One JSON file per image, which names the image by its path from there."""

    def _path_of(self, image: ImageFile) -> Path:
        return self._output.directory / PurePosixPath(image.name).with_suffix(".json")

    def _add(self, labelled: LabelledImage) -> None:
        path = self._path_of(labelled.image)
        height, width = labelled.image_hw
        groups = iter(range(1, len(labelled.objects) + 1))
        content: dict[str, Any] = {
            "version": "5.5.0",
            "flags": {},
            "shapes": [shape for one in labelled.objects for shape in self._shapes(one, groups)],
            "imagePath": _path_from(labelled.image.path, path.parent),
            "imageData": None,
            "imageHeight": height,
            "imageWidth": width,
        }
        self._save(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")

    def _shapes(self, one: LabelledObject, groups: Any) -> list[dict[str, Any]]:
        x0, y0, x1, y1 = one.box
        outlines = [part.tolist() for part in one.parts] or [[[x0, y0], [x1, y1]]]
        group = next(groups) if len(outlines) > 1 else None
        return [
            {
                "label": self._names[one.label],
                "points": points,
                "group_id": group,
                "description": "",
                "shape_type": "polygon" if one.parts else "rectangle",
                "flags": {},
                "score": one.score,
            }
            for points in outlines
        ]


class _YoloLabels(LabelWriter):
    """One text file per image, and two that name the classes. A detector with masks writes outlines, another one boxes."""

    def prepare(self, images: Sequence[ImageFile]) -> None:
        super().prepare(images)
        roots = {image.path.absolute().parents[len(PurePosixPath(image.name).parts) - 1] for image in images}
        self._write_classes(roots.pop() if len(roots) == 1 else None)

    def _path_of(self, image: ImageFile) -> Path:
        return self._output.directory / "labels" / PurePosixPath(image.name).with_suffix(".txt")

    def _write_classes(self, images_dir: Path | None) -> None:
        images = {} if images_dir is None else {"train": storable(_path_from(images_dir, self._output.directory))}
        content = {**images, "names": dict(enumerate(self._names))}
        for name, text in (
            ("data.yaml", yaml.safe_dump(content, allow_unicode=True, sort_keys=False)),
            ("classes.txt", "".join(f"{' '.join(name.split())}\n" for name in self._names)),
        ):
            path = self._output.directory / name
            is_other = os.path.lexists(path) and not (path.is_file() and path.read_bytes() == text.encode())
            if is_other and not self._output.overwrite:
                raise Res2NetError(
                    f"'{printable(path)}' is there already, and has other content. Choose another --labels_dir, or replace it "
                    "with --overwrite_labels."
                )
            self._save(path, text)

    def _add(self, labelled: LabelledImage) -> None:
        height, width = labelled.image_hw
        lines = []
        for one in labelled.objects:
            x0, y0, x1, y1 = one.box
            if one.rle is None:
                values = [(x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height]
            else:
                corners = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
                outline = join_outlines(one.parts) if one.parts else corners
                values = (outline / [width, height]).clip(0, 1).reshape(-1).tolist()
            lines.append(" ".join([str(one.label), *(f"{value:.6f}" for value in values)]))
        self._save(self._path_of(labelled.image), "".join(f"{line}\n" for line in lines))


_WRITERS: Mapping[str, type[LabelWriter]] = {"coco": _CocoLabels, "labelme": _LabelmeLabels, "yolo": _YoloLabels}


def open_labels(output: LabelOutput, names: Sequence[str], category_ids: Sequence[int], suffix: str) -> LabelWriter:
    """Return the writer of a format; see :class:`LabelWriter` for the arguments."""
    return _WRITERS[output.format](output, names, category_ids, suffix)


def _path_from(path: Path, folder: Path) -> str:
    """Return a path relative to a folder, with slashes; the absolute one if there is none, on another drive of Windows."""
    real = os.path.join(os.path.realpath(path.parent), path.name)  # '..' leads elsewhere from a link
    try:
        return Path(os.path.relpath(real, os.path.realpath(folder))).as_posix()
    except ValueError:
        return path.absolute().as_posix()
