"""``ppdet-res2net convert-dataset``: annotations of other formats to COCO's."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ppdet_res2net.cli._common import CommandParser, command_line


def _parser() -> CommandParser:
    parser = CommandParser(
        "convert-dataset",
        "Write annotations of another format as one file in COCO's format. Images stay where they are.",
        examples=(
            "voc --annotations VOC/Annotations --images VOC/JPEGImages --list VOC/ImageSets/Main/train.txt --out train.json",
            "labelme --annotations labelme --out train.json",
            "yolo --images yolo/images/train --names yolo/data.yaml --out train.json",
        ),
    )
    formats = parser.add_subparsers(
        dest="format", required=True, metavar="FORMAT", parser_class=argparse.ArgumentParser
    )
    voc = formats.add_parser("voc", help="Pascal VOC: XML files", allow_abbrev=False)
    voc.add_argument("--annotations", required=True, type=Path, metavar="DIR", help="folder of the XML files")
    voc.add_argument("--images", required=True, type=Path, metavar="DIR", help="folder of the images")
    voc.add_argument(
        "--list", type=Path, metavar="FILE", help="names of the images to take, e.g. ImageSets/Main/train.txt"
    )
    voc.add_argument("--masks", type=Path, metavar="DIR", help="folder of the masks, SegmentationObject")
    voc.add_argument(
        "--ignore_difficult", action="store_true", help="neither train on difficult objects nor count them"
    )
    labelme = formats.add_parser("labelme", help="labelme: JSON files", allow_abbrev=False)
    labelme.add_argument("--annotations", required=True, type=Path, metavar="DIR", help="folder of the JSON files")
    labelme.add_argument("--images", type=Path, metavar="DIR", help="folder of the images, if they are elsewhere")
    yolo = formats.add_parser("yolo", help="YOLO: text files with boxes or segments", allow_abbrev=False)
    yolo.add_argument("--images", required=True, type=Path, metavar="DIR", help="folder of the images")
    yolo.add_argument(
        "--labels",
        type=Path,
        metavar="DIR",
        help="folder of the text files (default: the images' folder, with 'labels' instead of 'images')",
    )
    for name, one in formats.choices.items():
        needed = name == "yolo"
        what = "data.yaml, or a file with one class name per line" + (
            "" if needed else " (default: the names that occur)"
        )
        one.add_argument("--names", required=needed, metavar="FILE", help=what)
        one.add_argument("--out", required=True, type=Path, metavar="FILE", help="annotation file to write")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code, 0."""
    args = _parser().parse_args(argv)
    from ppdet_res2net.datasets import convert

    names = convert.read_names(args.names) if args.names else None
    image_dir = args.images or args.annotations
    if args.format == "voc":
        result = convert.convert_voc(args.annotations, image_dir, names, args.list, args.masks, args.ignore_difficult)
    elif args.format == "labelme":
        result = convert.convert_labelme(args.annotations, image_dir, names)
    else:
        result = convert.convert_yolo(image_dir, args.labels or _labels_beside(image_dir), names or [])
    print(f"wrote {args.out}: {result.write(args.out)}")
    print("next: " + command_line("check-dataset", "--annotations", args.out, "--images", image_dir))
    return 0


def _labels_beside(image_dir: Path) -> Path:
    """Return where YOLO usually keeps the labels: the path with its last folder 'images' replaced by 'labels'."""
    parts = list(image_dir.parts)
    for index in reversed(range(len(parts))):
        if parts[index] == "images":
            return Path(*parts[:index], "labels", *parts[index + 1 :])
    return image_dir
