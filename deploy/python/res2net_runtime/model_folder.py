"""Read an exported folder: a network in one or several formats, and ``infer_cfg.yml``, which describes it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from res2net_runtime.engines import FORMATS
from res2net_runtime.errors import ModelFolderError
from res2net_runtime.preprocess import Preprocessor

__all__ = [
    "CONFIG_NAME",
    "SCHEMA_NAME",
    "SCHEMA_VERSION",
    "TASKS",
    "ModelFiles",
    "ModelFolder",
    "ModelInfo",
    "find_files",
    "load_model_folder",
    "read_model_config",
    "take",
]

CONFIG_NAME = "infer_cfg.yml"
SCHEMA_NAME = "res2net_runtime"
SCHEMA_VERSION = 2
TASKS = ("detection", "classification")

_BOX_OUTPUTS = ("boxes", "scores", "labels", "num")
_KNOWN_OUTPUTS = (*_BOX_OUTPUTS, "masks")


@dataclass(frozen=True)
class ModelInfo:
    """What a predictor needs to know about a detector: how to prepare images, and what its outputs mean.

    Attributes:
        arch: Name of the detector, for instance ``MaskRCNN``.
        outputs: Names of the network's outputs, in order; ``masks`` only if the detector has them.
        preprocess: PaddleDetection's operators, for :meth:`Preprocessor.from_config`.
        label_list: Class names; a label is an index into it.
        category_ids: COCO category id of each label.
        draw_threshold: Smallest score of a detection that is drawn, unless the user says otherwise.
        mask_threshold: Smallest probability of a pixel that belongs to a mask.
    """

    arch: str
    outputs: tuple[str, ...]
    preprocess: tuple[Mapping[str, Any], ...]
    label_list: tuple[str, ...]
    category_ids: tuple[int, ...]
    draw_threshold: float
    mask_threshold: float

    @property
    def least_side_px(self) -> int:
        """Smallest height and width of the network's input: images are padded to multiples of it."""
        return Preprocessor.from_config(self.preprocess).stride


@dataclass(frozen=True)
class ModelFiles:
    """The files of a network in one format.

    Attributes:
        model_path: The graph.
        params_path: The weights, or None if they are in the same file.
    """

    model_path: Path
    params_path: Path | None = None


@dataclass(frozen=True)
class ModelFolder(ModelInfo):
    """An exported folder.

    Attributes:
        path: The folder.
        formats: The files of the network in each format that it holds, by keys of
            :data:`~res2net_runtime.engines.FORMATS`.
        versions: What the model was exported with.
    """

    path: Path
    formats: Mapping[str, ModelFiles]
    versions: Mapping[str, str]


def load_model_folder(model_dir: str | os.PathLike[str]) -> ModelFolder:
    """Read ``infer_cfg.yml`` and check that the folder is complete.

    Raises:
        ModelFolderError: The folder or one of its files is missing, or it was written for a different version.
    """
    config, config_path = read_model_config(model_dir, "detection")
    label_list = take(config, "label_list", list, config_path)
    category_ids = take(config, "category_ids", list, config_path)
    if len(label_list) != len(category_ids):
        raise ModelFolderError(
            f"'{config_path}' has {len(label_list)} names in label_list but {len(category_ids)} "
            "category_ids. Both need one entry per class: correct the file or export the model again."
        )
    if not all(isinstance(category, int) for category in category_ids):
        raise ModelFolderError(
            f"'{config_path}' has category_ids: {category_ids}, expected whole numbers. Correct the file or "
            "export the model again."
        )
    outputs = take(config, "outputs", list, config_path)
    if not set(_BOX_OUTPUTS) <= set(outputs) <= set(_KNOWN_OUTPUTS) or len(set(outputs)) != len(outputs):
        raise ModelFolderError(
            f"'{config_path}' names the outputs {outputs}, expected {', '.join(_BOX_OUTPUTS)} and for masks "
            "also 'masks'. Export the model again."
        )
    return ModelFolder(
        path=Path(model_dir),
        arch=take(config, "arch", str, config_path),
        formats=find_files(take(config, "formats", Mapping, config_path), config_path),
        outputs=tuple(outputs),
        preprocess=tuple(take(config, "Preprocess", list, config_path)),
        label_list=tuple(str(name) for name in label_list),
        category_ids=tuple(category_ids),
        draw_threshold=float(take(config, "draw_threshold", (int, float), config_path)),
        mask_threshold=float(take(config, "mask_threshold", (int, float), config_path)),
        versions=dict(config.get("versions") or {}),
    )


def read_model_config(model_dir: str | os.PathLike[str], task: str | None = None) -> tuple[Mapping[str, Any], Path]:
    """Read ``infer_cfg.yml`` of an exported folder, and check that it is for this version.

    Args:
        model_dir: The folder.
        task: ``detection`` or ``classification``; None accepts both.

    Returns:
        Its content, and its path for messages.

    Raises:
        ModelFolderError: The folder or the file is missing, or it was written for a different version or task.
    """
    path = Path(model_dir)
    config_path = path / CONFIG_NAME
    if not path.is_dir():
        raise ModelFolderError(f"There is no model folder '{path}'. Pass the folder that export_model.py wrote.")
    if not config_path.is_file():
        raise ModelFolderError(
            f"The model folder '{path}' has no {CONFIG_NAME}. Pass the folder that export_model.py wrote, "
            "which holds the graph, the weights and this file."
        )
    config = _read_config(config_path)
    _check_schema(config, config_path, task)
    return config, config_path


def find_files(formats: Mapping[str, Any], config_path: Path) -> dict[str, ModelFiles]:
    """Return the files of each format that ``infer_cfg.yml`` names under ``formats``.

    Raises:
        ModelFolderError: A format is unknown, or a file is missing.
    """
    found = {}
    for name, files in formats.items():
        keys = FORMATS[name].keys if name in FORMATS else ()
        if not keys or not isinstance(files, Mapping) or not set(keys) <= set(files):
            raise ModelFolderError(
                f"'{config_path}' has the format {name!r} with {files!r}, expected "
                + "; ".join(f"{known} with {' and '.join(one.keys)}" for known, one in FORMATS.items())
                + ". Export the model again, or update res2net_runtime."
            )
        paths = [config_path.parent / str(files[key]) for key in keys]
        for key, path in zip(keys, paths):
            if not path.is_file():
                raise ModelFolderError(
                    f"The model folder has no '{path}', which {CONFIG_NAME} names as {key} of format {name}. "
                    "Copy the whole folder again, export the model again, or, if you do not need this format, "
                    f"remove it from {CONFIG_NAME}."
                )
        found[name] = ModelFiles(*paths)
    if not found:
        raise ModelFolderError(f"'{config_path}' names no formats. Export the model again.")
    return found


def _read_config(config_path: Path) -> Mapping[str, Any]:
    try:
        config = yaml.safe_load(config_path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ModelFolderError(f"Cannot read '{config_path}': {error}. Export the model again.") from error
    if not isinstance(config, Mapping):
        raise ModelFolderError(f"'{config_path}' is not a mapping of settings. Export the model again.")
    return config


def _check_schema(config: Mapping[str, Any], config_path: Path, task: str | None) -> None:
    schema = config.get("schema")
    if not isinstance(schema, Mapping) or schema.get("name") != SCHEMA_NAME:
        raise ModelFolderError(
            f"'{config_path}' has no schema named {SCHEMA_NAME}: it was not written by this project, perhaps "
            "by PaddleDetection's own export. Export the model with ppdet-res2net's export_model.py."
        )
    if schema.get("version") != SCHEMA_VERSION:
        raise ModelFolderError(
            f"'{config_path}' has schema version {schema.get('version')!r}, but this runtime reads "
            f"{SCHEMA_VERSION}. Export the model again with the installed version, or install the version "
            "that wrote it."
        )
    if config.get("task") not in ((task,) if task else TASKS):
        raise ModelFolderError(
            f"'{config_path}' is for task {config.get('task')!r}, expected {task or ' or '.join(TASKS)}. Detectors are "
            "loaded by res2net_runtime.Predictor, classifiers by res2net_runtime.classification.Classifier."
        )


_KIND_NAMES: dict[type | tuple[type, ...], str] = {
    list: "a list",
    str: "text",
    Mapping: "a mapping",
    (int, float): "a number",
}


def take(config: Mapping[str, Any], key: str, kind: type | tuple[type, ...], config_path: Path) -> Any:
    """Return a setting of ``infer_cfg.yml``.

    Args:
        config: Its content.
        key: The setting.
        kind: The expected type, a key of the table above.
        config_path: Its path, for messages.

    Raises:
        ModelFolderError: The setting is missing, or has the wrong type.
    """
    if key not in config:
        raise ModelFolderError(f"'{config_path}' does not have the key '{key}'. Export the model again.")
    if not isinstance(config[key], kind):
        raise ModelFolderError(
            f"'{config_path}' has {key}: {config[key]!r}, which is of the wrong type (expected {_KIND_NAMES[kind]}). "
            "Export the model again."
        )
    return config[key]
