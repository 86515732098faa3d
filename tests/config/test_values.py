"""Every setting of every recipe, and every argument that a recipe may set, is refused by name or builds, whatever its value."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import paddle
import pytest
import yaml

from ppdet_res2net.config import is_classifier, load_config
from ppdet_res2net.config import load as loading
from ppdet_res2net.config.mistakes import Layer
from ppdet_res2net.config.modules import MODULES
from ppdet_res2net.config.recipe_files import Merged, RecipeFiles, join
from ppdet_res2net.data.transforms import build_transforms
from ppdet_res2net.errors import ConfigError
from ppdet_res2net.modeling.initial_values import without_initial_values
from ppdet_res2net.ppdet_modules.registry import create_dataset, create_from_config
from ppdet_res2net.ppdet_modules.tagged import Tagged

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
FILES = RecipeFiles(trust_recipe=False)  # one for all recipes, since they share their bases
RECIPES = sorted(file for file in CONFIGS.rglob("*.yml") if "_base_" not in file.parts)
# Values as they are typed after -o: text, negative, huge, fractions, wrong containers, nothing, and no number at all.
VALUES = ("abc", "-1", "0.5", "1e18", "99999999999999999999", "[]", "{}", "null", ".nan", "-.inf", "true", "3")
VALUES += ("[null, null]", "2024-05-01", '"\\ud800"', "!FPN {}")
MOSTLY_TEXT = {"TrainDataset", "EvalDataset", "TestDataset", "save_dir", "weights", "pretrain_weights", "metric"}
# A detector that is built in a fraction of a second.
SMALL = {"Res2Net.depth": "[1, 1, 1, 1]", "Res2Net.width": "4", "TwoFCHead.out_channel": "8", "FPN.out_channel": "8"}
SMALL_DETECTOR = {**SMALL, "MaskFeat.out_channel": "8", "MaskFeat.num_convs": "1"}


def places(node: object, place: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the place of every part of a configuration; of lists, only the first entry of each."""
    if place:
        yield place
    node = node.kwargs if isinstance(node, Tagged) else node
    if isinstance(node, dict):
        for key, value in node.items():
            yield from places(value, (*place, key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            if index == 0 or isinstance(value, (dict, Tagged)):
                yield from places(value, (*place, str(index)))


@functools.cache
def small(recipe: str) -> list[str]:
    """Return the overrides that make the network of a recipe small."""
    config = load_config(recipe)
    if "model" in config["Res2Net"]:
        return ["Res2Net.model=null", *(f"{key}={value}" for key, value in list(SMALL.items())[:2])]
    settings = SMALL_DETECTOR if not is_classifier(config) else {key: SMALL[key] for key in list(SMALL)[:2]}
    return [f"{key}={value}" for key, value in settings.items() if key.partition(".")[0] in config]


@functools.cache
def settings() -> dict[tuple[str, ...], str]:
    """Return every place that is set in a recipe, with the first recipe that sets it."""
    found: dict[tuple[str, ...], str] = {}
    for recipe in RECIPES:
        for place in places(loading._override_and_check(FILES.read(recipe), [], trust_recipe=False)):
            found.setdefault(place, str(recipe))
    return found


@functools.cache
def files(recipe: str) -> Merged:
    """Return the files of a recipe with a small network, which takes longer to read than all checks."""
    merged = FILES.read(Path(recipe))
    for override in small(recipe):
        dotted, _, value = override.partition("=")
        settings = yaml.safe_load(value)
        for key in reversed(dotted.split(".")):
            settings = {key: settings}
        merged = join(merged, Merged(settings, (Layer(override, settings),)))
    return merged


def build(config: dict, section: str) -> None:
    """Build what a section of the configuration describes."""
    if section.endswith("Dataset"):
        create_dataset(config, section)
    elif section.endswith("Reader"):
        reader = config[section]
        for name in ("sample_transforms", "batch_transforms"):
            build_transforms(reader.get(name) or [], known_transforms(config))
    elif section in ("LearningRate", "OptimizerBuilder", "epoch"):
        model = paddle.nn.Linear(1, 1)
        schedule = create_from_config(config, "LearningRate")(5)
        create_from_config(config, "OptimizerBuilder")(schedule, model)
    elif section in MODULES or section in ("architecture", "num_classes", "norm_type"):
        with without_initial_values():
            create_from_config(config, config["architecture"])


def known_transforms(config: dict) -> dict | None:
    from ppdet_res2net.data.classification.transforms import BATCH_TRANSFORMS, SAMPLE_TRANSFORMS

    return {**SAMPLE_TRANSFORMS, **BATCH_TRANSFORMS} if is_classifier(config) else None


@pytest.mark.parametrize("section", sorted({place[0] for place in settings()}))
def test_every_setting_of_every_recipe_is_refused_by_name_or_builds(section):
    refused = built = 0
    for place, recipe in settings().items():
        if place[0] != section:
            continue
        for value in VALUES:
            override = f"{'.'.join(place)}={value}"
            try:
                config = loading._override_and_check(files(recipe), [override], trust_recipe=False)
            except ConfigError as error:
                assert f"override '{override}'" in str(error)
                refused += 1
                continue
            build(config, section)
            built += 1
    assert refused > built or section in MOSTLY_TEXT
