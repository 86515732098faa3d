"""``ppdet-res2net check-dataset``: find what is wrong with annotations and images before training does."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ppdet_res2net.cli._common import STDOUT, CommandParser, check_writable, json_option, say, text_output, write_json
from ppdet_res2net.commands import program
from ppdet_res2net.errors import ConfigError

if TYPE_CHECKING:
    from ppdet_res2net.config import Config

SPLITS = {"train": "TrainDataset", "eval": "EvalDataset"}


def _parser() -> CommandParser:
    parser = CommandParser(
        "check-dataset",
        "Check annotation files in COCO's format and their images: those that a recipe trains and evaluates on, or those "
        "that --annotations names. With a recipe, objects are also compared with its anchors, and its readers with each other. "
        "Exit code 1 if there are errors.",
        examples=(
            "-c demo_mask_rcnn",
            "--annotations DATA/annotations/train.json --images DATA/train --html problems.html",
            "--annotations DATA/annotations/train.json --images DATA/train --fix DATA/annotations/train_fixed.json",
        ),
    )
    parser.add_recipe_arguments(required=False)
    parser.add_argument("--only", choices=SPLITS, help="check only this split of the recipe")
    parser.add_argument("--annotations", nargs="+", metavar="FILE", help="annotation files, instead of a recipe")
    parser.add_argument(
        "--images",
        nargs="+",
        metavar="DIR",
        help="their image folders: one each, or one for all; needed unless --skip_images",
    )
    parser.add_argument("--skip_images", action="store_true", help="do not read the image files")
    parser.add_argument("--json", **json_option("everything"))
    parser.add_argument("--html", metavar="FILE", help="also write a page with pictures")
    parser.add_argument("--fix", metavar="FILE", help="write a corrected annotation file")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns 1 if there are errors, else 0."""
    args = _parser().parse_args(argv)
    from ppdet_res2net.datasets import check

    config = _load_recipe(args)
    sources = _sources(args) if config is None else _sources_of_recipe(config, args.only)
    if args.fix and (len(sources) > 1 or args.skip_images):
        raise ConfigError(
            "--fix corrects one annotation file, and has to read its images. Pass one file, or choose --only train or "
            "--only eval, and leave out --skip_images."
        )
    for file in filter(None, (args.json, args.html, args.fix)):
        check_writable(file)
    reports = check.check_datasets(sources, not args.skip_images, show_progress=sys.stderr.isatty())
    if config is not None:
        from ppdet_res2net.detection.recipe_fit import fit_settings

        for report in reports:
            check.compare_with_recipe(report, fit_settings(config))
    said = text_output(args.json)
    if args.json:
        write_json(args.json, check.to_json(reports))
    if args.json != STDOUT:
        say("\n\n".join(map(check.format_report, reports)))
    if args.html:
        check.write_page(reports, args.html)
        say(f"\nwrote {args.html}", said)
    if args.fix:
        _fix(reports[0], args.fix, said)
    return 1 if any(report.count("error") for report in reports) else 0


def _load_recipe(args: argparse.Namespace) -> Config | None:
    """Return the recipe whose datasets are to be checked; None if ``--annotations`` names files instead."""
    from ppdet_res2net.config import load_config

    if bool(args.config) == bool(args.annotations):
        raise ConfigError("check-dataset needs either -c CFG, or --annotations FILE with --images DIR.")
    if args.config and args.images:
        raise ConfigError("--images belongs to --annotations; a recipe names its own folders of images.")
    return load_config(args.config, args.opt, trust_recipe=args.trust_recipe) if args.config else None


def _sources(args: argparse.Namespace) -> list:
    from ppdet_res2net.datasets.check import DatasetSource

    if args.opt or args.only:
        raise ConfigError("-o and --only belong to a recipe; add -c CFG, or leave them out.")
    folders = args.images or (["."] if args.skip_images else [])
    if len(folders) == 1:
        folders = folders * len(args.annotations)
    if len(folders) != len(args.annotations):
        raise ConfigError(
            f"--annotations names {len(args.annotations)} files, but --images {len(folders)} folders. Expected one folder "
            "for each file, or one for all."
        )
    return [DatasetSource(Path(file), Path(folder), Path(file).stem) for file, folder in zip(args.annotations, folders)]


def _sources_of_recipe(config: Config, only: str | None) -> list:
    from ppdet_res2net.data.coco import COCODataSet
    from ppdet_res2net.datasets.check import DatasetSource
    from ppdet_res2net.ppdet_modules.registry import create_dataset

    sources = []
    for split, key in SPLITS.items():
        if only not in (None, split):
            continue
        dataset = create_dataset(config, key)
        if not isinstance(dataset, COCODataSet):
            raise ConfigError(
                f"{key} is {type(dataset).__name__}; only COCODataSet can be checked here. Convert annotations of objects "
                f"with '{program('convert-dataset')}'; check labelled images with '{program('eval')} --check'."
            )
        folder = Path(dataset.dataset_dir, dataset.image_dir)
        with_masks = True if "gt_poly" in dataset.data_fields else None
        allow_empty = dataset.allow_empty and split == "train"  # nothing can be scored without an object
        reader = f"{split.title()}Reader"
        sources.append(DatasetSource(Path(dataset.annotation_path), folder, key, with_masks, allow_empty, reader))
    return sources


def _fix(report, path: str, said) -> None:
    from ppdet_res2net.datasets import check

    changes = check.fix_dataset(report, path)
    say(f"\nwrote {path}; changes:", said)
    for change in changes or ["none were needed"]:
        say(f"  {change}", said)
    source = replace(report.source, annotation_path=Path(path), name=Path(path).stem)
    (again,) = check.check_datasets([source])
    say(f"left to correct by hand: {check.summarize(again)}", said)
