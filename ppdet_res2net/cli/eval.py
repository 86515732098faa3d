"""``ppdet-res2net eval``: box and mask AP of a detector."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from ppdet_res2net.cli._common import add_config_arguments, check_writable


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ppdet-res2net eval", description="Print COCO's box and mask AP of '-o weights=FILE' on EvalDataset."
    )
    add_config_arguments(parser)
    parser.add_argument("--classwise", action="store_true", help="also print AP per class")
    parser.add_argument("--json", metavar="FILE", help="write the figures to FILE")
    parser.add_argument(
        "--output_eval", metavar="DIR", help="write the detections to DIR, in COCO's result format"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code, 0."""
    args = _parser().parse_args(argv)
    from ppdet_res2net.engine.config import load_config
    from ppdet_res2net.engine.evaluate import evaluate_from_config

    config = load_config(args.config, args.opt)
    if args.json:
        check_writable(args.json)  # now, rather than after an evaluation of an hour
    result = evaluate_from_config(config, classwise=args.classwise, output_dir=args.output_eval)
    print(result.report)
    print(f"{result.summary['images']} images in {result.summary['seconds']:.1f} s")
    if args.json:
        Path(args.json).write_text(json.dumps(result.summary, indent=2) + "\n", encoding="utf-8")
    return 0
