"""Checks a configuration against the tables of settings, before anything is built from it.

ppdet ignores unknown keys, fails deep inside a constructor on most other mistakes, and runs code that some arguments contain.
Here every key, module, argument, transform and tag is checked, and mistakes are reported together, each with its file.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from ppdet_res2net.config.cascade import find_cascade_mistakes
from ppdet_res2net.config.class_settings import DatasetSetting, reader_setting
from ppdet_res2net.config.keys import CLASSIFIER, PLAIN_KEYS, is_classifier
from ppdet_res2net.config.kinds import Anything, Kind, Switch
from ppdet_res2net.config.mistakes import Layer, Place, Report, TooManyMistakes, clip, describe, hint
from ppdet_res2net.config.module_settings import ModuleSection, module_arguments
from ppdet_res2net.config.modules import ARGUMENTS, MODULES, roles_of
from ppdet_res2net.config.trust import refuse_class
from ppdet_res2net.config.unsupported import find_unsupported
from ppdet_res2net.errors import ConfigError
from ppdet_res2net.ppdet_modules.registry import registered_classes, shared_settings

__all__ = ["check_config", "complete_architecture", "is_text_setting"]

logger = logging.getLogger(__name__)

_DATASETS = ("TrainDataset", "EvalDataset", "TestDataset")
_READERS = ("TrainReader", "EvalReader", "TestReader")


def check_config(config: dict, layers: list[Layer], trust_recipe: bool = False) -> dict:
    """Check a resolved configuration, and return it with whole numbers such as ``3.0`` as integers.

    Args:
        config: The resolved configuration.
        layers: Sources of its settings; later ones win. Messages name the one to correct.
        trust_recipe: Whether it may name any class that ppdet has registered, with any arguments.

    Raises:
        ConfigError: There are mistakes; the message has one line for each.
    """
    report = Report(trust_recipe)
    checked = {}
    there_are_more = False
    try:
        for key, value in config.items():
            checked[key] = _read_key(config, key, value, report)
        _check_architecture(config, report)
        for place, text in (*find_unsupported(config), *find_cascade_mistakes(config)):
            report.add(place, text)
    except TooManyMistakes:
        there_are_more = True
    if report.mistakes:
        raise ConfigError(describe(report.mistakes, layers, there_are_more))
    return checked


def complete_architecture(config: dict) -> dict:
    """Return the configuration with a section for ``architecture: FasterRCNN``, if it has one for MaskRCNN only.

    A Faster R-CNN consists of parts of a Mask R-CNN, so the recipe of one serves the other.
    """
    other = config.get("MaskRCNN")
    if config.get("architecture") != "FasterRCNN" or "FasterRCNN" in config or not isinstance(other, dict):
        return config
    logger.info("architecture is FasterRCNN, which has no section: its parts are those of the section MaskRCNN")
    known = module_arguments("FasterRCNN").settings
    return {**config, "FasterRCNN": {key: value for key, value in other.items() if key in known}}


def is_text_setting(config: dict, place: Place, trust_recipe: bool) -> bool:
    """Return whether the setting at ``place`` takes text, so that what YAML would make of the text does not count."""
    value: object = config.get(place[0])
    kind = _kind_of(config, place[0], trust_recipe)
    for key in place[1:]:
        found = kind.part(value, key) if kind is not None else None
        if found is None:
            return False
        kind, value = found
    return kind is not None and kind.takes_text


def _kind_of(config: Mapping, key: object, trust_recipe: bool) -> Kind | None:
    """Return the kind of the value of a key at the top; None if there is no such key."""
    if key in PLAIN_KEYS:
        return PLAIN_KEYS[str(key)]
    if key in _DATASETS:
        return DatasetSetting()
    if key in _READERS:
        return reader_setting(is_classifier(config))
    if key in MODULES or trust_recipe and key in registered_classes():
        return ModuleSection(str(key))
    if key in shared_settings(tuple(MODULES)):
        return ARGUMENTS.get(str(key), Switch())
    if trust_recipe and key in shared_settings():
        return Anything()
    return None


def _read_key(config: Mapping, key: object, value: object, report: Report) -> object:
    place = (str(key),)
    kind = _kind_of(config, key, report.trust)
    if kind is not None:
        return kind.read(value, place, report)
    if key == "trust_recipe":
        report.add(
            place, "a recipe cannot vouch for itself. Remove the key; whoever runs the recipe passes --trust_recipe."
        )
    elif key in registered_classes():
        report.add(place, refuse_class(f"the section '{clip(key)}' is the module of that name", tuple(MODULES)))
    elif str(key)[:1].isupper():
        advice = hint(key, [*MODULES, *_DATASETS, *_READERS])
        report.add(place, f"no module named '{clip(key)}' is registered.{advice} Correct its name, or remove it.")
    else:
        advice = hint(key, [*PLAIN_KEYS, *shared_settings(tuple(MODULES)), *MODULES])
        report.add(place, f"unknown key '{clip(key)}'.{advice} Correct its name, or remove it.")
    return value


def _check_architecture(config: Mapping, report: Report) -> None:
    """Check that ``architecture`` names a whole model, and that its section names all parts that it needs."""
    name = config.get("architecture")
    if not isinstance(name, str):
        return
    place = ("architecture",)
    known = roles_of("architecture")
    section = config.get(name, {})
    if name in known:
        needed = module_arguments(name).required_references
        missing = [f"{name}.{argument}" for argument in needed if isinstance(section, dict) and argument not in section]
        if missing:
            verb = "is" if len(missing) == 1 else "are"
            report.add(
                place,
                f"'architecture' is '{name}', but {', '.join(missing)} {verb} not set. Use a recipe of a {name}, or set them.",
            )
        _check_neck(config, name, report)
    elif name not in registered_classes():
        advice = hint(name, known) or f" Expected for instance FasterRCNN, MaskRCNN, CascadeRCNN or {CLASSIFIER}."
        report.add(place, f"'architecture' is '{clip(name)}', which is not registered.{advice}")
    elif getattr(registered_classes()[name], "__category__", None) != "architecture":
        advice = hint(name, known) or f" Expected for instance FasterRCNN, MaskRCNN, CascadeRCNN or {CLASSIFIER}."
        report.add(place, f"'architecture' is '{name}', which is a module but not a whole detector.{advice}")
    elif not report.trust:
        report.add(place, refuse_class(f"'architecture' is '{name}'", known))


def _check_neck(config: Mapping, name: str, report: Report) -> None:
    """Refuse a detector without a neck whose trunk returns several maps."""
    section = config.get(name)
    if not isinstance(section, dict) or section.get("neck", True) is not None:
        return
    trunk = section.get("backbone")
    settings = config.get(trunk) if isinstance(trunk, str) else None
    stages = settings.get("return_idx", [0, 1, 2, 3]) if isinstance(settings, dict) else [0]
    if isinstance(stages, list) and len(stages) > 1:
        report.add(
            (name, "neck"),
            f"'{name}.neck' is null, but {trunk} returns {len(stages)} maps. Set {trunk}.return_idx to one stage, or a neck "
            "such as FPN.",
        )
