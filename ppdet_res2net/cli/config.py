"""``ppdet-res2net config``: print a configuration with its bases and overrides resolved."""

from __future__ import annotations

from collections.abc import Sequence

from ppdet_res2net.cli._common import CommandParser, say
from ppdet_res2net.config import dump_config, load_config


def _parser() -> CommandParser:
    parser = CommandParser(
        "config",
        "Check a configuration and print it whole: _BASE_ files merged, overrides applied.",
        examples=("-c demo_mask_rcnn", "-c demo_mask_rcnn -o TrainReader.batch_size=2 LearningRate.base_lr=0.005"),
    )
    parser.add_recipe_arguments()
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code, 0."""
    args = _parser().parse_args(argv)
    say(dump_config(load_config(args.config, args.opt, trust_recipe=args.trust_recipe)).rstrip("\n"))
    return 0
