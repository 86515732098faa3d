"""The command line of the runtime: ``python deploy/python/infer.py``, or ``python -m res2net_runtime`` where installed."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from res2net_runtime import Detections, Predictor, Res2NetError, draw_detections, find_images
from res2net_runtime.backends import BACKENDS, PRECISIONS

# PaddleDetection's names for a backend with a precision.
RUN_MODES = {
    "auto": ("auto", "fp32"),
    "paddle": ("paddle", "fp32"),
    "mkldnn": ("onednn", "fp32"),
    "mkldnn_bf16": ("onednn", "bf16"),
    "trt_fp32": ("tensorrt", "fp32"),
    "trt_fp16": ("tensorrt", "fp16"),
}


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Detect objects in images with an exported model.", formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--model_dir", required=True, help="folder that export_model.py wrote")
    images = parser.add_mutually_exclusive_group(required=True)
    images.add_argument("--image_file", help="one image")
    images.add_argument("--image_dir", help="a folder of images")
    parser.add_argument("--device", default="CPU", help="CPU, GPU or GPU:<index>")
    parser.add_argument("--cpu_threads", type=int, help="threads of the network on a CPU; default: all cores")
    parser.add_argument(
        "--batch_size", type=int, default=1, help="images that run at once, if they are of one size"
    )
    parser.add_argument(
        "--threshold", type=float, help="draw detections from this score; default: as exported"
    )
    parser.add_argument("--output_dir", default="output", help="where pictures and results are written")
    parser.add_argument(
        "--save_results", action="store_true", help="write bbox.json, and mask.json if there are masks"
    )
    parser.add_argument(
        "--run_mode", choices=RUN_MODES, default="auto", help="engine and precision by one name"
    )
    parser.add_argument("--backend", choices=["auto", *BACKENDS], help="engine, instead of --run_mode")
    parser.add_argument("--precision", choices=PRECISIONS, help="precision, instead of --run_mode")
    args = parser.parse_args(argv)
    if (args.backend or args.precision) and args.run_mode != "auto":
        parser.error("--run_mode already says backend and precision; leave it out, or leave those out")
    for name in ("cpu_threads", "batch_size"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            parser.error(f"--{name} must be at least 1")
    return args


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return the exit code: 0 if every image worked, 1 otherwise."""
    args = parse_args(argv)
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.INFO)
    try:
        return run(args)
    except (Res2NetError, OSError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted; the pictures so far are kept, results are not written.", file=sys.stderr)
        return 130


def run(args: argparse.Namespace) -> int:
    """Detect, draw and save; return the exit code."""
    paths = find_images(args.image_dir) if args.image_dir else [Path(args.image_file)]
    output_dir = make_output_dir(args.output_dir, paths)
    backend, precision = RUN_MODES[args.run_mode]
    predictor = Predictor(
        args.model_dir,
        device=args.device,
        cpu_threads=args.cpu_threads,
        batch_size=args.batch_size,
        backend=args.backend or backend,
        precision=args.precision or precision,
    )
    threshold = predictor.info.draw_threshold if args.threshold is None else args.threshold
    names, image_ids = unique_names(paths), make_image_ids(paths)
    entries: list[dict] = []
    failures: list[str] = []
    drawn = 0
    with predictor, tqdm(total=len(paths), unit="image", disable=len(paths) == 1) as progress:
        for path, prediction in zip(paths, predictor.predict_iter(paths)):
            progress.update()
            if prediction.error is not None:
                failures.append(str(prediction.error))
                continue
            picture = draw_detections(prediction.image, prediction.detections, threshold)
            save_picture(output_dir / names[path], picture)
            shown = prediction.detections.filter(threshold)
            drawn += len(shown)
            if len(paths) == 1:
                print_detections(shown)
            if args.save_results:
                found = prediction.detections.to_coco(image_ids[path])
                entries.extend({"file_name": path.name, **entry} for entry in found)
        engine = predictor.description
    done = len(paths) - len(failures)
    if args.save_results and done:
        save_results(output_dir, entries, predictor.info.outputs)
    for failure in failures:
        print(f"Error: {failure}", file=sys.stderr)
    if done:
        print(f"{done} of {len(paths)} images, {drawn} detections from score {threshold:g}, {engine}.")
        print(f"Pictures{' and results' if args.save_results else ''} are in '{output_dir}'.")
    if failures and done:
        print(f"{len(failures)} of {len(paths)} images failed; see above.", file=sys.stderr)
    return 1 if failures else 0


def make_output_dir(directory: str, image_paths: list[Path]) -> Path:
    """Create the output folder; refuse the folder of the images, where pictures would replace them."""
    path = Path(directory)
    if path.resolve() in {image.resolve().parent for image in image_paths}:
        raise Res2NetError(
            f"The pictures would overwrite the images in '{path}'. Choose another --output_dir."
        )
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Res2NetError(
            f"Cannot create '{path}': {error.strerror}. Choose another --output_dir."
        ) from error
    return path


def make_image_ids(paths: list[Path]) -> dict[Path, int]:
    """Return COCO image ids: the file names if all are numbers, as in COCO, else positions in the list."""
    if all(path.stem.isascii() and path.stem.isdigit() for path in paths):
        ids = {path: int(path.stem) for path in paths}
        if len(set(ids.values())) == len(paths):
            return ids
    return {path: index for index, path in enumerate(paths)}


def unique_names(paths: list[Path]) -> dict[Path, str]:
    """Return the name of each picture that is written: JPEG and PNG keep theirs, others become PNG."""
    names = {
        path: path.name if path.suffix.lower() in (".jpg", ".jpeg", ".png") else f"{path.stem}.png"
        for path in paths
    }
    taken = Counter(name.lower() for name in names.values())
    return {path: name if taken[name.lower()] == 1 else f"{path.name}.png" for path, name in names.items()}


def save_picture(path: Path, picture_rgb: np.ndarray) -> None:
    """Write an RGB picture; the encoder follows the suffix."""
    _, encoded = cv2.imencode(path.suffix.lower(), cv2.cvtColor(picture_rgb, cv2.COLOR_RGB2BGR))
    path.write_bytes(encoded.tobytes())


def print_detections(detections: Detections) -> None:
    """Print one line per detection."""
    for name, score, box in zip(detections.class_names, detections.scores, detections.boxes_xyxy):
        x1, y1, x2, y2 = box
        print(f"{name} {score:.3f}: left {x1:.1f}, top {y1:.1f}, right {x2:.1f}, bottom {y2:.1f}")


def save_results(output_dir: Path, entries: list[dict], outputs: tuple[str, ...]) -> None:
    """Write COCO results: boxes to bbox.json, and for detectors with masks, masks to mask.json."""
    kinds = {"bbox": "bbox.json"}
    if "masks" in outputs:
        kinds["segmentation"] = "mask.json"
    for key, name in kinds.items():
        other = set(kinds) - {key}
        chosen = [{field: value for field, value in entry.items() if field not in other} for entry in entries]
        (output_dir / name).write_text(json.dumps(chosen), encoding="utf-8")
