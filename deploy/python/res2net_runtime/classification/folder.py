"""Read the exported folder of a classifier."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from res2net_runtime.classification.preprocess import ClassifierPreprocessor
from res2net_runtime.errors import ModelFolderError
from res2net_runtime.model_folder import (
    ModelFiles,
    find_files,
    read_model_config,
    take,
    take_labels,
    take_names,
    take_versions,
)
from res2net_runtime.texts import clip, printable

__all__ = ["OUTPUT", "TASK", "ClassifierFolder", "load_classifier_folder"]

TASK = "classification"
OUTPUT = "logits"


@dataclass(frozen=True)
class ClassifierFolder:
    """An exported classifier.

    Attributes:
        path: The folder.
        formats: The formats in which it holds the network.
        outputs: Names of the network's outputs: only ``logits``.
        preprocessor: Prepares images.
        label_list: Class names; a label is an index into it.
        versions: What the model was exported with.
    """

    path: Path
    formats: Mapping[str, ModelFiles]
    outputs: tuple[str, ...]
    preprocessor: ClassifierPreprocessor
    label_list: tuple[str, ...]
    versions: Mapping[str, str]

    @property
    def least_side_px(self) -> int:
        """Height and width of the network's input."""
        return self.preprocessor.size_px


def load_classifier_folder(model_dir: str | os.PathLike[str]) -> ClassifierFolder:
    """Read ``infer_cfg.yml`` and check that the folder is complete.

    Raises:
        ModelFolderError: The folder or one of its files is missing, or the folder is not that of a classifier.
    """
    config, config_path = read_model_config(model_dir, TASK)
    outputs = take_names(config, "outputs", config_path)
    if outputs != (OUTPUT,):
        raise ModelFolderError(
            f"'{printable(config_path)}' names the outputs {clip(', '.join(outputs))}, expected "
            f"{OUTPUT}. Export the model again."
        )
    return ClassifierFolder(
        path=Path(model_dir),
        formats=find_files(take(config, "formats", Mapping, config_path), config_path),
        outputs=outputs,
        preprocessor=ClassifierPreprocessor.from_config(take(config, "Preprocess", Mapping, config_path)),
        label_list=take_labels(config, config_path),
        versions=take_versions(config, config_path),
    )
