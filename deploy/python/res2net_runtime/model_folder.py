"""Read an exported folder: a static graph, its weights, and ``infer_cfg.yml`` that says how to use them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from res2net_runtime.errors import ModelFolderError

__all__ = ["CONFIG_NAME", "SCHEMA_NAME", "SCHEMA_VERSION", "ModelFolder", "ModelInfo", "load_model_folder"]

CONFIG_NAME = "infer_cfg.yml"
SCHEMA_NAME = "res2net_runtime"
SCHEMA_VERSION = 1

_BOX_OUTPUTS = ("boxes", "scores", "labels", "num")
_KNOWN_OUTPUTS = (*_BOX_OUTPUTS, "masks")


@dataclass(frozen=True)
class ModelInfo:
    """What has to be known of a detector to feed it images and to understand its outputs.

    Attributes:
        arch: Name of the detector, for instance ``MaskRCNN``.
        outputs: Names of the network's outputs, in order; ``masks`` only where the detector has them.
        preprocess: PaddleDetection's operators, for :meth:`Preprocessor.from_config`.
        label_list: Class names; a label is an index into it.
        category_ids: COCO category id of each label.
        draw_threshold: Score from which detections are drawn unless the user says otherwise.
        mask_threshold: Probability from which a pixel belongs to a mask.
    """

    arch: str
    outputs: tuple[str, ...]
    preprocess: tuple[Mapping[str, Any], ...]
    label_list: tuple[str, ...]
    category_ids: tuple[int, ...]
    draw_threshold: float
    mask_threshold: float


@dataclass(frozen=True)
class ModelFolder(ModelInfo):
    """An exported folder.

    Attributes:
        path: The folder.
        backend: The inference engine that the files were written for: ``paddle``.
        model_path: File of the graph.
        params_path: File of the weights.
        versions: What the model was exported with.
    """

    path: Path
    backend: str
    model_path: Path
    params_path: Path
    versions: Mapping[str, str]


def load_model_folder(model_dir: str | os.PathLike[str]) -> ModelFolder:
    """Read ``infer_cfg.yml`` and check that the folder is complete.

    Raises:
        ModelFolderError: The folder or one of its files is missing, or it was written for another version.
    """
    path = Path(model_dir)
    config_path = path / CONFIG_NAME
    if not path.is_dir():
        raise ModelFolderError(
            f"There is no model folder '{path}'. Pass the folder that export_model.py wrote."
        )
    if not config_path.is_file():
        raise ModelFolderError(
            f"The model folder '{path}' has no {CONFIG_NAME}. Pass the folder that export_model.py wrote, "
            "which holds the graph, the weights and this file."
        )
    config = _read_config(config_path)
    _check_schema(config, config_path)
    files = {key: path / str(_take(config, key, str, config_path)) for key in ("model_file", "params_file")}
    for key, file in files.items():
        if not file.is_file():
            raise ModelFolderError(
                f"The model folder lacks '{file}', which {CONFIG_NAME} names as {key}. Copy the whole folder "
                "again, or export the model again."
            )
    label_list = _take(config, "label_list", list, config_path)
    category_ids = _take(config, "category_ids", list, config_path)
    if len(label_list) != len(category_ids):
        raise ModelFolderError(
            f"'{config_path}' has {len(label_list)} names in label_list but {len(category_ids)} "
            "category_ids. Both need one entry per class: correct the file or export the model again."
        )
    outputs = _take(config, "outputs", list, config_path)
    if not set(_BOX_OUTPUTS) <= set(outputs) <= set(_KNOWN_OUTPUTS) or len(set(outputs)) != len(outputs):
        raise ModelFolderError(
            f"'{config_path}' names the outputs {outputs}, expected {', '.join(_BOX_OUTPUTS)} and for masks "
            "also 'masks'. Export the model again."
        )
    return ModelFolder(
        path=path,
        arch=_take(config, "arch", str, config_path),
        backend=_take(config, "backend", str, config_path),
        model_path=files["model_file"],
        params_path=files["params_file"],
        outputs=tuple(outputs),
        preprocess=tuple(_take(config, "Preprocess", list, config_path)),
        label_list=tuple(str(name) for name in label_list),
        category_ids=tuple(int(category) for category in category_ids),
        draw_threshold=float(_take(config, "draw_threshold", (int, float), config_path)),
        mask_threshold=float(_take(config, "mask_threshold", (int, float), config_path)),
        versions=dict(config.get("versions") or {}),
    )


def _read_config(config_path: Path) -> Mapping[str, Any]:
    try:
        config = yaml.safe_load(config_path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ModelFolderError(f"Cannot read '{config_path}': {error}. Export the model again.") from error
    if not isinstance(config, Mapping):
        raise ModelFolderError(f"'{config_path}' is not a mapping of settings. Export the model again.")
    return config


def _check_schema(config: Mapping[str, Any], config_path: Path) -> None:
    schema = config.get("schema")
    if not isinstance(schema, Mapping) or schema.get("name") != SCHEMA_NAME:
        raise ModelFolderError(
            f"'{config_path}' has no schema named {SCHEMA_NAME}: it was not written by this project, perhaps "
            "by PaddleDetection's own export. Export the model with ppdet-res2net's export_model.py."
        )
    if schema.get("version") != SCHEMA_VERSION:
        raise ModelFolderError(
            f"'{config_path}' has schema version {schema.get('version')!r}, this runtime reads "
            f"{SCHEMA_VERSION}. Export the model again with the installed version, or install the version "
            "that wrote it."
        )
    if config.get("task") != "detection":
        raise ModelFolderError(
            f"'{config_path}' is for task {config.get('task')!r}, this runtime does 'detection'."
        )


def _take(config: Mapping[str, Any], key: str, kind: type | tuple[type, ...], config_path: Path) -> Any:
    if key not in config:
        raise ModelFolderError(f"'{config_path}' lacks the key '{key}'. Export the model again.")
    if not isinstance(config[key], kind):
        raise ModelFolderError(
            f"'{config_path}' has {key}: {config[key]!r}, which is of the wrong type. Export the model again."
        )
    return config[key]
