"""``ppdet-res2net train``: train a detector."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ppdet_res2net.cli._common import EXIT_INTERRUPTED, add_config_arguments, positive_int


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ppdet-res2net train",
        description="Train a detector. Checkpoints, logs and the resolved configuration go to one folder per run.",
    )
    add_config_arguments(parser)
    parser.add_argument("-r", "--resume", metavar="CKPT", help="checkpoint from which to go on")
    parser.add_argument("--eval", action="store_true", help="evaluate at each snapshot and keep the best model")
    parser.add_argument("--amp", action="store_true", help="mixed precision")
    parser.add_argument("--use_vdl", action="store_true", help="also log for VisualDL")
    parser.add_argument("--max_steps", type=positive_int, metavar="N", help="stop after N steps")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns 0, or 130 if Ctrl-C ended the training (a checkpoint is saved)."""
    args = _parser().parse_args(argv)
    from ppdet_res2net.engine.config import load_config
    from ppdet_res2net.engine.train import train

    result = train(
        load_config(args.config, args.opt),
        resume=args.resume,
        evaluate=args.eval,
        amp=args.amp,
        use_vdl=args.use_vdl,
        max_steps=args.max_steps,
    )
    return EXIT_INTERRUPTED if result.interrupted else 0
