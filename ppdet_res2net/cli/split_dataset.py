"""``ppdet-res2net split-dataset``: one annotation file to one for training and one for validation."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from ppdet_res2net.cli._common import CommandParser, check_writable, command_line, fraction, say, whole_number
from ppdet_res2net.data.problems import say_count
from ppdet_res2net.errors import ConfigError


def _parser() -> CommandParser:
    parser = CommandParser(
        "split-dataset",
        "Split an annotation file in COCO's format in two or three: every class in proportion, and images that look alike in "
        "one of them. Images stay where they are; ids and categories stay as they are.",
        examples=(
            "--annotations all.json --images DATA --out split",
            "--annotations all.json --images DATA --val_fraction 0.2 --test_fraction 0.1 --seed 3 --out split",
        ),
    )
    parser.add_argument("--annotations", required=True, type=Path, metavar="FILE", help="annotation file")
    parser.add_argument("--images", required=True, type=Path, metavar="DIR", help="folder of the images")
    parser.add_argument(
        "--out", required=True, type=Path, metavar="DIR", help="folder for train.json, val.json and test.json"
    )
    parser.add_argument(
        "--val_fraction", type=fraction, default=0.2, metavar="F", help="share for validation (default: %(default)s)"
    )
    parser.add_argument(
        "--test_fraction", type=fraction, default=0.0, metavar="F", help="share for a test (default: %(default)s)"
    )
    parser.add_argument(
        "--seed", type=whole_number(0), default=0, metavar="S", help="chooses the images (default: %(default)s)"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code, 0."""
    args = _parser().parse_args(argv)
    from ppdet_res2net.data.annotations import write_annotations
    from ppdet_res2net.datasets.rearrange.split import split_dataset

    shares = {"test": args.test_fraction, "val": args.val_fraction}
    if not 0 < sum(shares.values()) < 1:
        raise ConfigError(
            f"--val_fraction and --test_fraction are {sum(shares.values()):g} together; expected more than 0 and less than 1."
        )
    parts = split_dataset(args.annotations, args.images, shares, args.seed, show_progress=sys.stderr.isatty())
    paths = {name: args.out / f"{name}.json" for name in parts}
    for path in paths.values():
        if path.exists():
            raise ConfigError(f"'{path}' exists already. Remove it, or choose another folder with --out.")
        check_writable(path)
    for name, content in parts.items():
        write_annotations(content, paths[name])
        images, objects = len(content["images"]), len(content["annotations"])
        say(f"wrote {paths[name]}: {say_count(images, 'image')}, {say_count(objects, 'object')}")
    say("next: " + command_line("check-dataset", "--annotations", *paths.values(), "--images", args.images))
    return 0
