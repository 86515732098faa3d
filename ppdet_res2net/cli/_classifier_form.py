"""Training of a classifier without a recipe: the options that describe one, which become a recipe."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ppdet_res2net.cli._common import CommaList, CommandParser, Once, fraction, positive_int, whole_number
from ppdet_res2net.config import Config
from ppdet_res2net.errors import ConfigError
from ppdet_res2net.zoo import list_models
from res2net_runtime.texts import is_url

__all__ = ["DATA_HELP", "TrainParser", "create_form_recipe", "full_model_name"]

DATA_HELP = (
    "dataset: ImageNet, a folder per class, Paddle's list files, a CIFAR archive or its url, or cifar10 or cifar100, "
    "which --download fetches"
)
_OPTIMIZERS = ("momentum", "sgd", "adam", "adamw", "nadam", "rmsprop", "adagrad")
_SCHEDULERS = ("cosine_decay", "constant")
# Option -> the setting of a recipe that is the same.
_SETTINGS = {
    "epochs": "epoch",
    "lr": "LearningRate.base_lr",
    "num_classes": "num_classes",
    "label_smoothing": "label_smoothing",
    "workers": "worker_num",
    "optimizer": "OptimizerBuilder.optimizer.type",
    "data": "TrainDataset.dataset_dir",
}


def full_model_name(text: str) -> str:
    """Argument type: the name of a model. Without its source, as the source writes it, it is completed if that is unique."""
    same_end = [name for name in list_models() if name.partition("/")[2] == text]
    return same_end[0] if len(same_end) == 1 else text


class TrainParser(CommandParser):
    """The parser of ``train``: a recipe follows ``-c``, or the options of a classifier describe one."""

    def add_form(self) -> None:
        """Add these options. None of them has a default yet, which tells those that were given from the others."""
        group = self.add_argument_group("a classifier without a recipe, instead of -c")

        def add(name: str, help: str, **settings: Any) -> None:
            group.add_argument(f"--{name}", help=help, default=None, **settings)

        add("model", "a classifier of the zoo; 'ppdet-res2net models' lists them", type=full_model_name, metavar="NAME")
        add("data", DATA_HELP, action=Once, metavar="DATA")
        add("download", "download CIFAR-10 or CIFAR-100 if it is not here", action="store_true")
        add("label_file", "names of the classes, one per line, in the order of the labels", metavar="FILE")
        add("num_classes", "number of classes to expect (default: what the data has)", type=positive_int, metavar="N")
        start = group.add_mutually_exclusive_group()
        start.add_argument(
            "--pretrained",
            action="store_true",
            default=None,
            help="start from the published weights, which is the default",
        )
        start.add_argument("--no_pretrained", action="store_true", default=None, help="start from random weights")
        add("image_size", "side of the input, in pixels (default: the publisher's)", type=positive_int, metavar="PX")
        add("epochs", "passes over the training images (default: 10)", type=positive_int, metavar="N")
        add("lr", "learning rate (default: 0.01, for Adam and its kind 0.001)", type=_positive, metavar="X")
        add("optimizer", "optimizer (default: momentum)", type=str.lower, choices=_OPTIMIZERS)
        add("momentum", "momentum of that optimizer (default: 0.9)", type=fraction, metavar="X")
        add("weight_decay", "L2 penalty of the weights (default: 0.0001)", type=_positive_or_zero, metavar="X")
        add("scheduler", "learning rate over the epochs (default: cosine_decay)", choices=_SCHEDULERS)
        add("warmup_epochs", "epochs in which the rate rises from 0 (default: 0)", type=whole_number(0), metavar="N")
        add("label_smoothing", "share of a label that goes to all classes (default: 0)", type=fraction, metavar="X")
        add(
            "freeze",
            "parts that are not trained, such as backbone.res2,backbone.res3",
            action=CommaList,
            metavar="NAMES",
        )
        add("workers", "processes that read images (default: 4)", type=whole_number(1, 1000), metavar="N")

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Parse a command line. One without a recipe and without a classifier ends the program with exit code 2."""
        parsed, unknown = super().parse_known_args(args, namespace)
        if not unknown:  # which are the next error otherwise
            given = _find_given(parsed)
            if parsed.config is not None:
                self._refuse_both(parsed, given)
            else:
                self._check_form(parsed, given)
        return parsed, unknown

    def _refuse_both(self, args: argparse.Namespace, given: list[str]) -> None:
        if "model" in given:
            self.error("-c and --model both say which model it is; leave one of them out")
        if given:
            flags, verb = ", ".join(f"--{name}" for name in given), "is" if len(given) == 1 else "are"
            self.error(
                f"{flags} {verb} for a classifier without a recipe (--model), not for -c. {_as_settings(args, given)}".rstrip()
            )

    def _check_form(self, args: argparse.Namespace, given: list[str]) -> None:
        missing = [f"--{name}" for name in ("model", "data") if name not in given]
        if missing:
            verb = "is" if len(missing) == 1 else "are"
            self.error(
                f"{' and '.join(missing)} {verb} missing: pass --model NAME --data DATA for a classifier, or a recipe: -c CFG. "
                f"{_as_settings(args, given)}".rstrip()
            )
        if args.pretrain_weights is not None and (args.pretrained or args.no_pretrained):
            flag = "--pretrained" if args.pretrained else "--no_pretrained"
            self.error(f"--pretrain_weights and {flag} both say where to start; leave one of them out")
        if args.momentum is not None and (args.optimizer or "momentum") != "momentum":
            self.error(f"--momentum is only for --optimizer momentum, which is {args.optimizer} here")


_NAMES = (
    "model", "data", "download", "label_file", "num_classes", "pretrained", "no_pretrained", "image_size", "epochs", "lr",
    "optimizer", "momentum", "weight_decay", "scheduler", "warmup_epochs", "label_smoothing", "freeze", "workers",
)  # fmt: skip


def _find_given(args: argparse.Namespace) -> list[str]:
    return [name for name in _NAMES if getattr(args, name) is not None]


def _as_settings(args: argparse.Namespace, given: list[str]) -> str:
    """Return what to write with a recipe instead of the options."""
    shown = [f"-o {_SETTINGS[name]}={getattr(args, name)}" for name in given if name in _SETTINGS]
    return f"The recipe has this setting: {', '.join(shown)}" if shown else ""


def create_form_recipe(args: argparse.Namespace, overrides: Iterable[str]) -> Config:
    """Return the recipe that the options of a command line make. The dataset is read, and downloaded if that is asked for.

    Raises:
        ConfigError, DatasetError, WeightsError: The options or the data are wrong.
    """
    from ppdet_res2net.classification.recipe import ClassifierOptions, create_recipe
    from ppdet_res2net.data.classification.archives import locate_data

    data = locate_data(args.data, bool(args.download))
    used = {name: getattr(args, name) for name in _find_given(args)}
    for name in ("data", "download", "pretrained", "no_pretrained"):
        used.pop(name, None)
    if isinstance(args.batch_size, int):
        used["batch_size"] = args.batch_size
    pretrained = not args.no_pretrained and args.pretrain_weights is None
    options = ClassifierOptions(data=data, title=_title(args.data, data), pretrained=pretrained, **used)
    config = create_recipe(options, overrides, trust_recipe=args.trust_recipe)
    if args.eval and "EvalDataset" not in config:
        raise ConfigError(
            f"--eval needs images that are held out, but '{args.data}' has one set only. Put them into train/ and val/, "
            "each with a folder per class, or train without --eval."
        )
    return config


def _title(data: str, path: Path) -> str:
    """Return a short name of the dataset for the run's folder."""
    if not path.is_file():
        return path.resolve().name
    return data.lower() if not is_url(data) and path.name != Path(data).name else path.name.partition(".")[0]


def _positive(text: str) -> float:
    value = _positive_or_zero(text)
    if not value:
        raise argparse.ArgumentTypeError(f"got {text}, expected a number above 0")
    return value


def _positive_or_zero(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"got '{text}', expected a number of 0 or more")
    return value
