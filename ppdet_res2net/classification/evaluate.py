"""Top-1 and top-5 of a classifier, per class and with the confusion matrix."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import paddle
from paddle import nn
from tqdm import tqdm

from ppdet_res2net.data.classification.labelled import LabelledImages
from ppdet_res2net.data.classification.loader import LabelledImageLoader
from ppdet_res2net.training.processes import Processes
from res2net_runtime.classification import ClassifierPreprocessor
from res2net_runtime.texts import printable

__all__ = ["ClassificationResult", "evaluate_network"]

_TOP = 5


@dataclass(frozen=True)
class ClassificationResult:
    """The labels of all images, and what the network predicted.

    Attributes:
        labels: int64 (N,): the correct output of each image.
        predicted: int64 (N, 5): the five highest outputs, the highest first; all outputs if there are fewer.
        class_names: The name of each output.
        seconds: Time for all images, including reading.
    """

    labels: np.ndarray
    predicted: np.ndarray
    class_names: tuple[str, ...]
    seconds: float

    def top(self, count: int) -> float:
        """Return the share of images whose label is among the ``count`` highest outputs, in [0, 1]."""
        return float((self.predicted[:, :count] == self.labels[:, None]).any(axis=1).mean())

    @property
    def confusion_matrix(self) -> np.ndarray:
        """int64 (classes, classes): images by their label (row) and the highest output (column)."""
        count = len(self.class_names)
        return np.bincount(self.labels * count + self.predicted[:, 0], minlength=count**2).reshape(count, count)

    def per_class(self) -> list[dict]:
        """Return name, number of images and top-1 accuracy (None without images) of each class."""
        matrix = self.confusion_matrix
        return [
            {"class": name, "images": int(total), "top1": round(float(right / total), 6) if total else None}
            for name, right, total in zip(self.class_names, np.diag(matrix), matrix.sum(axis=1))
        ]

    @property
    def summary(self) -> dict:
        """Figures as plain data."""
        return {
            "top1": round(self.top(1), 6),
            "top5": round(self.top(_TOP), 6),
            "images": len(self.labels),
            "seconds": round(self.seconds, 3),
        }

    @property
    def report(self) -> str:
        """The figures as a line of text."""
        return (
            f"top-1 {100 * self.top(1):.3f} %, top-5 {100 * self.top(_TOP):.3f} % of {len(self.labels)} images; "
            f"{self.seconds:.1f} s, {len(self.labels) / self.seconds:.1f} images/s"
        )

    def class_table(self) -> str:
        """Accuracy of each class as text, the worst first."""
        rows = sorted(self.per_class(), key=lambda row: (row["top1"] is None, row["top1"], row["class"]))
        names = [printable(row["class"]) for row in rows]
        width = max(len("class"), *map(len, names))
        lines = [f"{'class':{width}}  images    top-1"]
        for name, row in zip(names, rows):
            accuracy = "       -" if row["top1"] is None else f"{100 * row['top1']:6.2f} %"
            lines.append(f"{name:{width}}  {row['images']:6}  {accuracy}")
        return "\n".join(lines)

    def confusion_csv(self) -> str:
        """The confusion matrix as CSV; rows are labels, columns are predictions.

        Spreadsheets run cells that begin like a formula, so such a name gets an apostrophe before it.
        """
        quoted = ['"{}"'.format(_as_cell(name).replace('"', '""')) for name in self.class_names]
        lines = [",".join(["label", *quoted])]
        lines += [",".join([name, *map(str, row)]) for name, row in zip(quoted, self.confusion_matrix.tolist())]
        return "\n".join(lines) + "\n"


def _as_cell(name: str) -> str:
    return f"'{name}" if name.startswith(("=", "+", "-", "@", "\t", "\r")) else name


def evaluate_network(
    network: nn.Layer,
    dataset: LabelledImages,
    output_of_label: Sequence[int],
    class_names: Sequence[str],
    preprocessor: ClassifierPreprocessor,
    *,
    batch_size: int = 32,
    num_workers: int = 1,
    processes: Processes | None = None,
) -> ClassificationResult:
    """Run a network over a dataset.

    Args:
        network: Maps images to logits; its mode (training or evaluation) is restored.
        dataset: The images.
        output_of_label: The output that stands for each label of the dataset; see ``match_labels``.
        class_names: The name of each output.
        preprocessor: Prepares the images.
        batch_size: Images per batch.
        num_workers: Processes that prepare images.
        processes: The processes that evaluate together. Each runs a share of the images, and all get the whole result.

    Raises:
        DatasetError: An image cannot be read; the message names it.
    """
    processes = processes or Processes()
    loader = LabelledImageLoader(
        dataset,
        [{"ClassifierInput": preprocessor.to_config()}],
        batch_size=batch_size,
        shuffle=False,
        drop_last=False,
        num_workers=num_workers,
        seed=0,
        rank=processes.rank,
        world_size=processes.world_size,
    )
    was_training = network.training
    network.eval()
    started = time.perf_counter()
    rows = []
    is_quiet = not (sys.stderr.isatty() and processes.is_first)
    try:
        progress = tqdm(loader.epoch(0), total=len(loader), unit="batch", desc="evaluating", disable=is_quiet)
        for batch in progress:
            with paddle.no_grad():
                logits = network(paddle.to_tensor(batch["image"])).numpy()
            # A stable sort: among equal outputs the first wins, in every batch.
            best = np.argsort(-logits, axis=1, kind="stable")[:, :_TOP]
            rows.append(np.concatenate([batch["im_id"], batch["label"][:, None], best], axis=1))
    finally:
        loader.close()
        if was_training:
            network.train()
    parts = np.concatenate(processes.gather(np.concatenate(rows)))
    # All processes get the same number of images, so a few images may occur twice.
    table = parts[np.unique(parts[:, 0], return_index=True)[1]]
    labels = np.asarray(output_of_label, np.int64)[table[:, 1]]
    return ClassificationResult(labels, table[:, 2:], tuple(class_names), time.perf_counter() - started)
