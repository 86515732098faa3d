"""Finds the weights among all that a training script has saved.

A checkpoint is a dictionary with the weights under one key, and often averaged weights (EMA) under another. The averaged ones
are taken: the programs that write them evaluate with them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ppdet_res2net.errors import WeightsError
from ppdet_res2net.zoo.formats.limits import Limits
from ppdet_res2net.zoo.formats.stand_ins import has_tensor, is_tensor

__all__ = ["Choice", "find_weights"]

# timm, torchvision, BasicSR, Detectron2's extensions, Lightning's, and what people write themselves
_AVERAGED = (
    "state_dict_ema",
    "ema_state_dict",
    "model_ema",
    "ema_model",
    "model_ema_state_dict",
    "ema_model_state_dict",
    "params_ema",
    "ema_state",
    "ema_weights",
    "ema",
    "averaged_model",
    "swa_state_dict",
    "swa_model",
)
_PLAIN = (
    "state_dict",
    "model_state",
    "model_state_dict",
    "model",
    "net",
    "network",
    "params",
    "weights",
    "model_weights",
    "module",
    "shadow",
)
# Where checkpoints keep tensors that are no weights
_STATES = (
    "optim",
    "scheduler",
    "scaler",
    "rng",
    "callbacks",
    "loops",
    "message_hub",
    "sampler",
    "hyper_parameters",
    "amp",
)
_DEEPEST = 8


@dataclasses.dataclass(frozen=True)
class Choice:
    """The weights of a file.

    Attributes:
        path: The keys that lead to them.
        entries: The dictionary that holds them, beside other things.
        note: Which copy was taken if there are several, as a sentence; or "".
    """

    path: tuple[str, ...]
    entries: object
    note: str = ""


def find_weights(content: object, limits: Limits, copy: str | None = None) -> Choice:
    """Return the weights among the contents of a file.

    Args:
        content: Plain data, as the readers return it.
        limits: Of the file.
        copy: ``averaged`` or ``plain``, if there are both; by default, the averaged ones.

    Raises:
        WeightsError: There are no averaged weights, or no others, but they were asked for. The message has no subject.
        pickle.UnpicklingError: There are too many entries.
    """
    path: list[str] = []
    note = ""
    while isinstance(content, Mapping) and len(path) < _DEEPEST:
        step, note_here = _next_step(content, limits, copy)
        note = note or note_here
        if step is None:
            break
        path.append(step)
        content = content[step]
    return Choice(tuple(path), _flattened(content, limits), note)


def _next_step(content: Mapping[str, Any], limits: Limits, copy: str | None) -> tuple[str | None, str]:
    """Return the key under which the weights are, or None if they are here; and a note on what was chosen."""
    averaged, plain = _first(content, _AVERAGED), _first(content, _PLAIN)
    why = "the program that wrote them evaluates with these"
    if plain and averaged == "ema_state_dict" and _is_of_mmengine(content["ema_state_dict"]):
        plain, averaged, why = averaged, plain, "where mmengine puts them while it saves"
    elif plain and _first(content, ("current_model_state",)):
        plain, averaged, why = "current_model_state", plain, "where Lightning puts them while it saves"
    if averaged and copy != "plain":
        return averaged, f"the averaged weights in '{averaged}' ({why})" + (
            f", not those in '{plain}'" if plain else ""
        )
    if plain:
        return plain, f"the weights in '{plain}', not the averaged ones in '{averaged}'" if averaged else ""
    if averaged:
        raise WeightsError(f"has only averaged weights, in '{averaged}'. Do not ask for the plain ones.")
    if has_tensor(content.values()):
        return None, ""
    inner = [key for key, value in content.items() if _holds_tensors(key, value, limits)]
    return (inner[0], "") if len(inner) == 1 else (None, "")


def _first(content: Mapping[str, Any], keys: tuple[str, ...]) -> str | None:
    return next((key for key in keys if isinstance(content.get(key), Mapping) and content[key]), None)


def _is_of_mmengine(entries: Mapping[str, Any]) -> bool:
    return "steps" in entries and any(isinstance(name, str) and name.startswith("module.") for name in entries)


def _holds_tensors(key: object, value: object, limits: Limits, depth: int = 2) -> bool:
    """Whether an entry is a dictionary of tensors, or of such dictionaries, and no state of the training."""
    if not isinstance(value, dict) or not isinstance(key, str) or any(state in key.lower() for state in _STATES):
        return False
    limits.count_object(len(value))
    if has_tensor(value.values()):
        return True
    inner = [(name, one) for name, one in value.items() if isinstance(one, dict)] if depth > 0 else []
    return any(_holds_tensors(name, one, limits, depth - 1) for name, one in inner)


def _flattened(content: object, limits: Limits) -> object:
    """Join the names of a dictionary of models: ``{"backbone": {...}, "head": {...}}``."""
    if not isinstance(content, Mapping):
        return content
    parts = [key for key, value in content.items() if isinstance(value, dict) and _holds_tensors(key, value, limits)]
    if not parts:
        return content
    flat: dict[Any, Any] = {key: value for key, value in content.items() if key not in parts}
    for key in parts:
        inner = _flattened(content[key], limits)
        if isinstance(inner, Mapping):
            limits.count_object(len(inner))
            flat.update((f"{key}.{name}", value) for name, value in inner.items() if is_tensor(value))
    return flat
