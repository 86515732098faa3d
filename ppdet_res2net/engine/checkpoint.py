"""Checkpoints of a training run.

A checkpoint ``NAME`` is three files: ``NAME.pdparams`` (the weights alone, as PaddleDetection writes them),
``NAME.json`` (classes and figures, which travel with the weights) and ``NAME.pdstate`` (what continuing needs: the
optimizer's tensors and the position, in safetensors format). The state is written last and carries a checksum of the
weights, so an interrupted save is recognised. No file is ever changed in place, and reading one executes no code.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle import nn
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_safetensors

from ppdet_res2net.errors import TrainingError, WeightsError
from ppdet_res2net.zoo.checkpoint import trunk_metadata
from ppdet_res2net.zoo.formats import save_weights_file

__all__ = ["load_training_state", "read_checkpoint_info", "save_checkpoint"]

_FORMAT = 1


def save_checkpoint(
    run_dir: Path,
    name: str,
    model: nn.Layer,
    info: Mapping[str, Any],
    optimizer_state: Mapping[str, Any],
    position: Mapping[str, Any],
) -> Path:
    """Write a checkpoint atomically.

    Args:
        run_dir: The run's folder.
        name: Name of the checkpoint, e.g. ``model_final``.
        model: The model; its dialect is recorded with the weights, so that it is checked when they are loaded.
        info: ``class_names``, ``category_ids`` and whatever else travels with the weights; plain data.
        optimizer_state: The optimizer's state dict.
        position: Where training stands; plain data.

    Returns:
        The path of the ``.pdparams`` file.

    Raises:
        TrainingError: The folder cannot be written.
    """
    path = run_dir / f"{name}.pdparams"
    tensors, plain = {}, {}
    for key, value in optimizer_state.items():
        if isinstance(value, paddle.Tensor):
            tensors[key] = np.ascontiguousarray(value.numpy())
        else:
            plain[key] = value
    try:
        _write(run_dir / f"{name}.json", json.dumps({"format": _FORMAT, **info}, indent=1).encode())
        weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
        save_weights_file(path, weights, trunk_metadata(model))
        state = {"format": _FORMAT, "position": position, "optimizer": plain, "weights_sha256": _sha256(path)}
        _write(run_dir / f"{name}.pdstate", to_safetensors(tensors, metadata={"state": json.dumps(state)}))
    except (OSError, WeightsError) as error:
        raise TrainingError(
            f"The checkpoint '{path}' cannot be written: {error}. Free some space or pass another -o save_dir=...; "
            f"the checkpoints before it are intact."
        ) from error
    return path


def read_checkpoint_info(weights: str | os.PathLike[str]) -> dict | None:
    """Return what travels with the weights of a run (``class_names``, ``category_ids``, ...), None if nothing does."""
    text = str(weights)
    path = Path(f"{text[: -len('.pdparams')] if text.endswith('.pdparams') else text}.json")
    if not path.is_file():
        return None
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(info["class_names"], list) or len(info["class_names"]) != len(info["category_ids"]):
            raise ValueError("class_names and category_ids must be lists of the same length")
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"'{path}' should describe the classes of the weights beside it, but cannot be read: {error}. Restore it "
            f"from the run that wrote it, or delete it to take the class names from the dataset."
        ) from error
    return info


def load_training_state(checkpoint: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict, dict]:
    """Read what continuing a run needs, and check that it belongs to the weights beside it.

    Args:
        checkpoint: Path of the checkpoint, with or without ``.pdparams``.

    Returns:
        The optimizer's tensors, its plain values, and the position.

    Raises:
        WeightsError: A file is missing, damaged, or of another save than the weights.
    """
    text = str(checkpoint)
    base = text[: -len(".pdparams")] if text.endswith(".pdparams") else text
    weights, path = Path(f"{base}.pdparams"), Path(f"{base}.pdstate")
    for file in (weights, path):
        if not file.is_file():
            raise WeightsError(
                f"Cannot resume from '{base}': there is no '{file}'. Pass -r with a checkpoint of a run of this project, "
                f"or start from weights alone with -o pretrain_weights={weights}."
            )
    try:
        with safe_open(str(path), framework="numpy") as file:
            state = json.loads(file.metadata()["state"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"'{path}' is damaged: {error}. Resume from an earlier checkpoint of the run.") from error
    if state.get("format") != _FORMAT:
        raise WeightsError(f"'{path}' has format {state.get('format')}, expected {_FORMAT}: another version wrote it.")
    if state["weights_sha256"] != _sha256(weights):
        raise WeightsError(
            f"'{weights}' is not the file that '{path}' was saved with: saving was interrupted, or a file was replaced. "
            f"Resume from an earlier checkpoint of the run."
        )
    return tensors, state["optimizer"], state["position"]


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 22), b""):
            digest.update(block)
    return digest.hexdigest()
