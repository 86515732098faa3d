"""``ppdet-res2net merge-datasets``: several annotation files to one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ppdet_res2net.cli._common import CommandParser, check_writable, command_line, say
from ppdet_res2net.data.problems import say_count
from ppdet_res2net.errors import ConfigError


def _parser() -> CommandParser:
    parser = CommandParser(
        "merge-datasets",
        "Join annotation files in COCO's format: categories with the same name become one, and all ids are new. Images stay "
        "where they are. With --images, their names in the new file begin with their folder.",
        examples=(
            "--annotations a/train.json b/train.json --images a/images b/images --out all.json",
            "--annotations first.json second.json --out all.json",
        ),
    )
    parser.add_argument(
        "--annotations", required=True, nargs="+", type=Path, metavar="FILE", help="annotation files, two or more"
    )
    parser.add_argument(
        "--images",
        nargs="+",
        type=Path,
        default=[],
        metavar="DIR",
        help="the image folder of each file; without it, all images are in one folder and have different names",
    )
    parser.add_argument("--out", required=True, type=Path, metavar="FILE", help="annotation file to write")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code, 0."""
    args = _parser().parse_args(argv)
    from ppdet_res2net.data.annotations import write_annotations
    from ppdet_res2net.datasets.rearrange.merge import merge_datasets

    if len(args.annotations) < 2:
        raise ConfigError("--annotations names one file; expected two or more.")
    if args.images and len(args.images) != len(args.annotations):
        raise ConfigError(
            f"--annotations names {len(args.annotations)} files, but --images {len(args.images)} folders. Expected a folder "
            "for each file, or no --images if all images are in one folder."
        )
    if args.out.exists():
        raise ConfigError(f"'{args.out}' exists already. Remove it, or choose another name with --out.")
    check_writable(args.out)
    content, image_dir = merge_datasets(args.annotations, args.images)
    write_annotations(content, args.out)
    say(
        f"wrote {args.out}: {say_count(len(content['images']), 'image')}, "
        f"{say_count(len(content['annotations']), 'object')}, "
        f"{say_count(len(content['categories']), 'class', 'classes')}"
    )
    folder = "DIR" if image_dir is None else image_dir
    say("next: " + command_line("check-dataset", "--annotations", args.out, "--images", folder))
    return 0
