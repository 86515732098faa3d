"""Loads batches. All random choices follow from the seed, the epoch and the position in it."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ppdet_res2net.data.augment import MixingTransform
from ppdet_res2net.data.augment.objects import OBJECT_PREFIXES
from ppdet_res2net.data.coco import copy_record
from ppdet_res2net.data.fused import fuse_transforms
from ppdet_res2net.data.records import RecordDataset
from ppdet_res2net.data.sampling import draw_epoch, repeat_factors
from ppdet_res2net.data.seeds import Purpose, keep_random_state, mix_seed, seed_generators
from ppdet_res2net.data.transforms import OWN_TRANSFORMS, Transforms, build_transforms
from ppdet_res2net.data.workers import WorkerPool, workers_are_supported
from ppdet_res2net.errors import ConfigError, DatasetError, Res2NetError

__all__ = ["BatchLoader"]

logger = logging.getLogger(__name__)

WORKER_TIME_LIMIT_S = 300.0
# Keys that sample transforms leave behind and no network reads, as in PaddleDetection.
INTERNAL_KEYS = ("h", "w", "flipped")
# Keys with one entry per object.
OBJECT_KEYS = ("gt_bbox", "gt_class", "is_crowd", "gt_poly")


class BatchTask(NamedTuple):
    """One batch of this process."""

    epoch: int
    step: int
    indices: tuple[int, ...]
    image_ids: tuple[int, ...]

    def __str__(self) -> str:
        image_ids = ", ".join(map(str, self.image_ids))
        return f"the batch of epoch {self.epoch}, step {self.step} with image ids {image_ids}"


class BatchLoader:
    """Batches from a dataset and PaddleDetection's transforms, for training or evaluation.

    The order of an epoch depends only on (seed, epoch), the random numbers of a sample's transforms on (seed, epoch, index of
    the sample), and those of the batch transforms on (seed, epoch, step). Hence neither the number of workers nor a restart
    in the middle of an epoch changes a batch. Step k of several processes (ranks) together has the images of step k of one
    process with ``world_size`` times the batch size.

    Args:
        dataset: The dataset. It is read when it is first used.
        sample_transforms: Transforms of one image, as in PaddleDetection's ``sample_transforms``.
        batch_transforms: Transforms of a batch, as in PaddleDetection's ``batch_transforms``.
        batch_size: Number of images per batch and process.
        shuffle: Whether the order is random.
        drop_last: Whether an incomplete last batch is left out.
        num_workers: Number of processes that prepare batches; with 0, this process prepares each batch on request.
        seed: Seed of the order and of all augmentation.
        num_classes: Number of classes, for the transforms that have an attribute of this name.
        rank: Number of this process.
        world_size: Number of processes.
        time_limit_s: Longest time that a worker may take for one batch.
        repeats: How often each sample of the dataset should occur in an epoch, on average; None: once.

    Raises:
        ConfigError: An argument or a transform is wrong.
        DatasetError: The dataset is wrong, or ``drop_last`` is set and it has fewer images than one batch.
    """

    def __init__(
        self,
        dataset: RecordDataset,
        sample_transforms: Sequence[Mapping],
        batch_transforms: Sequence[Mapping] = (),
        *,
        batch_size: int,
        shuffle: bool,
        drop_last: bool,
        num_workers: int,
        seed: int,
        num_classes: int | None = None,
        rank: int = 0,
        world_size: int = 1,
        time_limit_s: float = WORKER_TIME_LIMIT_S,
        repeats: np.ndarray | None = None,
    ) -> None:
        minima = {
            "batch_size": (batch_size, 1),
            "num_workers": (num_workers, 0),
            "seed": (seed, 0),
            "rank": (rank, 0),
        }
        for name, (value, minimum) in minima.items():
            if value < minimum:
                raise ConfigError(f"{name} of the loader must be at least {minimum}, got {value}.")
        if rank >= world_size:
            raise ConfigError(f"rank must be below world_size, got rank {rank} of {world_size}.")
        if num_workers and not workers_are_supported():
            logger.warning(
                "this platform cannot fork processes: the main process prepares the batches, which is slower"
            )
            num_workers = 0
        if repeats is not None and not shuffle:
            raise ConfigError(
                "repeat_factor needs shuffle: true, because it chooses the images of each epoch at random."
            )
        self._dataset = dataset
        self._repeats = repeats
        self._sample_transforms, self._batch_transforms = self._build_transforms(
            sample_transforms, batch_transforms, num_classes
        )
        self._batch_size = batch_size
        self._shuffle = shuffle
        self._drop_last = drop_last
        self._seed = seed
        self._rank = rank
        self._world_size = world_size
        self._time_limit_s = time_limit_s
        self._pool: WorkerPool | None = None
        if len(self) == 0:
            raise DatasetError(
                f"the dataset has {len(dataset)} images, which is less than one batch of {batch_size} in each of "
                f"{world_size} processes, and drop_last is set. Use a smaller batch_size, or drop_last: "
                "false."
            )
        self._num_workers = min(num_workers, len(self))  # a worker without a batch would only take memory

    @classmethod
    def from_reader(
        cls,
        dataset: RecordDataset,
        reader: Mapping,
        *,
        num_workers: int,
        seed: int,
        **options,
    ) -> BatchLoader:
        """Create a loader from the settings of a recipe's ``TrainReader``.

        Args:
            dataset: The dataset.
            reader: ``sample_transforms``, ``batch_transforms``, ``batch_size`` (1), ``shuffle`` and ``drop_last`` (true), and
                ``repeat_factor`` (none).
            num_workers: As for the class.
            seed: As for the class.
            **options: ``num_classes``, ``rank``, ``world_size`` and ``time_limit_s``.
        """
        threshold = reader.get("repeat_factor")
        return cls(
            dataset,
            reader.get("sample_transforms", []),
            reader.get("batch_transforms", []),
            batch_size=reader.get("batch_size", 1),
            shuffle=reader.get("shuffle", True),
            drop_last=reader.get("drop_last", True),
            num_workers=num_workers,
            seed=seed,
            repeats=None if threshold is None else _repeats_of(dataset, threshold),
            **options,
        )

    def _build_transforms(
        self, sample_transforms: Sequence[Mapping], batch_transforms: Sequence[Mapping], num_classes: int | None
    ) -> tuple[Transforms, Transforms]:
        """Return the transforms of an image and those of a batch."""
        for name in (name for entry in batch_transforms for name in entry):
            if issubclass(OWN_TRANSFORMS.get(name, object), MixingTransform):
                raise ConfigError(f"{name} needs other samples, so it belongs in sample_transforms.")
        return fuse_transforms(
            build_transforms(sample_transforms, num_classes=num_classes),
            build_transforms(batch_transforms, num_classes=num_classes),
        )

    def __len__(self) -> int:
        """Return the number of steps in an epoch."""
        samples = len(self._dataset) if self._repeats is None else round(float(self._repeats.sum()))
        steps = samples / (self._batch_size * self._world_size)
        return int(steps) if self._drop_last else math.ceil(steps)

    def epoch(self, epoch_index: int, start_step: int = 0) -> Iterator[dict]:
        """Yield the batches of an epoch, from a step on.

        Args:
            epoch_index: Number of the epoch, from 0.
            start_step: First step to deliver. From there on, the batches are those of a whole epoch.

        Yields:
            ``image`` (float32 (N, 3, H, W)), ``im_shape`` and ``scale_factor`` (float32 (N, 2)), ``im_id``
            (int64 (N, 1)), and lists with one entry per image: ``gt_bbox``, ``gt_class``, ``is_crowd``
            (arrays), ``gt_poly`` (lists).

        Raises:
            DatasetError: An image cannot be prepared. The message names its file and id.
            TrainingError: A worker has died or is stuck.
        """
        if not 0 <= start_step <= len(self):
            raise ConfigError(f"start_step must be between 0 and {len(self)}, the steps of an epoch, got {start_step}.")
        tasks = [self._task(epoch_index, step, indices) for step, indices in self._plan(epoch_index, start_step)]
        return self._ahead(tasks) if self._num_workers else map(self._make_batch, tasks)

    def close(self) -> None:
        """End the workers. The loader stays usable: it starts new ones when needed."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def _plan(self, epoch: int, start_step: int) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the steps of this rank with the indices of their samples."""
        order = np.arange(len(self._dataset))
        if self._shuffle:
            # RandomState, because its sequences are the same in all versions of NumPy.
            generator = np.random.RandomState(mix_seed(self._seed, Purpose.ORDER, epoch))
            order = generator.permutation(order) if self._repeats is None else draw_epoch(self._repeats, generator)
        # All ranks need equally many samples, so a few at the front of the order are used twice.
        order = np.resize(order, math.ceil(len(order) / self._world_size) * self._world_size)
        joint_batch = self._batch_size * self._world_size
        for step in range(start_step, len(self)):
            batch = order[step * joint_batch : (step + 1) * joint_batch]
            yield step, np.array_split(batch, self._world_size)[self._rank]

    def _task(self, epoch: int, step: int, indices: np.ndarray) -> BatchTask:
        image_ids = tuple(int(self._record(index)["im_id"][0]) for index in indices)
        return BatchTask(epoch, step, tuple(indices.tolist()), image_ids)

    def _record(self, index: int) -> dict:
        return self._dataset.roidbs[index % len(self._dataset.roidbs)]

    def _ahead(self, tasks: list[BatchTask]) -> Iterator[dict]:
        """Yield the batches while the workers prepare the next ones, as many as the pool allows."""
        if self._pool is not None and not self._pool.is_idle:
            self.close()
        if self._pool is None:
            self._pool = WorkerPool(self._make_batch, self._num_workers, self._time_limit_s)
        pool = self._pool
        try:
            for position in range(len(tasks) + pool.capacity):
                if pool is not self._pool:
                    raise RuntimeError("this epoch of the loader was ended by close() or by a newer one")
                if position < len(tasks):
                    pool.submit(tasks[position])
                if position >= pool.capacity:
                    yield pool.collect()
        finally:
            # An epoch that was left early, or failed, leaves unread batches behind.
            if not pool.is_idle:
                self.close()

    def _make_batch(self, task: BatchTask) -> dict:
        with keep_random_state():
            samples = [self._draw_sample(task.epoch, index) for index in task.indices]
            seed_generators(self._seed, Purpose.BATCH, task.epoch, task.step)
            for name, transform in self._batch_transforms:
                try:
                    samples = transform(samples)
                except Exception as error:
                    raise DatasetError(f"{task}: transform {name} failed: {type(error).__name__}: {error}") from error
        return _collate(samples, task)

    def _draw_sample(self, epoch: int, index: int) -> dict:
        seed_generators(self._seed, Purpose.SAMPLE, epoch, index)
        return self._make_sample(index, self._sample_transforms)

    def _make_sample(self, index: int, transforms: Transforms) -> dict:
        record = self._record(index)
        sample = copy_record(record)
        for position, (name, transform) in enumerate(transforms):
            others: tuple = ()
            if isinstance(transform, MixingTransform):
                # They follow from this sample's random numbers, and get the transforms that it has had.
                indices = np.random.randint(0, len(self._dataset.roidbs), transform.draw_count()).tolist()
                if not indices:
                    continue
                others = ([self._make_sample(other, transforms[:position]) for other in indices],)
            try:
                sample = transform(sample, *others)
            except Exception as error:
                reason = error if isinstance(error, Res2NetError) else f"{type(error).__name__}: {error}"
                raise DatasetError(
                    f"image '{record['im_file']}' (image id {int(record['im_id'][0])}): transform {name} "
                    f"failed: {reason}"
                ) from error
        _check_alignment(sample, record)
        return sample


def _repeats_of(dataset: RecordDataset, threshold: float) -> np.ndarray:
    """Return how often each sample of a dataset should occur in an epoch, and say what that comes to."""
    records = [dataset.roidbs[index] for index in range(len(dataset.roidbs))]
    labels = [np.ravel(record["gt_class"] if "gt_class" in record else record["label"]) for record in records]
    factors = repeat_factors(labels, threshold)
    repeats = np.resize(factors, len(dataset))  # `repeat` of a dataset repeats its records one after the other
    logger.info(
        "repeat_factor %g: %d of %d images have rare classes and occur up to %.2f times; an epoch has %d samples instead of %d",
        threshold,
        (factors > 1).sum(),
        len(factors),
        factors.max(),
        round(float(repeats.sum())),
        len(dataset),
    )
    return repeats


def _check_alignment(sample: dict, record: dict) -> None:
    """Refuse a sample if a transform has dropped objects from some of its lists only."""
    lengths = {key: len(sample[key]) for key in OBJECT_KEYS if key in sample}
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{length} in {key}" for key, length in lengths.items())
        raise DatasetError(
            f"image '{record['im_file']}' (image id {int(record['im_id'][0])}): after the transforms, boxes "
            f"and masks belong to different objects: {counts}. PaddleDetection's RandomSizeCrop can do this; RandomCrop and "
            "RandomScaledCrop do not."
        )


def _collate(samples: list[dict], task: BatchTask) -> dict:
    """Join samples into a batch. Arrays are stacked, unless their lengths differ from image to image."""
    batch: dict[str, Any] = {}
    for key in samples[0]:
        if key in INTERNAL_KEYS:
            continue
        values = [sample[key] for sample in samples]
        if key.startswith(OBJECT_PREFIXES):  # its length differs from image to image
            batch[key] = values
            continue
        shapes = sorted({np.shape(value) for value in values})
        if len(shapes) > 1:
            raise ConfigError(
                f"{task}: the entries '{key}' have different shapes {shapes} and cannot be stacked. Add a "
                "transform that makes the shapes equal, such as PadBatch, to batch_transforms."
            )
        batch[key] = _stack(values)
    return batch


def _stack(values: list) -> np.ndarray:
    """Stack arrays of one shape. If they are already the rows of one array, return that without copying."""
    whole = getattr(values[0], "base", None)
    if isinstance(whole, np.ndarray) and whole.shape == (len(values), *np.shape(values[0])):
        if all(value.base is whole and value.ctypes.data == row.ctypes.data for value, row in zip(values, whole)):
            return whole
    return np.stack(values)
