"""The losses of training, computed on validation images. Computing them changes nothing that training depends on."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import paddle
from paddle import nn

from ppdet_res2net.data.loader import BatchLoader
from ppdet_res2net.data.records import RecordDataset
from ppdet_res2net.data.seeds import Purpose, keep_random_state, mix_seed
from ppdet_res2net.training.processes import Processes
from ppdet_res2net.training.step import seed_everything, to_tensors

__all__ = ["Share", "ValidationLosses"]

# Layers that compute something else in training than in evaluation: they normalize by the batch and change their running
# statistics, or drop values at random. ppdet's DropBlock is no subclass of anything, so names are compared.
_AS_IN_EVALUATION = ("BatchNorm", "SyncBatchNorm", "InstanceNorm", "Dropout", "DropBlock", "AlphaDropout")


class Share:
    """A fixed share of a dataset's images, chosen by the seed. Each process gets its part of it.

    Args:
        dataset: The dataset.
        share: Share of its images, above 0 and at most 1; at least one image is chosen.
        seed: The run's seed.
        processes: The processes that split the images between them.

    Attributes:
        count: Number of images of all processes.
        whole: Number of images of the dataset.
        roidbs: The records of this process.
    """

    def __init__(self, dataset: RecordDataset, share: float, seed: int, processes: Processes) -> None:
        self.whole = len(dataset.roidbs)
        self.count = min(self.whole, max(1, math.ceil(share * self.whole)))
        # RandomState, because its sequences are the same in all versions of NumPy.
        order = np.random.RandomState(mix_seed(seed, Purpose.VALIDATION)).permutation(self.whole)
        chosen = np.sort(order[: self.count])[processes.rank :: processes.world_size]
        self.roidbs = [dataset.roidbs[int(index)] for index in chosen]

    def __len__(self) -> int:
        return len(self.roidbs)


class ValidationLosses:
    """Computes losses as a training step does, but without augmentation, gradients and mixed precision.

    Batch normalization uses its running statistics, as in an evaluation, and does not change them. Nothing is dropped at
    random. What the heads sample at random follows from the seed and the image alone, so two evaluations differ only by the
    weights.

    Args:
        losses: Returns every loss term, and their sum as ``loss``, for a batch of tensors; see ``Task.losses``.
        model: The model that computes them.
        share: The images.
        make_loader: Returns a loader of a dataset.
        processes: The processes that share the work.
        seed: The run's seed.
    """

    def __init__(
        self,
        losses: Callable[[nn.Layer, Mapping[str, Any]], dict[str, paddle.Tensor]],
        model: nn.Layer,
        share: Share,
        make_loader: Callable[[Share], BatchLoader],
        processes: Processes,
        seed: int,
    ) -> None:
        self._losses, self._model, self._share = losses, model, share
        self._loader = make_loader(share) if len(share) else None
        self._processes, self._seed = processes, seed

    def compute(self) -> dict[str, float | None]:
        """Return every loss term, averaged over the images of all processes; None if it is not finite."""
        sums: dict[str, float] = {}
        images = 0
        for count, losses in self._batches() if self._loader is not None else ():
            images += count
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + count * value
        parts = self._processes.gather((images, sums))
        total = sum(images for images, _ in parts)
        names = dict.fromkeys(name for _, sums in parts for name in sums)
        means = {name: sum(sums.get(name, 0.0) for _, sums in parts) / total for name in names}
        return {name: round(value, 6) if math.isfinite(value) else None for name, value in means.items()}

    def describe(self, losses: Mapping[str, float | None]) -> str:
        """Return a line for the log."""
        terms = [
            f"{name.removeprefix('loss_')} {'not finite' if value is None else f'{value:.4f}'}"
            for name, value in sorted(losses.items(), key=lambda item: item[0] != "loss")
        ]
        return f"Losses on {self._share.count} of {self._share.whole} images (eval_losses): {', '.join(terms)}"

    def _batches(self) -> Iterator[tuple[int, dict[str, float]]]:
        assert self._loader is not None
        try:
            with _keep_generators(), _training_without_traces(self._model), paddle.no_grad():
                for batch in self._loader.epoch(0):
                    seed_everything(self._seed, Purpose.VALIDATION, int(np.ravel(batch["im_id"])[0]))
                    tensors = {name: to_tensors(value) for name, value in batch.items()}
                    losses = self._losses(self._model, tensors)
                    yield len(batch["im_id"]), {name: value.numpy().item() for name, value in losses.items()}
        finally:
            self._loader.close()


@contextlib.contextmanager
def _keep_generators() -> Iterator[None]:
    """Restore Python's, NumPy's and Paddle's random generators afterwards."""
    states = paddle.get_rng_state()
    try:
        with keep_random_state():
            yield
    finally:
        paddle.set_rng_state(states)


@contextlib.contextmanager
def _training_without_traces(model: nn.Layer) -> Iterator[None]:
    """Put a model into training mode, except for layers that would change or draw something; restore the modes afterwards."""
    layers = list(model.sublayers(include_self=True))
    modes = [layer.training for layer in layers]
    try:
        model.train()
        for layer in layers:
            if any(parent.__name__.startswith(_AS_IN_EVALUATION) for parent in type(layer).__mro__):
                layer.training = False
        yield
    finally:
        for layer, mode in zip(layers, modes):
            layer.training = mode
