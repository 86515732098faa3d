"""Paddle's ``.pdparams``: one pickled dictionary from parameter names to arrays."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

__all__ = ["METADATA_KEY", "merge_split_parameters", "write_paddle"]

# Our own entry beside the tensors. Other programs ignore it, as they ignore Paddle's own.
METADATA_KEY = "ppdet_res2net@@"

# Paddle's own keys, misspelling included.
_NAME_TABLE = "StructuredToParameterName@@"
_SPLIT_TABLE = "UnpackBigParamInfor@@"


def merge_split_parameters(entries: Mapping[str, Any], tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Join the parameters that Paddle cut into slices of 1 GiB, because old pickle protocols stop at 4 GiB."""
    merged = dict(tensors)
    for name, info in entries.get(_SPLIT_TABLE, {}).items():
        slices = [merged.pop(part) for part in info["slices"]]
        merged[name] = np.concatenate(slices).reshape(tuple(info["OriginShape"]))
    return merged


def write_paddle(file: BinaryIO, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write what ``paddle.save(layer.state_dict(), ...)`` would. Protocol 4 has no limit on the size of tensors."""
    entries = {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in tensors.items()}
    tables = {_NAME_TABLE: {name: name for name in tensors}, METADATA_KEY: dict(metadata)}
    pickle.dump({**entries, **tables}, file, protocol=4)
