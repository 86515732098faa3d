"""Crowd regions in paddledet's matching of anchors and proposals."""

from __future__ import annotations

import functools
import inspect

from ppdet_res2net.compat.defect import Defect

__all__ = ["DEFECT", "ignore_crowd_regions"]


def ignore_crowd_regions() -> None:
    """Let paddledet train on images that hold crowd regions besides single objects (``load_crowd: true``).

    ``label_box`` treats crowds wrongly in three ways. It multiplies the dataset's int32 flags by a float32 tensor,
    which Paddle 3 refuses ("Type promotion only support calculations between floating-point numbers"). It measures by
    IoU how far a box lies in a crowd. The IoU of a person and a large crowd is small, so almost nothing is ever
    ignored; this function uses the share of the box, as COCO's evaluation does. And in an image that has only crowds,
    ``label_box`` counts the crowds as background.

    ``ignore_thresh`` keeps its meaning: a background box is left out of the loss if more than this share of it lies in
    one crowd region. If it is not positive, no box is left out.
    """
    from ppdet.modeling.proposal_generator import target

    original = target.label_box
    signature = inspect.signature(original)

    @functools.wraps(original)
    def label_box(*args, **kwargs):
        call = signature.bind(*args, **kwargs)
        call.apply_defaults()
        is_crowd, ignore_thresh = call.arguments["is_crowd"], call.arguments["ignore_thresh"]
        call.arguments.update(is_crowd=None, ignore_thresh=-1.0)
        if is_crowd is None or not len(is_crowd) or not bool((is_crowd != 0).any()):
            return original(*call.args, **call.kwargs)
        return _label_beside_crowds(original, call, is_crowd.reshape([-1]) != 0, ignore_thresh)

    target.label_box = label_box


def _label_beside_crowds(original, call: inspect.BoundArguments, is_crowd, ignore_thresh: float):
    """Match against single objects only, then leave out background boxes that lie in a crowd."""
    import paddle

    boxes, gt_boxes = call.arguments["anchors"], call.arguments["gt_boxes"]
    singles = paddle.nonzero(~is_crowd).reshape([-1])
    call.arguments["gt_boxes"] = paddle.index_select(gt_boxes, singles) if len(singles) else gt_boxes[:0]
    matches, labels = original(*call.args, **call.kwargs)
    if len(singles):
        matches = paddle.gather(singles, matches)
    if ignore_thresh > 0:
        crowds = paddle.index_select(gt_boxes, paddle.nonzero(is_crowd).reshape([-1]))
        is_inside = _share_inside(boxes, crowds).max(axis=1) > ignore_thresh
        labels = paddle.where(is_inside & (labels == 0), paddle.full_like(labels, -1), labels)
    return matches, labels


def _share_inside(boxes, regions):
    """Return the share of the area of each box (N, 4) that lies in each region (M, 4): (N, M)."""
    import paddle

    low = paddle.maximum(boxes[:, None, :2], regions[None, :, :2])
    high = paddle.minimum(boxes[:, None, 2:], regions[None, :, 2:])
    overlap = paddle.clip(high - low, min=0).prod(axis=2)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return overlap / paddle.clip(area, min=1e-6).unsqueeze(1)


def _is_present() -> bool:
    import paddle

    from ppdet_res2net.compat.ppdet_import import import_ppdet_quietly

    import_ppdet_quietly()
    from ppdet.modeling.proposal_generator.target import label_box

    boxes = paddle.to_tensor([[60.0, 60.0, 65.0, 65.0]])
    ground_truth = paddle.to_tensor([[0.0, 0.0, 10.0, 10.0], [50.0, 50.0, 90.0, 90.0]])
    is_crowd = paddle.to_tensor([[0], [1]], dtype="int32")
    try:
        _, labels = label_box(boxes, ground_truth, 0.7, 0.3, True, 0.5, is_crowd)
    except TypeError:
        return True
    return labels.flatten().tolist() != [-1]


DEFECT = Defect(
    name="crowd_labels",
    what="training stops at images with crowd regions, or counts boxes inside them as background",
    versions={"paddledet": "<=2.6.0"},
    reference="label_box in ppdet/modeling/proposal_generator/target.py of paddledet 2.6.0",
    applied="after paddledet is imported",
    is_present=_is_present,
)
