"""``ppdet-res2net models``: list the published models."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from ppdet_res2net.cli._common import CommandParser, check_writable, json_option, positive_int, say, write_json
from ppdet_res2net.errors import ConfigError
from ppdet_res2net.zoo import ModelSpec, get_model_spec, list_models
from ppdet_res2net.zoo.model_spec import SOURCES
from ppdet_res2net.zoo.table import as_markdown, as_records, as_text


def _parser() -> CommandParser:
    parser = CommandParser(
        "models",
        "List every published Res2Net and what is known about it.",
        examples=("", "--source timm --json", "--measure --source timm --size 160 --runs 1 --plot speed.png"),
    )
    parser.add_argument("--source", choices=SOURCES, help="only the models of one publisher")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", **json_option("all fields"))
    form.add_argument("--markdown", action="store_true", help="the page docs/model_zoo.md")
    form.add_argument("--measure", action="store_true", help="parameters, MACs and latency on this machine")
    form.add_argument("--sweep", metavar="FILE", help="measure every combination of depths, widths, ... in a YAML file")
    parser.add_argument("--plot", metavar="FILE", help="with --measure or --sweep: also draw accuracy against latency")
    parser.add_argument(
        "--size",
        type=positive_int,
        default=224,
        metavar="PX",
        help="side of the measured image, in pixels (default: %(default)s)",
    )
    parser.add_argument(
        "--runs", type=positive_int, default=5, metavar="N", help="timed runs of each model (default: %(default)s)"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code, 0."""
    parser = _parser()
    args = parser.parse_args(argv)
    if args.plot and not (args.measure or args.sweep):
        parser.error("--plot needs --measure or --sweep")
    specs = [get_model_spec(name) for name in list_models(args.source)]
    if args.measure or args.sweep:
        if args.plot:
            check_writable(args.plot)
        _measure(args, specs)
        return 0
    if args.json:
        write_json(args.json, as_records(specs))
        return 0
    say((as_markdown if args.markdown else as_text)(specs).rstrip("\n"))
    return 0


def _measure(args: argparse.Namespace, specs: list[ModelSpec]) -> None:
    from tqdm import tqdm

    from ppdet_res2net.zoo import measure

    found = (
        measure.measure_sweep(args.sweep, args.size, args.runs)
        if args.sweep
        else measure.measure_specs(specs, args.size, args.runs)
    )
    measurements = list(tqdm(found, unit="model", disable=not sys.stderr.isatty()))
    if not measurements:
        raise ConfigError(f"There is no classifier to measure among the models of {args.source}.")
    say(measure.as_text(measurements))
    if args.plot:
        measure.plot_accuracy(measurements, args.plot)
