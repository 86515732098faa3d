"""The command line of the runtime: ``python deploy/python/infer.py``, or ``python -m res2net_runtime``."""

from __future__ import annotations

import argparse
import logging
import os
import shlex
import sys
from pathlib import Path
from typing import Any

from res2net_runtime.arguments import (
    FlagParser,
    fraction,
    images_per_batch,
    path_text,
    positive_int,
    thread_count,
    whole_number,
)
from res2net_runtime.backends.base import TRUST_GRAPH_OPTION
from res2net_runtime.console import configure_logging, ending_on_signals, python_command, run_command, say
from res2net_runtime.engines import BACKENDS, PRECISIONS, RUN_MODES
from res2net_runtime.errors import ImageError, Res2NetError
from res2net_runtime.files import make_output_folder
from res2net_runtime.image_lists import SAVING_OPTIONS, SELECTION_OPTIONS, ImageFile, find_misplaced, select_images
from res2net_runtime.jobs import Output, Summary, run_camera, run_images, run_video
from res2net_runtime.labels import LABEL_OPTIONS, find_misused_labels, label_output
from res2net_runtime.model_folder import local_model_dir, read_model_config
from res2net_runtime.paddledetection_flags import INFER_FLAGS
from res2net_runtime.predictor import Predictor
from res2net_runtime.preprocess import DEFAULT_MAX_PIXELS
from res2net_runtime.results import Detections
from res2net_runtime.texts import hide_password, is_url, printable
from res2net_runtime.thresholds import describe_thresholds
from res2net_runtime.video_writer import CODECS
from res2net_runtime.views import VIEW_OPTIONS, find_misused_views, view_settings


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    script = Path(sys.argv[0])
    is_script = script.name == "infer.py"
    module = "-m res2net_runtime"
    parser = FlagParser(
        script.name if is_script else f"python {module}",
        "Detect objects in images, or classify them, with an exported model.",
        f"{python_command()} {shlex.quote(os.fspath(script)) if is_script else module}",
        examples=(
            "--model_dir output_inference/demo_mask_rcnn --image_file photo.jpg",
            "--model_dir output_inference/demo_mask_rcnn --image_dir photos --save_results --batch_size 4",
            "--model_dir output_inference/demo_mask_rcnn --image_dir photos --recursive --no_pictures --skip_done --shard 1/4",
            "--model_dir output_inference/demo_mask_rcnn --video_file video.mp4 --threshold 0.7 --run_mode mkldnn",
        ),
        foreign=INFER_FLAGS,
    )
    parser.add_argument(
        "--model_dir",
        type=path_text,
        required=True,
        metavar="DIR",
        help="folder that the export wrote, or hf://OWNER/REPO",
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--image_file", type=path_text, metavar="FILE", help="one image")
    source.add_argument("--image_dir", type=path_text, metavar="DIR", help="a folder of images")
    source.add_argument(
        "--image_list", type=path_text, metavar="FILE", help="a text file with the path of one image per line"
    )
    source.add_argument("--video_file", type=path_text, metavar="FILE", help="a video")
    source.add_argument(
        "--camera_id", type=whole_number(0), metavar="N", help="number of a camera, from 0; stop with Ctrl-C"
    )
    source.add_argument(
        "--stream_url",
        type=path_text,
        metavar="URL",
        help="a stream, such as rtsp://host/path, read as a camera; stop with Ctrl-C",
    )
    for flag, settings in SELECTION_OPTIONS.items():
        parser.add_argument(flag, **settings)
    parser.add_argument(
        "--device", default="CPU", metavar="NAME", help="CPU, GPU or GPU:<index> (default: %(default)s)"
    )
    parser.add_argument(
        "--cpu_threads", type=thread_count, metavar="N", help="threads of the network on a CPU (default: all cores)"
    )
    parser.add_argument(
        "--batch_size",
        type=images_per_batch,
        default=1,
        metavar="N",
        help="number of images of one size that run together (default: %(default)s)",
    )
    parser.add_argument(
        "--threshold",
        type=fraction,
        metavar="SCORE",
        help="draw detections with at least this score (default: the model's class_thresholds or draw_threshold)",
    )
    parser.add_argument(
        "--output_dir",
        type=path_text,
        default="output",
        metavar="DIR",
        help="where pictures and results are written (default: %(default)s)",
    )
    parser.add_argument(
        "--save_results",
        action="store_true",
        help="write bbox.json, and mask.json if there are masks; classes.json for a classifier",
    )
    for flag, settings in SAVING_OPTIONS.items():
        parser.add_argument(flag, **settings)
    for flag, settings in LABEL_OPTIONS.items():
        parser.add_argument(flag, **settings)
    for flag, settings in VIEW_OPTIONS.items():
        parser.add_argument(flag, **settings)
    parser.add_argument(
        "--video_codec",
        choices=["auto", *CODECS],
        default="auto",
        help="how videos are written: auto is h264 (MP4) if PyAV is installed, else vp8 (WebM); browsers do not play mpeg4 "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--max_pixels",
        type=positive_int,
        default=DEFAULT_MAX_PIXELS,
        metavar="N",
        help="refuse images with more pixels (default: %(default)s)",
    )
    parser.add_argument("--trust_graph", **TRUST_GRAPH_OPTION)
    parser.add_argument(
        "--no_winograd",
        action="store_true",
        help="compute every convolution directly; by default, OpenVINO's large ones use Winograd's algorithm in fp32",
    )
    parser.add_argument(
        "--run_mode", choices=RUN_MODES, default="auto", help="engine and precision by one name (default: %(default)s)"
    )
    parser.add_argument("--backend", choices=["auto", *BACKENDS], help="engine, instead of --run_mode")
    parser.add_argument("--precision", choices=PRECISIONS, help="precision, instead of --run_mode")
    args: argparse.Namespace = parser.parse_args(argv)
    if (args.backend or args.precision) and args.run_mode != "auto":
        parser.error("--run_mode already says backend and precision; leave out --run_mode, or both of the others")
    misplaced = find_misplaced(args, ("--image_dir", args.image_dir), ("--image_list", args.image_list))
    if misplaced:
        parser.error(misplaced)
    misused = find_misused_labels(args.save_labels, args.labels_dir, args.overwrite_labels) or find_misused_views(args)
    if misused:
        parser.error(misused)
    if args.save_labels and not (args.image_file or args.image_dir or args.image_list):
        parser.error("--save_labels goes with --image_file, --image_dir and --image_list")
    writes = args.save_results or args.save_jsonl or args.skip_done or args.save_labels
    if args.no_pictures and not (args.image_file or writes):
        parser.error("--no_pictures leaves nothing to write; add --save_results, --save_jsonl or --save_labels")
    return args


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return the exit code: 0 if every image worked, 1 otherwise."""
    args = parse_args(argv)
    configure_logging("%(levelname)s: %(message)s", level=logging.INFO)
    for package in ("httpx", "httpx2"):  # huggingface_hub's, which logs every request
        logging.getLogger(package).setLevel(logging.WARNING)
    return run_command(lambda: run(args), "Interrupted; the pictures and results so far are kept.")


def run(args: argparse.Namespace) -> int:
    """Detect, draw and save; return the exit code."""
    if args.video_file and is_url(args.video_file):
        raise ImageError(
            f"'{hide_password(args.video_file)}' is a url. Pass it as --stream_url to read it as a camera."
        )
    args.model_dir = local_model_dir(args.model_dir)
    if read_model_config(args.model_dir)[0]["task"] == "classification":
        detectors_flags = ("save_labels", "slice", "tta", "no_winograd")
        for flag, is_given in ((f"--{name}", getattr(args, name)) for name in detectors_flags):
            if is_given:
                raise Res2NetError(
                    f"{flag} is for detectors, and '{printable(args.model_dir)}' is a classifier. Leave it out."
                )
        from res2net_runtime.classification.cli import run_classifier

        return run_classifier(args, _predictor_options(args))
    images = images_of(args)
    paths = [image.path for image in images] or [Path(file) for file in (args.video_file,) if file]
    output_dir = make_output_folder(args.output_dir, paths)
    predictor = Predictor(
        args.model_dir, winograd=not args.no_winograd, **_predictor_options(args), **view_settings(args)
    )
    output = Output(
        output_dir,
        predictor.info.least_scores if args.threshold is None else args.threshold,
        args.save_results,
        save_jsonl=args.save_jsonl,
        skip_done=args.skip_done,
        save_pictures=not args.no_pictures,
        suffix=args.shard.suffix if args.shard else "",
        video_codec=args.video_codec,
        labels=label_output(args),
    )
    with predictor, ending_on_signals():  # after Paddle, which sets handlers of its own, has been loaded
        if args.video_file:
            summary = run_video(predictor, paths[0], output)
        elif args.stream_url or args.camera_id is not None:
            summary = run_camera(predictor, args.stream_url or args.camera_id, output)
        else:
            summary = run_images(predictor, images, output)
    if args.image_file and summary.shown is not None:
        print_detections(summary.shown)
    report(summary, "images" if args.image_file or args.image_dir or args.image_list else "frames")
    return 1 if summary.failures else 0


def images_of(args: argparse.Namespace) -> list[ImageFile]:
    """Return the images that a command line names; none if it names a video, a camera or a stream.

    Raises:
        ImageError: There is no image, or two have one name.
    """
    if not (args.image_file or args.image_dir or args.image_list):
        return []
    return select_images(
        args.image_file,
        args.image_dir,
        args.image_list,
        recursive=args.recursive,
        list_root=args.list_root,
        shard=args.shard,
        output_dir=args.output_dir,
    )


def _predictor_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the options of a detector or a classifier. ``--run_mode`` names the backend and the precision together."""
    backend, precision = RUN_MODES[args.run_mode]
    return {
        "device": args.device,
        "cpu_threads": args.cpu_threads,
        "batch_size": args.batch_size,
        "backend": args.backend or backend,
        "precision": args.precision or precision,
        "max_pixels": args.max_pixels,
        "trust_graph": args.trust_graph,
    }


def print_detections(detections: Detections) -> None:
    """Print one line per detection."""
    for name, score, box in zip(detections.class_names, detections.scores, detections.boxes_xyxy):
        x1, y1, x2, y2 = box
        say(f"{printable(name)} {score:.3f}: left {x1:.1f}, top {y1:.1f}, right {x2:.1f}, bottom {y2:.1f}")


def report(summary: Summary, what: str) -> None:
    """Print what was done, and each failure.

    Args:
        summary: What a job of :mod:`res2net_runtime.jobs` returned.
        what: ``images`` or ``frames``.
    """
    output = summary.output
    for failure in summary.failures:
        say(f"Error: {failure}", sys.stderr)
    skipped = f", {summary.skipped} done before" if summary.skipped else ""
    if not summary.done and summary.failures:
        return
    total = summary.done + len(summary.failures) if what == "images" else summary.done
    found = f"{summary.drawn} detections with a score of at least {describe_thresholds(output.threshold)}"
    say(f"{summary.done} of {total} {what}{skipped}, {found}, {summary.engine}.")
    has_results = output.save_results or output.save_jsonl or output.skip_done
    written = ["Pictures"] * output.save_pictures + ["results"] * has_results
    if written:
        say(f"{' and '.join(written).capitalize()} are in '{printable(output.directory)}'.")
    if summary.labels is not None:
        say(f"Labels of {summary.labels.count} images are in '{printable(summary.labels.directory)}'.")
        for note in summary.labels.notes():
            say(f"Note: {note}.")
    if summary.failures and what == "images":
        say(f"{len(summary.failures)} of {total} images failed; see above.", sys.stderr)
