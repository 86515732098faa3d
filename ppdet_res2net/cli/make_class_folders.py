"""``ppdet-res2net make-class-folders``: write small real datasets for classification."""

from __future__ import annotations

from collections.abc import Sequence

from ppdet_res2net.cli._common import CommandParser, say


def _parser() -> CommandParser:
    parser = CommandParser(
        "make-class-folders",
        "Write images as a folder per class: scikit-learn's handwritten digits, or the objects of a COCO dataset.",
        examples=(
            "dataset/digits --digits",
            "dataset/crops --coco dataset/coco/annotations/instances_val2017.json --images dataset/coco/val2017",
        ),
    )
    parser.add_argument("output_dir", metavar="DIR", help="folder to write; must be new or empty")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--digits", action="store_true", help="1797 scans of digits; every fifth is held out as val")
    source.add_argument("--coco", metavar="ANNOTATIONS", help="cut out the objects of this annotation file")
    parser.add_argument("--images", metavar="DIR", help="the images of --coco")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code, 0."""
    parser = _parser()
    args = parser.parse_args(argv)
    if args.coco and not args.images:
        parser.error("--coco needs --images")
    from ppdet_res2net.datasets.small_sets import write_digits, write_object_crops

    if args.digits:
        count = write_digits(args.output_dir)
    else:
        count = write_object_crops(args.coco, args.images, args.output_dir)
    say(f"{count} images in {args.output_dir}")
    return 0
