"""``ppdet-res2net train``: train a detector or a classifier."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ppdet_res2net.cli._classifier_form import TrainParser, create_form_recipe
from ppdet_res2net.cli._common import positive_int, whole_number
from ppdet_res2net.config import is_classifier, load_config

if TYPE_CHECKING:
    from ppdet_res2net.training.task import Task


_AUTO_SHARE = 0.6  # of the memory, as in ultralytics; loader workers and evaluations need some, too


def _parser() -> TrainParser:
    parser = TrainParser(
        "train",
        "Train the detector or classifier that a recipe describes, or a classifier of the zoo on a dataset without a recipe. "
        "Checkpoints, logs and the resolved configuration go to one folder per run. The "
        "checkpoints of a classifier are valid pretrain_weights of detectors with the same backbone.",
        examples=(
            "-c demo_mask_rcnn --eval",
            "-c demo_mask_rcnn -r auto --device cpu -o epoch=24 TrainReader.batch_size=2",
            "-c demo_mask_rcnn --eval --batch_size auto",
            "-c demo_mask_rcnn --find_lr",
            "-c demo_mask_rcnn --pretrain_weights output/my_classifier/best_model --eval",
            "-c finetune_res2net50_vd_26w_4s --eval -o TrainDataset.dataset_dir=DATA EvalDataset.dataset_dir=DATA",
            "--model mindcv/res2net50 --data cifar10 --download --lr 0.001 --eval",
        ),
    )
    parser.add_recipe_arguments(required=False)
    parser.add_argument(
        "-r",
        "--resume",
        metavar="CKPT",
        help="checkpoint to continue; auto: the newest complete one of the run, if there is one",
    )
    parser.add_argument(
        "--pretrain_weights",
        metavar="FILE",
        help="weights to start from: a file of any supported format, such as a run's best_model, a url, a zoo name, or none "
        "for random weights (default: the recipe's)",
    )
    parser.add_argument("--eval", action="store_true", help="evaluate at each snapshot and keep the best model")
    parser.add_argument("--amp", action="store_true", help="mixed precision (on a GPU)")
    parser.add_argument("--use_vdl", action="store_true", help="also log for VisualDL")
    parser.add_argument(
        "--vdl_log_dir", metavar="DIR", help="where --use_vdl writes (default: the folder vdl of the run)"
    )
    parser.add_argument(
        "--loggers",
        metavar="NAME,...",
        help="also log to visualdl, tensorboard, wandb, mlflow; several are separated by commas",
    )
    parser.add_argument("--max_steps", type=positive_int, metavar="N", help="stop after N steps")
    parser.add_argument(
        "--batch_size",
        type=_batch_size,
        metavar="N",
        help="images per batch and process, the same as -o TrainReader.batch_size=N; auto: as many as fit into 60%% of the "
        "memory, a number such as 0.8: as many as fit into that share (default: the recipe's)",
    )
    parser.add_argument(
        "--find_lr",
        action="store_true",
        help="do not train, but look for a learning rate: some steps (100, or --max_steps) with a rising rate, a curve, and a "
        "suggestion",
    )
    parser.add_argument(
        "--seed",
        type=whole_number(0),
        metavar="N",
        help="number that chooses all random numbers; the same as -o seed=N (default: the recipe's, else 0)",
    )
    parser.add_device_argument()
    parser.add_form()
    return parser


def _batch_size(text: str) -> int | float:
    """Argument type: a number of images, or a share of the memory. ultralytics writes -1 for automatic."""
    try:
        value = _AUTO_SHARE if text.strip().lower() in ("auto", "-1") else float(text)
    except ValueError:
        value = 0.0
    if 0 < value < 1:
        return value
    if not (value >= 1 and value.is_integer()):  # nan is refused, too
        raise argparse.ArgumentTypeError(
            f"got '{text}', expected a number of images, auto, or a share of the memory such as 0.8"
        )
    return int(value)


def _overrides(args: argparse.Namespace) -> list[str]:
    """Return the options that stand for settings of the recipe."""
    overrides = [] if args.seed is None else [f"seed={args.seed}"]
    if args.pretrain_weights is not None:
        weights = "null" if args.pretrain_weights.lower() == "none" else json.dumps(args.pretrain_weights)
        overrides.append(f"pretrain_weights={weights}")
    if args.loggers is not None:
        overrides.append(f"loggers=[{args.loggers}]")
    if isinstance(args.batch_size, int):
        overrides.append(f"TrainReader.batch_size={args.batch_size}")
    return overrides


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns 0, or 128 + the number of the signal that ended it with a checkpoint saved.

    That is what a shell reports for the signal: 130 for Ctrl-C (SIGINT), 143 for SIGTERM, 129 for SIGHUP.
    """
    parser = _parser()
    args = parser.parse_args(argv)
    share = args.batch_size if isinstance(args.batch_size, float) else None
    if args.find_lr and (args.resume or share):
        parser.error(
            f"--find_lr goes with {'new runs only: leave out -r' if args.resume else 'a number as --batch_size'}"
        )
    from ppdet_res2net.training.rate_finder import DEFAULT_STEPS, find_learning_rate
    from ppdet_res2net.training.trainer import TrainOptions, run_training

    overrides = [*args.opt, *_overrides(args)]
    if args.config is None:
        config = create_form_recipe(args, overrides)
    else:
        config = load_config(args.config, overrides, trust_recipe=args.trust_recipe)
    config.device = args.device
    if args.vdl_log_dir is not None:
        config["vdl_log_dir"] = args.vdl_log_dir
    task: type[Task]
    if is_classifier(config):
        from ppdet_res2net.classification.task import ClassificationTask

        task = ClassificationTask
    else:
        from ppdet_res2net.detection.task import DetectionTask

        task = DetectionTask
    if args.find_lr:
        find_learning_rate(config, task, steps=args.max_steps or DEFAULT_STEPS, amp=args.amp)
        return 0
    options = TrainOptions(args.resume, args.eval, args.amp, args.use_vdl, args.max_steps, share)
    result = run_training(config, task, options)
    return 0 if result.signal is None else 128 + result.signal
