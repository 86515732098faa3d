"""The recipe of a classifier that a few options describe: a model of the zoo, a dataset, and how to train."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from ppdet_res2net.classification.model import preprocessor_of_spec
from ppdet_res2net.commands import program
from ppdet_res2net.config import CLASSIFIER, Config, create_config
from ppdet_res2net.data.classification.cifar import CIFARDataSet
from ppdet_res2net.data.classification.labelled import LabelledImages
from ppdet_res2net.data.classification.layout import find_held_out, open_dataset, recognise
from ppdet_res2net.errors import ConfigError, WeightsError
from ppdet_res2net.ppdet_modules.tagged import Tagged
from ppdet_res2net.zoo import ModelSpec, get_model_spec
from res2net_runtime.classification import ClassifierPreprocessor

__all__ = ["OPTIMIZERS", "SCHEDULERS", "ClassifierOptions", "create_recipe"]

_BASE = "configs/res2net/imagenet/_base_/classifier.yml"
# MindCV's and timm's names -> the name in a recipe, and the usual learning rate.
OPTIMIZERS = {
    "momentum": ("Momentum", 0.01),
    "sgd": ("SGD", 0.01),
    "adam": ("Adam", 0.001),
    "adamw": ("AdamW", 0.001),
    "nadam": ("NAdam", 0.001),
    "rmsprop": ("RMSProp", 0.001),
    "adagrad": ("Adagrad", 0.001),
}
SCHEDULERS = ("cosine_decay", "constant")
_CIFAR_SIDE_PX = 32


@dataclasses.dataclass(frozen=True)
class ClassifierOptions:
    """What a command line says about a classifier and its training.

    Attributes:
        model: A classifier of the zoo.
        data: Path of the dataset, in any layout that :func:`open_dataset` recognises.
        title: A short name of the dataset, for the folder of the run.
        label_file: Names the classes; None: as the dataset says.
        pretrained: Start from the published weights.
        num_classes: Expected number of classes; None: any.
        image_size: Side of the network's input in pixels; None: the publisher's.
        epochs: Passes over the training images.
        batch_size: Images in a step.
        lr: Learning rate; None: the usual one of the optimizer.
        optimizer: A key of :data:`OPTIMIZERS`.
        momentum: Of the optimizer ``momentum``.
        weight_decay: L2 penalty; of ``adamw``, the decoupled decay.
        scheduler: One of :data:`SCHEDULERS`.
        warmup_epochs: Epochs in which the rate rises from 0.
        label_smoothing: Share of the label that goes to all classes.
        freeze: Names of parts that are not trained.
        workers: Processes that read images; None: the usual number.
    """

    model: str
    data: Path
    title: str
    label_file: str | None = None
    pretrained: bool = True
    num_classes: int | None = None
    image_size: int | None = None
    epochs: int = 10
    batch_size: int = 64
    lr: float | None = None
    optimizer: str = "momentum"
    momentum: float = 0.9
    weight_decay: float = 1e-4
    scheduler: str = "cosine_decay"
    warmup_epochs: int = 0
    label_smoothing: float = 0.0
    freeze: Sequence[str] = ()
    workers: int | None = None


def create_recipe(options: ClassifierOptions, overrides: Iterable[str] = (), *, trust_recipe: bool = False) -> Config:
    """Return the recipe that the options describe, as if it had been read from a file. The dataset is read.

    Args:
        options: The model, the data and how to train.
        overrides: Further settings, as after ``-o``.
        trust_recipe: As for :func:`load_config`.

    Raises:
        ConfigError: The model is unknown or no classifier, ``num_classes`` differs from the data, or a value is not allowed.
        DatasetError: The dataset is missing or wrong.
        WeightsError: The model has no published weights to start from.
    """
    spec = get_model_spec(options.model)
    if spec.task != "classifier":
        raise ConfigError(
            f"{spec.name} is published as a {spec.task}; '{program('models')}' lists models, choose one whose task is "
            "'classifier'. Detectors are trained from a recipe: -c CFG."
        )
    if options.pretrained and not spec.urls:
        raise WeightsError(
            f"There are no published weights of {spec.name} to start from. {spec.note} Add --no_pretrained to start from "
            "random weights, or --pretrain_weights FILE."
        )
    if options.warmup_epochs >= options.epochs:
        raise ConfigError(
            f"The warm-up has {options.warmup_epochs} epochs, and training {options.epochs}; make it shorter."
        )
    train = open_dataset(options.data, "train", options.label_file)
    count = len(train.class_names)
    if options.num_classes not in (None, count):
        source = train.contents.source
        raise ConfigError(
            f"num_classes is {options.num_classes}, but {source[0].lower()}{source[1:]} has {count} classes. Correct it, or "
            "leave it out: the number is taken from the data."
        )
    name = "_".join(re.sub(r"[^\w.-]", "_", part) for part in (spec.name, options.title))
    settings = _settings(options, spec, train, name)
    return create_config(name, settings, "the command line", _BASE, overrides, trust_recipe=trust_recipe)


def _settings(options: ClassifierOptions, spec: ModelSpec, train: LabelledImages, name: str) -> dict:
    # A penalty of Adam's kind of optimizers is no decay; AdamW's own does not reach normalization, as MindCV has it.
    penalty = 0.0 if options.optimizer == "adamw" else options.weight_decay
    class_name, usual_rate = OPTIMIZERS[options.optimizer]
    images = _preprocessor(options, spec, isinstance(train, CIFARDataSet))
    settings = {
        "architecture": CLASSIFIER,
        "num_classes": len(train.class_names),
        "epoch": options.epochs,
        "weights": f"output/{name}/model_final",
        "pretrain_weights": spec.name if options.pretrained else None,
        "label_smoothing": options.label_smoothing,
        "freeze": list(options.freeze) or None,
        "Res2Net": {**spec.architecture, "norm_decay": penalty},
        "TrainDataset": _dataset(options, "train"),
        "TrainReader": {
            "sample_transforms": _augmentation(images, isinstance(train, CIFARDataSet)),
            "batch_size": options.batch_size,
            "shuffle": True,
            "drop_last": len(train) >= options.batch_size,
        },
        "EvalReader": {
            "sample_transforms": [{"ClassifierInput": images.to_config()}],
            "batch_size": options.batch_size,
        },
        "LearningRate": {
            "base_lr": usual_rate if options.lr is None else options.lr,
            "schedulers": _schedulers(options),
        },
        "OptimizerBuilder": {
            "optimizer": {
                "type": class_name,
                **({"momentum": options.momentum} if options.optimizer == "momentum" else {}),
                **({"weight_decay": options.weight_decay} if options.optimizer == "adamw" else {}),
            },
            "regularizer": {"type": "L2", "factor": penalty} if penalty else None,
        },
    }
    held_out = find_held_out(options.data)
    if held_out is not None:
        settings["EvalDataset"] = _dataset(options, held_out)
    if options.workers is not None:
        settings["worker_num"] = options.workers
    return settings


def _dataset(options: ClassifierOptions, split: str) -> Tagged:
    kind, arguments = recognise(options.data, split, options.label_file)
    return Tagged(kind.__name__, dict(arguments))


def _preprocessor(options: ClassifierOptions, spec: ModelSpec, is_cifar: bool) -> ClassifierPreprocessor:
    published = preprocessor_of_spec(spec, upright=True)
    crop = 1.0 if is_cifar else published.crop_fraction  # its images have no margin to cut off
    try:
        return dataclasses.replace(published, size_px=options.image_size or published.size_px, crop_fraction=crop)
    except ValueError as error:
        raise ConfigError(f"image_size is {options.image_size}: {error} Choose a smaller one.") from error


def _augmentation(images: ClassifierPreprocessor, is_cifar: bool) -> list[dict]:
    size = images.size_px
    crop = [{"RandomCrop": {"size": _CIFAR_SIDE_PX, "padding": 4}}, {"Resize": {"size": size}}]
    return [
        {"Decode": {}},
        *(crop if is_cifar else [{"RandomResizedCrop": {"size": size, "scale": [0.35, 1.0]}}]),
        {"RandomHorizontalFlip": {"prob": 0.5}},
        {"Normalize": {"mean": list(images.mean), "std": list(images.std)}},
    ]


def _schedulers(options: ClassifierOptions) -> list[Tagged]:
    has_warmup = options.warmup_epochs > 0
    if options.scheduler == "constant":
        decay = Tagged("PiecewiseDecay", {"gamma": 1.0, "milestones": [options.epochs], "use_warmup": has_warmup})
    else:
        decay = Tagged("CosineDecay", {"max_epochs": options.epochs, "use_warmup": has_warmup})
    warmup = Tagged("LinearWarmup", {"start_factor": 0.0, "epochs": options.warmup_epochs})
    return [decay, *([warmup] if has_warmup else [])]
