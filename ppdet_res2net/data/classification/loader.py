"""Batches of labelled images, for training and for evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ppdet_res2net.data.classification.transforms import BATCH_TRANSFORMS, SAMPLE_TRANSFORMS
from ppdet_res2net.data.loader import BatchLoader
from ppdet_res2net.data.transforms import Transforms, build_transforms

__all__ = ["LabelledImageLoader"]


class LabelledImageLoader(BatchLoader):
    """A :class:`BatchLoader` with the transforms of classification.

    Batches have ``image`` (float32 (N, 3, H, W)), ``label`` (int64 (N,)) and ``im_id`` (int64 (N, 1)); with ``MixImages``
    among the batch transforms also ``other_label`` (int64 (N,)) and ``label_share`` (float32 (N,)).
    """

    def _build_transforms(
        self, sample_transforms: Sequence[Mapping], batch_transforms: Sequence[Mapping], num_classes: int | None
    ) -> tuple[Transforms, Transforms]:
        return (
            build_transforms(sample_transforms, SAMPLE_TRANSFORMS),
            build_transforms(batch_transforms, BATCH_TRANSFORMS),
        )
