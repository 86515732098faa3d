"""``ppdet-res2net infer``: detect objects in images, or classify them, with a model that has not been exported."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ppdet_res2net.cli._common import (
    check_writable,
    fraction,
    images_per_batch,
    json_option,
    positive_int,
    say,
    text_output,
    write_json,
)
from ppdet_res2net.cli._tasks import TaskParser, load_classifier_of, name_classes
from ppdet_res2net.config import is_classifier
from res2net_runtime.arguments import path_text
from res2net_runtime.image_lists import SAVING_OPTIONS, ImageFile, find_misplaced, select_images
from res2net_runtime.labels import LABEL_OPTIONS, find_misused_labels, label_output
from res2net_runtime.texts import printable, storable
from res2net_runtime.views import VIEW_OPTIONS, find_misused_views, view_settings

if TYPE_CHECKING:
    from ppdet_res2net.config import Config


def _parser() -> TaskParser:
    parser = TaskParser(
        "infer",
        "Detect objects in images and draw them, or print the most probable classes of each image.",
        examples=(
            "-c demo_mask_rcnn -o weights=output/demo_mask_rcnn/model_final --infer_img photo.jpg",
            "-c demo_mask_rcnn -o weights=output/demo_mask_rcnn/model_final --infer_dir photos --save_results",
            "-c my.yml --weights output/my/best_model --infer_dir photos --recursive --no_pictures --skip_done --shard 1/4",
            "--model timm/res2net50_26w_4s --weights res2net50_26w_4s.safetensors --infer_img photo.jpg --json",
        ),
    )
    parser.add_images_arguments()
    detectors = parser.detectors
    detectors.add("--output_dir", type=path_text, default="output", metavar="DIR", help="where pictures and results go")
    detectors.add(
        "--draw_threshold", type=fraction, default=0.5, metavar="SCORE", help="draw detections with at least this score"
    )
    detectors.add("--save_results", action="store_true", help="write bbox.json, and mask.json if there are masks")
    for flag, settings in SAVING_OPTIONS.items():
        detectors.add(flag, **settings)
    for flag, settings in {**LABEL_OPTIONS, **VIEW_OPTIONS}.items():
        detectors.add(flag, **settings)
    classifiers = parser.classifiers
    classifiers.add("--batch_size", type=images_per_batch, default=8, metavar="N", help="batch size")
    classifiers.add("--top_k", type=positive_int, default=5, metavar="K", help="classes per image")
    classifiers.add("--json", **json_option("the results"))
    classifiers.add(
        "--cam",
        metavar="DIR",
        help="draw the class activation map of the first class over each image; pictures go to DIR",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns 0, or 1 if an image failed (the others are done)."""
    parser = _parser()
    args, config = parser.parse_task(argv)
    parser.require_model(args)
    misplaced = find_misplaced(args, ("--infer_dir", args.infer_dir), ("--infer_list", args.infer_list))
    if misplaced:
        parser.error(misplaced)
    misused = find_misused_labels(args.save_labels, args.labels_dir, bool(args.overwrite_labels))
    misused = misused or find_misused_views(args)
    if misused:
        parser.error(misused)
    is_detector = config is not None and not is_classifier(config)
    images = select_images(
        args.infer_img,
        args.infer_dir,
        args.infer_list,
        recursive=args.recursive,
        list_root=args.list_root,
        shard=args.shard,
        output_dir=args.output_dir if is_detector else None,
    )
    if config is not None and is_detector:
        return _detect(args, config, images)
    return _classify(args, config, images)


def _detect(args: argparse.Namespace, config: Config, images: list[ImageFile]) -> int:
    from ppdet_res2net.detection.predict import predict_files
    from res2net_runtime.cli import print_detections, report

    summary = predict_files(
        config,
        images,
        output_dir=args.output_dir,
        draw_threshold=args.draw_threshold,
        save_results=bool(args.save_results),
        save_jsonl=bool(args.save_jsonl),
        skip_done=bool(args.skip_done),
        save_pictures=not args.no_pictures,
        suffix=args.shard.suffix if args.shard else "",
        labels=label_output(args),
        **view_settings(args),
    )
    if args.infer_img and summary.shown is not None:
        print_detections(summary.shown)
    report(summary, "images")
    return 1 if summary.failures else 0


def _classify(args: argparse.Namespace, config: Config | None, images: list[ImageFile]) -> int:
    from ppdet_res2net.classification.predict import classify_files

    if args.json:
        check_writable(args.json)
    classifier = name_classes(load_classifier_of(args, config), args.label_file)
    # Unlike ImageNet's images, photos say by EXIF which side is up. They are turned even if the publisher does not do so.
    upright = dataclasses.replace(classifier.preprocessor, upright=True)
    classifier = dataclasses.replace(classifier, preprocessor=upright)
    results, has_failed = [], False
    paths = [image.path for image in images]
    found = classify_files(classifier, paths, top_k=args.top_k, batch_size=args.batch_size, cam_dir=args.cam)
    for image, result in zip(images, found):
        results.append({**result.as_dict(), "file_name": storable(image.name)})
        has_failed |= result.error is not None
        if result.error is not None:
            say(f"Error: {result.error}", sys.stderr)
            continue
        classes = ", ".join(f"{name} {100 * score:.1f} %" for name, score in zip(result.names, result.scores))
        say(f"{printable(result.path)}: {printable(classes)}", text_output(args.json))
    if args.json:
        write_json(args.json, results)
    return 1 if has_failed else 0
