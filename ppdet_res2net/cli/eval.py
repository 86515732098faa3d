"""``ppdet-res2net eval``: box and mask AP of a detector."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from ppdet_res2net.cli._common import add_config_arguments, check_writable
from res2net_runtime.backends import BACKENDS, PRECISIONS


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ppdet-res2net eval",
        description="Print COCO's box and mask AP of '-o weights=FILE', or of an export, on EvalDataset.",
    )
    add_config_arguments(parser)
    parser.add_argument("--classwise", action="store_true", help="also print AP per class")
    parser.add_argument("--json", metavar="FILE", help="write the figures to FILE")
    parser.add_argument("--output_eval", metavar="DIR", help="write the detections to DIR, in COCO's result format")
    parser.add_argument("--exported", metavar="DIR", help="evaluate this export instead of '-o weights=FILE'")
    parser.add_argument("--backend", choices=["auto", *BACKENDS], help="engine that runs the export (default: auto)")
    parser.add_argument("--precision", choices=PRECISIONS, help="of the engine (default: fp32)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code, 0."""
    parser = _parser()
    args = parser.parse_args(argv)
    if not args.exported and (args.backend or args.precision):
        parser.error("--backend and --precision choose how an export runs; add --exported DIR")
    from ppdet_res2net.config import load_config
    from ppdet_res2net.detection.evaluate import evaluate_exported, evaluate_from_config

    config = load_config(args.config, args.opt)
    if args.json:
        check_writable(args.json)  # now, rather than after an evaluation of an hour
    options = {"classwise": args.classwise, "output_dir": args.output_eval}
    if args.exported:
        engine = {"backend": args.backend or "auto", "precision": args.precision or "fp32"}
        result = evaluate_exported(args.exported, config, **engine, **options)
    else:
        result = evaluate_from_config(config, **options)
    print(result.report)
    print(f"{result.summary['images']} images in {result.summary['seconds']:.1f} s")
    if args.json:
        Path(args.json).write_text(json.dumps(result.summary, indent=2) + "\n", encoding="utf-8")
    return 0
