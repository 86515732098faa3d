"""``ppdet-res2net init``: a recipe for a dataset of one's own."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from ppdet_res2net.cli._common import CommandParser, check_writable, command_line, fraction, say, whole_number
from ppdet_res2net.commands import runtime_command_line
from ppdet_res2net.data.problems import say_count
from ppdet_res2net.datasets.own_recipe import FORMATS, KINDS, SIZES, OwnRecipe, RecipeOptions, create_recipe
from ppdet_res2net.errors import ConfigError
from res2net_runtime.texts import printable

_SHOWN_CLASSES = 20
_WIDTH = 116


def _parser() -> CommandParser:
    parser = CommandParser(
        "init",
        "Write a recipe for a dataset of your own. Annotations (COCO, Pascal VOC, labelme, YOLO) and images are found in the "
        "folder, checked, and split if there is one set only; objects and images are measured, and every setting is chosen, "
        "with its reason as a comment. Nothing is written to the dataset.",
        examples=(
            "DATA --out my.yml",
            "DATA --size medium --out my.yml",
            "DATA --train DATA/a.json --val DATA/b.json --images DATA/photos --out my.yml",
        ),
    )
    parser.add_argument(
        "data", metavar="DATA", type=Path, help="folder of the dataset, its annotation file or data.yaml"
    )
    parser.add_argument("--out", required=True, type=Path, metavar="FILE", help="recipe to write, for instance my.yml")
    parser.add_argument(
        "--size",
        choices=SIZES,
        default="small",
        help="small starts from random weights, and takes minutes to an hour on a CPU; medium is "
        "Res2Net50 and large Res2Net101, which start from published weights and are meant for GPUs (default: %(default)s)",
    )
    parser.add_argument("--train", type=Path, metavar="JSON", help="annotation file to train on, in COCO's format")
    parser.add_argument("--val", type=Path, metavar="JSON", help="annotation file to evaluate on")
    parser.add_argument(
        "--images",
        type=Path,
        nargs="+",
        default=[],
        metavar="DIR",
        help="folder of the images, or one for each set",
    )
    parser.add_argument("--format", choices=FORMATS, help="which annotations to take, if there are several formats")
    parser.add_argument("--names", type=Path, metavar="FILE", help="data.yaml, or a file with one class name per line")
    parser.add_argument(
        "--predict",
        choices=KINDS,
        help="what the detector predicts (default: masks if every object has one, else boxes)",
    )
    parser.add_argument(
        "--val_fraction",
        type=fraction,
        default=0.2,
        metavar="F",
        help="share of the images to evaluate on, if there is one set only (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=whole_number(0), default=0, metavar="S", help="chooses these images (default: %(default)s)"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code, 0."""
    args = _parser().parse_args(argv)
    if args.out.suffix.lower() not in (".yml", ".yaml"):
        raise ConfigError(f"--out is '{args.out}'; expected a name that ends in .yml, for instance my.yml.")
    if args.out.stem == "config":
        raise ConfigError(f"--out is '{args.out}', the name that every run gives to its own copy. Choose another one.")
    if not 0 < args.val_fraction < 1:
        raise ConfigError(f"--val_fraction is {args.val_fraction:g}; expected a number above 0 and below 1.")
    check_writable(args.out)
    options = RecipeOptions(
        args.data,
        args.train,
        args.val,
        args.images,
        args.format,
        args.names,
        args.size,
        args.predict,
        args.val_fraction,
        args.seed,
    )
    recipe = create_recipe(args.out, options, show_progress=sys.stderr.isatty())
    say("\n".join([*_say_found(recipe), "", *_say_chosen(recipe), "", *_say_next(recipe)]))
    return 0


def _say_found(recipe: OwnRecipe) -> list[str]:
    prepared, measures = recipe.prepared, recipe.measures
    lines = [f"found: {FORMATS[recipe.found.train.form][0]}, '{recipe.found.train.annotations}'"]
    for name, one in (("train", prepared.train), ("val", prepared.val)):
        report = one.report
        lines.append(
            f"  {name:5} {say_count(len(report.images), 'image')}, {say_count(len(report.file.annotations), 'object')}: "
            f"'{one.annotation_path}', images in '{one.image_dir}'"
        )
    counts = list(measures.class_counts.items())
    shown = ", ".join(f"{printable(name)} {train} + {val}" for name, (train, val) in counts[:_SHOWN_CLASSES])
    more = f" and {len(counts) - _SHOWN_CLASSES} more" if len(counts) > _SHOWN_CLASSES else ""
    lines.append(_wrap(f"  {say_count(len(counts), 'class', 'classes')} (objects in train + val): {shown}{more}"))
    return [*lines, *(_wrap(f"  note: {note}") for note in prepared.notes)]


def _say_chosen(recipe: OwnRecipe) -> list[str]:
    chosen = recipe.settings
    kind = "Mask R-CNN" if chosen.has_masks else "Faster R-CNN"
    ratios = ", ".join(f"{ratio:g}" for ratio in chosen.anchors.ratios)
    return [
        f"chosen: {kind}, {chosen.size}: {chosen.why_kind}",
        _wrap(f"  input {chosen.input_px[0]}x{chosen.input_px[1]}: {chosen.why_input}"),
        f"  anchors {', '.join(map(str, chosen.anchors.sizes))} pixels, ratios {ratios}: the best overlap is "
        f"{chosen.anchors.mean_overlap:.2f} on average",
        f"  {chosen.epochs} epochs of {say_count(chosen.steps_per_epoch, 'step')} of "
        f"{say_count(chosen.batch_size, 'image')}; an evaluation every {_interval(chosen.eval_interval)}",
        f"wrote '{recipe.path}', with the reason for every setting",
    ]


def _interval(value: int | str) -> str:
    return value if isinstance(value, str) else say_count(value, "epoch")


def _say_next(recipe: OwnRecipe) -> list[str]:
    name = recipe.path.stem
    return [
        "next:",
        "  " + command_line("train", "-c", recipe.path, "--eval"),
        "  " + command_line("export", "-c", recipe.path),
        "  "
        + runtime_command_line(
            "--model_dir", Path("output_inference") / name, "--image_dir", recipe.prepared.val.image_dir
        ),
    ]


def _wrap(text: str) -> str:
    return textwrap.fill(text, _WIDTH, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
