"""Loads a YAML file with its base files and ``-o`` overrides as one checked configuration."""

from __future__ import annotations

import difflib
import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import ppdet_res2net
from ppdet_res2net.config.validate import Layer, check_config
from ppdet_res2net.config.yaml_io import parse_yaml, read_yaml
from ppdet_res2net.errors import ConfigError
from ppdet_res2net.ppdet_modules.tagged import Tagged

__all__ = ["Config", "load_config", "resolve_config_path"]

logger = logging.getLogger(__name__)

_BASE_KEY = "_BASE_"
_OVERRIDE_EXAMPLE = "Example: -o TrainReader.batch_size=1 LearningRate.base_lr=0.00125"
_CLOSE_NAMES = 5


class Config(dict):
    """A resolved configuration: dicts, lists, scalars and :class:`Tagged`, without references to other files.

    Attributes:
        path: File that it was loaded from.
    """

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


def load_config(path: str | os.PathLike[str], overrides: Iterable[str] = ()) -> Config:
    """Load a configuration, resolve its ``_BASE_`` files, apply overrides, and check every key.

    Files are merged as in PaddleDetection: in the order of ``_BASE_``, each after its own bases, and the file itself last.
    Mappings are merged key by key; all other values are replaced. In addition to PaddleDetection, a mapping without
    ``name`` over a tagged value changes the arguments of that value.

    Args:
        path: File, or name of a recipe that comes with this package; see ``resolve_config_path``.
        overrides: ``key=value``, as after ``-o``. Keys are dotted and may contain list indices
            (``LearningRate.schedulers.0.milestones=[8,11]``); values are YAML.

    Raises:
        ConfigError: A file is missing, invalid, or based on itself; an override cannot be applied; or a key, module,
            argument, transform or tag does not exist. Nothing in the files is executed.
    """
    resolved = resolve_config_path(path)
    layers = list(_read_layers(resolved, ()))
    data: dict = {}
    for layer in layers:
        data = _merge(_without_base_batch(data, [layer]), layer.data)
    parsed = [(override, *_parse_override(override)) for override in overrides]
    override_layers = [Layer(f"override '{override}'", _nested(keys, value)) for override, keys, value in parsed]
    data = _without_base_batch(data, override_layers)
    for override, keys, value in parsed:
        data = _assign(data, keys, 0, value, override)
    layers += override_layers
    check_config(data, layers)
    return Config(data, resolved)


def _read_layers(path: Path, children: tuple[Path, ...]) -> Iterator[Layer]:
    """Yield the bases of ``path`` and then the file itself, in the order of merging."""
    data = read_yaml(path)
    bases = data.pop(_BASE_KEY, [])
    if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
        raise ConfigError(f"{path}: {_BASE_KEY} is {bases!r}; expected a list of files such as ['../runtime.yml'].")
    chain = (*children, path.resolve())
    for base in bases:
        base_path = path.parent / os.path.expanduser(base)  # an absolute base stays as it is
        if not base_path.is_file():
            raise ConfigError(
                f"{path}: {_BASE_KEY} names '{base}', but there is no file {base_path}. "
                "Correct the entry (it is relative to the file that holds it), or add the file."
            )
        if base_path.resolve() in chain:
            start = chain.index(base_path.resolve())
            loop = " -> ".join(str(file) for file in (*chain[start:], chain[start]))
            raise ConfigError(f"{path}: {_BASE_KEY} is circular: {loop}. Remove one of these entries.")
        yield from _read_layers(base_path, chain)
    yield Layer(str(path), data)


def _without_base_batch(data: dict, layers: list[Layer]) -> dict:
    """Remove ``base_batch_size`` if layers set another ``base_lr``, because it belongs to the rate that they replace."""
    rates = [layer.data.get("LearningRate") for layer in layers]
    sets_rate = any(isinstance(rate, dict) and "base_lr" in rate for rate in rates)
    if sets_rate and not any("base_batch_size" in layer.data for layer in layers):
        return {key: value for key, value in data.items() if key != "base_batch_size"}
    return data


def _nested(keys: list[str], value: Any) -> dict:
    for key in reversed(keys):
        value = {key: value}
    return value


def _merge(old: Any, new: Any) -> Any:
    """Return ``new`` merged over ``old``, without changing either."""
    if not isinstance(new, dict):
        return new
    if isinstance(old, Tagged) and "name" not in new:
        return Tagged(old.name, _merge(old.kwargs, new))
    if not isinstance(old, dict):
        return new
    return {**old, **{key: _merge(old[key], value) if key in old else value for key, value in new.items()}}


def _parse_override(override: str) -> tuple[list[str], object]:
    """Split ``a.b=value``. The value is YAML."""
    dotted, equals, text = override.strip().partition("=")
    keys = dotted.split(".")
    if not equals or not all(keys) or any(character.isspace() for character in dotted):
        raise ConfigError(f"Cannot read the override '{override}': expected key=value. {_OVERRIDE_EXAMPLE}")
    return keys, parse_yaml(text, f"override '{override}'")


def _assign(node: Any, keys: list[str], depth: int, value: object, override: str) -> Any:
    """Return ``node`` with ``value`` at ``keys[depth:]``. Containers on the way are copied, not changed."""
    if depth == len(keys):
        return _merge(node, value)
    key, here = keys[depth], ".".join(keys[:depth])
    if isinstance(node, Tagged):
        return Tagged(node.name, _assign(node.kwargs, keys, depth, value, override))
    if node is None or isinstance(node, dict):
        node = node or {}
        return {**node, key: _assign(node.get(key), keys, depth + 1, value, override)}
    problem = f"Cannot apply the override '{override}': '{here}'"
    if isinstance(node, list):
        if not key.isdigit() or int(key) >= len(node):
            raise ConfigError(f"{problem} is a list of {len(node)} entries and has no entry '{key}' (the first is 0).")
        index = int(key)
        return [*node[:index], _assign(node[index], keys, depth + 1, value, override), *node[index + 1 :]]
    names_module = isinstance(node, str) and node.isidentifier()
    hint = f" Did you mean '{node}.{'.'.join(keys[depth:])}'?" if names_module else ""
    raise ConfigError(f"{problem} is {node!r}, which has no parts to set.{hint}")


def resolve_config_path(path: str | os.PathLike[str]) -> Path:
    """Find a configuration file.

    ``path`` is tried first as given, then as the path (``configs/res2net/x.yml``) or the name (``x`` or ``x.yml``) of a
    recipe that comes with this package. Hence an installed wheel works without a checkout.

    Raises:
        ConfigError: Nothing is found. The message lists the recipes with the closest names.
    """
    given = Path(os.path.expanduser(path))
    if given.is_file():
        return given
    if given.is_dir():
        raise ConfigError(f"{given} is a folder; expected a YAML file in it.")
    root = _shipped_configs()
    shipped = sorted(root.rglob("*.yml"))
    recipes = [file for file in shipped if "_base_" not in file.parts]
    inside = root.parent / given
    if not given.is_absolute() and inside in shipped:
        return inside
    if len(given.parts) == 1:
        for recipe in recipes:
            if given.name in (recipe.name, recipe.stem):
                return recipe
    names = [recipe.stem for recipe in recipes]
    close = difflib.get_close_matches(given.stem, names, n=_CLOSE_NAMES) or names
    raise ConfigError(
        f"There is no configuration file {given}, and no recipe of that name comes with this package. "
        f"Recipes to choose from: {', '.join(close)}."
    )


def _shipped_configs() -> Path:
    package = Path(ppdet_res2net.__file__).resolve().parent
    in_wheel = package / "configs"
    return in_wheel if in_wheel.is_dir() else package.parent / "configs"
