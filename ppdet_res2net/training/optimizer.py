"""Builds the optimizer of a recipe, with ppdet's builder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from paddle import nn

from ppdet_res2net.errors import ConfigError
from ppdet_res2net.ppdet_modules.registry import create_from_config

__all__ = ["build_optimizer"]


def build_optimizer(config: Mapping, schedule: Any, model: nn.Layer) -> Any:
    """Return the optimizer of the trainable weights of ``model``.

    Raises:
        ConfigError: A group of ``param_groups`` has no weights, or shares one with another group.
    """
    builder = config.get("OptimizerBuilder") or {}
    _check_groups((builder.get("optimizer") or {}).get("param_groups") or [], model)
    return create_from_config(config, "OptimizerBuilder")(schedule, model)


def _check_groups(groups: list[dict], model: nn.Layer) -> None:
    names = [name for name, parameter in model.named_parameters() if not parameter.stop_gradient]
    owners: dict[str, int] = {}
    for index, group in enumerate(groups):
        place = f"OptimizerBuilder.optimizer.param_groups.{index}"
        found = [name for name in names if any(part in name for part in group["params"])]
        if not found:
            raise ConfigError(
                f"{place}: no trained weight has {' or '.join(map(repr, group['params'][:5]))} in its name. Names are for "
                f"instance {', '.join(names[:3])}."
            )
        for name in found:
            if owners.setdefault(name, index) != index:
                raise ConfigError(
                    f"{place}: the weight {name} is in group {owners[name]}, too. Each may be in one group."
                )
