"""``ppdet-res2net train``: train a detector."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ppdet_res2net.cli._common import add_config_arguments, positive_int


def create_parser(prog: str, description: str) -> argparse.ArgumentParser:
    """Return a parser with the options of training, whatever is trained."""
    parser = argparse.ArgumentParser(prog=prog, description=description)
    add_config_arguments(parser)
    parser.add_argument(
        "-r",
        "--resume",
        metavar="CKPT",
        help="checkpoint from which to go on; auto: the newest whole one of the run, if there is one",
    )
    parser.add_argument("--eval", action="store_true", help="evaluate at each snapshot and keep the best model")
    parser.add_argument("--amp", action="store_true", help="mixed precision (on a GPU)")
    parser.add_argument("--use_vdl", action="store_true", help="also log for VisualDL")
    parser.add_argument("--max_steps", type=positive_int, metavar="N", help="stop after N steps")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns 0, or 128 + the number of the signal that ended it with a checkpoint saved.

    That is what a shell reports for the signal: 130 for Ctrl-C (SIGINT), 143 for SIGTERM.
    """
    description = "Train a detector. Checkpoints, logs and the resolved configuration go to one folder per run."
    args = create_parser("ppdet-res2net train", description).parse_args(argv)
    from ppdet_res2net.config import load_config
    from ppdet_res2net.detection.task import train

    result = train(
        load_config(args.config, args.opt),
        resume=args.resume,
        evaluate=args.eval,
        amp=args.amp,
        use_vdl=args.use_vdl,
        max_steps=args.max_steps,
    )
    return 0 if result.signal is None else 128 + result.signal
