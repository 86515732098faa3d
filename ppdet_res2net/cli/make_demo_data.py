"""``ppdet-res2net make-demo-data``: write the built-in dataset."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

from ppdet_res2net.cli._common import CommandParser, positive_int, say, whole_number
from ppdet_res2net.datasets.demo import make_demo_data


def _parser() -> CommandParser:
    defaults = {name: parameter.default for name, parameter in inspect.signature(make_demo_data).parameters.items()}
    parser = CommandParser(
        "make-demo-data",
        "Write a small generated dataset in COCO's format: shapes with boxes and masks.",
        examples=("dataset/res2net_demo", "dataset/res2net_demo --train 40 --val 8 --size 96"),
    )
    parser.add_argument(
        "dir", metavar="DIR", help="folder to create; the same dataset is reused if it is already there"
    )
    parser.add_argument(
        "--train",
        metavar="N",
        type=positive_int,
        default=defaults["train_images"],
        help="training images (default: %(default)s)",
    )
    parser.add_argument(
        "--val",
        metavar="N",
        type=positive_int,
        default=defaults["val_images"],
        help="validation images (default: %(default)s)",
    )
    parser.add_argument(
        "--size",
        metavar="PX",
        type=whole_number(32),
        default=defaults["image_size_px"],
        help="long side of the images, in pixels (default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        metavar="S",
        type=whole_number(0),
        default=defaults["seed"],
        help="chooses the pictures (default: %(default)s)",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code, 0."""
    args = _parser().parse_args(argv)
    folder = make_demo_data(args.dir, args.train, args.val, args.size, args.seed)
    say(f"demo dataset: {args.train} training and {args.val} validation images in {folder}")
    return 0
