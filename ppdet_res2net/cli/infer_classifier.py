"""``ppdet-res2net infer-classifier``: the most probable classes of images, and why."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from ppdet_res2net.cli._classifier import add_classifier_arguments, load_with_names
from ppdet_res2net.cli._common import check_writable, positive_int


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ppdet-res2net infer-classifier", description="Print the most probable classes of images."
    )
    add_classifier_arguments(parser, batch_size=8)
    images = parser.add_mutually_exclusive_group(required=True)
    images.add_argument("--infer_img", metavar="FILE", help="one image")
    images.add_argument("--infer_dir", metavar="DIR", help="a folder of images")
    parser.add_argument("--top_k", type=positive_int, default=5, metavar="K", help="classes per image (default: 5)")
    parser.add_argument("--json", metavar="FILE", help="write the results to FILE")
    parser.add_argument(
        "--cam", metavar="DIR", help="draw what speaks for the first class over each image, as pictures in DIR"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns 0, or 1 if an image failed (the others are done)."""
    args = _parser().parse_args(argv)
    from ppdet_res2net.classification.predict import classify_files
    from res2net_runtime.files import find_images

    if args.json:
        check_writable(args.json)
    paths = find_images(args.infer_dir) if args.infer_dir else [Path(args.infer_img)]
    classifier = load_with_names(args)
    # Unlike ImageNet's, a photo of today says by EXIF which side is up.
    upright = dataclasses.replace(classifier.preprocessor, upright=True)
    classifier = dataclasses.replace(classifier, preprocessor=upright)
    results = []
    for result in classify_files(classifier, paths, top_k=args.top_k, batch_size=args.batch_size, cam_dir=args.cam):
        results.append(result)
        if result.error is not None:
            print(f"Error: {result.error}", file=sys.stderr)
            continue
        classes = ", ".join(f"{name} {100 * score:.1f} %" for name, score in zip(result.names, result.scores))
        print(f"{result.path}: {classes}")
    if args.json:
        Path(args.json).write_text(
            json.dumps([result.as_dict() for result in results], indent=2) + "\n", encoding="utf-8"
        )
    return 1 if any(result.error is not None for result in results) else 0
