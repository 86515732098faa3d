"""``ppdet-res2net export``: write a detector as a folder for deployment."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ppdet_res2net.cli._common import add_config_arguments


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ppdet-res2net export",
        description="Write '-o weights=FILE' as a static graph with preprocessing and class names beside it.",
    )
    add_config_arguments(parser)
    parser.add_argument(
        "--output_dir",
        default="output_inference",
        metavar="DIR",
        help="parent of the model's folder, which has the configuration's name (default: %(default)s)",
    )
    parser.add_argument(
        "--format",
        action="append",
        metavar="FORMAT",
        help="paddle, onnx or openvino; several with commas or by repeating the option (default: paddle)",
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="compare every exported format with the eager model on images; fails beyond the tolerances",
    )
    parser.add_argument(
        "--verify_images", nargs="+", metavar="PATH", help="files or folders for --verify, which this implies"
    )
    parser.add_argument(
        "--verify_precision",
        default="fp32",
        metavar="NAMES",
        help="fp32, bf16 or both with a comma, as far as the engines offer them (default: %(default)s)",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code, 0."""
    args = _parser().parse_args(argv)
    from ppdet_res2net.config import load_config
    from ppdet_res2net.detection.export import export_model

    folder = export_model(
        load_config(args.config, args.opt),
        args.output_dir,
        formats=[name.strip() for part in args.format or ["paddle"] for name in part.split(",")],
        verify=args.verify or bool(args.verify_images),
        verify_images=args.verify_images,
        verify_precisions=args.verify_precision.split(","),
    )
    print(f"wrote {folder}; run it with: python deploy/python/infer.py --model_dir {folder} --image_file IMAGE")
    return 0
