"""``ppdet-res2net set-threshold``: the score from which an exported detector's results are drawn."""

from __future__ import annotations

from collections.abc import Sequence

from ppdet_res2net.cli._common import CommandParser, say
from ppdet_res2net.cli._thresholds import THRESHOLD_OPTIONS, choose_thresholds
from res2net_runtime.arguments import path_text
from res2net_runtime.texts import printable


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns 0."""
    parser = CommandParser(
        "set-threshold",
        "Write into an exported folder from which score detections are drawn: one score for all classes, or one per class.",
        examples=(
            "--model_dir output_inference/demo_mask_rcnn --report reports/demo",
            "--model_dir output_inference/demo_mask_rcnn --report reports/demo --kind segm --per_class",
            "--model_dir output_inference/demo_mask_rcnn --threshold 0.7",
        ),
    )
    parser.add_argument(
        "--model_dir", type=path_text, required=True, metavar="DIR", help="folder that the export wrote"
    )
    for flag, settings in THRESHOLD_OPTIONS.items():
        parser.add_argument(flag, **settings)
    args = parser.parse_args(argv)
    chosen = choose_thresholds(parser, args)
    if chosen is None:
        parser.error("one of the arguments --threshold --report is required")
    from res2net_runtime.folder_changes import save_thresholds
    from res2net_runtime.model_folder import load_model_folder

    info = load_model_folder(args.model_dir)
    threshold, class_thresholds = chosen.for_classes(info.label_list, info.category_ids)
    save_thresholds(args.model_dir, threshold, class_thresholds)
    say(f"'{printable(args.model_dir)}' draws detections from these scores on:")
    say(f"  all classes: {threshold:g}" if class_thresholds is None else f"  draw_threshold: {threshold:g}")
    for name, value in zip(info.label_list, class_thresholds or ()):
        say(f"  {printable(name)}: {value:g}")
    return 0
