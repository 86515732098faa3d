"""Read an exported folder: a network in one or several formats, and ``infer_cfg.yml``, which describes it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from res2net_runtime.engines import FORMATS
from res2net_runtime.errors import ModelFolderError
from res2net_runtime.hub import address_of_page, is_hub_address
from res2net_runtime.plain_yaml import MAX_BYTES, PlainYamlError, load_plain_yaml
from res2net_runtime.preprocess import Preprocessor
from res2net_runtime.texts import clip, hide_password, meant_url, printable

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
    "local_model_dir",
    "read_model_config",
    "read_model_info",
    "take",
    "take_labels",
    "take_names",
    "take_versions",
]

CONFIG_NAME = "infer_cfg.yml"
LOCK_NAME = ".lock"  # who writes to the folder holds it
SCHEMA_NAME = "res2net_runtime"
SCHEMA_VERSION = 2
TASKS = ("detection", "classification")

_MOST_BITS = 63
_MOST_CHARACTERS = 1000  # of a class name
_MOST_NAME_CHARACTERS = 255  # of a file, as most systems have it
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
        class_thresholds: What is used instead of ``draw_threshold``, by label; None if all classes have the same.
    """

    arch: str
    outputs: tuple[str, ...]
    preprocess: tuple[Mapping[str, Any], ...]
    label_list: tuple[str, ...]
    category_ids: tuple[int, ...]
    draw_threshold: float
    mask_threshold: float
    class_thresholds: tuple[float, ...] | None = field(default=None, kw_only=True)

    @property
    def least_scores(self) -> float | tuple[float, ...]:
        """Smallest score of a detection that is drawn: one for all classes, or one per label."""
        return self.draw_threshold if self.class_thresholds is None else self.class_thresholds

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


def local_model_dir(model_dir: str | os.PathLike[str]) -> Path:
    """Return the folder that is meant. If it is an address on a hub (``hf://OWNER/REPO``), its files are downloaded first.

    Raises:
        HubError: The hub does not deliver them.
    """
    if not is_hub_address(model_dir):
        return Path(model_dir)
    from res2net_runtime.hub import bring_model_folder

    return bring_model_folder(str(model_dir))


def load_model_folder(model_dir: str | os.PathLike[str]) -> ModelFolder:
    """Read ``infer_cfg.yml`` and check that the folder is complete.

    Raises:
        ModelFolderError: The folder or one of its files is missing, or it was written for a different version.
    """
    config, config_path = read_model_config(model_dir, "detection")
    info = read_model_info(config, config_path)
    return ModelFolder(
        **vars(info),
        path=Path(model_dir),
        formats=find_files(take(config, "formats", Mapping, config_path), config_path),
        versions=take_versions(config, config_path),
    )


def read_model_info(config: Mapping[str, Any], config_path: Path) -> ModelInfo:
    """Read what ``infer_cfg.yml`` of a detector says beside the files.

    Args:
        config: Its content.
        config_path: Its path, for messages.

    Raises:
        ModelFolderError: A setting is missing or wrong.
    """
    label_list = take_labels(config, config_path)
    category_ids = take(config, "category_ids", list, config_path)
    if len(label_list) != len(category_ids):
        raise ModelFolderError(
            f"'{printable(config_path)}' has {len(label_list)} names in label_list but {len(category_ids)} "
            "category_ids. Both need one entry per class: correct the file or export the model again."
        )
    for category in category_ids:
        if type(category) is not int or category.bit_length() > _MOST_BITS:
            raise ModelFolderError(
                f"'{printable(config_path)}' has {clip(category)} in category_ids, expected whole numbers of 64 bits. "
                "Correct the file or export the model again."
            )
    outputs = take_names(config, "outputs", config_path)
    if not set(_BOX_OUTPUTS) <= set(outputs) <= set(_KNOWN_OUTPUTS) or len(set(outputs)) != len(outputs):
        raise ModelFolderError(
            f"'{printable(config_path)}' names the outputs {clip(', '.join(outputs))}, expected "
            f"{', '.join(_BOX_OUTPUTS)} and for masks also 'masks'. Export the model again."
        )
    preprocess = take(config, "Preprocess", list, config_path)
    Preprocessor.from_config(preprocess)  # a mistake is told before a network is loaded
    return ModelInfo(
        arch=take(config, "arch", str, config_path),
        outputs=outputs,
        preprocess=tuple(preprocess),
        label_list=label_list,
        category_ids=tuple(category_ids),
        draw_threshold=_take_share(config, "draw_threshold", config_path),
        mask_threshold=_take_share(config, "mask_threshold", config_path),
        class_thresholds=_take_class_thresholds(config, len(label_list), config_path),
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
    url = meant_url(model_dir)
    if url is not None and not path.is_dir():
        page = address_of_page(url)
        address = page if page is not None else "hf://OWNER/REPO"
        raise ModelFolderError(
            f"'{hide_password(url)}' is an address, and a folder on this machine is expected. Download it first, "
            "for instance with 'hf download OWNER/REPO --local-dir DIR', and pass the folder in it that has "
            f"{CONFIG_NAME}. Only 'python -m res2net_runtime', Predictor and Classifier take {address} themselves."
        )
    if not path.is_dir():
        raise ModelFolderError(
            f"There is no model folder '{printable(path)}'. Pass the folder that export_model.py wrote."
        )
    if not os.path.lexists(config_path):
        raise ModelFolderError(
            f"The model folder '{printable(path)}' has no {CONFIG_NAME}. Pass the folder that export_model.py wrote, "
            "which holds the graph, the weights and this file."
        )
    _check_file(config_path)
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
                f"'{printable(config_path)}' has the format '{clip(name)}' with {clip(_keys(files))}, expected "
                + "; ".join(f"{known} with {' and '.join(one.keys)}" for known, one in FORMATS.items())
                + ". Export the model again, or update res2net_runtime."
            )
        found[name] = ModelFiles(*(_find_file(config_path, name, key, files[key]) for key in keys))
    if not found:
        raise ModelFolderError(f"'{printable(config_path)}' names no formats. Export the model again.")
    return found


def _keys(files: object) -> str:
    return f"the keys {', '.join(map(str, files))}" if isinstance(files, Mapping) and files else clip(files)


def _find_file(config_path: Path, format_name: str, key: str, name: object) -> Path:
    """Return the path of a file that ``infer_cfg.yml`` names: a regular file inside the folder."""
    where = f"'{printable(config_path)}' names {clip(name)} as {key} of format {format_name}"
    if not isinstance(name, str) or len(name) > _MOST_NAME_CHARACTERS:
        raise ModelFolderError(f"{where}, expected the name of a file. Export the model again.")
    # Names for both systems: a folder may be made on one and used on the other.
    parts = {*PurePosixPath(name).parts, *PureWindowsPath(name).parts}
    if ".." in parts or PurePosixPath(name).is_absolute() or PureWindowsPath(name).anchor or not name.isprintable():
        raise ModelFolderError(
            f"{where}. A model folder may only name files inside itself. Do not use this folder, unless you know why it does."
        )
    path = config_path.parent / name
    if not os.path.lexists(path):
        raise ModelFolderError(
            f"The model folder has no '{printable(path)}', which {CONFIG_NAME} names as {key} of format {format_name}. "
            "Copy the whole folder again, export the model again, or, if you do not need this format, "
            f"remove it from {CONFIG_NAME}."
        )
    _check_file(path, config_path.parent)
    return path


def _check_file(path: Path, folder: Path | None = None) -> None:
    """Refuse what is not a regular file (reading a pipe or a device may never end), and links that lead out of the folder."""
    folder = path.parent if folder is None else folder
    if not path.is_file():
        raise ModelFolderError(
            f"'{printable(path)}' is not a file. Copy the whole model folder again, or export the model again."
        )
    if not any(path.resolve().is_relative_to(root) for root in (folder.resolve(), *_hub_caches(folder.resolve()))):
        raise ModelFolderError(
            f"'{printable(path)}' is a link to '{printable(path.resolve())}', outside of the model folder. Copy that "
            "file into the folder, if you trust it."
        )


def _hub_caches(folder: Path) -> list[Path]:
    """Return the cache of huggingface_hub that a folder is in, if it is in one.

    There, ``models--OWNER--REPO/snapshots/COMMIT`` holds links to files that other commits, and other repositories, may share.
    """
    repositories = [parent.parent for parent in folder.parents if parent.name == "snapshots"]
    return [repository.parent for repository in repositories if repository.name.startswith("models--")]


def _read_config(config_path: Path) -> Mapping[str, Any]:
    try:
        with config_path.open("rb") as file:
            config = load_plain_yaml(file.read(MAX_BYTES + 1))
    except (OSError, PlainYamlError) as error:
        raise ModelFolderError(f"Cannot read '{printable(config_path)}': {error} Export the model again.") from error
    if not isinstance(config, Mapping):
        raise ModelFolderError(f"'{printable(config_path)}' is not a mapping of settings. Export the model again.")
    return config


def _check_schema(config: Mapping[str, Any], config_path: Path, task: str | None) -> None:
    schema = config.get("schema")
    if schema is None and "min_subgraph_size" in config:  # every folder of PaddleDetection's form has it, and no other
        raise ModelFolderError(
            f"'{printable(config_path)}' is in PaddleDetection's form, for its deploy/python/infer.py. Run the folder with "
            "that program, or export the model with ppdet-res2net's export_model.py in a format of this runtime (paddle, "
            "onnx, openvino)."
        )
    if not isinstance(schema, Mapping) or schema.get("name") != SCHEMA_NAME:
        raise ModelFolderError(
            f"'{printable(config_path)}' has no schema named {SCHEMA_NAME}: it was not written by this project, perhaps "
            "by PaddleDetection's own export. Export the model with ppdet-res2net's export_model.py."
        )
    if schema.get("version") != SCHEMA_VERSION:
        raise ModelFolderError(
            f"'{printable(config_path)}' has schema version {clip(schema.get('version'))}, but this runtime reads "
            f"{SCHEMA_VERSION}. Export the model again with the installed version, or install the version "
            "that wrote it."
        )
    found = config.get("task")
    if not isinstance(found, str) or found not in ((task,) if task else TASKS):
        raise ModelFolderError(
            f"'{printable(config_path)}' is for task '{clip(found)}', expected {task or ' or '.join(TASKS)}. Detectors are "
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
        raise ModelFolderError(f"'{printable(config_path)}' does not have the key '{key}'. Export the model again.")
    if not isinstance(config[key], kind) or isinstance(config[key], bool):
        raise ModelFolderError(
            f"'{printable(config_path)}' has {key}: {clip(config[key])}, which is of the wrong type (expected "
            f"{_KIND_NAMES[kind]}). Export the model again."
        )
    return config[key]


def take_names(config: Mapping[str, Any], key: str, config_path: Path) -> tuple[str, ...]:
    """Return a setting that is a list of texts.

    Raises:
        ModelFolderError: The setting is missing, or is something else.
    """
    names = take(config, key, list, config_path)
    return _names(names, key, config_path)


def take_labels(config: Mapping[str, Any], config_path: Path) -> tuple[str, ...]:
    """Return the class names. Whole numbers are names, too.

    Raises:
        ModelFolderError: They are missing, or there are other values among them.
    """
    labels = take(config, "label_list", list, config_path)
    return _names(
        [str(one) if type(one) is int and abs(one) < 10**18 else one for one in labels], "label_list", config_path
    )


def take_versions(config: Mapping[str, Any], config_path: Path) -> dict[str, str]:
    """Return the versions of packages with which the folder was written; it may name none."""
    versions = take(config, "versions", Mapping, config_path) if config.get("versions") is not None else {}
    return dict(zip(_names(list(versions), "versions", config_path), map(clip, versions.values())))


def _names(values: Sequence[object], key: str, config_path: Path) -> tuple[str, ...]:
    for index, value in enumerate(values):
        if not isinstance(value, str) or len(value) > _MOST_CHARACTERS:
            # YAML reads no, 1.0 and 2024-01-01 as something else than text.
            raise ModelFolderError(
                f"'{printable(config_path)}' has {clip(value)} as entry {index} of {key}, expected text of at most "
                f"{_MOST_CHARACTERS} characters. Put it in quotes, or export the model again."
            )
    return tuple(str(value) for value in values)


def _take_share(config: Mapping[str, Any], key: str, config_path: Path) -> float:
    """Return a number from 0 to 1."""
    value = take(config, key, (int, float), config_path)
    if not _is_share(value):
        raise ModelFolderError(
            f"'{printable(config_path)}' has {key}: {clip(value)}, expected a number from 0 to 1. Correct the file or "
            "export the model again."
        )
    return float(value)


def _take_class_thresholds(config: Mapping[str, Any], num_classes: int, config_path: Path) -> tuple[float, ...] | None:
    """Return one number from 0 to 1 per class; None if the file has none, as those of earlier versions."""
    if config.get("class_thresholds") is None:
        return None
    values = take(config, "class_thresholds", list, config_path)
    wrong = [value for value in values if not _is_share(value)]
    if wrong or len(values) != num_classes:
        found = clip(wrong[0]) if wrong else f"{len(values)} numbers"
        raise ModelFolderError(
            f"'{printable(config_path)}' has {found} in class_thresholds, expected {num_classes} numbers from 0 to 1, one per "
            "class. Correct the file, or remove the key: draw_threshold then holds for all classes."
        )
    return tuple(map(float, values))


def _is_share(value: object) -> bool:
    return type(value) in (int, float) and 0 <= value <= 1  # type: ignore[operator]
