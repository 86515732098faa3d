"""What the trainer trains: the contract between :class:`~ppdet_res2net.training.trainer.Trainer` and a task."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import paddle
from paddle import nn

__all__ = ["BatchLoader", "Evaluation", "Task"]


@dataclass(frozen=True)
class Evaluation:
    """Figures of an evaluation while training.

    Attributes:
        summary: Plain data; goes to ``metrics.jsonl`` and into the checkpoints.
        report: The same as text for the log.
        score: Decides which model is the best; larger is better.
    """

    summary: dict[str, Any]
    report: str
    score: float


class BatchLoader(Protocol):
    """Batches of this process; which ones they are follows from the seed, the epoch and the position alone."""

    def __len__(self) -> int:
        """Return the number of batches in an epoch; the same in every process."""

    def epoch(self, epoch_index: int, start_step: int = 0) -> Iterator[dict]:
        """Yield the batches of an epoch from one on.

        A batch maps names to arrays, lists of arrays, or anything else, and has ``im_id``: one id per image.
        """

    def close(self) -> None:
        """End worker processes."""


class Task(abc.ABC):
    """A model, its data, and what to do with both.

    The constructor makes the model: the trainer has seeded every random generator by then.

    Attributes:
        model: What is trained.
        loader: Where batches come from.
        batch_size: Images per batch and process.
        image_count: Images in the training data.
        score_name: What :attr:`Evaluation.score` is, for messages, e.g. ``box AP``.
    """

    model: nn.Layer
    loader: BatchLoader
    batch_size: int
    image_count: int
    score_name: str

    @abc.abstractmethod
    def losses(self, model: nn.Layer, batch: Mapping[str, Any]) -> dict[str, paddle.Tensor]:
        """Return every loss term, and their sum as ``loss``, each a tensor with one element.

        Args:
            model: :attr:`model`, or a wrapper around it that joins the gradients of several processes.
            batch: A batch with tensors in the place of arrays.
        """

    @abc.abstractmethod
    def evaluate(self) -> Evaluation:
        """Evaluate :attr:`model` on the validation data; called in every process, the result is equal in all."""

    def check_evaluation(self) -> None:  # noqa: B027  (a task need not have anything to check)
        """Find out what would make :meth:`evaluate` fail, before any training rather than after an epoch."""

    @abc.abstractmethod
    def load_pretrained(self) -> None:
        """Load the weights that training starts from; not called when a run is resumed."""

    @abc.abstractmethod
    def info(self) -> dict[str, Any]:
        """Return what travels with the weights (``NAME.json``): at least ``class_names`` and ``category_ids``."""

    @abc.abstractmethod
    def next_commands(self, weights: str) -> list[str]:
        """Return the command lines that one would type after training."""

    def describe(self, batch: Mapping[str, Any]) -> str:
        """Name the images of a batch for an error message."""
        return f"image ids {', '.join(str(int(i)) for i in np.asarray(batch['im_id']).reshape(-1))}"
