#!/usr/bin/env python3
"""Runs every main command once, on the Paddle that this Python has: train 2 steps, evaluate, export, predict.

Not a pytest module: it runs in environments without pytest (``make test-paddle26``) and stops at the first failure.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RECIPE = "demo_mask_rcnn"
CASCADE = "demo_cascade_mask_rcnn"
COMMAND = ("-m", "ppdet_res2net")


def main() -> None:
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        walk(Path(folder))
    print(f"smoke run: every command works ({time.perf_counter() - started:.0f} s)")


def walk(folder: Path) -> None:
    """Run the commands in ``folder`` and check the files that they write."""

    def run(program: tuple, *arguments: object) -> None:
        command = [sys.executable, *map(str, program), *map(str, arguments)]
        print("$ python", shlex.join(command[1:]), flush=True)
        if subprocess.run(command, cwd=folder).returncode != 0:
            sys.exit("smoke run: the command above failed")

    data, images = folder / "data", folder / "data" / "val2017"
    run(COMMAND, "doctor")
    check_defects(folder)
    run(COMMAND, "make-demo-data", data, "--train", 8, "--val", 4)

    datasets = [f"{name}.dataset_dir={data}" for name in ("TrainDataset", "EvalDataset", "TestDataset")]
    run(COMMAND, "train", "-c", RECIPE, "-o", *datasets, "--max_steps", 2)
    weights = folder / "output" / RECIPE / "model_final.pdparams"
    check(weights.is_file(), f"training left no {weights}")

    trained = ["-c", RECIPE, "-o", f"weights={weights}", *datasets]
    run(COMMAND, "eval", *trained, "--classwise", "--json", "figures.json")
    figures = json.loads((folder / "figures.json").read_text("utf-8"))
    check(figures["images"] == 4, f"evaluation saw {figures['images']} images, expected 4")
    check(set(figures) >= {"bbox", "segm"}, f"evaluation gave {sorted(figures)}, expected bbox and segm")

    pictures = {path.name for path in images.iterdir()}
    run(COMMAND, "infer", *trained, "--infer_dir", images, "--output_dir", "eager", "--save_results")
    check_predictions(folder / "eager", pictures)

    run(COMMAND, "export", *trained, "--verify", "--verify_images", images)
    exported = ["--model_dir", Path("output_inference", RECIPE), "--image_dir", images]
    program = (ROOT / "deploy" / "python" / "infer.py",)
    run(program, *exported, "--output_dir", "exported", "--save_results")
    check_predictions(folder / "exported", pictures)

    run(COMMAND, "train", "-c", CASCADE, "-o", *datasets, "--max_steps", 2, "--eval")
    weights = folder / "output" / CASCADE / "model_final.pdparams"
    run(COMMAND, "export", "-c", CASCADE, "-o", f"weights={weights}", *datasets, "--verify", "--verify_images", images)


def check_defects(folder: Path) -> None:
    """Check that the registry of defects agrees with its probes about the installed versions."""
    command = [sys.executable, *COMMAND, "doctor", "--json"]
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True)
    for defect in json.loads(done.stdout)["defects"]["training"]:
        found = f"{defect['name']}: {defect['status']}; its entry in compat/ is for {defect['versions']}"
        check(defect["present"] == defect["expected"], found)


def check_predictions(folder: Path, pictures: set) -> None:
    """Check that every picture is drawn, and that the results are lists as in COCO's format."""
    drawn = {path.name for path in folder.iterdir()}
    check(drawn >= pictures, f"{folder} lacks {sorted(pictures - drawn)}")
    for name in ("bbox.json", "mask.json"):
        entries = json.loads((folder / name).read_text("utf-8"))
        check(isinstance(entries, list), f"{folder / name} is no list")


def check(fine: bool, message: str) -> None:
    if not fine:
        sys.exit(f"smoke run: {message}")


if __name__ == "__main__":
    main()
