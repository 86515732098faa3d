"""The contract between :class:`~ppdet_res2net.training.trainer.Trainer` and a task."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import paddle
from paddle import nn

__all__ = ["Batches", "Evaluation", "Task"]


@dataclass(frozen=True)
class Evaluation:
    """Result of an evaluation during training.

    Attributes:
        summary: Figures as plain data, for ``metrics.jsonl`` and the checkpoints.
        report: The same figures as text for the log.
        score: Number that decides which model is the best; larger is better.
        picture: Predictions on fixed images beside their annotations: uint8 (H, W, 3) in RGB order; None if there is none.
    """

    summary: dict[str, Any]
    report: str
    score: float
    picture: np.ndarray | None = None


class Batches(Protocol):
    """Batches of this process. They depend only on the seed, the epoch and the position in it."""

    def __len__(self) -> int:
        """Return the number of batches in an epoch; the same in every process."""

    def epoch(self, epoch_index: int, start_step: int = 0) -> Iterator[dict]:
        """Yield the batches of an epoch, beginning with number ``start_step``.

        A batch maps names to arrays, lists of arrays, or other values. ``im_id`` holds one id per image.
        """

    def close(self) -> None:
        """End worker processes."""


class Task(abc.ABC):
    """A model, its data, and what to do with them.

    The constructor creates the model. The trainer has seeded all random generators before it calls it.

    Attributes:
        model: Model that is trained.
        loader: Source of the batches.
        batch_size: Images per batch and process.
        image_count: Number of images in the training data.
        score_name: Name of :attr:`Evaluation.score` in messages, such as ``box AP``.
    """

    model: nn.Layer
    loader: Batches
    batch_size: int
    image_count: int
    score_name: str

    @abc.abstractmethod
    def losses(self, model: nn.Layer, batch: Mapping[str, Any]) -> dict[str, paddle.Tensor]:
        """Return every loss term, and their sum as ``loss``, each a tensor with one element.

        Args:
            model: :attr:`model`, or a wrapper around it that averages the gradients of several processes.
            batch: A batch, with tensors instead of arrays.
        """

    @abc.abstractmethod
    def evaluate(self) -> Evaluation:
        """Evaluate :attr:`model` on the validation data. Every process calls it and gets the same result."""

    def check_evaluation(self) -> None:  # noqa: B027  (a task need not have anything to check)
        """Raise now, before training, what :meth:`evaluate` would raise after an epoch."""

    @abc.abstractmethod
    def load_pretrained(self) -> None:
        """Load the weights that training starts from. Not called when a run is resumed."""

    @abc.abstractmethod
    def info(self) -> dict[str, Any]:
        """Return the plain data of ``NAME.json`` beside the weights: at least ``class_names`` and ``category_ids``."""

    @abc.abstractmethod
    def next_commands(self, weights: str) -> list[str]:
        """Return the command lines to type after training."""

    def describe(self, batch: Mapping[str, Any]) -> str:
        """Name the images of a batch for an error message."""
        return f"image ids {', '.join(str(int(i)) for i in np.asarray(batch['im_id']).reshape(-1))}"
