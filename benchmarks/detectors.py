"""All kinds of detectors side by side: parameters, multiply-accumulates, and each engine's time, memory and differences.

    python -m benchmarks.detectors --photos DIR [--recipes NAME ...] [--engines openvino onnxruntime onednn]

The weights are random numbers with which the detectors find 100 objects (``benchmarks/inference/detector.py``). The
differences are those from the eager network for one photo: unmatched detections, scores, pixels by the IoU of the boxes, and
mask probabilities.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.harness import call, machine_line, peak_memory_gb, run_main

RECIPES = (
    "faster_rcnn_res2net50_vd_26w_4s_fpn_2x_coco",
    "faster_rcnn_dla60_res2net_fpn_1x_coco",
    "mask_rcnn_res2net50_vd_26w_4s_fpn_2x_coco",
    "cascade_rcnn_res2net50_vd_26w_4s_fpn_20e_coco",
    "cascade_mask_rcnn_res2net50_vd_26w_4s_fpn_20e_coco",
    "mask_rcnn_res2net101_vd_26w_4s_fpn_2x_coco",
    "cascade_mask_rcnn_res2net101_vd_26w_4s_fpn_20e_coco",
    "mmdet_faster_rcnn_res2net101_fpn_2x_coco",
    "mmdet_mask_rcnn_res2net101_fpn_2x_coco",
    "mmdet_cascade_rcnn_res2net101_fpn_20e_coco",
    "mmdet_cascade_mask_rcnn_res2net101_fpn_20e_coco",
)
IMAGE_HW = (480, 640)  # 800x1088 for the network


def run_engine(folder: str, image: str, backend: str, threads: int, runs: int) -> dict[str, float]:
    """Measure an exported detector on an image. Runs in a process of its own."""
    from res2net_runtime import Predictor

    picture = np.load(image)
    wall_s, cpu_s = [], []
    with Predictor(folder, backend=backend, cpu_threads=threads) as predictor:
        predictor(picture)
        for _ in range(runs):
            started_s, started_cpu_s = time.perf_counter(), time.process_time()
            predictor(picture)
            wall_s.append(time.perf_counter() - started_s)
            cpu_s.append(time.process_time() - started_cpu_s)
    return {"wall_s": statistics.median(wall_s), "cpu_s": statistics.median(cpu_s), "peak_gb": peak_memory_gb()}


def prepare_detector(recipe: str, folder: str, photos: str | None) -> dict[str, float]:
    """Make weights and exports of a detector, and return its figures. Runs in a process of its own."""
    from safetensors import safe_open

    from benchmarks.inference.detector import prepare

    workload = prepare(Path(folder), Path(photos) if photos else None, IMAGE_HW, recipe)
    with safe_open(Path(folder) / "weights.safetensors", "np") as weights:
        names = [name for name in weights.keys() if not name.endswith(("._mean", "._variance"))]
        parameters = sum(int(np.prod(weights.get_slice(name).get_shape())) for name in names)
    return {"g_macs": workload.g_macs, "parameters": parameters}


def compare_with_eager(recipe: str, folder: str, image: str, backend: str, threads: int) -> dict[str, object]:
    """Compare an engine with the eager network. Runs in a process of its own."""
    from ppdet_res2net.config import load_config
    from ppdet_res2net.detection.agreement import compare_detections
    from ppdet_res2net.detection.export import ExportSource
    from res2net_runtime import Predictor

    picture = np.load(image)
    config = load_config(recipe, [f"weights={Path(folder) / 'weights'}", "use_gpu=false"])
    expected = ExportSource.load(config).predictor()(picture)
    with Predictor(str(Path(folder) / "model"), backend=backend, cpu_threads=threads) as predictor:
        found = compare_detections([expected], [predictor(picture)])
    return {
        "unmatched": f"{found.unmatched} of {found.detections}",
        "scores": found.max_score_difference,
        "box_iou": found.min_box_iou,
        "masks": found.max_mask_difference,
    }


def measure(args: argparse.Namespace) -> Iterator[dict[str, object]]:
    """Yield a row for each detector and engine."""
    for recipe in args.recipes:
        folder = Path(args.work_dir).resolve() / recipe
        given = {"recipe": recipe, "folder": str(folder)}
        photos = str(Path(args.photos).resolve()) if args.photos else None
        facts = call("benchmarks.detectors:prepare_detector", {**given, "photos": photos}, threads=args.threads)
        image = str(folder / "image.npy")
        for backend in args.engines:
            options = {"image": image, "backend": backend, "threads": args.threads}
            times = call(
                "benchmarks.detectors:run_engine",
                {**options, "folder": str(folder / "model"), "runs": args.runs},
                threads=args.threads,
            )
            differences = call("benchmarks.detectors:compare_with_eager", {**given, **options}, threads=args.threads)
            yield {"recipe": recipe, "engine": backend, **facts, **times, **differences}
        shutil.rmtree(folder)


def as_row(row: dict) -> str:
    """Return a line of the table."""
    masks = "" if row["masks"] is None else f"{row['masks']:.1e}"
    return (
        f"| {row['recipe']} | {row['parameters'] / 1e6:.2f} | {row['g_macs']:.0f} | {row['engine']} | {row['wall_s']:.2f} "
        f"| {row['cpu_s']:.2f} | {row['peak_gb']:.2f} | {row['unmatched']} | {row['scores']:.1e} | {row['box_iou']:.5f} "
        f"| {masks} |"
    )


def main() -> int:
    """Measure and print; returns 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", help="folder with photos of 640x480; default: generated pictures")
    parser.add_argument(
        "--work_dir",
        default="output/benchmark_detectors",
        help="weights and exports of one detector after the other; up to 3 GB",
    )
    parser.add_argument("--recipes", nargs="+", default=RECIPES)
    parser.add_argument("--engines", nargs="+", default=["openvino", "onnxruntime", "onednn"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", help="file to write the rows to")
    args = parser.parse_args()
    print(machine_line(args.threads), flush=True)
    print("| detector | M parameters | GMACs | engine | s | CPU s | peak GB | unmatched | scores | box IoU | masks |")
    print("|---|--:|--:|---|--:|--:|--:|--:|--:|--:|--:|")
    rows = []
    for row in measure(args):
        rows.append(row)
        print(as_row(row), flush=True)
    if args.json:
        Path(args.json).write_text(json.dumps(rows, indent=1))
    return 0


if __name__ == "__main__":
    run_main(main)
