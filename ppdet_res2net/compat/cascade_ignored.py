"""Regions that paddledet's cascade should ignore in training."""

from __future__ import annotations

from ppdet_res2net.compat.defect import Defect

__all__ = ["DEFECT", "leave_out_ignored"]


def leave_out_ignored(rois, rois_num, targets, num_classes):
    """Leave out the regions of one stage of a cascade whose label is -1, which means that the loss ignores them.

    Regions inside crowds get this label if ``BBoxAssigner.ignore_thresh`` is positive. The first stage never samples them. The
    others train on all regions, and the cross entropy refuses the label: "label value should >= 0".

    Args:
        rois: Per image, regions (R, 4).
        rois_num: (N,) int32, regions per image.
        targets: Labels (R,), boxes (R, 4) and numbers (R,) of the matched objects, each per image.
        num_classes: The label of the background.

    Returns:
        ``rois``, ``rois_num`` and ``targets`` without them. An image that has no other regions keeps one, as background.
    """
    import paddle

    labels = targets[0]
    if all(bool((one >= 0).all()) for one in labels):
        return rois, rois_num, targets
    kept = [paddle.nonzero(one >= 0).flatten() for one in labels]
    kept = [rows if len(rows) else paddle.zeros([1], "int64") for rows in kept]
    labels = [paddle.where(one >= 0, one, paddle.full_like(one, num_classes)) for one in labels]
    rois, *targets = ([paddle.gather(*pair) for pair in zip(part, kept)] for part in (rois, labels, *targets[1:]))
    return rois, paddle.to_tensor([len(rows) for rows in kept], "int32"), tuple(targets)


def _is_present() -> bool:
    import paddle

    from ppdet_res2net.compat.ppdet_import import import_ppdet_quietly

    import_ppdet_quietly()
    from ppdet.modeling.proposal_generator.target import sample_bbox

    matches, classes = paddle.zeros([2], "int64"), paddle.zeros([1], "int32")
    matched = paddle.to_tensor([1, -1], "int32")
    _, labels = sample_bbox(matches, matched, classes, 2, 0.5, num_classes=3, is_cascade=True)
    return -1 in labels.tolist()


DEFECT = Defect(
    name="cascade_ignored",
    what="training of Cascade R-CNN stops at regions inside crowds that should be ignored",
    versions={"paddledet": "<=2.6.0"},
    reference="sample_bbox in ppdet/modeling/proposal_generator/target.py of paddledet 2.6.0",
    applied="in training of Cascade R-CNN",
    is_present=_is_present,
)
