"""The names of mmdetection's two-stage detectors, and ours for them. Pure functions of names."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ppdet_res2net.zoo.targets import Target

__all__ = ["is_whole_detector", "map_detector_name"]

_LEAF = r"\.(?P<leaf>weight|bias)"
# A cascade has heads in stages, each with a number.
_BOX_HEAD = r"roi_head\.bbox_head\.(?:(?P<stage>\d)\.)?"
_MASK_HEAD = r"roi_head\.mask_head\.(?:(?P<stage>\d)\.)?"
_PARTS = tuple(
    (re.compile(pattern + _LEAF), ours)
    for pattern, ours in (
        (r"neck\.lateral_convs\.3\.conv", "neck.fpn_inner_res5_sum"),
        (r"neck\.lateral_convs\.(?P<level>[012])\.conv", "neck.fpn_inner_res{level}_sum_lateral"),
        (r"neck\.fpn_convs\.(?P<level>[0123])\.conv", "neck.fpn_res{level}_sum"),
        (r"rpn_head\.rpn_conv", "rpn_head.rpn_feat.rpn_conv"),
        (r"rpn_head\.rpn_cls", "rpn_head.rpn_rois_score"),
        (r"rpn_head\.rpn_reg", "rpn_head.rpn_rois_delta"),
        (_BOX_HEAD + r"shared_fcs\.(?P<number>[01])", "bbox_head.head.{stage_}fc{number}"),
        (_BOX_HEAD + r"fc_cls", "bbox_head.bbox_score{_stage}"),
        (_BOX_HEAD + r"fc_reg", "bbox_head.bbox_delta{_stage}"),
        (_MASK_HEAD + r"convs\.(?P<number>\d)\.conv", "mask_head.{stages_}head.upsample.mask_inter_feat_{number}"),
        (_MASK_HEAD + r"upsample", "mask_head.{stages_}head.upsample.conv5_mask"),
        (_MASK_HEAD + r"conv_logits", "mask_head.{stages_}mask_fcn_logits"),
    )
)


def map_detector_name(name: str) -> Target | None:
    """Return ours for a tensor of a neck or head of Faster, Mask or Cascade R-CNN; None for any other."""
    for pattern, ours in _PARTS:
        found = pattern.fullmatch(name)
        if found is None:
            continue
        values = {key: int(value) for key, value in found.groupdict().items() if key != "leaf" and value is not None}
        place = ours.format(
            level=values.get("level", 0) + 2,
            number=values.get("number", 0) + (6 if "shared_fcs" in name else 1),
            stage_=f"{values['stage']}." if "stage" in values else "",
            _stage=f"_stage{values['stage']}" if "stage" in values else "",
            stages_=f"stages.{values['stage']}." if "stage" in values else "",
        )
        is_linear = bool(re.search(r"\.(shared_fcs\.\d|fc_cls|fc_reg)\.weight$", name))
        return Target(f"{place}.{found['leaf']}", is_transposed=is_linear)
    return None


def is_whole_detector(names: Iterable[str]) -> bool:
    """Whether these are the tensors of a detector that this package computes, names without what wraps the model.

    Other two-stage detectors of mmdetection (HTC, heads with group normalisation, several necks) are not: of these, only the
    trunk can be used.
    """
    parts = {name for name in names if name.startswith(("neck.", "rpn_head.", "roi_head."))}
    box_heads = ("roi_head.bbox_head", "roi_head.bbox_head.0")
    has_box_head = any(f"{head}.shared_fcs.1.weight" in parts for head in box_heads)
    return has_box_head and "rpn_head.rpn_conv.weight" in parts and all(map(map_detector_name, parts))
