"""Find a published model by its name, its file, or its url."""

from __future__ import annotations

import functools
import re
from types import MappingProxyType

from ppdet_res2net.commands import program
from ppdet_res2net.errors import ConfigError, did_you_mean
from ppdet_res2net.zoo.model_spec import SOURCES, ModelSpec
from ppdet_res2net.zoo.records import RECORDS

__all__ = [
    "find_model",
    "find_published",
    "find_recipe_of_kind",
    "get_model_spec",
    "is_model_name",
    "list_models",
]


@functools.cache
def _specs() -> MappingProxyType[str, ModelSpec]:
    return MappingProxyType({spec.name: spec for spec in RECORDS})


def list_models(source: str | None = None) -> list[str]:
    """Return the names of all published models, or of those of one source.

    Args:
        source: ``timm``, ``mmpretrain``, ``mindcv``, ``paddleclas``, ``ppdet`` or ``mmdet``.

    Raises:
        ConfigError: There is no such source.
    """
    if source is not None and source not in SOURCES:
        raise ConfigError(
            f"list_models: unknown source {source!r}; choose one of "
            f"{', '.join(SOURCES)}.{did_you_mean(source, SOURCES)}"
        )
    return [name for name, spec in _specs().items() if source in (None, spec.source)]


def get_model_spec(name: str) -> ModelSpec:
    """Return the record of a published model.

    Raises:
        ConfigError: There is no model of that name.
    """
    spec = _specs().get(name)
    if spec is None:
        same_end = [full for full in _specs() if full.partition("/")[2] == name]
        hint = f" Did you mean '{same_end[0]}'?" if same_end else did_you_mean(name, _specs())
        raise ConfigError(f"unknown model {name!r}.{hint} '{program('models')}' lists all {len(_specs())}.")
    return spec


def find_model(name: str) -> ModelSpec | None:
    """Return the record of the published model of exactly this name; None if there is none."""
    return _specs().get(name)


def find_recipe_of_kind(source: str, kind: str) -> str:
    """Return the recipe of the first published detector of a source and :attr:`ModelSpec.kind`; "" if there is none."""
    return next((spec.own_recipe for spec in _specs().values() if (spec.source, spec.kind) == (source, kind)), "")


def is_model_name(text: str) -> bool:
    """Whether ``text`` looks like a zoo name, ``source/name``; whether there is such a model is not checked."""
    return re.fullmatch(rf"({'|'.join(SOURCES)})/[\w.-]+", text) is not None


def find_published(location: str) -> ModelSpec | None:
    """Return the record of the model that is published at this url or in a file of this name; None if there is none.

    Two sources may publish files with the same name. Such files hold the same weights in the same dialect, and the first
    source is returned.
    """
    file_name = location.replace("\\", "/").rpartition("/")[2]
    return next((spec for spec in _specs().values() if location in spec.urls or file_name in spec.file_names), None)
