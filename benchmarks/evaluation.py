"""Measures reports on made-up detections, and pycocotools against faster-coco-eval: processor seconds and memory.

    python -m benchmarks.evaluation [--images N] [--detections N] [--classes N] [--kind bbox|segm] [--folder DIR]

Each line is a process of its own. Memory is the largest of the process, with the files that it reads.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.harness import ContenderError, call, peak_memory_gb, run_main

WIDTH, HEIGHT = 640, 480
MEAN_OBJECTS = 7.3  # per image, as in COCO's val2017
WORK = {
    "reading both files (memory only)": "reading",
    "pycocotools, AP": "pycocotools",
    "faster-coco-eval, AP": "faster",
    "figures and matches with pycocotools": "usual",
    "figures and matches with faster-coco-eval": "fast",
    "boundary AP with pycocotools": "usual-boundary",
    "boundary AP with faster-coco-eval": "fast-boundary",
    "the whole report with pycocotools": "usual-report",
    "the whole report with faster-coco-eval": "fast-report",
}


def main() -> int:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=5000, metavar="N")
    parser.add_argument("--detections", type=int, default=100, metavar="N", help="per image")
    parser.add_argument("--classes", type=int, default=80, metavar="N")
    parser.add_argument("--kind", choices=("bbox", "segm"), default="bbox")
    parser.add_argument("--only", choices=WORK.values(), action="append", help="measure only this; may be repeated")
    parser.add_argument("--folder", metavar="DIR", help="keep the files there, and use those that are there")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(args.folder or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "found.json").exists():
            make_files(folder, args.images, args.detections, args.classes, args.kind)
        print(f"{'work':42s} seconds  GB", flush=True)
        for name, work in WORK.items():
            if (args.only and work not in args.only) or ("boundary" in work and args.kind != "segm"):
                continue
            arguments = {"folder": str(folder), "kind": args.kind, "work": work}
            try:
                measured = call("benchmarks.evaluation:measure", arguments, threads=1)
            except ContenderError as error:
                print(f"{name:42s} failed: {error}", flush=True)
                continue
            print(
                f"{name:42s} {measured['seconds']:7.1f}  {measured['memory_gb']:.2f}  {measured['figures']}", flush=True
            )
    return 0


def make_files(folder: Path, images: int, detections: int, classes: int, kind: str) -> None:
    """Write annotations and detections: a share of the detections is near objects, the others are anywhere."""
    random = np.random.default_rng(0)
    annotations: list[dict] = []
    results: list[dict] = []
    for image in range(images):
        number = random.poisson(MEAN_OBJECTS)
        sizes = np.exp(random.normal(4.2, 0.8, (number, 2))).clip(4, 400)
        boxes = np.concatenate(
            [random.uniform(0, 1, (number, 2)) * (np.array([WIDTH, HEIGHT]) - sizes).clip(1), sizes], axis=1
        )
        of_object = random.integers(classes, size=number)
        for box, class_ in zip(boxes, of_object):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image + 1,
                    "category_id": int(class_) + 1,
                    "bbox": box.round(2).tolist(),
                    "area": float(box[2] * box[3]),
                    "iscrowd": int(random.uniform() < 0.01),
                    **_mask_of(box, kind),
                }
            )
        near = random.integers(number, size=min(3 * number, detections)) if number else np.zeros(0, np.int64)
        moved = boxes[near] + random.normal(0, 0.12, (len(near), 4)) * boxes[near][:, [2, 3, 2, 3]]
        anywhere = random.uniform(0, 1, (detections - len(near), 4)) * (500, 380, 120, 120)
        found = np.concatenate([moved, anywhere])
        found[:, 2:] = found[:, 2:].clip(2)
        is_same = random.uniform(size=len(near)) < 0.8
        class_of = np.where(is_same, of_object[near], random.integers(classes, size=len(near)))
        class_of = np.append(class_of, random.integers(classes, size=len(anywhere)))
        scores = np.append(random.beta(2, 2, len(near)), random.beta(1, 6, len(anywhere)))
        for box, class_, score in zip(found, class_of, scores):
            entry = {"image_id": image + 1, "category_id": int(class_) + 1, "score": round(float(score), 5)}
            results.append({**entry, "bbox": box.round(2).tolist(), **_mask_of(box, kind)})
    content = {
        "images": [
            {"id": one + 1, "file_name": f"{one + 1:06d}.jpg", "width": WIDTH, "height": HEIGHT}
            for one in range(images)
        ],
        "categories": [{"id": one + 1, "name": f"class {one + 1}"} for one in range(classes)],
        "annotations": annotations,
    }
    (folder / "truth.json").write_text(json.dumps(content))
    (folder / "found.json").write_text(json.dumps(results))


def _mask_of(box: np.ndarray, kind: str) -> dict:
    if kind == "bbox":
        return {}
    from pycocotools import mask as mask_utils

    angle = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    x, y, w, h = box
    outline = np.stack([x + w / 2 * (1 + np.cos(angle)), y + h / 2 * (1 + np.sin(angle))], axis=1).clip(
        0, (WIDTH, HEIGHT)
    )
    (mask,) = mask_utils.frPyObjects([outline.ravel().tolist()], HEIGHT, WIDTH)
    return {"segmentation": {"size": mask["size"], "counts": mask["counts"].decode()}}


def measure(folder: str, kind: str, work: str) -> dict:
    """Do a piece of work in this process, and return its processor seconds without reading the files, and its memory."""
    from ppdet_res2net.analysis.evidence import gather_evidence
    from ppdet_res2net.analysis.report import make_report
    from ppdet_res2net.analysis.scoring import score, score_boundaries
    from ppdet_res2net.data.coco_file import parse_coco
    from ppdet_res2net.data.ground_truth import select_scored_objects

    content = json.loads(Path(folder, "truth.json").read_text())
    results = json.loads(Path(folder, "found.json").read_text())
    started = time.process_time()
    figures: dict = {}
    if work in ("pycocotools", "faster"):
        figures = _evaluate_plainly(content, results, kind, work)
    elif work != "reading":
        objects = select_scored_objects(parse_coco(content), kind == "segm", "made up")
        is_fast = work.startswith("fast")
        if work.endswith("report"):
            report = make_report(objects, {kind: results}, source="made up", title="made up", is_fast=is_fast).report
            figures = report.kinds[kind].figures
        elif work.endswith("boundary"):
            figures = score_boundaries(gather_evidence(objects, results, kind), is_fast=is_fast).figures()
        else:
            figures = score(gather_evidence(objects, results, kind), 0.5, is_fast=is_fast)[0].figures()
    seconds = time.process_time() - started
    shown = {name: figures[name] for name in ("AP", "AP50") if name in figures}
    return {"seconds": seconds, "memory_gb": peak_memory_gb(), "figures": shown}


def _evaluate_plainly(content: dict, results: list[dict], kind: str, work: str) -> dict:
    """Evaluate as one would without this project."""
    if work == "faster":
        from faster_coco_eval import COCO
        from faster_coco_eval import COCOeval_faster as Evaluation
    else:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval as Evaluation
    truth = COCO()
    truth.dataset = content
    truth.createIndex()
    if kind == "segm":  # loadRes takes the area of a mask from the box, if there is one
        results = [{key: value for key, value in one.items() if key != "bbox"} for one in results]
    scored = Evaluation(truth, truth.loadRes(results), kind)
    scored.evaluate()
    scored.accumulate()
    scored.summarize()
    return {"AP": round(float(scored.stats[0]), 6), "AP50": round(float(scored.stats[1]), 6)}


if __name__ == "__main__":
    run_main(main)
