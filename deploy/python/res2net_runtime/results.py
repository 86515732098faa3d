"""The result of detection on one image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from res2net_runtime.errors import BackendError
from res2net_runtime.masks import masks_to_bitmaps, masks_to_rles
from res2net_runtime.thresholds import reach_threshold

__all__ = ["Detections"]


@dataclass(frozen=True, eq=False)
class Detections:
    """The n detections of one image, best score first.

    They have a length, and can be indexed, sliced and iterated over:
    ``detections[detections.scores > 0.5]``, ``detections[:10]``, ``for detection in detections``.

    Attributes:
        boxes_xyxy: float32 (n, 4): x1, y1, x2, y2 in pixels of the original image.
        scores: float32 (n,) in [0, 1].
        labels: int32 (n,), indices into ``label_list``.
        masks: float32 (n, 28, 28) probabilities inside each box, or None for a detector without masks.
        image_hw: (height, width) of the original image, after EXIF rotation.
        label_list: Class names.
        category_ids: COCO category id of each label.
        mask_threshold: Smallest probability of a pixel that belongs to a mask.
        joined_rles: Object (n,): COCO's compressed RLE of each mask that was joined from parts in several slices, which is
            finer than the probabilities in ``masks``; None for the other masks. None if no mask is joined.
    """

    boxes_xyxy: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    masks: np.ndarray | None
    image_hw: tuple[int, int]
    label_list: tuple[str, ...]
    category_ids: tuple[int, ...]
    mask_threshold: float = 0.5
    joined_rles: np.ndarray | None = None

    @classmethod
    def from_outputs(
        cls, outputs: Mapping[str, np.ndarray], image_hws: Sequence[tuple[int, int]], **shared: Any
    ) -> list[Detections]:
        """Split the outputs of a batch into one result per image.

        Args:
            outputs: ``boxes`` (M, 4), ``scores`` (M,), ``labels`` (M,), ``num`` (N,) with sum M, and for
                detectors with masks ``masks`` (M, 28, 28).
            image_hws: (height, width) of each of the N original images.
            **shared: ``label_list``, ``category_ids`` and ``mask_threshold``.

        Raises:
            BackendError: The outputs do not fit together.
        """
        num = np.asarray(outputs["num"]).reshape(-1)
        rows = {key: len(value) for key, value in outputs.items() if key != "num"}
        if len(num) != len(image_hws) or set(rows.values()) != {int(num.sum())}:
            raise BackendError(
                f"The network returned {num.tolist()} detections per image for {len(image_hws)} images, but "
                f"outputs with {rows} rows. Export the model again."
            )
        labels = np.asarray(outputs["labels"])
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(shared["label_list"]):
            raise BackendError(
                f"The network returned labels from {labels.min()} to {labels.max()}, but label_list in "
                f"infer_cfg.yml has {len(shared['label_list'])} names. Export the model again."
            )
        scores = np.asarray(outputs["scores"])
        ends = np.cumsum(num)
        # Engines differ in the order of an image's rows. Indices, unlike slices, also make copies.
        parts = [end - count + np.argsort(-scores[end - count : end], kind="stable") for end, count in zip(ends, num)]
        masks = outputs.get("masks")
        return [
            cls(
                boxes_xyxy=outputs["boxes"][part],
                scores=scores[part],
                labels=labels[part],
                masks=None if masks is None else masks[part],
                image_hw=(int(image_hw[0]), int(image_hw[1])),
                **shared,
            )
            for part, image_hw in zip(parts, image_hws)
        ]

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, index: int | slice | Sequence[int] | Sequence[bool] | np.ndarray) -> Detections:
        """Return some of the detections; all fields stay together.

        Args:
            index: A number (negative ones count from the end), a slice, or a list or array of numbers or of n booleans.

        Returns:
            The chosen detections, in the order of ``index``; one for a single number.

        Raises:
            IndexError: A number is out of range, or there are not n booleans.
            TypeError: ``index`` is anything else.

        Example:
            >>> detections[0], detections[:10], detections[detections.scores > 0.5], detections[[2, 0]]
        """
        chosen = self._rows(index)
        return replace(
            self,
            boxes_xyxy=self.boxes_xyxy[chosen],
            scores=self.scores[chosen],
            labels=self.labels[chosen],
            masks=None if self.masks is None else self.masks[chosen],
            joined_rles=None if self.joined_rles is None else self.joined_rles[chosen],
        )

    def __iter__(self) -> Iterator[Detections]:
        """Yield each detection as a :class:`Detections` of one, with the same attributes and methods."""
        for index in range(len(self)):
            yield self[index]

    def filter(self, score_threshold: float | Sequence[float]) -> Detections:
        """Return only the detections whose score is at least ``score_threshold``: one number, or one per class."""
        return self[reach_threshold(self.scores, self.labels, score_threshold)]

    @property
    def class_names(self) -> list[str]:
        """Class name of each detection."""
        return [self.label_list[label] for label in self.labels]

    def rles(self) -> list[dict[str, Any]]:
        """Return each mask in the image as COCO's compressed RLE, ``{"size": [h, w], "counts": bytes}``.

        Raises:
            ValueError: The detector has no masks.
        """
        rles = masks_to_rles(self._require_masks(), self.boxes_xyxy, self.image_hw, self.mask_threshold)
        if self.joined_rles is not None:
            rles = [joined or rle for joined, rle in zip(self.joined_rles, rles)]
        return rles

    def bitmaps(self) -> np.ndarray:
        """Return each mask in the image as bool (n, height, width).

        Raises:
            ValueError: The detector has no masks.
        """
        bitmaps = masks_to_bitmaps(self._require_masks(), self.boxes_xyxy, self.image_hw, self.mask_threshold)
        for index, joined in enumerate(() if self.joined_rles is None else self.joined_rles):
            if joined is not None:
                bitmaps[index] = coco_mask.decode(joined)
        return bitmaps

    def to_coco(self, image_id: int) -> list[dict[str, Any]]:
        """Return the detections in COCO's results format, ready for ``json.dump``.

        Returns:
            ``{"image_id", "category_id", "bbox": [x, y, width, height], "score"}`` per detection, and for
            detectors with masks ``"segmentation"``, a compressed RLE whose counts are a string.
        """
        boxes = self.boxes_xyxy.astype(np.float64)
        boxes_xywh = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
        entries = [
            {"image_id": image_id, "category_id": self.category_ids[label], "bbox": bbox, "score": score}
            for label, bbox, score in zip(self.labels.tolist(), boxes_xywh.tolist(), self.scores.tolist())
        ]
        if self.masks is not None:
            for entry, rle in zip(entries, self.rles()):
                entry["segmentation"] = {"size": rle["size"], "counts": rle["counts"].decode("ascii")}
        return entries

    def _rows(self, index: object) -> slice | np.ndarray:
        """Return an index in the form that NumPy applies to each field, without losing the first axis."""
        if isinstance(index, slice):
            return index
        rows = np.asarray(index)
        if rows.ndim == 0 and rows.dtype.kind in "iu":  # one number
            rows = rows[None]
        if isinstance(index, (tuple, str)) or rows.ndim != 1 or (rows.size and rows.dtype.kind not in "iub"):
            described = f"{rows.dtype} {rows.shape}" if isinstance(index, np.ndarray) else repr(index)
            raise TypeError(
                f"Detections are indexed by a number, a slice, or a list or array of numbers or booleans, got {described}. "
                "Fields are attributes: detections.scores."
            )
        if rows.dtype == bool and len(rows) != len(self):
            raise IndexError(
                f"Got {len(rows)} booleans for {len(self)} detections. Make them from these detections, for instance "
                "detections[detections.scores > 0.5]."
            )
        if rows.dtype != bool and rows.size and not -len(self) <= rows.min() <= rows.max() < len(self):
            raise IndexError(f"There are {len(self)} detections, so {index!r} is out of range.")
        return rows if rows.size else rows.astype(int)

    def _require_masks(self) -> np.ndarray:
        if self.masks is None:
            raise ValueError("These detections have no masks: the detector finds boxes only. Export a Mask R-CNN.")
        return self.masks
