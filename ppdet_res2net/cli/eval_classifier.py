"""``ppdet-res2net eval-classifier``: top-1 and top-5 of a classifier."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from ppdet_res2net.cli._classifier import add_classifier_arguments, load_from_arguments
from ppdet_res2net.cli._common import check_writable, positive_int


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ppdet-res2net eval-classifier",
        description="Print top-1 and top-5 of a published or trained classifier. Images are prepared as its publisher "
        "prepares them, or as its recipe says.",
    )
    add_classifier_arguments(parser, batch_size=32)
    parser.add_argument(
        "--data",
        metavar="DIR",
        help="the dataset: ImageNet, a folder per class, Paddle's list files, a CIFAR archive (default: the recipe's "
        "EvalDataset)",
    )
    parser.add_argument("--split", default="val", help="which part of --data (default: %(default)s)")
    parser.add_argument(
        "--workers", type=positive_int, default=1, metavar="N", help="processes that read images (default: 1)"
    )
    parser.add_argument("--classwise", action="store_true", help="also print the accuracy of each class")
    parser.add_argument("--confusion", metavar="FILE", help="write the confusion matrix to FILE, as CSV")
    parser.add_argument("--json", metavar="FILE", help="write the figures to FILE")
    parser.add_argument("--check", action="store_true", help="only decode every image, and name those that fail")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns 0, or 1 if --check has found an image that cannot be read."""
    parser = _parser()
    args = parser.parse_args(argv)
    if not (args.data or args.config):
        parser.error("the following arguments are required: --data (or -c)")
    if args.check:
        return _check(args)
    from ppdet_res2net.classification.evaluate import evaluate_network
    from ppdet_res2net.classification.model import match_labels

    for file in filter(None, (args.confusion, args.json)):
        check_writable(file)
    dataset = _dataset(args)
    classifier = load_from_arguments(args)
    outputs = classifier.network.num_classes
    output_of_label = match_labels(classifier.class_names, outputs, dataset)
    result = evaluate_network(
        classifier.network,
        dataset,
        output_of_label,
        classifier.class_names or dataset.class_names,
        classifier.preprocessor,
        batch_size=args.batch_size,
        num_workers=args.workers,
    )
    if args.classwise:
        print(result.class_table())
    print(f"{classifier.name}: {result.report}")
    if args.confusion:
        Path(args.confusion).write_text(result.confusion_csv(), encoding="utf-8")
    if args.json:
        classes = {"classes": result.per_class()} if args.classwise else {}
        summary = {"model": classifier.name, **result.summary, "preprocess": classifier.preprocessor.to_config()}
        Path(args.json).write_text(json.dumps({**summary, **classes}, indent=2) + "\n", encoding="utf-8")
    return 0


def _dataset(args: argparse.Namespace):
    from ppdet_res2net.classification.task import create_labelled_images
    from ppdet_res2net.config import load_config
    from ppdet_res2net.data.classification.layout import open_dataset

    if args.data:
        return open_dataset(args.data, args.split, args.label_file)
    return create_labelled_images(load_config(args.config, args.opt), "EvalDataset")


def _check(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from ppdet_res2net.datasets.check_images import find_bad_images

    dataset = _dataset(args)
    with tqdm(total=len(dataset), unit="image", disable=not sys.stderr.isatty()) as progress:
        problems = list(find_bad_images(dataset, args.workers, progress.update))
    for problem in problems:
        print(f"Error: {problem}", file=sys.stderr)
    print(f"{len(dataset) - len(problems)} of {len(dataset)} images of {len(dataset.class_names)} classes can be read")
    return 1 if problems else 0
