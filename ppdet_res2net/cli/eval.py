"""``ppdet-res2net eval``: box and mask AP of a detector, top-1 and top-5 of a classifier."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ppdet_res2net.cli._classifier_form import DATA_HELP
from ppdet_res2net.cli._common import (
    check_writable,
    images_per_batch,
    json_option,
    say,
    text_output,
    whole_number,
    write_json,
)
from ppdet_res2net.cli._reports import (
    add_report_options,
    compare,
    report_on_results,
    report_output,
    say_where,
)
from ppdet_res2net.cli._tasks import TaskParser, load_classifier_of
from ppdet_res2net.config import is_classifier
from ppdet_res2net.files import save_text
from res2net_runtime.backends import BACKENDS, PRECISIONS, TRUST_GRAPH_OPTION
from res2net_runtime.views import VIEW_OPTIONS, find_misused_views, view_settings

if TYPE_CHECKING:
    from ppdet_res2net.config import Config
    from ppdet_res2net.data.classification.labelled import LabelledImages

# Options that --check refuses, since it only decodes images.
_NEEDS_A_MODEL = ("weights", "model", "batch_size", "classwise", "confusion", "json")


def _parser() -> TaskParser:
    parser = TaskParser(
        "eval",
        "Print COCO's box and mask AP of a detector, or top-1 and top-5 of a classifier. A detector is evaluated on the "
        "recipe's EvalDataset. A classifier's images are prepared as its publisher prepares them, or as its recipe says.",
        examples=(
            "-c demo_mask_rcnn -o weights=output/demo_mask_rcnn/model_final --classwise --json figures.json",
            "-c demo_mask_rcnn --exported output_inference/demo_mask_rcnn --backend openvino --precision bf16",
            "-c my.yml --weights output/my/best_model --report reports/my",
            "--results bbox.json mask.json --anno_file val.json --image_dir val --report reports/other",
            "--compare reports/my reports/other --out reports/compared",
            "--model timm/res2net50_26w_4s --weights res2net50_26w_4s.safetensors --data dataset/ILSVRC2012",
        ),
    )
    parser.add_argument("--classwise", action="store_true", help="also print the figures of each class")
    parser.add_argument("--json", **json_option("the figures"))
    detectors = parser.detectors
    detectors.add("--output_eval", metavar="DIR", help="write the detections to DIR, in COCO's result format")
    detectors.add("--exported", metavar="DIR", help="evaluate this export instead of weights")
    detectors.add("--backend", choices=["auto", *BACKENDS], help="engine that runs the export (default: auto)")
    detectors.add("--precision", choices=PRECISIONS, help="precision of that engine (default: fp32)")
    detectors.add("--trust_graph", **TRUST_GRAPH_OPTION)
    for flag, settings in VIEW_OPTIONS.items():
        detectors.add(flag, **settings)
    add_report_options(parser)
    classifiers = parser.classifiers
    classifiers.add(
        "--data",
        metavar="DATA",
        help=f"{DATA_HELP} (default: the recipe's EvalDataset)",
    )
    classifiers.add("--download", action="store_true", help="download CIFAR-10 or CIFAR-100 if it is not here")
    classifiers.add(
        "--split", metavar="NAME", help="part of --data (default: val, or what the held-out images are called)"
    )
    classifiers.add(
        "--batch_size", type=images_per_batch, metavar="N", help="batch size (default: the EvalReader's, else 32)"
    )
    classifiers.add(
        "--workers",
        type=whole_number(1, 1000),
        metavar="N",
        help="processes that read images (default: the recipe's worker_num, else 1)",
    )
    classifiers.add("--confusion", metavar="FILE", help="write the confusion matrix to FILE, as CSV")
    classifiers.add("--check", action="store_true", help="only decode every image, and name those that fail")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns 0, or 1 if --check has found an image that cannot be read."""
    parser = _parser()
    args, config = parser.parse_task(argv)
    if args.compare is not None:
        return compare(parser, args, config)
    if args.results is not None:
        return report_on_results(parser, args, config)
    if config is not None and not is_classifier(config):
        return _evaluate_detector(parser, args, config)
    _check_dataset_arguments(parser, args)
    if args.check:
        return _check_images(args, config)
    parser.require_model(args)
    return _evaluate_classifier(args, config)


def _evaluate_detector(parser: TaskParser, args: argparse.Namespace, config: Config) -> int:
    if not args.exported and (args.backend or args.precision or args.trust_graph):
        parser.error("--backend, --precision and --trust_graph say how an export runs; add --exported DIR")
    if args.exported and args.weights:
        parser.error("--exported and --weights name two models; leave one of them out")
    misused = find_misused_views(args)
    if misused:
        parser.error(misused)
    output = report_output(parser, args)
    from ppdet_res2net.detection.evaluate import evaluate_exported, evaluate_from_config

    finish = None
    if output is not None:
        from ppdet_res2net.detection.report import report_writer

        model = args.exported or f"{config.name} with {config.get('weights')}"
        finish = report_writer(output, model, args.exported)
    if args.json:
        check_writable(args.json)  # now, rather than after an evaluation of an hour
    classwise, output_dir = args.classwise, args.output_eval
    if args.exported:
        backend, precision = args.backend or "auto", args.precision or "fp32"
        result = evaluate_exported(
            args.exported,
            config,
            backend=backend,
            precision=precision,
            classwise=classwise,
            output_dir=output_dir,
            trust_graph=bool(args.trust_graph),
            finish=finish,
            **view_settings(args),
        )
    else:
        result = evaluate_from_config(
            config, classwise=classwise, output_dir=output_dir, finish=finish, **view_settings(args)
        )
    shown = text_output(args.json)
    say(result.report, shown)
    say(f"{result.summary['images']} images in {result.summary['seconds']:.1f} s", shown)
    if output is not None:
        say_where(output.folder, args)
    if args.json:
        write_json(args.json, result.summary)
    return 0


def _check_dataset_arguments(parser: TaskParser, args: argparse.Namespace) -> None:
    if not (args.data or args.config):
        parser.error("the following arguments are required: --data (or -c)")
    if not args.data and args.download:
        parser.error("--download fetches the dataset of --data; add --data cifar10 or cifar100")
    if not args.data and (args.split or args.label_file):
        parser.error(
            "--split and --label_file describe --data; add --data DIR, or set them in the recipe's EvalDataset"
        )
    if args.check:
        unused = [f"--{name}" for name in _NEEDS_A_MODEL if getattr(args, name)]
        if unused:
            parser.error(f"--check only decodes images; leave out {', '.join(unused)}")


def _evaluate_classifier(args: argparse.Namespace, config: Config | None) -> int:
    from ppdet_res2net.classification.evaluate import evaluate_network
    from ppdet_res2net.classification.model import match_labels

    for file in filter(None, (args.confusion, args.json)):
        check_writable(file)
    dataset = _open_labelled_images(args, config)
    classifier = load_classifier_of(args, config)
    recipe: Mapping = config or {}
    output_of_label = match_labels(classifier.class_names, classifier.network.num_classes, dataset)
    result = evaluate_network(
        classifier.network,
        dataset,
        output_of_label,
        classifier.class_names or dataset.class_names,
        classifier.preprocessor,
        batch_size=args.batch_size or recipe.get("EvalReader", {}).get("batch_size", 32),
        num_workers=args.workers or recipe.get("worker_num", 1),
    )
    classwise = args.classwise or recipe.get("classwise", False)
    shown = text_output(args.json)
    if classwise:
        say(result.class_table(), shown)
    say(f"{classifier.name}: {result.report}", shown)
    if args.confusion:
        save_text(args.confusion, result.confusion_csv())
    if args.json:
        summary = {"model": classifier.name, "weights": classifier.weights, **result.summary}
        summary["preprocess"] = classifier.preprocessor.to_config()
        if classwise:
            summary["classes"] = result.per_class()
        write_json(args.json, summary)
    return 0


def _open_labelled_images(args: argparse.Namespace, config: Config | None) -> LabelledImages:
    from ppdet_res2net.classification.task import create_labelled_images
    from ppdet_res2net.data.classification.archives import locate_data
    from ppdet_res2net.data.classification.layout import find_held_out, open_dataset

    if config is not None and not args.data:
        return create_labelled_images(config, "EvalDataset")
    data = locate_data(args.data, bool(args.download))
    return open_dataset(data, args.split or find_held_out(data) or "val", args.label_file)


def _check_images(args: argparse.Namespace, config: Config | None) -> int:
    from tqdm import tqdm

    from ppdet_res2net.datasets.check_images import find_bad_images

    dataset = _open_labelled_images(args, config)
    with tqdm(total=len(dataset), unit="image", disable=not sys.stderr.isatty()) as progress:
        problems = list(find_bad_images(dataset, args.workers or 1, progress.update))
    for problem in problems:
        say(f"Error: {problem}", sys.stderr)
    say(f"{len(dataset) - len(problems)} of {len(dataset)} images of {len(dataset.class_names)} classes can be read")
    return 1 if problems else 0
