"""Batches of labelled images, from the same loader as detection's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ppdet_res2net.data.classification.labelled import LabelledImages
from ppdet_res2net.data.classification.transforms import BATCH_TRANSFORMS, SAMPLE_TRANSFORMS, build_transforms
from ppdet_res2net.data.loader import TrainLoader

__all__ = ["LabelledImageLoader"]


class LabelledImageLoader(TrainLoader):
    """Batches with ``image`` (float32 (N, 3, H, W)), ``label`` (int64 (N,)) and ``im_id`` (int64 (N, 1)).

    With ``MixImages`` among the batch transforms also ``other_label`` and ``label_share``, (N,) each. The order and
    every random number follow from the seed, the epoch and the position; see :class:`TrainLoader`.

    Args:
        dataset: The images.
        sample_transforms, batch_transforms: As in a classification recipe's reader.
        **options: ``batch_size``, ``shuffle``, ``drop_last``, ``num_workers``, ``seed``, ``rank``, ``world_size`` and
            ``time_limit_s`` of :class:`TrainLoader`.

    Raises:
        ConfigError: An argument or a transform is wrong.
        DatasetError: The dataset is wrong, or has fewer images than one batch and ``drop_last`` is set.
    """

    def __init__(
        self,
        dataset: LabelledImages,
        sample_transforms: Sequence[Mapping],
        batch_transforms: Sequence[Mapping] = (),
        **options,
    ) -> None:
        super().__init__(dataset, [], [], num_classes=len(dataset.class_names), **options)
        self._sample_transforms = build_transforms(sample_transforms, SAMPLE_TRANSFORMS)
        self._batch_transforms = build_transforms(batch_transforms, BATCH_TRANSFORMS)
