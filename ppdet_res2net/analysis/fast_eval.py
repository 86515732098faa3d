"""COCO's figures of one class, computed by the optional package faster-coco-eval."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ppdet_res2net.analysis.class_eval import BoundaryEval, ClassEval, boundary_of
from ppdet_res2net.errors import SetupError

__all__ = ["load_fast_evaluation"]


def load_fast_evaluation() -> Callable[[ClassEval], tuple[np.ndarray, np.ndarray]]:
    """Return a function that computes what ``evaluate`` and ``accumulate`` of a :class:`ClassEval` compute.

    It returns precision (10 IoUs, 101 recalls, 4 areas, 3 numbers of detections) and recall (10, 4, 3).

    Raises:
        SetupError: faster-coco-eval is not installed.
    """
    try:
        from faster_coco_eval.core.faster_eval_api import COCOeval_faster
    except ImportError as error:
        raise SetupError(
            f"the fast evaluation needs the package faster-coco-eval, which cannot be imported: {error}. Install it with "
            "pip install 'ppdet-res2net[fast-eval]', or leave out --fast_eval."
        ) from error

    class FastEval(COCOeval_faster):
        def __init__(self, scorer: ClassEval) -> None:
            super().__init__(iouType="boundary" if isinstance(scorer, BoundaryEval) else scorer.evidence.kind)
            self.scorer = scorer
            self.print_function = lambda text: None
            self.params.imgIds, self.params.catIds = scorer.params.imgIds, [0]
            self.params.maxDets = scorer.params.maxDets

        def _prepare(self) -> None:
            sides = self.scorer.entries()
            _make_scores_unique(sides[1], self.scorer.params.imgIds)
            compared = set.intersection(*({entry["image_id"] for entry in side} for side in sides))
            for dataset, entries in zip((self.gt_dataset, self.dt_dataset), sides):
                dataset.clean()
                for entry in entries:
                    if "segmentation" in entry:
                        entry["rle"] = entry["segmentation"]
                    if isinstance(self.scorer, BoundaryEval) and entry["image_id"] in compared:
                        entry["boundary"] = boundary_of(entry["segmentation"])
                    dataset.append_ref(entry["image_id"], 0, entry)

    def evaluate(scorer: ClassEval) -> tuple[np.ndarray, np.ndarray]:
        fast = FastEval(scorer)
        fast.evaluate()
        fast.accumulate()
        return fast.eval["precision"][:, :, 0], fast.eval["recall"][:, 0]

    return evaluate


def _make_scores_unique(entries: list[dict], images: list[int]) -> None:
    """Replace the scores by ranks, with equal scores in pycocotools' order: faster-coco-eval has another one for them."""
    place = {image: number for number, image in enumerate(images)}
    entries.sort(key=lambda one: (-one["score"], place[one["image_id"]]))  # stable
    for rank, entry in enumerate(entries):
        entry["score"] = float(len(entries) - rank)
