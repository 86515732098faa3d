"""``ppdet-res2net export``: write a detector or a classifier as a folder for deployment."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ppdet_res2net.cli._common import CommaList, say
from ppdet_res2net.cli._tasks import TaskParser, load_classifier_of, name_classes
from ppdet_res2net.cli._thresholds import THRESHOLD_OPTIONS, choose_thresholds
from ppdet_res2net.commands import runtime_command_line
from ppdet_res2net.config import is_classifier
from ppdet_res2net.errors import ExportError
from ppdet_res2net.export.other_forms import OTHER_FORMS, TRITON_FORMATS, why_no_classifiers
from res2net_runtime.engines import EXPORTED_FORMATS

_READERS = {
    "paddledetection": "for PaddleDetection's deploy/python/infer.py --model_dir",
    **dict.fromkeys(TRITON_FORMATS, "a model repository for tritonserver --model-repository"),
}


def _parser() -> TaskParser:
    parser = TaskParser(
        "export",
        "Write a trained or published model as a folder that deploy/python/infer.py runs: the network, its preprocessing and "
        "its class names.",
        examples=(
            "-c demo_mask_rcnn -o weights=output/demo_mask_rcnn/model_final --verify",
            "-c demo_mask_rcnn -o weights=output/demo_mask_rcnn/model_final --format paddle,onnx --verify_images photos",
            "--model timm/res2net50_26w_4s --weights res2net50_26w_4s.safetensors --output_dir exported",
        ),
    )
    parser.add_argument(
        "--output_dir",
        default="output_inference",
        metavar="DIR",
        help="parent of the model's folder, which has the name of the recipe, of the run or of the zoo's model (default: "
        "%(default)s)",
    )
    parser.add_argument(
        "--format",
        action=CommaList,
        default=["paddle"],
        metavar="NAMES",
        help=f"{', '.join(EXPORTED_FORMATS)}; for other programs, in folders of their own: {', '.join(OTHER_FORMS)}; "
        "several with commas (default: paddle)",
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="compare every exported format with the eager model on images; fails beyond the tolerances",
    )
    parser.add_argument(
        "--verify_precision",
        action=CommaList,
        default=["fp32"],
        metavar="NAMES",
        help="fp32, bf16; several with commas. Each engine is compared in those that it offers (default: fp32)",
    )
    parser.detectors.add(
        "--verify_images", nargs="+", metavar="PATH", help="image files or folders for --verify, which this implies"
    )
    for flag, settings in THRESHOLD_OPTIONS.items():
        parser.detectors.add(flag, **settings)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code, 0."""
    parser = _parser()
    args, config = parser.parse_task(argv)
    parser.require_model(args)
    others = [name for name in dict.fromkeys(args.format) if name in OTHER_FORMS]
    ours = [name for name in args.format if name not in OTHER_FORMS]
    if config is not None and not is_classifier(config):
        from ppdet_res2net.detection.export import export_model
        from ppdet_res2net.export.folder import check_names

        check_names("format", args.format, (*EXPORTED_FORMATS, *OTHER_FORMS))
        common = {
            "verify": args.verify or bool(args.verify_images),
            "verify_images": args.verify_images,
            "verify_precisions": args.verify_precision,
            "thresholds": choose_thresholds(parser, args),
        }
        if ours:
            _say_how_to_run(export_model(config, args.output_dir, formats=ours, **common))
        for form in others:
            from ppdet_res2net.detection.export_for_others import export_for_others

            say(f"wrote {export_for_others(config, args.output_dir, form, **common)}, {_READERS[form]}")
        return 0
    if others:
        raise ExportError(why_no_classifiers(others[0]))
    from ppdet_res2net.classification.export import export_classifier
    from ppdet_res2net.training.threads import choose_threads

    classifier = name_classes(load_classifier_of(args, config), args.label_file)
    _say_how_to_run(
        export_classifier(
            classifier,
            Path(args.output_dir, classifier.name),
            formats=ours,
            verify=args.verify,
            verify_precisions=args.verify_precision,
            cpu_threads=choose_threads(config or {}),
        )
    )
    return 0


def _say_how_to_run(folder: Path) -> None:
    command = runtime_command_line("--model_dir", folder, "--image_file", "IMAGE")
    say(f"wrote {folder}; run it with: {command}")
