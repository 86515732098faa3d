"""COCO's figures and tables of detections, with pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence

from ppdet_res2net.data.ground_truth import ScoredObjects
from res2net_runtime.texts import printable

__all__ = ["STAT_NAMES", "score_detections"]

# The twelve figures of COCO, in pycocotools' order.
STAT_NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


def score_detections(
    objects: ScoredObjects,
    detections: Sequence[dict],
    iou_types: Sequence[str],
    classwise: bool = False,
    most_classes: int | None = None,
) -> tuple[dict, str]:
    """Return COCO's figures and tables for detections. An empty list scores 0.

    Args:
        objects: What the detections are compared with.
        detections: Detections in COCO's result format: ``image_id``, ``category_id``, ``bbox`` (x, y, width, height in
            pixels), ``score`` and, for masks, ``segmentation``.
        iou_types: What is scored: ``bbox``, ``segm``.
        classwise: Add AP per class to the figures and the tables.
        most_classes: With ``classwise``, the tables have at most this many classes, the best and the worst; None: all.
    """
    figures: dict[str, dict] = {}
    report: list[str] = []
    for iou_type in iou_types:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            scored = _run_coco_eval(objects.to_coco(iou_type), detections, iou_type)
        table = [line for line in printed.getvalue().splitlines() if line.startswith(" Average")]
        figures[iou_type] = {name: round(float(value), 6) for name, value in zip(STAT_NAMES, scored.stats)}
        report += [f"{'Boxes' if iou_type == 'bbox' else 'Masks'} ({iou_type}):", *table]
        if classwise:
            classes = _class_figures(objects, scored)
            figures[iou_type]["classes"] = classes
            report += _class_table(classes, most_classes)
    return figures, "\n".join(report)


def _run_coco_eval(ground_truth: dict, detections: Sequence[dict], iou_type: str):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth = COCO()
    truth.dataset = ground_truth
    truth.createIndex()
    if detections:
        # loadRes takes the area of a mask from the box, if there is one.
        unused = "bbox" if iou_type == "segm" else "segmentation"
        found = truth.loadRes([{k: v for k, v in detection.items() if k != unused} for detection in detections])
    else:  # loadRes refuses an empty list
        found = COCO()
        found.dataset = {**ground_truth, "annotations": []}
        found.createIndex()
    scored = COCOeval(truth, found, iou_type)
    scored.evaluate()
    scored.accumulate()
    scored.summarize()
    return scored


def _class_figures(objects: ScoredObjects, scored) -> list[dict]:
    precision = scored.eval["precision"]  # (IoU thresholds, recalls, classes, areas, detections per image)
    names = {category.id: category.name for category in objects.categories}
    figures = []
    for k, category in enumerate(scored.params.catIds):
        of_class: dict = {"class": names[category], "category_id": int(category)}
        for name, values in (("AP", precision[:, :, k, 0, -1]), ("AP50", precision[:1, :, k, 0, -1])):
            valid = values[values > -1]
            of_class[name] = round(float(valid.mean()), 6) if valid.size else -1.0
        figures.append(of_class)
    return figures


def _class_table(classes: Sequence[dict], most: int | None = None) -> list[str]:
    shown = classes if most is None or len(classes) <= most else _best_and_worst(classes, most)
    names = [printable(one["class"]) for one in shown]
    width = max(map(len, names), default=0)
    lines = [f" {'class':{width}s}   AP      AP50"]
    for name, one in zip(names, shown):
        cells = [f"{one[key]:.3f}" if one[key] >= 0 else "  -  " for key in ("AP", "AP50")]
        lines.append(f" {name:{width}s}   {cells[0]}   {cells[1]}")
    if len(shown) < len(classes):
        lines.append(f" the best and the worst of {len(classes)} classes; metrics.jsonl has all")
    return lines


def _best_and_worst(classes: Sequence[dict], most: int) -> list[dict]:
    ranked = sorted((one for one in classes if one["AP"] >= 0), key=lambda one: -one["AP"])
    return ranked if len(ranked) <= most else ranked[: most - most // 2] + ranked[-(most // 2) :]
