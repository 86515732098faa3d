"""``ppdet-res2net benchmark``: the engines and precisions that run an exported detector here, in one table."""

from __future__ import annotations

from collections.abc import Sequence

from ppdet_res2net.cli._common import (
    CommandParser,
    check_writable,
    json_option,
    positive_int,
    say,
    text_output,
    write_json,
)
from ppdet_res2net.config import is_classifier, load_config
from ppdet_res2net.errors import ConfigError
from res2net_runtime.arguments import path_text
from res2net_runtime.backends import TRUST_GRAPH_OPTION


def _parser() -> CommandParser:
    parser = CommandParser(
        "benchmark",
        "Run an exported detector with every engine and precision that the folder and this machine have, and compare: AP on "
        "the recipe's EvalDataset, time of an image, images per second, peak memory, size. Each runs in a process of its own. "
        "An engine that fails is a line with the reason.",
        examples=(
            "--model_dir output_inference/demo_mask_rcnn -c demo_mask_rcnn",
            "--model_dir output_inference/my_model -c my.yml --images 200 --json engines.json",
        ),
    )
    parser.add_argument(
        "--model_dir", type=path_text, required=True, metavar="DIR", help="folder that export has written"
    )
    parser.add_recipe_arguments()
    parser.add_argument(
        "--images",
        type=positive_int,
        default=50,
        metavar="N",
        help="number of images, spread evenly over the dataset (default: %(default)s)",
    )
    parser.add_argument(
        "--time_limit",
        type=positive_int,
        default=900,
        metavar="S",
        help="seconds after which an engine is given up (default: %(default)s)",
    )
    parser.add_argument("--json", **json_option("the figures"))
    parser.add_argument("--trust_graph", **TRUST_GRAPH_OPTION)
    parser.add_device_argument()
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns 0, or 1 if no engine ran."""
    args = _parser().parse_args(argv)
    config = load_config(args.config, args.opt, trust_recipe=args.trust_recipe)
    config.device = args.device
    if is_classifier(config):
        raise ConfigError(
            f"'{config.name}' describes a classifier; benchmark compares detectors. Pass the recipe of a detector."
        )
    if args.json:
        check_writable(args.json)
    from ppdet_res2net.detection.benchmark import benchmark_engines, format_table, to_json

    measured, images = benchmark_engines(
        args.model_dir, config, images=args.images, time_limit_s=args.time_limit, trust_graph=args.trust_graph
    )
    say(format_table(measured, images), text_output(args.json))
    if args.json:
        write_json(args.json, to_json(measured, images))
    return 0 if any(one.reason is None for one in measured) else 1
