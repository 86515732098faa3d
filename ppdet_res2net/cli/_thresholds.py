"""The options that choose the score from which an exported detector's results are drawn."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from res2net_runtime.arguments import fraction, path_text

if TYPE_CHECKING:
    from ppdet_res2net.analysis.thresholds import ChosenThresholds

__all__ = ["THRESHOLD_OPTIONS", "choose_thresholds"]

# For ``add_argument``.
THRESHOLD_OPTIONS: dict[str, dict[str, Any]] = {
    "--threshold": {"type": fraction, "metavar": "SCORE", "help": "draw detections with at least this score"},
    "--report": {
        "type": path_text,
        "metavar": "DIR",
        "help": "take the threshold with the largest F1 from this report of eval --report",
    },
    "--per_class": {"action": "store_true", "help": "with --report: the best threshold of each class, not one for all"},
    "--kind": {
        "choices": ["bbox", "segm"],
        "help": "with --report: whether boxes or masks are to be right (default: bbox)",
    },
}


def choose_thresholds(parser: argparse.ArgumentParser, args: argparse.Namespace) -> ChosenThresholds | None:
    """Return what the options say; None if they say nothing.

    Raises:
        ConfigError: The report recommends none.
        DatasetError: The report cannot be read.
    """
    if args.threshold is not None and args.report:
        parser.error("--threshold and --report both say the score; leave one of them out")
    if not args.report and (args.per_class or args.kind):
        parser.error("--per_class and --kind say which threshold of a report is taken; add --report DIR")
    if args.report is None and args.threshold is None:
        return None
    from ppdet_res2net.analysis.thresholds import ChosenThresholds, choose_best

    if args.report is None:
        return ChosenThresholds(args.threshold)
    return choose_best(args.report, args.kind or "bbox", bool(args.per_class))
