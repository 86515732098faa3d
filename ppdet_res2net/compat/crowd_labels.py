"""Crowd regions in paddledet's matching of anchors and proposals."""

from __future__ import annotations

import functools
import inspect

__all__ = ["ignore_crowd_regions"]


def ignore_crowd_regions() -> None:
    """Let paddledet train on images that hold crowd regions besides single objects (``load_crowd: true``).

    ``label_box`` (ppdet/modeling/proposal_generator/target.py) has three defects with crowds. It multiplies the
    dataset's int32 flags with a float32 tensor, which Paddle 3 refuses ("Type promotion only support calculations
    between floating-point numbers"). It measures how far a box lies in a crowd by their IoU, which is small for a person
    in a large crowd, so that hardly anything is ever ignored; COCO's evaluation takes the share of the box, and so does
    this. And where an image has nothing but crowds, the crowds count as background. Versions: paddledet <= 2.6.0.

    ``ignore_thresh`` keeps its meaning: background boxes of which more than this share lies in one crowd region are left
    out of the loss; not positive: none are.
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
    """Match against the single objects only, then leave out background boxes that lie in a crowd."""
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
    """Return which share of the area of each box (N, 4) lies in each region (M, 4): (N, M)."""
    import paddle

    low = paddle.maximum(boxes[:, None, :2], regions[None, :, :2])
    high = paddle.minimum(boxes[:, None, 2:], regions[None, :, 2:])
    overlap = paddle.clip(high - low, min=0).prod(axis=2)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return overlap / paddle.clip(area, min=1e-6).unsqueeze(1)
