"""``ppdet-res2net export-classifier``: write a classifier as a folder for deployment."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ppdet_res2net.cli._classifier import add_classifier_arguments, load_with_names


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ppdet-res2net export-classifier",
        description="Write a classifier as a folder that deploy/python/infer.py runs.",
    )
    add_classifier_arguments(parser)
    parser.add_argument("--output_dir", required=True, metavar="DIR", help="the folder to write")
    parser.add_argument(
        "--format", nargs="+", default=["paddle"], metavar="F", help="paddle, onnx, openvino (default: paddle)"
    )
    parser.add_argument("--verify", action="store_true", help="compare the exported network with the eager one")
    parser.add_argument(
        "--verify_precision", nargs="+", default=["fp32"], metavar="P", help="fp32, bf16 (default: fp32)"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code, 0."""
    args = _parser().parse_args(argv)
    from ppdet_res2net.classification.export import export_classifier

    folder = export_classifier(
        load_with_names(args),
        args.output_dir,
        formats=args.format,
        verify=args.verify,
        verify_precisions=args.verify_precision,
    )
    print(f"Run it: python deploy/python/infer.py --model_dir {folder} --image_file IMAGE")
    return 0
