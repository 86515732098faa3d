"""Loads a YAML file with its base files and ``-o`` overrides as one checked configuration."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ppdet_res2net.config.hub_recipes import read_hub_recipe
from ppdet_res2net.config.mistakes import Layer, clip, position, show
from ppdet_res2net.config.recipe_files import Merged, RecipeFiles, join, merge, resolve_config_path, without_base_batch
from ppdet_res2net.config.yaml_io import MAX_DEPTH, parse_yaml
from ppdet_res2net.errors import ConfigError
from ppdet_res2net.ppdet_modules.tagged import Tagged
from res2net_runtime.hub import is_hub_address

__all__ = ["Config", "create_config", "load_config"]

logger = logging.getLogger(__name__)

_OVERRIDE_EXAMPLE = "Example: -o TrainReader.batch_size=1 LearningRate.base_lr=0.00125"
_LONGEST_OVERRIDE = 300  # in messages
# A value that starts with one of these is read as YAML even where text is expected: quoted text, or a tag, which is refused.
_YAML_MARKS = ("'", '"', "!")


class Config(dict):
    """A resolved configuration: dicts, lists, scalars and :class:`Tagged`, without references to other files.

    Attributes:
        path: File that it was loaded from.
        device: ``cpu``, ``gpu`` or ``gpu:<index>``, as the command line says; None: as ``use_gpu`` says. It is no setting of
            the recipe, since recipes move from machine to machine.
    """

    device: str | None = None

    def __init__(self, data: dict, path: Path) -> None:
        super().__init__(data)
        self.path = Path(path)

    @property
    def name(self) -> str:
        """Name of the file without its suffix, which also names the folder of a run. A run's own ``config.yml`` has the name
        of the run.
        """
        return self.path.resolve().parent.name if self.path.name == "config.yml" else self.path.stem

    def set_num_classes(self, count: int, source: str) -> None:
        """Set ``num_classes``, and warn if it had a different value.

        Args:
            count: The number of classes.
            source: What has so many, for the message.
        """
        before = self.get("num_classes")
        if before != count:
            logger.warning(
                "num_classes is set to %d, the number of %s; the configuration says %s", count, source, before
            )
            self["num_classes"] = count


def load_config(path: str | os.PathLike[str], overrides: Iterable[str] = (), *, trust_recipe: bool = False) -> Config:
    """Load a configuration, resolve its ``_BASE_`` files, apply overrides, and check every key and value.

    Files are merged as in PaddleDetection: in the order of ``_BASE_``, each after its own bases, and the file itself last.
    Mappings are merged key by key; all other values are replaced. In addition to PaddleDetection, a mapping without
    ``name`` over a tagged value changes the arguments of that value.

    Args:
        path: File, or name of a recipe that comes with this package, see ``resolve_config_path``; or the address of a
            repository on a hub, ``hf://OWNER/REPO``, whose weights are then those of the recipe.
        overrides: ``key=value``, as after ``-o``. Keys are dotted and may contain list indices
            (``LearningRate.schedulers.0.milestones=[8,11]``). Values are YAML; those of settings that take text are text as
            they are typed, unless they are in quotes.
        trust_recipe: Allow every class that is registered with ppdet, with all its arguments, also those that ppdet evaluates
            as Python or unpickles. The recipe can then run any code. This is for modules of your own, which you import before.

    Raises:
        ConfigError: A file is missing, invalid, or based on itself; an override cannot be applied; or a key, module,
            argument, value, transform or tag is not allowed. Nothing in the files is executed, unless ``trust_recipe``.
        HubError: A hub does not deliver the recipe.
    """
    if isinstance(path, str) and is_hub_address(path):
        recipe = read_hub_recipe(path, trust_recipe)
        return Config(_override_and_check(recipe.merged, overrides, trust_recipe), Path(f"{recipe.name}.yml"))
    resolved = resolve_config_path(path)
    merged = RecipeFiles(trust_recipe).read(resolved)
    return Config(_override_and_check(merged, overrides, trust_recipe), resolved)


def create_config(
    name: str, settings: dict, source: str, base: str, overrides: Iterable[str] = (), *, trust_recipe: bool = False
) -> Config:
    """Return the configuration that a file with these settings would have, with the same checks.

    Args:
        name: The name of the file without its suffix, which also names the folder of a run.
        settings: What the file would contain, without ``_BASE_``.
        source: Where the settings are from, for messages.
        base: The recipe that they are merged over, by a path as for ``resolve_config_path``.
        overrides: As for :func:`load_config`.
        trust_recipe: As for :func:`load_config`.

    Raises:
        ConfigError: A key or value is not allowed, or an override cannot be applied.
    """
    below = RecipeFiles(trust_recipe).read(resolve_config_path(base))
    merged = join(below, Merged(settings, (Layer(source, settings),)))
    return Config(_override_and_check(merged, overrides, trust_recipe), Path(f"{name}.yml"))


def _override_and_check(merged: Merged, overrides: Iterable[str], trust_recipe: bool) -> dict:
    from ppdet_res2net.config.validate import check_config, complete_architecture, is_text_setting  # slow: needs Paddle

    data, override_layers = merged.data, []
    for override in overrides:
        keys, text = _split_override(override)
        source = f"override '{clip(override, _LONGEST_OVERRIDE)}'"
        if is_text_setting(data, keys, trust_recipe) and not text.startswith(_YAML_MARKS):
            value: object = None if text in ("", "null") else text
        else:
            value = parse_yaml(text, source, trust_recipe)
        override_layers.append(Layer(source, _nested(keys, value)))
        data = _assign(data, keys, 0, value, clip(override, _LONGEST_OVERRIDE))
    data = complete_architecture(without_base_batch(data, override_layers))
    return check_config(data, [*merged.layers, *override_layers], trust_recipe)


def _nested(keys: tuple[str, ...], value: Any) -> dict:
    for key in reversed(keys):
        value = {key: value}
    return value


def _split_override(override: str) -> tuple[tuple[str, ...], str]:
    """Split ``a.b=value`` into its keys and the text of the value."""
    dotted, equals, text = override.strip().partition("=")
    keys = tuple(dotted.split("."))
    problem = f"Cannot read the override '{clip(override, _LONGEST_OVERRIDE)}'"
    if not equals or not all(keys) or any(character.isspace() for character in dotted):
        raise ConfigError(
            f"Cannot read the override '{clip(override, _LONGEST_OVERRIDE)}': expected key=value. {_OVERRIDE_EXAMPLE}"
        )
    if len(keys) > MAX_DEPTH:
        raise ConfigError(f"{problem}: it has {len(keys)} keys; at most {MAX_DEPTH} are read.")
    return keys, text.strip()


def _assign(node: Any, keys: tuple[str, ...], depth: int, value: object, override: str) -> Any:
    """Return ``node`` with ``value`` at ``keys[depth:]``. Containers on the way are copied, not changed."""
    if depth == len(keys):
        return merge(node, value)
    key, here = keys[depth], ".".join(keys[:depth])
    if isinstance(node, Tagged):
        return Tagged(node.name, _assign(node.kwargs, keys, depth, value, override))
    if node is None or isinstance(node, dict):
        node = node or {}
        return {**node, key: _assign(node.get(key), keys, depth + 1, value, override)}
    problem = f"Cannot apply the override '{override}': '{here}'"
    if isinstance(node, list):
        index = position(key, node)
        if index is None:
            raise ConfigError(f"{problem} is a list of {len(node)} entries and has no entry '{key}' (the first is 0).")
        return [*node[:index], _assign(node[index], keys, depth + 1, value, override), *node[index + 1 :]]
    names_module = isinstance(node, str) and node.isidentifier()
    hint = f" Did you mean '{node}.{'.'.join(keys[depth:])}'?" if names_module else ""
    raise ConfigError(f"{problem} is {show(node)}, which has no parts to set.{hint}")
