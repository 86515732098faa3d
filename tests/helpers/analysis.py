"""Evidence and pycocotools' own figures of made-up detections."""

from __future__ import annotations

import contextlib
import copy
import io

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ppdet_res2net.analysis.evidence import Evidence, gather_evidence
from ppdet_res2net.data.coco_file import parse_coco
from ppdet_res2net.data.ground_truth import ScoredObjects, select_scored_objects


def objects_of(content: dict, with_masks: bool = True) -> ScoredObjects:
    """Return the objects of annotations in COCO's format."""
    return select_scored_objects(parse_coco(content), with_masks, "made up")


def evidence_of(content: dict, results: list[dict], kind: str) -> Evidence:
    """Return annotations and detections as columns."""
    return gather_evidence(objects_of(content, kind == "segm"), results, kind)


def coco_eval(content: dict, results: list[dict], kind: str) -> COCOeval:
    """Return what pycocotools computes."""
    unused = "bbox" if kind == "segm" else "segmentation"
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = copy.deepcopy(content)
        truth.createIndex()
        found = truth.loadRes([{key: value for key, value in one.items() if key != unused} for one in results])
        scored = COCOeval(truth, found, kind)
        scored.evaluate()
        scored.accumulate()
        scored.summarize()
    return scored
