"""Finds the files of a recipe, and merges each with its ``_BASE_`` files."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Any, NamedTuple

import ppdet_res2net
from ppdet_res2net.config.mistakes import Layer, clip, show
from ppdet_res2net.config.yaml_io import read_yaml
from ppdet_res2net.errors import ConfigError
from ppdet_res2net.ppdet_modules.tagged import Tagged
from res2net_runtime.hub import address_of_page

__all__ = ["Merged", "RecipeFiles", "join", "merge", "resolve_config_path", "without_base_batch"]

BASE_KEY = "_BASE_"
MAX_FILES = 100
_ENDINGS = (".yml", ".yaml")
_CLOSE_NAMES = 5


class Merged(NamedTuple):
    """A file and its bases as one.

    Attributes:
        data: The settings.
        layers: The sources, in the order in which they were merged.
    """

    data: dict
    layers: tuple[Layer, ...]


class RecipeFiles:
    """Reads the files of one recipe, each once, however often ``_BASE_`` names it.

    Args:
        trust_recipe: Whether tags may name any class that ppdet declares serializable.
    """

    def __init__(self, trust_recipe: bool) -> None:
        self._trust_recipe = trust_recipe
        self._merged: dict[Path, Merged] = {}

    def read(self, path: Path, children: tuple[Path, ...] = ()) -> Merged:
        """Return a file merged over its bases.

        Args:
            path: The file.
            children: The files that led here through ``_BASE_``.

        Raises:
            ConfigError: A file is missing, invalid or based on itself, or there are too many.
        """
        resolved = path.resolve()
        if resolved in self._merged:
            return self._merged[resolved]
        chain = (*children, resolved)
        if len(self._merged) + len(chain) > MAX_FILES:
            raise ConfigError(f"{path}: {BASE_KEY} leads to more than {MAX_FILES} files. Merge some of them.")
        own = read_yaml(path, self._trust_recipe)
        merged = Merged({}, ())
        for base in _bases(own.pop(BASE_KEY, []), path):
            base_path = _find_base(base, path)
            if base_path.resolve() in chain:
                start = chain.index(base_path.resolve())
                loop = " -> ".join(str(file) for file in (*chain[start:], chain[start]))
                raise ConfigError(f"{path}: {BASE_KEY} is circular: {loop}. Remove one of these entries.")
            merged = join(merged, self.read(base_path, chain))
        merged = join(merged, Merged(own, (Layer(str(path), own),)))
        self._merged[resolved] = merged
        return merged


def _bases(bases: object, path: Path) -> list[str]:
    if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
        raise ConfigError(f"{path}: {BASE_KEY} is {show(bases)}; expected a list of files such as ['../runtime.yml'].")
    if len(bases) > MAX_FILES:
        raise ConfigError(
            f"{path}: {BASE_KEY} has {len(bases)} entries; at most {MAX_FILES} are read. Merge some of them."
        )
    return bases


def _find_base(base: str, path: Path) -> Path:
    """Return the file that an entry of ``_BASE_`` names: beside the file that holds it, or a recipe of this package."""
    beside = path.parent / os.path.expanduser(base)  # an absolute base stays as it is
    found = _existing(beside) or _shipped(base)
    if found is None:
        raise ConfigError(
            f"{path}: {BASE_KEY} names '{clip(base)}', but there is no file {clip(beside)}, and no recipe of that name comes "
            f"with this package.{_suggest(base, beside)} Correct the entry (it is relative to the file that holds it), or add "
            "the file."
        )
    return found


def join(below: Merged, above: Merged) -> Merged:
    """Return a file merged over another one."""
    data = merge(without_base_batch(below.data, [Layer("", above.data)]), above.data)
    moved = [layer for layer in below.layers if layer not in above.layers]
    return Merged(data, (*moved, *above.layers))


def without_base_batch(data: dict, layers: list[Layer]) -> dict:
    """Remove ``base_batch_size`` if layers set another ``base_lr``, because it belongs to the rate that they replace."""
    rates = [layer.data.get("LearningRate") for layer in layers]
    sets_rate = any(isinstance(rate, dict) and "base_lr" in rate for rate in rates)
    if sets_rate and not any("base_batch_size" in layer.data for layer in layers):
        return {key: value for key, value in data.items() if key != "base_batch_size"}
    return data


def merge(old: Any, new: Any) -> Any:
    """Return ``new`` merged over ``old``, without changing either."""
    if not isinstance(new, dict):
        return new
    if isinstance(old, Tagged) and "name" not in new:
        return Tagged(old.name, merge(old.kwargs, new))
    if not isinstance(old, dict):
        return new
    return {**old, **{key: merge(old[key], value) if key in old else value for key, value in new.items()}}


def resolve_config_path(path: str | os.PathLike[str]) -> Path:
    """Find a configuration file.

    ``path`` is tried first as given and with ``.yml`` or ``.yaml`` behind it; then as the path (``configs/res2net/x.yml``) or
    the name (``x`` or ``x.yml``) of a recipe that comes with this package. Hence an installed wheel works without a checkout.

    Raises:
        ConfigError: Nothing is found. The message names the files and recipes with the closest names.
    """
    given = Path(os.path.expanduser(path))
    found = _existing(given) or _shipped(os.fspath(path))
    if found is not None:
        return found
    if os.path.isdir(given):  # unlike Path.is_dir, this takes names that are too long for a file
        raise ConfigError(f"{given} is a folder; expected a YAML file in it.")
    page = address_of_page(path)
    if page is not None:
        raise ConfigError(f"{clip(path)} is a page, not a recipe. Pass {page} for what it shows.")
    names = [recipe.stem for recipe in _recipes()]
    close = difflib.get_close_matches(given.stem, names, n=_CLOSE_NAMES) or names
    raise ConfigError(
        f"There is no configuration file {clip(given)}, and no recipe of that name comes with this package."
        f"{_suggest(os.fspath(path), given, ())} Recipes to choose from: {', '.join(close)}."
    )


def _existing(path: Path) -> Path | None:
    """Return the file of this name, with or without its ending; None if there is none."""
    candidates = (path, *(path.with_name(path.name + ending) for ending in _ENDINGS if path.name))
    try:
        return next((file for file in candidates if file.is_file()), None)
    except (OSError, ValueError):  # names that no file can have: too long, or with a NUL
        return None


def _shipped(name: str) -> Path | None:
    """Return the file of a recipe that comes with this package, by path or name; None if there is none."""
    given, root = Path(name), _shipped_configs()
    if given.is_absolute():
        return None
    inside = root.parent / given
    if inside in root.rglob("*.yml"):
        return inside
    if len(given.parts) != 1:
        return None
    return next((recipe for recipe in _recipes() if given.name in (recipe.name, recipe.stem)), None)


def _recipes() -> list[Path]:
    return [file for file in sorted(_shipped_configs().rglob("*.yml")) if "_base_" not in file.parts]


def _suggest(name: str, path: Path, shipped: tuple[str, ...] | None = None) -> str:
    """Return ``" Did you mean 'x'?"`` for the closest file in the folder of ``path``, or the closest recipe."""
    folder = path.parent
    files = [file.name for file in folder.iterdir() if file.suffix in _ENDINGS] if os.path.isdir(folder) else []
    by_name = {file: str(path.parent / file) for file in files}
    by_name.update({Path(file).stem: str(path.parent / file) for file in files})
    by_name.update({recipe: recipe for recipe in ([r.stem for r in _recipes()] if shipped is None else shipped)})
    close = difflib.get_close_matches(Path(name).name, by_name, n=1)
    return f" Did you mean '{by_name[close[0]]}'?" if close else ""


def _shipped_configs() -> Path:
    package = Path(ppdet_res2net.__file__).resolve().parent
    in_wheel = package / "configs"
    return in_wheel if in_wheel.is_dir() else package.parent / "configs"
