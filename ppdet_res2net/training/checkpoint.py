"""Checkpoints of a training run.

A checkpoint ``NAME`` is three files: ``NAME.pdparams`` (the weights alone, as PaddleDetection writes them),
``NAME.json`` (classes and figures, which travel with the weights) and ``NAME.pdstate`` (the rest of the run's state, in
safetensors format, with checksums of all three). They are one unit: all three are written and synced in the folder
``.NAME.saving``. That folder is then renamed to ``.NAME.saved``, and its files replace those of the same name. An
interruption before the renaming leaves the earlier checkpoint; after it, :func:`recover` completes the new one.
Reading a checkpoint executes no code.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_safetensors

from ppdet_res2net.data.text_files import read_json_file
from ppdet_res2net.errors import TrainingError, WeightsError
from ppdet_res2net.files import file_sha256, sync_to_disk
from ppdet_res2net.zoo.formats import save_weights_file
from ppdet_res2net.zoo.hub_weights import bring_hub_weights
from res2net_runtime.hub import is_hub_address
from res2net_runtime.system_errors import explain

__all__ = [
    "TrainingState",
    "checkpoint_base",
    "load_training_state",
    "read_checkpoint_info",
    "recover",
    "save_checkpoint",
]

_FORMAT = 2
_SAVING, _SAVED = ".saving", ".saved"


@dataclass
class TrainingState:
    """What resuming a run needs besides the weights.

    Attributes:
        values: Plain data.
        tensors: Arrays by group (``optimizer``, ...) and name.
    """

    values: dict[str, Any]
    tensors: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)


def checkpoint_base(checkpoint: str | os.PathLike[str]) -> Path:
    """Return the path of a checkpoint without the suffix of one of its files."""
    path = Path(checkpoint)
    return path.with_suffix("") if path.suffix in (".pdparams", ".safetensors", ".pdstate", ".json") else path


def save_checkpoint(
    run_dir: Path,
    name: str,
    weights: Mapping[str, np.ndarray],
    metadata: Mapping[str, str],
    info: Mapping[str, Any],
    state: TrainingState,
) -> Path:
    """Write a checkpoint atomically.

    Args:
        run_dir: The run's folder.
        name: Name of the checkpoint, e.g. ``model_final``.
        weights: The weights.
        metadata: Stored with the weights and checked when they are loaded, such as the dialect.
        info: Plain data that travels with the weights: ``class_names``, ``category_ids`` and more.
        state: What resuming needs.

    Returns:
        The path of the ``.pdparams`` file.

    Raises:
        TrainingError: The folder cannot be written. Earlier checkpoints are unchanged.
    """
    recover(run_dir)
    path = run_dir / f"{name}.pdparams"
    folder, complete = run_dir / f".{name}{_SAVING}", run_dir / f".{name}{_SAVED}"
    try:
        try:
            folder.mkdir()
            info_bytes = json.dumps(dict(info), indent=1).encode()
            _write(folder / f"{name}.json", info_bytes)
            save_weights_file(folder / path.name, weights, metadata)
            record = {
                "format": _FORMAT,
                "values": state.values,
                "sha256": {
                    "json": hashlib.sha256(info_bytes).hexdigest(),
                    "pdparams": file_sha256(folder / path.name),
                    "pdstate": _state_sha256(state),
                },
            }
            flat = {f"{group}/{key}": array for group, part in state.tensors.items() for key, array in part.items()}
            _write(folder / f"{name}.pdstate", to_safetensors(flat, metadata={"state": json.dumps(record)}))
            sync_to_disk(folder)
            os.rename(folder, complete)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        sync_to_disk(run_dir)
        _move_out(complete)
    except (OSError, WeightsError) as error:
        refusal = error.__cause__ if isinstance(error, WeightsError) else error
        reason = explain(refusal, "pass another -o save_dir=FOLDER") if isinstance(refusal, OSError) else error
        raise TrainingError(
            f"The checkpoint '{path}' cannot be written: {reason} Earlier checkpoints are intact."
        ) from error
    return path


def recover(run_dir: Path) -> None:
    """Complete or undo a save that was interrupted."""
    for folder in _folders(run_dir, _SAVED):
        _move_out(folder)
    for folder in _folders(run_dir, _SAVING):
        shutil.rmtree(folder)


def _folders(run_dir: Path, suffix: str) -> list[Path]:
    """Return the folders of saves. Links are left alone: no save makes one, and their files are not this run's."""
    return [path for path in run_dir.glob(f".*{suffix}") if path.is_dir() and not path.is_symlink()]


def read_checkpoint_info(weights: str | os.PathLike[str]) -> dict | None:
    """Return the plain data beside the weights of a run (``class_names``, ``category_ids``, ...), or None if there is none.

    Args:
        weights: Their path, with or without the suffix, or their address on a hub.

    Raises:
        HubError: A hub does not deliver them.
        WeightsError: What is beside them is not that of a run.
    """
    if isinstance(weights, str) and is_hub_address(weights):
        weights = bring_hub_weights(weights)
    path = Path(f"{checkpoint_base(weights)}.json")
    if not path.is_file():
        return None
    try:
        info = read_json_file(path, error_class=WeightsError)
        if not isinstance(info, dict):
            raise ValueError("it is not an object with class_names and category_ids")
        names, ids = info["class_names"], info["category_ids"]
        if not isinstance(names, list) or not isinstance(ids, list) or len(names) != len(ids):
            raise ValueError("class_names and category_ids must be lists of the same length")
        if not all(isinstance(name, str) for name in names) or not all(type(number) is int for number in ids):
            raise ValueError("class_names must be texts, and category_ids whole numbers")
    except (WeightsError, ValueError, KeyError) as error:
        raise WeightsError(
            f"'{path}' should describe the classes of the weights beside it, but cannot be read: {error}. Restore it "
            f"from its run, or delete it to take the class names from the dataset."
        ) from error
    return info


def load_training_state(checkpoint: str | os.PathLike[str]) -> TrainingState:
    """Read what resuming a run needs, and check that all three files are undamaged and belong together.

    Args:
        checkpoint: Path of the checkpoint, with or without ``.pdparams``.

    Raises:
        WeightsError: A file is missing or damaged, or comes from another save.
    """
    base = checkpoint_base(checkpoint)
    files = {suffix: Path(f"{base}.{suffix}") for suffix in ("pdparams", "json", "pdstate")}
    for file in files.values():
        if not file.is_file():
            raise WeightsError(
                f"Cannot resume from '{base}': there is no '{file}'. Pass -r with a checkpoint that this package "
                f"wrote, or start from weights alone with -o pretrain_weights={files['pdparams']}."
            )
    path = files["pdstate"]
    try:
        with safe_open(str(path), framework="numpy") as file:
            record = json.loads(file.metadata()["state"])
            if record["format"] != _FORMAT:
                raise WeightsError(
                    f"'{path}' has format {record['format']}, expected {_FORMAT}: another version wrote it. Resume "
                    f"with that version, or start from its weights with -o pretrain_weights={files['pdparams']}."
                )
            state = TrainingState(record["values"])
            for key in file.keys():
                group, _, name = key.partition("/")
                state.tensors.setdefault(group, {})[name] = file.get_tensor(key)
            expected = record["sha256"]
            if expected["pdstate"] != _state_sha256(state):
                raise ValueError("its content does not match its checksum")
    except (SafetensorError, KeyError, RecursionError, TypeError, ValueError) as error:
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(f"'{path}' is damaged: {error}. Resume from an earlier checkpoint of the run.") from error
    for suffix in ("pdparams", "json"):
        if expected[suffix] != file_sha256(files[suffix]):
            raise WeightsError(
                f"'{files[suffix]}' is not the file that '{path}' was saved with: it is damaged, or was replaced. "
                f"Resume from an earlier checkpoint of the run."
            )
    return state


def _move_out(folder: Path) -> None:
    """Move the files of a completed save to their places. If interrupted, calling it again moves the rest."""
    for file in sorted(folder.iterdir()):
        os.replace(file, folder.parent / file.name)
    sync_to_disk(folder.parent)
    folder.rmdir()


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    sync_to_disk(path)


def _state_sha256(state: TrainingState) -> str:
    digest = hashlib.sha256(json.dumps(state.values, sort_keys=True).encode())
    for group, part in sorted(state.tensors.items()):
        for name, array in sorted(part.items()):
            digest.update(f"{group}/{name} {array.dtype} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
