"""What the commands for classifiers share: how the model and its classes are named."""

from __future__ import annotations

import argparse
import dataclasses
import logging
from typing import TYPE_CHECKING

from ppdet_res2net.cli._common import positive_int

if TYPE_CHECKING:
    from ppdet_res2net.classification.model import Classifier

__all__ = ["add_classifier_arguments", "load_from_arguments", "load_with_names"]

logger = logging.getLogger(__name__)


def add_classifier_arguments(parser: argparse.ArgumentParser, batch_size: int | None = None) -> None:
    """Add the options that name a model, its weights and its classes; and ``--batch_size`` if there is a default."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--model", metavar="NAME", help="a classifier of the zoo; 'ppdet-res2net models' lists them")
    which.add_argument("-c", "--config", metavar="CFG", help="a classification recipe")
    parser.add_argument(
        "-o", "--opt", nargs="*", action="extend", default=[], metavar="KEY=VALUE", help="overrides of the recipe"
    )
    parser.add_argument(
        "--weights", metavar="W", help="weights to use; those of a run of train-classifier need neither --model nor -c"
    )
    parser.add_argument(
        "--label_file", metavar="FILE", help="names of the classes, one per line, in the order of the labels"
    )
    if batch_size is not None:
        parser.add_argument(
            "--batch_size",
            type=positive_int,
            default=batch_size,
            metavar="N",
            help="images at a time (default: %(default)s)",
        )


def load_from_arguments(args: argparse.Namespace) -> Classifier:
    """Load the classifier that the options name, on the device of the recipe, else a GPU if there is one."""
    from ppdet_res2net.classification.model import load_classifier
    from ppdet_res2net.config import load_config
    from ppdet_res2net.training.device import select_device

    config = load_config(args.config, args.opt) if args.config else None
    select_device(config or {})
    return load_classifier(args.model, args.weights, config)


def load_with_names(args: argparse.Namespace) -> Classifier:
    """Load the classifier, with the class names of ``--label_file`` if it is given; say so if there are none."""
    from ppdet_res2net.data.classification.names import read_class_names

    names = read_class_names(args.label_file).names if args.label_file else None
    classifier = load_from_arguments(args)
    if names:
        classifier = dataclasses.replace(classifier, class_names=names)
    elif classifier.class_names is None:
        logger.warning(
            "classes are called by their numbers: published weights bring no names. Pass --label_file FILE; for ImageNet's "
            "1000, LOC_synset_mapping.txt (Kaggle's download) or imagenet1k_label_list.txt (PaddleClas)"
        )
    return classifier
