"""``ppdet-res2net browse-dataset``: show the images that the network is trained on."""

from __future__ import annotations

from collections.abc import Sequence

from ppdet_res2net.cli._common import CommandParser, positive_int, say, whole_number


def _parser() -> CommandParser:
    parser = CommandParser(
        "browse-dataset",
        "Write a page with training images after augmentation, with their boxes, masks and classes.",
        examples=("-c demo_mask_rcnn", "-c demo_mask_rcnn -n 8 --epoch 3 --html epoch3.html"),
    )
    parser.add_recipe_arguments()
    parser.add_argument(
        "-n", "--num", type=positive_int, default=24, metavar="N", help="number of images (default: %(default)s)"
    )
    parser.add_argument(
        "--epoch", type=whole_number(0), default=0, metavar="E", help="epoch to show, from 0 (default: %(default)s)"
    )
    parser.add_argument("--html", default="browse.html", metavar="FILE", help="page to write (default: %(default)s)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code, 0."""
    args = _parser().parse_args(argv)
    from ppdet_res2net.config import load_config
    from ppdet_res2net.data.loader import BatchLoader
    from ppdet_res2net.datasets.browse import write_browse_page
    from ppdet_res2net.detection.model import read_coco_dataset

    config = load_config(args.config, args.opt, trust_recipe=args.trust_recipe)
    dataset = read_coco_dataset(config, "TrainDataset")
    reader = config["TrainReader"]
    seed, num_classes = int(config.get("seed", 0)), len(dataset.class_names)
    loader = BatchLoader.from_reader(dataset, reader, num_workers=0, seed=seed, num_classes=num_classes)
    transforms = reader.get("sample_transforms", [])
    title = f"Training images of {config.name}"
    count = write_browse_page(loader, dataset.class_names, transforms, args.html, title, args.num, args.epoch)
    say(f"wrote {args.html} with {count} images of epoch {args.epoch}")
    return 0
