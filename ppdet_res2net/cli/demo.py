"""``ppdet-res2net demo``: every step on the generated dataset, from data to pictures."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path

from ppdet_res2net.cli._common import CommandParser, say
from ppdet_res2net.commands import program
from ppdet_res2net.errors import TrainingError

logger = logging.getLogger(__name__)

RECIPE = "demo_mask_rcnn"
MIN_AP50 = 0.5


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code, 0.

    Raises:
        TrainingError: The trained detector is worse than it should be.
    """
    parser = CommandParser(
        "demo",
        "Make a small dataset, train a Mask R-CNN on it, evaluate, export, verify the export and predict.",
        examples=("", "--output_dir /tmp/demo"),
    )
    parser.add_argument(
        "--output_dir", default="demo", metavar="DIR", help="folder for everything (default: %(default)s)"
    )
    output_dir = Path(parser.parse_args(argv).output_dir).resolve()
    started = time.perf_counter()
    metrics = _walk(output_dir)
    box, mask = metrics["bbox"]["AP50"], metrics["segm"]["AP50"]
    say(_summary(output_dir, metrics, time.perf_counter() - started))
    if min(box, mask) < MIN_AP50:
        raise TrainingError(
            f"The demo learned too little: box AP50 {box:.3f}, mask AP50 {mask:.3f}, expected at least {MIN_AP50}. "
            f"'{program('doctor')}' may tell why; please report it with {output_dir}/runs/{RECIPE}/train.log."
        )
    return 0


def _walk(output_dir: Path) -> dict:
    """Do every step and return the evaluation's figures."""
    from ppdet_res2net.config import load_config
    from ppdet_res2net.datasets.demo import make_demo_data
    from ppdet_res2net.detection.evaluate import evaluate_from_config
    from ppdet_res2net.detection.export import export_model
    from ppdet_res2net.detection.task import train
    from res2net_runtime.cli import main as run_exported

    data, runs = output_dir / "data", output_dir / "runs"
    _announce(1, "a dataset of drawn shapes, in COCO's format")
    make_demo_data(data, train_images=400, val_images=60, image_size_px=128)
    overrides = [
        f"save_dir={runs}",
        f"weights={runs / RECIPE / 'model_final'}",
        *(f"{name}.dataset_dir={data}" for name in ("TrainDataset", "EvalDataset", "TestDataset")),
    ]
    _announce(2, "training a small Mask R-CNN from scratch")
    if train(load_config(RECIPE, overrides)).interrupted:
        raise KeyboardInterrupt
    _announce(3, "evaluating the weights on the validation images")
    result = evaluate_from_config(load_config(RECIPE, overrides), classwise=True)
    say(result.report)
    _announce(4, "exporting, and comparing the export with the original")
    images = sorted((data / "val2017").iterdir())[:12]
    folder = export_model(
        load_config(RECIPE, overrides),
        str(output_dir / "exported"),
        verify=True,
        verify_images=[os.fspath(path) for path in images],
    )
    _announce(5, "predicting with Paddle Inference")
    arguments = ["--model_dir", folder, "--image_dir", data / "val2017", "--output_dir", output_dir / "pictures"]
    code = run_exported([*map(str, arguments), "--save_results"])
    if code:
        raise TrainingError("Prediction with the exported model failed; its message is above.")
    return result.summary


def _announce(number: int, what: str) -> None:
    say(f"\n[{number}/5] {what}")


def _summary(output_dir: Path, metrics: dict, seconds: float) -> str:
    shown = os.path.relpath(output_dir)
    return f"""
The demo took {seconds / 60:.1f} minutes. On {metrics["images"]} validation images it reached
  boxes: AP {metrics["bbox"]["AP"]:.3f}, AP50 {metrics["bbox"]["AP50"]:.3f}
  masks: AP {metrics["segm"]["AP"]:.3f}, AP50 {metrics["segm"]["AP50"]:.3f}

  {shown}/data                       the dataset (COCO format)
  {shown}/runs/{RECIPE}        weights, configuration, train.log, metrics.jsonl
  {shown}/exported/{RECIPE}    the static graph, and infer_cfg.yml
  {shown}/pictures                   predictions of the exported model; bbox.json and mask.json

For your own data in COCO format, next:
  {program("train")} -c {RECIPE} --eval -o TrainDataset.dataset_dir=DATA EvalDataset.dataset_dir=DATA \\
      TrainDataset.anno_path=annotations/train.json TrainDataset.image_dir=train \\
      EvalDataset.anno_path=annotations/val.json EvalDataset.image_dir=val
  {program("export")} -c {RECIPE} -o weights=output/{RECIPE}/model_final --verify

For a detector of full size, take mask_rcnn_res2net50_vd_26w_4s_fpn_2x_coco instead of {RECIPE}."""
