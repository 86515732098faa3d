"""What augmentations do to the AP of a small Mask R-CNN: each with several seeds, with the spread.

    python -m benchmarks.augmentations --data ../shared/data/nuts --train train --val val
    python -m benchmarks.augmentations --data ../shared/data/coco_tiny --train train2017 --val val2017

The recipe is demo_mask_rcnn, trained from random weights at a fixed input size, which is also that of evaluation. One process
trains one run. Each result is a file in ``--out``, so the command can be stopped and started again: it does only what is
missing, one seed after the other, and prints the table of what is there.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.harness import call, machine_line, run_main

__all__ = ["AUGMENTATIONS", "main", "overrides_of", "table", "train_one"]

RECIPE = "demo_mask_rcnn"
BATCH_SIZE = 4
NORMALIZED = [
    {"NormalizeImage": {"is_scale": True, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}},
    {"Permute": {}},
]
# The transforms between Decode and NormalizeImage. SIZE stands for the input size.
SIZE = "SIZE"
RESIZE = {"Resize": {"target_size": SIZE, "keep_ratio": True, "interp": 1}}
FLIP = {"RandomFlip": {"prob": 0.5}}
STANDARD = {"RandomScaledCrop": {"target_dim": SIZE, "scale_range": [0.8, 1.25]}}
LARGE = {"RandomScaledCrop": {"target_dim": SIZE, "scale_range": [0.1, 2.0]}}
# The thresholds are CopyPaste's defaults for 1024 pixels, made smaller with the image.
PASTE = {"CopyPaste": {"bbox_occluded_thr": 3, "mask_occluded_thr": 30}}
COLOURS = {
    "RandomDistort": {
        "random_apply": False, "brightness": [-32, 32, 0.5], "contrast": [0.5, 1.5, 0.5], "saturation": [0.5, 1.5, 0.5],
        "hue": [-0.1, 0.1, 0.5],
    }
}  # fmt: skip
AUGMENTATIONS: dict[str, list[dict]] = {
    "flip": [RESIZE, FLIP],
    "jitter 0.8-1.25": [STANDARD, FLIP],
    "jitter 0.1-2.0": [LARGE, FLIP],
    "jitter 0.8-1.25, copy-paste": [STANDARD, FLIP, PASTE],
    "jitter 0.1-2.0, copy-paste": [LARGE, FLIP, PASTE],
    "flip, colours": [COLOURS, RESIZE, FLIP],
    "mosaic, jitter 0.8-1.25": [{"Mosaic": {"prob": 0.5, "input_dim": SIZE}}, STANDARD, FLIP],
}


@dataclasses.dataclass(frozen=True)
class Run:
    """What one run trains on, and for how long.

    Attributes:
        data: Folder of the dataset.
        train: Name of the folder of training images, and of ``annotations/instances_<name>.json``.
        val: The same for evaluation.
        size_px: Height and width of the input.
        steps: Steps of batches of four images; the run ends with the epoch that reaches them.
    """

    data: str
    train: str
    val: str
    size_px: tuple[int, int]
    steps: int


def main() -> None:
    """Do the runs that are missing, and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.augmentations",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="dataset with annotations/instances_*.json"
    )
    parser.add_argument(
        "--train", default="train", metavar="NAME", help="folder of training images (default: %(default)s)"
    )
    parser.add_argument("--val", default="val", metavar="NAME", help="folder for evaluation (default: %(default)s)")
    parser.add_argument("--size", type=int, nargs=2, default=(240, 320), metavar=("H", "W"), help="default: 240 320")
    parser.add_argument("--steps", type=int, default=280, metavar="N", help="steps of a run (default: %(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=(0, 1, 2), metavar="N", help="default: 0 1 2")
    parser.add_argument("--only", nargs="+", choices=AUGMENTATIONS, default=list(AUGMENTATIONS), metavar="NAME")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="threads of a run (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("output/augmentations"), metavar="DIR")
    args = parser.parse_args()
    run = Run(str(args.data.resolve()), args.train, args.val, tuple(args.size), args.steps)
    results: dict[str, dict[int, dict]] = {name: {} for name in args.only}
    for seed in args.seeds:
        for name in args.only:
            file = (
                args.out / f"{args.data.name} {name} {args.size[0]}x{args.size[1]} {args.steps} steps seed {seed}.json"
            )
            if not file.is_file():
                result = call(
                    "benchmarks.augmentations:train_one",
                    {"run": dataclasses.asdict(run), "name": name, "seed": seed, "save_dir": str(args.out / "runs")},
                    threads=args.threads,
                )
                file.parent.mkdir(parents=True, exist_ok=True)
                unfinished = file.with_suffix(".part")
                unfinished.write_text(json.dumps(result))
                unfinished.rename(file)
                print(f"{name}, seed {seed}: {result}", flush=True)
            results[name][seed] = json.loads(file.read_text())
    print(machine_line(args.threads))
    print(f"{RECIPE}, {args.data.name}, {args.size[0]}x{args.size[1]}, {args.steps} steps of {BATCH_SIZE} images")
    print("\n".join(table(results)))


def overrides_of(run: Run, name: str, seed: int, save_dir: str, images: int) -> list[str]:
    """Return what turns the demo recipe into a run, as values of ``-o``.

    Args:
        run: The run.
        name: One of :data:`AUGMENTATIONS`.
        seed: Seed of everything.
        save_dir: Folder for its checkpoint.
        images: Number of training images with objects.
    """
    size = list(run.size_px)
    chain = json.loads(json.dumps(AUGMENTATIONS[name]).replace(json.dumps(SIZE), json.dumps(size)))
    evaluated = json.loads(json.dumps([RESIZE]).replace(json.dumps(SIZE), json.dumps(size)))
    epochs = -(-run.steps // max(1, images // BATCH_SIZE))
    categories = json.loads(Path(run.data, "annotations", f"instances_{run.val}.json").read_text())["categories"]
    settings = {
        "num_classes": len(categories),
        "TrainDataset.dataset_dir": run.data, "TrainDataset.image_dir": run.train,
        "TrainDataset.anno_path": f"annotations/instances_{run.train}.json",
        "EvalDataset.dataset_dir": run.data, "EvalDataset.image_dir": run.val,
        "EvalDataset.anno_path": f"annotations/instances_{run.val}.json",
        "TrainReader.sample_transforms": [{"Decode": {}}, *chain, *NORMALIZED],
        "EvalReader.sample_transforms": [{"Decode": {}}, *evaluated, *NORMALIZED],
        "TrainReader.batch_size": BATCH_SIZE, "worker_num": 0, "use_gpu": False, "seed": seed, "save_dir": save_dir,
        "epoch": epochs, "snapshot_epoch": epochs, "LearningRate.schedulers.0.max_epochs": epochs,
    }  # fmt: skip
    return [f"{key}={json.dumps(value)}" for key, value in settings.items()]


def train_one(run: Mapping, name: str, seed: int, save_dir: str) -> dict[str, float]:
    """Train and evaluate one run; return box and mask AP (0 to 100) and the processor time in minutes."""
    import cv2

    from ppdet_res2net.config import load_config
    from ppdet_res2net.detection.model import read_coco_dataset
    from ppdet_res2net.detection.task import train

    logging.disable(logging.INFO)
    cv2.setNumThreads(1)
    plan = Run(**run)
    begin = time.process_time()
    counted = load_config(RECIPE, overrides_of(plan, name, seed, save_dir, 1))
    images = len(read_coco_dataset(counted, "TrainDataset"))
    folder = f"{save_dir}/{name}, {seed}".replace(" ", "_")
    result = train(load_config(RECIPE, overrides_of(plan, name, seed, folder, images)), evaluate=True)
    assert result.metrics is not None  # evaluate was set
    scores = {kind: 100 * result.metrics[kind]["AP"] for kind in ("bbox", "segm")}
    return {**scores, "cpu_minutes": (time.process_time() - begin) / 60}


def table(results: Mapping[str, Mapping[int, Mapping[str, float]]]) -> Sequence[str]:
    """Return the lines of a table: for each augmentation, mean and sample standard deviation over the seeds, and every seed.

    Args:
        results: Box and mask AP by augmentation and seed.
    """
    lines = [
        "| augmentation | seeds | box AP | mask AP | box AP by seed | mask AP by seed |",
        "|---|---|---|---|---|---|",
    ]
    for name, by_seed in results.items():
        if by_seed:
            scores = {kind: [result[kind] for result in by_seed.values()] for kind in ("bbox", "segm")}
            spread = [_describe(values) for values in scores.values()]
            each = [", ".join(f"{value:.1f}" for value in values) for values in scores.values()]
            lines.append(f"| {' | '.join([name, str(len(by_seed)), *spread, *each])} |")
    return lines


def _describe(values: Sequence[float]) -> str:
    mean = f"{statistics.mean(values):.1f}"
    return f"{mean} ± {statistics.stdev(values):.1f}" if len(values) > 1 else mean


if __name__ == "__main__":
    run_main(main)
