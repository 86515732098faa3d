"""``ppdet-res2net plot``: curves of training runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ppdet_res2net.cli._common import CommandParser, say


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns 0."""
    parser = CommandParser(
        "plot",
        "Draw losses, AP, learning rate, speed and memory of one or more training runs into one picture.",
        examples=("output/demo_mask_rcnn", "output/demo_mask_rcnn output/other_run --out compared.png"),
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a run, e.g. output/demo_mask_rcnn")
    parser.add_argument(
        "--out", type=Path, default=Path("curves.png"), metavar="FILE", help="picture to write (default: %(default)s)"
    )
    args = parser.parse_args(argv)
    from ppdet_res2net.training.curves import plot_runs

    plot_runs(args.runs, args.out)
    say(args.out)
    return 0
