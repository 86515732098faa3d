"""``ppdet-res2net train-classifier``: train an image classifier, with the engine and the options of ``train``."""

from __future__ import annotations

from collections.abc import Sequence

from ppdet_res2net.cli.train import create_parser

_DESCRIPTION = (
    "Train an image classifier. Checkpoints, logs and the resolved configuration go to one folder per run; the checkpoints "
    "are valid pretrain_weights of detection recipes with the same backbone."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns 0, or 128 + the number of the signal that ended it with a checkpoint saved."""
    args = create_parser("ppdet-res2net train-classifier", _DESCRIPTION).parse_args(argv)
    from ppdet_res2net.classification.task import train_classifier
    from ppdet_res2net.config import load_config
    from ppdet_res2net.training.trainer import TrainOptions

    options = TrainOptions(args.resume, args.eval, args.amp, args.use_vdl, args.max_steps)
    result = train_classifier(load_config(args.config, args.opt), options)
    return 0 if result.signal is None else 128 + result.signal
