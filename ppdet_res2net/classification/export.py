"""Exports a classifier as a folder for deployment, and checks that it gives the eager network's results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import paddle
from paddle.static import InputSpec

import ppdet_res2net
from ppdet_res2net.classification.model import LoadedClassifier
from ppdet_res2net.config import CLASSIFIER
from ppdet_res2net.export.folder import NetworkWriter, check_formats, check_names, write_folder
from ppdet_res2net.export.paddle_graph import save_paddle_graph
from ppdet_res2net.export.verification import verify_engines
from ppdet_res2net.modeling import Res2NetClassifier
from res2net_runtime import classification
from res2net_runtime.classification.folder import OUTPUT, TASK

if TYPE_CHECKING:
    import onnx

__all__ = ["LogitAgreement", "export_classifier", "verify_classifier"]

# Largest difference of a logit as a share of the largest logit, by precision. Kernels round differently.
TOLERANCES = {"fp32": 1e-3, "bf16": 0.1}
_VERIFIED_IMAGES = 4


@dataclass(frozen=True)
class LogitAgreement:
    """How far the results of an engine differ from the eager network's.

    Attributes:
        difference: Largest difference of a logit, as a share of the largest logit.
        same_top1: Images with the same most probable class.
        images: Images compared.
        tolerance: Limit of ``difference``.
    """

    difference: float
    same_top1: int
    images: int
    tolerance: float

    @property
    def within_tolerance(self) -> bool:
        """Whether both give the same logits up to rounding."""
        return self.difference <= self.tolerance  # false if it is nan

    def __str__(self) -> str:
        return (
            f"{self.images} images, logits within {self.difference:.2g} of the largest (limit {self.tolerance:g}), "
            f"{self.same_top1} with the same top-1"
        )


def export_classifier(
    classifier: LoadedClassifier,
    folder: str | Path,
    *,
    formats: Sequence[str] = ("paddle",),
    verify: bool = False,
    verify_precisions: Sequence[str] = ("fp32",),
    cpu_threads: int | None = None,
) -> Path:
    """Write a classifier as a folder for ``deploy/python``.

    Args:
        classifier: The classifier.
        folder: The folder to write.
        formats: Some of :data:`~res2net_runtime.engines.EXPORTED_FORMATS`.
        verify: Run the eager and every exported network on images, and compare.
        verify_precisions: Some of :data:`TOLERANCES`; each exported network runs in those that its engine offers.
        cpu_threads: Threads of each engine on a CPU while it is compared; None: one per available core.

    Returns:
        The folder.

    Raises:
        ExportError: A format is unknown, its package is missing, or an exported network gives different results.
    """
    check_formats(formats)
    check_names("precision", verify_precisions, TOLERANCES)
    folder, network = Path(folder), classifier.network
    size = classifier.preprocessor.size_px
    image = InputSpec([None, 3, size, size], "float32", "image")
    writer = NetworkWriter(
        lambda directory: save_paddle_graph(network, directory, [image]),
        lambda: _make_onnx(network, size),
        {
            "task": TASK,
            "arch": CLASSIFIER,
            "outputs": [OUTPUT],
            "Preprocess": classifier.preprocessor.to_config(),
            "label_list": list(classifier.names_or_numbers),
            "source_weights": Path(classifier.weights).name,
        },
    )

    def compare(directory: Path) -> None:
        verify_classifier(directory, classifier, verify_precisions, cpu_threads)

    write_folder(folder, formats, writer, compare if verify else None)
    return folder


def _make_onnx(network: Res2NetClassifier, size_px: int) -> onnx.ModelProto:
    from ppdet_res2net.export.onnx_builder import Graph
    from ppdet_res2net.export.onnx_layers import add_linear, add_trunk

    graph = Graph()
    image = graph.input("image", ["N", 3, size_px, size_px])
    features = add_trunk(graph, image, network.backbone)[-1]
    pooled = graph.op("ReduceMean", features, axes=[2, 3], keepdims=0)
    graph.output(OUTPUT, add_linear(graph, pooled, network.fc), ["N", network.num_classes], np.float32)
    return graph.model("ppdet_res2net", ppdet_res2net.__version__)


def verify_classifier(
    folder: Path,
    classifier: LoadedClassifier,
    precisions: Sequence[str] = ("fp32",),
    cpu_threads: int | None = None,
) -> dict[tuple[str, str], LogitAgreement]:
    """Compare an exported folder with the eager network, in every format, engine and precision.

    Raises:
        ExportError: They differ by more than rounding explains, or the export does not run.
    """
    size = classifier.preprocessor.size_px
    noise = np.random.RandomState(0).randint(0, 256, (_VERIFIED_IMAGES, size, size, 3)).astype(np.uint8)
    images = np.stack([classifier.preprocessor.normalise(image) for image in noise])
    with paddle.no_grad():
        expected = classifier.network(paddle.to_tensor(images)).numpy()

    def compare(engine: str, precision: str) -> tuple[LogitAgreement, str]:
        exported = classification.Classifier(
            folder,
            backend=engine,
            precision=precision,
            cpu_threads=cpu_threads,
            trust_graph=True,  # verify_engines has checked it
        )
        with exported:
            actual, description = exported.logits(images), exported.description
        return compare_logits(expected, actual, TOLERANCES[precision]), description

    formats = classification.load_classifier_folder(folder).formats
    return verify_engines(formats, precisions, compare)


def compare_logits(expected: np.ndarray, actual: np.ndarray, tolerance: float) -> LogitAgreement:
    """Compare the logits of two networks, float (N, classes), on the same images."""
    return LogitAgreement(
        difference=float(np.abs(actual - expected).max() / np.abs(expected).max()),
        same_top1=int((actual.argmax(axis=1) == expected.argmax(axis=1)).sum()),
        images=len(expected),
        tolerance=tolerance,
    )
