"""Freezes parts of a model by name: they stay as they were loaded."""

from __future__ import annotations

import fnmatch
import logging
import math
from collections.abc import Iterable, Sequence

from paddle import nn

from ppdet_res2net.errors import ConfigError, did_you_mean

__all__ = ["freeze_parts"]

logger = logging.getLogger(__name__)


def freeze_parts(model: nn.Layer, names: Sequence[str]) -> None:
    """Freeze the parameters of layers, and the statistics of batch normalization in them.

    Args:
        model: The model; changed in place.
        names: Names of layers or parameters, such as ``backbone.res2`` or ``neck``. ``*`` stands for any part of a name, as in
            ``*.norm``.

    Raises:
        ConfigError: The model has no part of a name, nothing is left to train, or statistics are synchronized.
    """
    parameters = dict(model.named_parameters())
    layers = {name: layer for name, layer in model.named_sublayers() if layer.parameters()}
    known = [*layers, *parameters]
    frozen = {found for name in names for found in _find(name, known)}
    for name in _inside(layers, frozen):
        layer = layers[name]
        if isinstance(layer, nn.SyncBatchNorm):
            raise ConfigError(
                f"freeze: the statistics of {name} are synchronized between processes (norm_type: sync_bn) and cannot be "
                "frozen by name. Pass -o norm_type=bn, or Res2Net.freeze_norm=true for the backbone."
            )
        if isinstance(layer, nn.BatchNorm2D):
            layer._use_global_stats = True
    for name in _inside(parameters, frozen):
        parameters[name].stop_gradient = True
    sizes = [(math.prod(p.shape), p.stop_gradient) for p in parameters.values()]
    whole, trained = sum(size for size, _ in sizes), sum(size for size, is_frozen in sizes if not is_frozen)
    if not trained:
        raise ConfigError(f"freeze is {', '.join(names)}: nothing is left to train. Remove one of them.")
    logger.info("freeze %s: %.3f of %.3f million parameters are trained", ", ".join(names), trained / 1e6, whole / 1e6)


def _find(name: str, known: Sequence[str]) -> list[str]:
    """Return the layers and parameters that a name stands for."""
    found = fnmatch.filter(known, name)
    if found:
        return found
    parent = name
    while parent and parent not in known:
        parent = parent.rpartition(".")[0]
    depth = parent.count(".") + 2 if parent else 1
    inside = _inside(known, {parent} if parent else None)
    parts = [part for part in dict.fromkeys(".".join(one.split(".")[:depth]) for one in inside) if part != parent]
    whole = f"'{parent}'" if parent else "the model"
    has = f"has: {', '.join(parts)}" if parts else "has no parts"
    raise ConfigError(
        f"freeze: the model has no '{name}'.{did_you_mean(name, parts)} {whole[0].upper()}{whole[1:]} {has}."
    )


def _inside(names: Iterable[str], wholes: set[str] | None) -> list[str]:
    """Return those names that are parts of ``wholes``, or are these themselves; None: all."""
    if wholes is None:
        return list(names)
    return [name for name in names if any(name == whole or name.startswith(f"{whole}.") for whole in wholes)]
