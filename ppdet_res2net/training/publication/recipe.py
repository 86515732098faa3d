"""The recipe of a run as other machines can use it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from ppdet_res2net.config.hub_recipes import LOCAL_KEYS
from ppdet_res2net.ppdet_modules.tagged import Tagged
from res2net_runtime.texts import is_url

__all__ = ["portable_recipe"]

# The published weights take the place of these.
_WEIGHTS = ("weights", "pretrain_weights")


def portable_recipe(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a recipe without those that are for one machine.

    Of paths that begin at the root, at somebody's home, or above the working folder, the last name is kept; datasets are then
    expected in ``dataset/NAME``.
    """
    left_out = (*LOCAL_KEYS, *_WEIGHTS)
    return {key: _portable(key, value) for key, value in config.items() if key not in left_out}


def _portable(key: str, value: Any) -> Any:
    if isinstance(value, Tagged):
        return Tagged(value.name, _portable(key, value.kwargs))
    if isinstance(value, Mapping):
        return {name: _portable(name, part) for name, part in value.items()}
    if isinstance(value, list):
        return [_portable(key, part) for part in value]
    return _portable_text(key, value) if isinstance(value, str) else value


def _portable_text(key: str, text: str) -> str:
    steps = text.replace("\\", "/")
    is_local = re.match(r"/|~|[A-Za-z]:/", steps) is not None or ".." in steps.split("/")
    if is_url(text) or not is_local:
        return text
    name = PurePosixPath(steps).name if PurePosixPath(steps).name not in ("..", "~") else ""
    return f"dataset/{name}".rstrip("/") if key == "dataset_dir" else name
