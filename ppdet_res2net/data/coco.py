"""A dataset in COCO's format, with the arguments and records of PaddleDetection's class of that name."""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np

from ppdet_res2net.data.annotations import (
    NOTHING_IS_DOWNLOADED,
    check_dataset_path,
    read_annotations,
    read_categories,
)
from ppdet_res2net.data.coco_file import CocoAnnotation, CocoFile, CocoImage
from ppdet_res2net.data.garbage_collection import paused_garbage_collection
from ppdet_res2net.data.image_names import ImageFolder
from ppdet_res2net.data.instances import InstanceSelection, refuse_without_masks, select_instances
from ppdet_res2net.data.problems import inflect
from ppdet_res2net.errors import ConfigError, DatasetError, did_you_mean

__all__ = ["COCODataSet", "copy_record"]

logger = logging.getLogger(__name__)

DATA_FIELDS = ("image", "gt_bbox", "gt_class", "is_crowd", "gt_poly")
# Reader options of PaddleDetection that draw several records for one sample; no recipe of an R-CNN uses them.
MIXING_OPTIONS = ("mixup_epoch", "cutmix_epoch", "mosaic_epoch", "pre_img_epoch")
SHOWN_FILES = 5


class COCODataSet:
    """Images with boxes, classes and masks, from one annotation file and one image folder.

    This class replaces PaddleDetection's ``COCODataSet``. It takes the same arguments, and makes the same records from
    data without errors. It differs where PaddleDetection goes wrong:

    - An annotation that cannot be used is left out as a whole, so that boxes, classes and masks stay aligned, and the log
      says how many there are.
    - Run-length masks are kept, those of crowds too.
    - Missing image files are an error, and nothing is ever downloaded.
    - ``empty_ratio`` chooses the same images without objects in every run and process.

    Args:
        dataset_dir: Folder to which the other two paths are relative.
        image_dir: Folder of the images.
        anno_path: Annotation file.
        data_fields: What a record holds: some of ``image``, ``gt_bbox``, ``gt_class``, ``is_crowd``, ``gt_poly``. With
            ``gt_poly``, annotations without a mask are left out.
        sample_num: Number of images to use, in the order of their ids; -1 for all.
        load_crowd: Keep crowd regions, with ``is_crowd`` 1.
        allow_empty: Keep images without objects.
        empty_ratio: Share of images without objects among all images. Outside [0, 1), all of them are kept.
        repeat: How often each image occurs in an epoch.

    Attributes:
        roidbs: One record (dict) per image; the annotations are read on first use. A record has ``im_file`` (path),
            ``im_id`` (int (1,)), ``h`` and ``w`` (float, pixels). ``data_fields`` adds ``gt_bbox`` (float32 (N, 4),
            x0 y0 x1 y1), ``gt_class`` and ``is_crowd`` (int32 (N, 1)), and ``gt_poly`` (for each object a list of polygons,
            or a dict with compressed RLE).

    Raises:
        ConfigError: An argument is wrong.
    """

    def __init__(
        self,
        dataset_dir: str | None = None,
        image_dir: str | None = None,
        anno_path: str | None = None,
        data_fields: Sequence[str] = ("image",),
        sample_num: int = -1,
        load_crowd: bool = False,
        allow_empty: bool = False,
        empty_ratio: float = 1.0,
        repeat: int = 1,
    ) -> None:
        for name in data_fields:
            if name not in DATA_FIELDS:
                raise ConfigError(
                    f"COCODataSet: unknown entry {name!r} in data_fields, expected some of "
                    f"{', '.join(DATA_FIELDS)}.{did_you_mean(name, DATA_FIELDS)}"
                )
        if repeat < 1:
            raise ConfigError(f"COCODataSet: repeat must be at least 1, got {repeat}.")
        self.dataset_dir = dataset_dir or ""
        self.image_dir = image_dir or ""
        self.anno_path = anno_path
        self.data_fields = list(data_fields)
        self.sample_num = sample_num
        self.load_crowd = load_crowd
        self.allow_empty = allow_empty
        self.empty_ratio = empty_ratio
        self.repeat = repeat
        self.transform: Callable | None = None
        self._records: list[dict] | None = None

    @property
    def annotation_path(self) -> str:
        """Path of the annotation file."""
        if not self.anno_path:
            raise DatasetError("COCODataSet: anno_path is not set; set it to the annotation file in the configuration.")
        return os.path.join(self.dataset_dir, self.anno_path)

    @cached_property
    def _categories(self) -> tuple[list[str], list[int]]:
        return read_categories(self.annotation_path)

    @property
    def class_names(self) -> list[str]:
        """Category names by label."""
        return self._categories[0]

    @property
    def category_ids(self) -> list[int]:
        """Category ids by label."""
        return self._categories[1]

    @property
    def catid2clsid(self) -> dict[int, int]:
        """Category id -> label."""
        return {category_id: label for label, category_id in enumerate(self.category_ids)}

    @property
    def cname2cid(self) -> dict[str, int]:
        """Category name -> label."""
        return {name: label for label, name in enumerate(self.class_names)}

    def image_path(self, image_id: int) -> str:
        """Return the path of the image with this id.

        Raises:
            DatasetError: The dataset has no such image.
        """
        self.parse_dataset()
        if image_id not in self._paths:
            raise DatasetError(f"image id {image_id} is not among the images used of '{self.annotation_path}'.")
        return self._paths[image_id]

    @cached_property
    def _paths(self) -> dict[int, str]:
        return {int(record["im_id"][0]): record["im_file"] for record in self.roidbs}

    def check_or_download_dataset(self) -> None:
        """Check that the annotation file and the image folder exist; nothing is ever downloaded.

        Raises:
            DatasetError: One of them does not exist.
        """
        if self.dataset_dir:
            check_dataset_path(self.dataset_dir, "dataset folder")
        check_dataset_path(self.annotation_path, "annotation file")
        image_folder = os.path.join(self.dataset_dir, self.image_dir)
        if image_folder:
            check_dataset_path(image_folder, "image folder")

    def parse_dataset(self) -> None:
        """Read the annotation file and fill ``roidbs``, unless that has been done.

        Raises:
            DatasetError: Something is missing or wrong, or no image is left to use.
        """
        self._parse()

    def read_file(self) -> CocoFile:
        """Read the annotation file, fill ``roidbs``, and return what :func:`read_annotations` returned.

        The dataset itself keeps only the records.

        Raises:
            DatasetError: As for :meth:`parse_dataset`.
        """
        with paused_garbage_collection():
            file = self._read()
            self._records = self._make_records(file)
        return file

    def _read(self) -> CocoFile:
        self.check_or_download_dataset()
        return read_annotations(self.annotation_path)

    def _parse(self) -> list[dict]:
        if self._records is None:
            self.read_file()
        assert self._records is not None  # read_file has set them
        return self._records

    @property
    def roidbs(self) -> list[dict]:
        """The records of the images; see the class."""
        return self._parse()

    def _make_records(self, file: CocoFile) -> list[dict]:
        self._categories = ([one.name for one in file.categories], [one.id for one in file.categories])
        images = sorted(file.images, key=lambda image: image.id)
        if not file.has_annotations:
            text = f"'{self.annotation_path}' has no annotations, so its images can be used for prediction only"
            if not set(self.data_fields) <= {"image"}:
                raise DatasetError(f"{text}. Annotate them, or set anno_path to another file.")
            logger.warning("%s", text)
        if file.has_annotations and not self._takes_every_image:
            records = self._join(images, file.annotations)
        else:
            records = [self._image_record(image) for image in images[: self._limit]]
        if not records:
            raise DatasetError(
                f"no image of '{self.annotation_path}' has an object to train on. Annotate some, or keep "
                "images without objects with allow_empty: true."
            )
        self._check_files({image.id: image.file_name for image in images}, records)
        return records

    @cached_property
    def _images(self) -> ImageFolder:
        return ImageFolder(os.path.join(self.dataset_dir, self.image_dir))

    @property
    def _takes_every_image(self) -> bool:
        """Whether images are all that is wanted. Evaluation then says itself how it treats the annotations."""
        return set(self.data_fields) <= {"image"} and self.allow_empty and not 0.0 <= self.empty_ratio < 1.0

    @property
    def _limit(self) -> int | None:
        return self.sample_num if self.sample_num > 0 else None

    def _join(self, images: list[CocoImage], annotations: list[CocoAnnotation]) -> list[dict]:
        """Return a record for each image that is used: first images with objects, then images without."""
        with_masks = "gt_poly" in self.data_fields
        if with_masks:
            why = "gt_poly is among the data_fields: this recipe trains masks"
            refuse_without_masks(annotations, self.annotation_path, why)
        selection = select_instances(annotations, with_masks, self.load_crowd, self.annotation_path)
        members: dict[int, list[int]] = {}
        for index, annotation in enumerate(selection.annotations):
            members.setdefault(annotation.image.id, []).append(index)

        used = [image for image in images if self.allow_empty or image.id in members][: self._limit]
        records: list[dict] = []
        empty_records: list[dict] = []
        for image in used:
            record = self._image_record(image)
            indices = members.get(image.id, [])
            self._add_objects(record, indices, selection)
            (records if indices else empty_records).append(record)
        chosen = self._choose_empty(empty_records, len(records))
        objects = sum(len(members[image.id]) for image in used if image.id in members)
        left = len(images) - len(records) - len(chosen)
        counts = (
            f"{len(records)} {inflect('[image/images]', len(records))} with {objects} {inflect('[object/objects]', objects)}",
            f"{len(chosen)} {inflect('[image/images]', len(chosen))} without any",
            f"{left} {inflect('[image/images]', left)} not used",
        )
        logger.info("'%s': %s", self.annotation_path, ", ".join(counts))
        return records + chosen

    def _image_record(self, image: CocoImage) -> dict:
        return {
            "im_file": self._images.find(image.file_name) or self._images.join(image.file_name),
            "im_id": np.array([image.id]),
            "h": float(image.height),
            "w": float(image.width),
        }

    def _add_objects(self, record: dict, indices: list[int], selection: InstanceSelection) -> None:
        labels = self.catid2clsid
        annotations = [selection.annotations[index] for index in indices]
        objects = {
            "is_crowd": np.array([[one.is_crowd] for one in annotations], np.int32).reshape(-1, 1),
            "gt_class": np.array([[labels[one.category_id]] for one in annotations], np.int32).reshape(-1, 1),
            "gt_bbox": selection.boxes_xyxy[indices].reshape(-1, 4),
            "gt_poly": [selection.segmentations[index] for index in indices],
        }
        record.update({name: value for name, value in objects.items() if name in self.data_fields})

    def _choose_empty(self, empty_records: list[dict], others: int) -> list[dict]:
        if not 0.0 <= self.empty_ratio < 1.0:
            return empty_records
        wanted = int(others * self.empty_ratio / (1 - self.empty_ratio))
        # A generator with a fixed seed: every process and every resumed run must choose the same images.
        return random.Random(0).sample(empty_records, min(wanted, len(empty_records)))

    def _check_files(self, names: dict[int, str], records: list[dict]) -> None:
        used = [names[int(record["im_id"][0])] for record in records]
        missing = [name for name in used if self._images.find(name) is None]
        if missing:
            shown = "; ".join(self._images.explain(name) for name in missing[:SHOWN_FILES])
            raise DatasetError(
                f"{len(missing)} of {len(records)} image files of '{self.annotation_path}' do not exist: "
                f"{shown}{' ...' if len(missing) > SHOWN_FILES else ''}. {NOTHING_IS_DOWNLOADED}: correct "
                "dataset_dir and image_dir, correct the file names, or remove these images from the annotation file."
            )

    def __len__(self) -> int:
        return len(self.roidbs) * self.repeat

    def __getitem__(self, index: int) -> dict:
        """Return a copy of a record, after the transform if one was set."""
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} is outside a dataset of {len(self)} samples")
        record = copy_record(self.roidbs[index % len(self.roidbs)])
        return record if self.transform is None else self.transform(record)

    def __call__(self, *args, **kwargs) -> COCODataSet:
        """Return the dataset itself: PaddleDetection calls the objects that its workspace creates."""
        return self

    def get_anno(self) -> str | None:
        """Return the path of the annotation file, or None if none was given."""
        return self.annotation_path if self.anno_path else None

    def set_transform(self, transform: Callable) -> None:
        """Set what ``__getitem__`` applies to a record."""
        self.transform = transform

    def set_epoch(self, epoch_id: int) -> None:
        """Do nothing: records do not depend on the epoch."""

    def set_kwargs(self, **kwargs) -> None:
        """Refuse PaddleDetection's reader options that mix several images; they are not supported.

        Raises:
            ConfigError: Such an option is switched on.
        """
        wanted = [name for name in MIXING_OPTIONS if kwargs.get(name, -1) >= 0]
        if wanted:
            raise ConfigError(f"the reader options {', '.join(wanted)} are not supported; remove them from the recipe.")


def copy_record(record: dict) -> dict:
    """Return a copy that transforms may change.

    Arrays are copied, because transforms write into them. Polygons are shared: transforms replace them as a whole.
    """
    return {
        name: value.copy() if isinstance(value, np.ndarray) else list(value) if isinstance(value, list) else value
        for name, value in record.items()
    }
