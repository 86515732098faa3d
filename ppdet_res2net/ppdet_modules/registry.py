"""Puts our modules into ppdet's registry, and creates objects from configurations through it."""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from ppdet_res2net.compat import prepare_ppdet
from ppdet_res2net.errors import ConfigError, Res2NetError, did_you_mean
from ppdet_res2net.ppdet_modules.tagged import Tagged

__all__ = [
    "create_dataset",
    "create_from_config",
    "instantiate",
    "register_modules",
    "registered_classes",
    "serializable_classes",
    "shared_settings",
]


@functools.cache
def register_modules() -> None:
    """Put our modules into ppdet's registry under ppdet's names, in place of paddledet's. Idempotent."""
    prepare_ppdet()
    from ppdet.core.workspace import global_config, register, serializable
    from ppdet.modeling.heads import bbox_head, cascade_head, mask_head
    from ppdet.modeling.proposal_generator import rpn_head

    from ppdet_res2net.data.classification.cifar import CIFARDataSet
    from ppdet_res2net.data.classification.imagenet import ImageNetDataSet
    from ppdet_res2net.data.classification.sources import ClassFolderDataSet, ClassListDataSet
    from ppdet_res2net.data.coco import COCODataSet
    from ppdet_res2net.ppdet_modules.backbone import Res2Net, Res2NetC5
    from ppdet_res2net.ppdet_modules.boxes import ProposalGenerator, RCNNBox
    from ppdet_res2net.ppdet_modules.cascade import CascadeHead, CascadeMaskHead, CascadeRCNN
    from ppdet_res2net.ppdet_modules.classifier import Res2NetClassifier
    from ppdet_res2net.ppdet_modules.mask_assigner import MaskAssigner
    from ppdet_res2net.ppdet_modules.roi_align import RoIAlign

    datasets = (COCODataSet, ClassFolderDataSet, ClassListDataSet, CIFARDataSet, ImageNetDataSet)
    modules = (Res2Net, Res2NetC5, Res2NetClassifier, MaskAssigner, ProposalGenerator, RCNNBox, RoIAlign)
    for cls in (*modules, CascadeRCNN, CascadeHead, CascadeMaskHead, *datasets):
        global_config.pop(cls.__name__, None)  # ppdet refuses a second class of the same name
        register(serializable(cls))
    # ppdet's heads make these parts themselves, from the class that they have imported.
    for head, part in (
        (rpn_head, ProposalGenerator),
        *((head, RoIAlign) for head in (bbox_head, cascade_head, mask_head)),
    ):
        setattr(head, part.__name__, part)


def create_from_config(config: Mapping, name: str, **kwargs) -> Any:
    """Create the registered module ``name`` as ``config`` describes it.

    ppdet keeps one global configuration, and every load adds to it. This function empties it first, so that nothing of an
    earlier configuration remains. Only the sections of modules that ``name`` leads to are used, so that a tag below any other
    section is never built. Datasets are left out: :func:`create_dataset` makes those.

    Raises:
        ConfigError: ``name`` is not registered, or a module refuses its arguments.
    """
    register_modules()
    from ppdet.core.config.schema import SchemaDict
    from ppdet.core.workspace import create, global_config, merge_config

    from ppdet_res2net.ppdet_modules.size_limit import limit_weights

    modules = {key: value for key, value in global_config.items() if isinstance(value, SchemaDict)}
    if name not in modules:
        raise ConfigError(
            f"'{name}' is not a module that ppdet or this package registers.{did_you_mean(name, modules)}"
        )
    needed = _modules_of(name, config, modules)
    settings = {key: value for key, value in config.items() if key in needed or _is_plain(value)}
    for module in modules.values():
        module.clear()  # the defaults of the class remain
    global_config.clear()
    global_config.update(modules)
    try:
        merge_config(instantiate(copy.deepcopy(settings)))
        with _refusals_as_config_errors(name), limit_weights():
            return create(name, **kwargs)
    finally:
        global_config.update(modules)  # an object (``!Name``) may have replaced the settings of its module


def _modules_of(name: str, config: Mapping, modules: Mapping) -> set[str]:
    """Return ``name`` and all modules whose names are in its section, in its defaults, and in those of the modules found."""
    found, waiting = set(), [name]
    while waiting:
        current = waiting.pop()
        if current in found:
            continue
        found.add(current)
        defaults = [field.default for field in modules[current].schema.values() if field.has_default()]
        waiting += [text for text in _texts([config.get(current), defaults]) if text in modules]
    return found


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Tagged):
        yield from _texts([value.name, value.kwargs])
    elif isinstance(value, Mapping):
        yield from _texts(list(value.values()))
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _texts(part)


def _is_plain(value: object) -> bool:
    """Return whether a value is a setting of the whole configuration, which modules share, and no section."""
    return not isinstance(value, (Mapping, Tagged, list))


def create_dataset(config: Mapping, key: str) -> Any:
    """Create the dataset that ``config`` describes under ``key``, e.g. ``TrainDataset``.

    Both spellings in YAML give the same object: ``!COCODataSet {...}`` and ``{name: COCODataSet, ...}``.

    Raises:
        ConfigError: The key is missing, names no dataset, or the dataset refuses its arguments.
    """
    register_modules()
    example = f"'{key}: {{name: COCODataSet, dataset_dir: ..., image_dir: ..., anno_path: ...}}'"
    if config.get(key) is None:
        raise ConfigError(f"{key} is not set in the configuration; add for example {example}.")
    part = Tagged.from_value(config[key])
    if part is None:
        raise ConfigError(f"{key} does not name a dataset class; expected for example {example}.")
    classes = {name: cls for name, cls in serializable_classes().items() if hasattr(cls, "parse_dataset")}
    if part.name not in classes:
        raise ConfigError(
            f"{key}: '{part.name}' is not a dataset class of ppdet or this package.{did_you_mean(part.name, classes)}"
        )
    with _refusals_as_config_errors(f"{key}: {part.name}"):
        return classes[part.name](**instantiate(copy.deepcopy(part.kwargs)))


def instantiate(value: object) -> Any:
    """Replace every ``!Name {...}`` in plain data by an object of that class.

    Raises:
        ConfigError: There is no such class, or it refuses its arguments.
    """
    if isinstance(value, Tagged):
        cls = serializable_classes().get(value.name)
        if cls is None:
            raise ConfigError(f"!{value.name}: ppdet has no class of that name that YAML may create.")
        with _refusals_as_config_errors(f"!{value.name}"):
            return cls(**instantiate(value.kwargs))
    if isinstance(value, Mapping):
        return {key: instantiate(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [instantiate(part) for part in value]
    return value


def registered_classes() -> dict[str, type]:
    """Return the modules that are registered with ppdet, by name."""
    register_modules()
    from ppdet.core.workspace import get_registered_modules

    return {
        **_first_seen(),
        **{name: getattr(schema.pymodule, name) for name, schema in get_registered_modules().items()},
    }


@functools.cache
def _first_seen() -> dict[str, type]:
    """Building a model replaces some schemas in ppdet's registry by objects, so those that were seen first are kept."""
    from ppdet.core.workspace import get_registered_modules

    return {name: getattr(schema.pymodule, name) for name, schema in get_registered_modules().items()}


def shared_settings(names: Iterable[str] | None = None) -> set[str]:
    """Return the keys at the top of a configuration that these modules, or all modules, share."""
    classes = registered_classes()
    return {
        key for name in (classes if names is None else names) for key in getattr(classes.get(name), "__shared__", ())
    }


def _is_any(name: str, cls: type) -> bool:
    return True


def serializable_classes(condition: Callable[[str, type], bool] = _is_any) -> dict[str, type]:
    """Return the classes that YAML may name: those that ppdet and this package registered with ``@serializable``.

    ``Callable``, with which ppdet lets YAML call any Python function, is left out.

    Args:
        condition: Which of them, by name and class. Its answers are kept until another class is registered.
    """
    register_modules()
    import yaml

    return dict(_classes_behind(tuple(yaml.Loader.yaml_constructors.items()), condition))


@functools.lru_cache(maxsize=8)  # a recipe asks for every value; what is registered hardly ever changes
def _classes_behind(
    constructors: tuple[tuple[str | None, Callable], ...], condition: Callable[[str, type], bool]
) -> dict[str, type]:
    classes = {}
    for tag, constructor in constructors:
        if tag is None or not tag.startswith("!") or tag == "!Callable":
            continue
        found = _class_behind(constructor)
        if found is not None and condition(tag[1:], found):
            classes[tag[1:]] = found
    return classes


@functools.cache
def _class_behind(constructor: Callable) -> type | None:
    """Return the class that a constructor of YAML makes. ppdet keeps it only in the closure that it hands to PyYAML."""
    found = inspect.getclosurevars(constructor).nonlocals.get("cls")
    return found if inspect.isclass(found) else None


@contextlib.contextmanager
def _refusals_as_config_errors(what: str) -> Iterator[None]:
    """Turn the errors of ppdet's constructors into ConfigError: they have no checks of their own. Our errors pass unchanged."""
    try:
        yield
    except Res2NetError:
        raise
    except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ConfigError(f"{what}: {str(error) or type(error).__name__}") from error
