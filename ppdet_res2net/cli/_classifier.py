"""What the commands for classifiers share: how the model is named."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ppdet_res2net.engine.classification.model import Classifier

__all__ = ["add_classifier_arguments", "load_from_arguments"]


def add_classifier_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that name a model, its weights and its classes."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--model", metavar="NAME", help="a classifier of the zoo; 'ppdet-res2net models' lists them")
    which.add_argument("-c", "--config", metavar="CFG", help="a classification recipe")
    parser.add_argument(
        "-o", "--opt", nargs="*", action="extend", default=[], metavar="KEY=VALUE", help="overrides of the recipe"
    )
    parser.add_argument(
        "--weights", metavar="W", help="weights to use; those of a run of train-classifier need neither --model nor -c"
    )
    parser.add_argument("--label_file", metavar="FILE", help="names of the classes, one per line, in the order of the labels")
    parser.add_argument("--batch_size", type=int, metavar="N", help="images at a time (default: 32, or the recipe's)")


def load_from_arguments(args: argparse.Namespace) -> Classifier:
    """Load the classifier that the options name, on the device of the recipe, else a GPU if there is one."""
    from ppdet_res2net.engine.classification.model import load_classifier
    from ppdet_res2net.engine.config import load_config
    from ppdet_res2net.engine.detector import select_device

    config = load_config(args.config, args.opt) if args.config else None
    select_device(config or {})
    return load_classifier(args.model, args.weights, config)
