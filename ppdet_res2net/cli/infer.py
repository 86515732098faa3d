"""``ppdet-res2net infer``: detect objects in images with trained weights."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ppdet_res2net.cli._common import add_config_arguments


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ppdet-res2net infer", description="Detect objects in images with '-o weights=FILE' and draw them."
    )
    add_config_arguments(parser)
    images = parser.add_mutually_exclusive_group(required=True)
    images.add_argument("--infer_img", metavar="FILE", help="one image")
    images.add_argument("--infer_dir", metavar="DIR", help="a folder of images")
    parser.add_argument(
        "--output_dir", default="output", metavar="DIR", help="where pictures and results go (default: %(default)s)"
    )
    parser.add_argument(
        "--draw_threshold",
        type=float,
        default=0.5,
        metavar="SCORE",
        help="draw detections from this score (default: %(default)s)",
    )
    parser.add_argument("--save_results", action="store_true", help="write bbox.json, and mask.json if there are masks")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns 0, or 1 if an image failed (the others are done)."""
    args = _parser().parse_args(argv)
    from ppdet_res2net.config import load_config
    from ppdet_res2net.detection.predict import predict_files
    from res2net_runtime.files import find_images

    config = load_config(args.config, args.opt)
    paths = find_images(args.infer_dir) if args.infer_dir else [Path(args.infer_img)]
    summary = predict_files(
        config,
        paths,
        output_dir=args.output_dir,
        draw_threshold=args.draw_threshold,
        save_results=args.save_results,
    )
    for failure in summary.failed:
        print(f"Error: {failure}", file=sys.stderr)
    print(f"{summary.succeeded} of {len(paths)} images; pictures are in {summary.output_dir}")
    return 1 if summary.failed else 0
