"""``ppdet-res2net convert-dataset``: annotations of other formats to COCO's, and COCO's to those of YOLO and Pascal VOC."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ppdet_res2net.cli._common import CommandParser, FlagParser, check_writable, command_line, program, say
from ppdet_res2net.errors import ConfigError, DatasetError

if TYPE_CHECKING:
    from ppdet_res2net.datasets.convert import DatasetBuilder

_EXIT_CODES = (
    "The exit code is 0 if the file holds every object, and 1 if anything was left out (the file is written, and a line for "
    "each kind says what and where) or if the file could not be written."
)

# Format -> what it is, and an example.
_FORMATS = {
    "voc": (
        "XML files of Pascal VOC",
        "--annotations VOC/Annotations --images VOC/JPEGImages --list VOC/ImageSets/Main/train.txt --out train.json",
    ),
    "labelme": ("JSON files of labelme and its relatives", "--annotations labelme --out train.json"),
    "yolo": (
        "text files of YOLO, with boxes or outlines",
        "--names yolo/data.yaml --split train --out train.json",
    ),
}
_COCO, _OUTWARD = "coco", ("yolo", "voc")
_COCO_EXAMPLE = "--annotations train.json val.json --images train val --to yolo --out DATA_yolo"


def _parser() -> CommandParser:
    parser = CommandParser(
        "convert-dataset",
        f"Write annotations of another format as one file in COCO's format; or, for the format coco, the reverse. Images stay "
        f"where they are. {_EXIT_CODES}",
        examples=[*(f"{name} {example}" for name, (_, example) in _FORMATS.items()), f"{_COCO} {_COCO_EXAMPLE}"],
    )
    formats = parser.add_subparsers(dest="format", required=True, metavar="FORMAT", parser_class=FlagParser)
    voc, labelme, yolo = (
        formats.add_parser(
            name,
            help=source,
            description=f"Write {source} as one file in COCO's format. {_EXIT_CODES}",
            program=f"{program('convert-dataset')} {name}",
            examples=[example],
        )
        for name, (source, example) in _FORMATS.items()
    )
    voc.add_argument("--annotations", required=True, type=Path, metavar="DIR", help="folder of the XML files")
    voc.add_argument("--images", required=True, type=Path, metavar="DIR", help="folder of the images")
    voc.add_argument(
        "--list",
        type=Path,
        metavar="FILE",
        help="the images to take: ImageSets/Main/train.txt, or PaddleDetection's list with an image and an XML file per line",
    )
    voc.add_argument("--masks", type=Path, metavar="DIR", help="folder of the masks, SegmentationObject")
    voc.add_argument(
        "--first_pixel",
        type=int,
        choices=(0, 1),
        default=1,
        help="the number of the first pixel: 1 as in Pascal VOC (default), or 0 as some tools write",
    )
    labelme.add_argument("--annotations", required=True, type=Path, metavar="DIR", help="folder of the JSON files")
    labelme.add_argument("--images", type=Path, metavar="DIR", help="folder of the images, if they are elsewhere")
    labelme.add_argument(
        "--extract_images",
        action="store_true",
        help="write images that are missing from the copies in the JSON files (imageData), to the folder of the images",
    )
    yolo.add_argument(
        "--images",
        type=Path,
        metavar="DIR",
        help="folder of the images, or a text file with an image per line (default: as the data.yaml says)",
    )
    yolo.add_argument("--split", choices=("train", "val", "test"), help="which images of the data.yaml to take")
    yolo.add_argument(
        "--labels",
        type=Path,
        metavar="DIR",
        help="folder of the text files (default: the images' folder, with 'labels' instead of 'images'; or that folder itself)",
    )
    for one in (voc, labelme):
        one.add_argument(
            "--ignore_difficult", action="store_true", help="neither train on difficult objects nor count them"
        )
        one.add_argument(
            "--measure_images",
            action="store_true",
            help="take the sizes of the images, whatever the annotation files say",
        )
    for name, one in formats.choices.items():
        needed = name == "yolo"
        what = "data.yaml, or a file with one class name per line" + (
            "" if needed else " (default: the names that occur)"
        )
        one.add_argument("--names", required=needed, metavar="FILE", help=what)
        one.add_argument("--out", required=True, type=Path, metavar="FILE", help="annotation file to write")
        one.add_argument(
            "--skip_unsupported",
            action="store_true",
            help="exit with 0 although objects were left out that a COCO file cannot hold",
        )
    _add_outward(formats)
    return parser


def _add_outward(formats: argparse._SubParsersAction) -> None:
    coco = formats.add_parser(
        _COCO,
        help="files in COCO's format, to be written as YOLO or Pascal VOC",
        description="Write a dataset in COCO's format in the layout of YOLO or Pascal VOC, in a new folder, with the images. "
        "The exit code is 1 if anything was left out; a line for each kind says what and where.",
        program=f"{program('convert-dataset')} {_COCO}",
        examples=[_COCO_EXAMPLE],
    )
    coco.add_argument(
        "--annotations",
        required=True,
        nargs="+",
        type=Path,
        metavar="FILE",
        help="annotation files: the one to train on, then those for validation and test, if there are any",
    )
    coco.add_argument(
        "--images",
        required=True,
        nargs="+",
        type=Path,
        metavar="DIR",
        help="their image folders: one each, or one for all",
    )
    coco.add_argument("--to", required=True, choices=_OUTWARD, help="the format to write")
    coco.add_argument("--out", required=True, type=Path, metavar="DIR", help="new folder")
    coco.add_argument("--segments", action="store_true", help="for YOLO: write the outlines of masks, and not boxes")
    coco.add_argument(
        "--link_images", action="store_true", help="make symbolic links to the images instead of copying them"
    )
    coco.add_argument(
        "--skip_unsupported",
        action="store_true",
        help="exit with 0 although objects were left out that the format cannot hold",
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code: 1 if something was left out without ``--skip_unsupported``, else 0."""
    args = _parser().parse_args(argv)
    if args.format == _COCO:
        return _convert_outward(args)
    check_writable(args.out)
    _refuse_to_replace_labels(args.out)
    image_dir, result = _convert(args)
    say(f"wrote {args.out}: {result.write(args.out)}")
    for line in result.skipped.lines():
        say(f"left out: {line}", sys.stderr)
    for line in result.notes.lines():
        say(f"note: {line}", sys.stderr)
    say("next: " + command_line("check-dataset", "--annotations", args.out, "--images", image_dir))
    return _exit_code(result.skipped.total, args.skip_unsupported)


def _exit_code(left_out: int, may_skip: bool) -> int:
    if not left_out or may_skip:
        return 0
    say("Not everything was converted; with --skip_unsupported, the exit code is 0 nevertheless.", sys.stderr)
    return 1


def _convert_outward(args: argparse.Namespace) -> int:
    from ppdet_res2net.datasets import convert

    if args.segments and args.to != "yolo":
        raise ConfigError("--segments is for --to yolo; Pascal VOC's annotations have boxes only.")
    folders = args.images * len(args.annotations) if len(args.images) == 1 else args.images
    if len(folders) != len(args.annotations):
        raise ConfigError(
            f"--annotations names {len(args.annotations)} files, but --images {len(folders)} folders. Expected one folder for "
            "each file, or one for all."
        )
    if len(args.annotations) > len(convert.SPLITS):
        raise ConfigError(
            f"--annotations names {len(args.annotations)} files; expected at most {len(convert.SPLITS)}, for "
            f"{', '.join(convert.SPLITS)}. 'merge-datasets' makes one file of several."
        )
    splits = [convert.CocoSplit(*one) for one in zip(convert.SPLITS, args.annotations, folders)]
    if args.to == "yolo":
        result = convert.write_yolo(splits, args.out, args.segments, args.link_images)
    else:
        result = convert.write_voc(splits, args.out, args.link_images)
    say(f"wrote {args.out}: {', '.join(split.name for split in splits)}")
    for line in result.skipped.lines():
        say(f"left out: {line}", sys.stderr)
    for line in result.notes.lines():
        say(f"note: {line}", sys.stderr)
    return _exit_code(result.skipped.total, args.skip_unsupported)


def _convert(args: argparse.Namespace) -> tuple[Path, DatasetBuilder]:
    """Return the folder that file names are relative to, and what was converted."""
    from ppdet_res2net.datasets import convert

    if args.format == "yolo":
        if args.images and args.split:
            raise ConfigError(
                "--split chooses images of the data.yaml, but --images was given, too. Leave one of them out."
            )
        table = convert.read_class_table(args.names)
        sources = [args.images] if args.images else convert.read_split(Path(args.names), args.split)
        images = convert.YoloImages.of(sources)
        return images.root, convert.convert_yolo(images, args.labels, table)
    image_dir = args.images or args.annotations
    names = convert.read_names(args.names) if args.names else None
    options = {"ignore_difficult": args.ignore_difficult, "measure_images": args.measure_images}
    if args.format == "labelme":
        return image_dir, convert.convert_labelme(
            args.annotations, image_dir, names, extract_images=args.extract_images, **options
        )
    return image_dir, convert.convert_voc(
        args.annotations, image_dir, names, args.list, args.masks, first_pixel=args.first_pixel, **options
    )


def _refuse_to_replace_labels(path: Path) -> None:
    """Refuse an output file that holds something else than an earlier output.

    Raises:
        ConfigError: There is such a file.
    """
    from ppdet_res2net.data.text_files import read_json_file

    if not path.is_file() or not path.stat().st_size:
        return
    try:
        content = read_json_file(path)
    except DatasetError:
        content = None
    if not isinstance(content, dict) or "categories" not in content:
        raise ConfigError(
            f"'{path}' exists and is not an annotation file in COCO's format. Choose another name for --out."
        )
