"""Classify images with an exported model."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from res2net_runtime.backends import create_backend
from res2net_runtime.classification.folder import OUTPUT, load_classifier_folder
from res2net_runtime.model_folder import local_model_dir
from res2net_runtime.preprocess import DEFAULT_MAX_PIXELS, ImageSource
from res2net_runtime.session import ImageSession, Prepared, check_counts, resizing

__all__ = ["Classification", "Classifier", "ClassifierPrediction", "probabilities"]


@dataclass(frozen=True, eq=False)
class Classification:
    """The probability of every class.

    Attributes:
        scores: float64 (classes,), adding up to 1.
        label_list: Class names.
    """

    scores: np.ndarray
    label_list: tuple[str, ...]

    def top(self, count: int = 5) -> list[tuple[int, str, float]]:
        """Return label, name and score of the most probable classes, the most probable first."""
        labels = np.argsort(-self.scores, kind="stable")[:count].tolist()
        return [(label, self.label_list[label], float(self.scores[label])) for label in labels]

    def rows(self, count: int = 5) -> list[dict[str, Any]]:
        """Return the same as result files have it: mappings with ``label``, ``name`` and ``score``, rounded to 6 digits."""
        return [{"label": label, "name": name, "score": round(score, 6)} for label, name, score in self.top(count)]


@dataclass(frozen=True, eq=False)
class ClassifierPrediction:
    """One image of a stream, and its classes.

    An image that fails gives a :class:`~res2net_runtime.FailedPrediction` instead, whose ``error`` is not None.

    Attributes:
        source: The image as it was passed in.
        classification: The result.
        error: None.
    """

    source: ImageSource
    classification: Classification
    error: ClassVar[None] = None


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Return the softmax of float32 (N, classes), as float64."""
    exponentials = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    shares: np.ndarray = exponentials / exponentials.sum(axis=1, keepdims=True)
    return shares


class Classifier(ImageSession[Prepared, Classification, ClassifierPrediction]):
    """An exported classifier, loaded and ready.

    One instance may be used by several threads. Use it as a context manager, or call :meth:`close`, to free the network
    early.

    Args:
        model_dir: The folder that the export wrote; or the address of a repository that has it, ``hf://OWNER/REPO``.
        device, cpu_threads, backend, precision, max_pixels, trust_graph: As for :class:`res2net_runtime.Predictor`.
        batch_size: Number of images that run together.

    Raises:
        ModelFolderError: The folder is incomplete, or is not that of a classifier.
        BackendError: The engine is missing or refuses the model.

    Example:
        >>> with Classifier("output/my_classifier") as classifier:
        ...     print(classifier("cat.jpg").top(5))
    """

    def __init__(
        self,
        model_dir: str | os.PathLike[str],
        *,
        device: str = "cpu",
        cpu_threads: int | None = None,
        batch_size: int = 1,
        backend: str = "auto",
        precision: str = "fp32",
        max_pixels: int = DEFAULT_MAX_PIXELS,
        trust_graph: bool = False,
    ) -> None:
        check_counts(cpu_threads=cpu_threads, batch_size=batch_size, max_pixels=max_pixels)
        self.info = load_classifier_folder(local_model_dir(model_dir))
        self._max_pixels = max_pixels
        network = create_backend(self.info, backend, precision, device, cpu_threads, trust_graph, winograd=False)
        super().__init__(network, batch_size)

    @property
    def label_list(self) -> tuple[str, ...]:
        """Class names."""
        return self.info.label_list

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Run the network on prepared images, float32 (N, 3, S, S); returns float32 (N, classes)."""
        return self._run({"image": images})[OUTPUT]

    def _prepare(self, source: ImageSource) -> Prepared:
        image = self.info.preprocessor.decode(source, self._max_pixels)
        with resizing(source, image):
            return Prepared({"image": self.info.preprocessor(image)}, image=None)

    def _predict(self, prepared: Sequence[Prepared]) -> list[Classification]:
        logits = self.logits(np.stack([one.inputs["image"] for one in prepared]))
        return [Classification(scores, self.info.label_list) for scores in probabilities(logits)]

    def _make_prediction(self, source: ImageSource, prepared: Prepared, result: Classification) -> ClassifierPrediction:
        return ClassifierPrediction(source, result)
