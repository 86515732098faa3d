"""The options of ``eval`` that make reports, and those of its uses that need no model: result files, and comparisons."""

from __future__ import annotations

import argparse
import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppdet_res2net.cli._common import check_writable, fraction, say, text_output, whole_number, write_json
from ppdet_res2net.cli._tasks import TaskParser
from res2net_runtime.arguments import path_text
from res2net_runtime.texts import printable
from res2net_runtime.views import VIEW_OPTIONS

if TYPE_CHECKING:
    from ppdet_res2net.analysis.page.output import ReportOutput
    from ppdet_res2net.config import Config

__all__ = ["WITHOUT_A_MODEL", "add_report_options", "compare", "report_on_results", "report_output", "say_where"]

# Options of ``eval`` that need no recipe.
WITHOUT_A_MODEL = ("results", "compare")
_OF_REPORTS = ("report_iou", "report_score", "max_pictures", "fast_eval")
_OF_MODELS = (
    "exported",
    "backend",
    "precision",
    "trust_graph",
    "output_eval",
    "weights",
    "classwise",
    *(flag[2:] for flag in VIEW_OPTIONS),
)


def add_report_options(parser: TaskParser) -> None:
    """Add the options for reports to ``eval``."""
    add = parser.detectors.add
    parser.for_results = WITHOUT_A_MODEL
    add(
        "--report",
        type=path_text,
        metavar="DIR",
        help="write why the detector errs and which threshold is best to DIR: index.html, and report.json",
    )
    add("--report_iou", type=fraction, metavar="IOU", help="IoU from which a detection is right there (default: 0.5)")
    add(
        "--report_score",
        type=fraction,
        metavar="SCORE",
        help="score from which detections count in its confusion matrix (default: the best threshold)",
    )
    add("--max_pictures", type=whole_number(0, 2000), metavar="N", help="images on the page (default: 80)")
    add("--fast_eval", action="store_true", help="let faster-coco-eval compute the report's AP: the same, but faster")
    add(
        "--results",
        nargs="+",
        type=path_text,
        metavar="FILE",
        help="score these results of any tool instead of a model: bbox.json, mask.json, or both, in COCO's format",
    )
    add(
        "--anno_file",
        type=path_text,
        metavar="FILE",
        help="annotations for --results and for the pictures of --compare (default: the recipe's)",
    )
    add("--image_dir", type=path_text, metavar="DIR", help="images, for the pictures (default: the recipe's)")
    add(
        "--compare",
        nargs="+",
        type=path_text,
        metavar="DIR",
        help="compare reports with the first of them: what is better, what is worse, and what may be chance",
    )
    add("--out", type=path_text, metavar="DIR", help="write a page of --compare to DIR")


def report_output(parser: TaskParser, args: argparse.Namespace) -> ReportOutput | None:
    """Return where the report goes; None if there is to be none."""
    stray = [f"--{name}" for name in _OF_REPORTS if getattr(args, name) is not None]
    if args.compare is None and args.report is None and stray:
        parser.error(f"{', '.join(stray)} say what is in a report; add --report DIR")
    if args.results is None and args.compare is None and (args.anno_file or args.image_dir):
        parser.error("--anno_file and --image_dir go with --results; a model is evaluated on the recipe's EvalDataset")
    if args.compare is None and args.out:
        parser.error("--out is for the page of --compare; a report goes to --report DIR")
    if args.report is None:
        return None
    from ppdet_res2net.analysis.page.output import ReportOutput
    from ppdet_res2net.analysis.subject import Settings

    settings = Settings(score=args.report_score)
    if args.report_iou is not None:
        settings.iou = args.report_iou
    max_pictures = 80 if args.max_pictures is None else args.max_pictures
    return ReportOutput(Path(args.report), settings, max_pictures, bool(args.fast_eval))


def report_on_results(parser: TaskParser, args: argparse.Namespace, config: Config | None) -> int:
    """Score result files and write the report; returns 0."""
    output = report_output(parser, args)
    _refuse_model_options(parser, args, "--results")
    if output is None:
        parser.error("--results needs --report DIR, where the figures go")
    anno_file, image_dir = _dataset_of(parser, args, config)
    if anno_file is None:
        parser.error("--results needs annotations: add --anno_file FILE, or -c CFG for the recipe's EvalDataset")
    if args.json:
        check_writable(args.json)
    from ppdet_res2net.analysis.page.output import report_on_files

    output.prepare()
    report = report_on_files(output, args.results, anno_file, image_dir)
    shown = text_output(args.json)
    for kind, figures in report.kinds.items():
        cells = ", ".join(f"{name} {value:.3f}" for name, value in figures.figures.items() if value is not None)
        say(f"{'Boxes' if kind == 'bbox' else 'Masks'} ({kind}): {cells}", shown)
    say_where(output.folder, args)
    if args.json:
        write_json(args.json, {kind: figures.figures for kind, figures in report.kinds.items()})
    return 0


def compare(parser: TaskParser, args: argparse.Namespace, config: Config | None) -> int:
    """Compare reports and print the differences; returns 0."""
    _refuse_model_options(parser, args, "--compare")
    stray = [f"--{name}" for name in ("report", "results", *_OF_REPORTS) if getattr(args, name) is not None]
    if stray:
        parser.error(f"--compare reads reports that are there; leave out {', '.join(stray)}")
    if len(args.compare) < 2:
        parser.error("--compare needs two reports or more")
    from ppdet_res2net.analysis.page.compared import compare_folders, describe_comparison

    anno_file, image_dir = _dataset_of(parser, args, config)
    if args.json:
        check_writable(args.json)
    comparisons = compare_folders(args.compare, args.out, anno_file, image_dir)
    shown = text_output(args.json)
    for one in comparisons:
        for line in describe_comparison(one):
            say(line, shown)
    if args.out:
        say_where(Path(args.out), args)
    if args.json:
        write_json(args.json, [dataclasses.asdict(one) for one in comparisons])
    return 0


def say_where(folder: Path, args: argparse.Namespace) -> None:
    """Tell where a page is."""
    from ppdet_res2net.analysis.page.output import PAGE_NAME

    say(f"The page is '{printable(folder / PAGE_NAME)}'.", text_output(args.json))


def _refuse_model_options(parser: TaskParser, args: argparse.Namespace, flag: str) -> None:
    given = [f"--{name}" for name in _OF_MODELS if getattr(args, name)]
    if given:
        parser.error(f"{flag} runs no model; leave out {', '.join(given)}")


def _dataset_of(parser: TaskParser, args: argparse.Namespace, config: Config | None) -> tuple[str | None, str | None]:
    """Return the annotation file and the folder of the images; None for what is not known."""
    anno_file, image_dir = args.anno_file, args.image_dir
    if config is not None:
        from ppdet_res2net.ppdet_modules.tagged import Tagged

        part = Tagged.from_value(config.get("EvalDataset"))
        settings: dict[str, Any] = part.kwargs if part is not None else {}
        root = settings.get("dataset_dir") or ""
        if anno_file is None:
            if not settings.get("anno_path"):
                parser.error(f"'{config.name}' has no EvalDataset with anno_path; add --anno_file FILE")
            anno_file = os.path.join(root, settings["anno_path"])
        if image_dir is None and settings:
            image_dir = os.path.join(root, settings.get("image_dir") or "")
    return anno_file, image_dir
