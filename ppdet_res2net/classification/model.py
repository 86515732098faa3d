"""A trained or published classifier: the network, its classes, and how its images are prepared."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from ppdet_res2net.commands import program
from ppdet_res2net.config import CLASSIFIER, Config, is_classifier
from ppdet_res2net.data.classification.labelled import LabelledImages
from ppdet_res2net.data.classification.transforms import ClassifierInput
from ppdet_res2net.errors import ConfigError, DatasetError, WeightsError
from ppdet_res2net.modeling import Res2NetClassifier
from ppdet_res2net.modeling.initial_values import without_initial_values
from ppdet_res2net.ppdet_modules.registry import create_from_config
from ppdet_res2net.ppdet_modules.size_limit import limit_weights
from ppdet_res2net.training.checkpoint import read_checkpoint_info
from ppdet_res2net.zoo import create_classifier, get_model_spec
from ppdet_res2net.zoo.load import load_weights
from ppdet_res2net.zoo.model_spec import ModelSpec
from res2net_runtime.classification import ClassifierPreprocessor
from res2net_runtime.hub import is_hub_address, parse_address
from res2net_runtime.texts import clip

__all__ = [
    "LoadedClassifier",
    "trunk_arguments",
    "load_classifier",
    "match_labels",
    "preprocessor_of_config",
    "preprocessor_of_spec",
]

logger = logging.getLogger(__name__)

# Publishers whose evaluation does not prepare images with Pillow.
_LIBRARIES = {"paddleclas": "opencv", "ppdet": "opencv", "mindcv": "mindspore"}
# Publishers that ignore the EXIF orientation of images.
_IGNORE_ORIENTATION = ("timm", "mindcv")


@dataclasses.dataclass(frozen=True)
class LoadedClassifier:
    """What evaluation, prediction and export need.

    Attributes:
        name: Name of the recipe, of the run or of the zoo's model; an export's folder is named after it.
        weights: The file, url or zoo name that was loaded.
        network: Maps (N, 3, size_px, size_px) to logits (N, classes); in evaluation mode.
        preprocessor: Prepares images.
        class_names: The name of each output; None for published weights, whose classes are ImageNet's.

    Raises:
        ConfigError: The number of names is not the number of outputs.
    """

    name: str
    weights: str
    network: Res2NetClassifier
    preprocessor: ClassifierPreprocessor
    class_names: tuple[str, ...] | None

    def __post_init__(self) -> None:
        if self.class_names is not None and len(self.class_names) != self.network.num_classes:
            raise ConfigError(
                f"There are {len(self.class_names)} class names, but the model has {self.network.num_classes} outputs. "
                f"Correct --label_file."
            )

    @property
    def names_or_numbers(self) -> tuple[str, ...]:
        """The name of each output, or its number if the names are unknown."""
        return self.class_names or tuple(map(str, range(self.network.num_classes)))


def load_classifier(
    model: str | None = None, weights: str | os.PathLike[str] | None = None, config: Config | None = None
) -> LoadedClassifier:
    """Load a classifier by its name in the zoo, by the weights of a run, or by a configuration.

    Args:
        model: A zoo name; its published weights are used unless ``weights`` are given.
        weights: Weights of a run of this project, whose ``.json`` describes their model; or any weights that fit ``model``
            or ``config``.
        config: A classification recipe; its own ``weights`` are used unless ``weights`` are given.

    Raises:
        ConfigError: Nothing says which model it is, the model is unknown, or it is a detector.
        WeightsError: The weights cannot be read, or do not fit.
    """
    if config is not None and model is not None:
        raise ConfigError("Both a configuration and a model are given; pass one of -c and --model.")
    weights = weights or (config.get("weights") if config is not None else None)
    weights = str(weights) if weights else None
    info = read_checkpoint_info(weights) if weights else None
    names = tuple(info["class_names"]) if info else None
    if config is not None:
        loaded = _from_config(config, weights, names)
    elif model is not None:
        loaded = _from_zoo(get_model_spec(model), weights, info)
    elif weights and info is not None and "backbone" in info:
        network, preprocessor = _from_description(weights, info)
        name = parse_address(weights).name if is_hub_address(weights) else Path(weights).resolve().parent.name
        loaded = LoadedClassifier(name, str(weights), network, preprocessor, names)
        logger.info("%s", load_weights(network, weights))
    elif info is not None:
        raise ConfigError(
            f"'{weights}' holds the weights of a {info.get('architecture', 'detector')}, which needs its recipe. Pass -c CFG, "
            f"for instance config.yml in the folder of the run that wrote the weights."
        )
    else:
        raise ConfigError(
            f"Nothing says which classifier to use. Pass --model NAME ('{program('models')}' lists them), --weights FILE of "
            "a classifier that was trained here, or -c CFG."
            + (f" '{weights}' has no .json beside it that describes its model." if weights else "")
        )
    loaded.network.eval()
    return loaded


def _from_description(weights: str, info: Mapping) -> tuple[Res2NetClassifier, ClassifierPreprocessor]:
    """Return the network that the .json beside its weights describes, and what prepares its images."""
    try:
        with limit_weights(), without_initial_values():
            network = Res2NetClassifier(len(info["class_names"]), **info["backbone"])
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise _not_described(weights, error) from error
    return network, _preprocessor_of_run(weights, info)


def _preprocessor_of_run(weights: str, info: Mapping) -> ClassifierPreprocessor:
    try:
        return ClassifierPreprocessor.from_config(info["preprocess"])
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise _not_described(weights, error) from error


def _not_described(weights: str, error: Exception) -> WeightsError:
    return WeightsError(
        f"The .json beside '{weights}' does not describe a classifier: {clip(str(error), 300)}. Restore it from its run."
    )


def _from_zoo(spec: ModelSpec, weights: str | None, info: Mapping | None) -> LoadedClassifier:
    names = tuple(info["class_names"]) if info else None
    if weights is None and spec.task != "classifier":
        raise ConfigError(f"{spec.name} is published as a {spec.task}; choose a model whose task is 'classifier'.")
    with without_initial_values():
        network = create_classifier(spec.name, num_classes=len(names) if names else spec.num_classes)
    weights = weights or spec.name
    logger.info("%s", load_weights(network, weights))  # the last layer must fit too
    preprocessor = preprocessor_of_spec(spec)
    if info is not None and "preprocess" in info:  # trained here, with another size of images perhaps
        preprocessor = _preprocessor_of_run(str(weights), info)
    return LoadedClassifier(spec.name, weights, network, preprocessor, names)


def _from_config(config: Config, weights: str | None, names: tuple[str, ...] | None) -> LoadedClassifier:
    if not is_classifier(config):
        raise ConfigError(
            f"'{config.name}' describes a {config.get('architecture')}, not a {CLASSIFIER}. Choose a recipe of "
            f"configs/res2net/imagenet."
        )
    if not weights:
        raise ConfigError(f"'{config.name}' names no weights. Pass -o weights=PATH, for instance a run's model_final.")
    if names:
        config.set_num_classes(len(names), f"classes of {weights}")
    with without_initial_values():
        network = create_from_config(config, CLASSIFIER)
    logger.info("%s", load_weights(network, weights))
    return LoadedClassifier(config.name, str(weights), network, preprocessor_of_config(config), names)


def preprocessor_of_spec(spec: ModelSpec, *, upright: bool = False) -> ClassifierPreprocessor:
    """Return the preprocessor of the publisher's own evaluation.

    Args:
        spec: A model of the zoo.
        upright: Turn images by their EXIF orientation even if the publisher does not. This is better for photos that are
            not ImageNet's.
    """
    return ClassifierPreprocessor(
        size_px=spec.input.size_px[0],
        crop_fraction=spec.input.crop_fraction or 1.0,
        interpolation=spec.input.interpolation,
        library=_LIBRARIES.get(spec.source, "pillow"),
        mean=spec.input.mean,
        std=spec.input.std,
        upright=upright or spec.source not in _IGNORE_ORIENTATION,
    )


def preprocessor_of_config(config: Mapping) -> ClassifierPreprocessor:
    """Return the preprocessor that ``EvalReader`` describes.

    Raises:
        ConfigError: The reader's transforms are not one ``ClassifierInput``, or its arguments are wrong.
    """
    transforms = (config.get("EvalReader") or {}).get("sample_transforms") or []
    if len(transforms) != 1 or list(transforms[0]) != ["ClassifierInput"]:
        raise ConfigError(
            f"EvalReader.sample_transforms is {transforms!r}; expected one entry, for instance "
            f"'- ClassifierInput: {{size_px: 224, crop_fraction: 0.875}}'. Evaluation and export prepare images with it."
        )
    try:
        return ClassifierInput(**(transforms[0]["ClassifierInput"] or {})).preprocessor
    except (TypeError, ValueError) as error:
        raise ConfigError(f"EvalReader.sample_transforms.0.ClassifierInput: {error}") from error


def trunk_arguments(network: Res2NetClassifier, norm_type: str) -> dict:
    """Return the arguments of the trunk as plain data, which is saved beside the weights."""
    trunk = network.backbone
    return {
        "depth": trunk.depth if trunk.is_dla else list(trunk.stage_depths),
        "width": trunk.width,
        "scales": trunk.scales,
        "variant": trunk.variant,
        "groups": trunk.groups,
        "dialect": trunk.dialect.name,
        "norm_type": norm_type,
        "dcn_v2_stages": list(trunk.dcn_v2_stages),
    }


def match_labels(classifier_names: Sequence[str] | None, num_classes: int, dataset: LabelledImages) -> list[int]:
    """Return the output of the network that stands for each label of a dataset.

    Classes are matched by name. If one side has no names (published weights; lists without a file of names), both must
    have the same number of classes, and their order is assumed to be the same.

    Raises:
        DatasetError: The dataset has classes that the model does not know, or the numbers of classes differ.
    """
    names = dataset.class_names
    if classifier_names is not None and set(names) <= set(classifier_names) and len(set(names)) == len(names):
        return [classifier_names.index(name) for name in names]
    are_numbers = all(name.isdigit() for name in names)  # as in a list without a file of names
    unknown = [] if classifier_names is None or are_numbers else [n for n in names if n not in classifier_names]
    if len(names) != num_classes:
        raise DatasetError(
            f"{dataset.contents.source} has {len(names)} classes ({_some(names)}), but the model has {num_classes}"
            f"{f' ({_some(classifier_names)})' if classifier_names else ''}"
            f"{f', which do not include {_some(unknown)}' if unknown else ''}. Evaluate on data with the model's classes. If "
            f"the data has only some of them, pass a file with all class names (--label_file)."
        )
    if unknown:
        raise DatasetError(
            f"{dataset.contents.source} has a class '{unknown[0]}', which the model does not know; its classes are "
            f"{_some(classifier_names or ())}. Rename the class, or train a model that has it."
        )
    return list(range(num_classes))


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
