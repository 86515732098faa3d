"""Ranges of attributes by which Paddle's kernels divide, or that decide how much memory they take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from res2net_runtime.backends.graphs.errors import GraphError
from res2net_runtime.texts import clip

__all__ = ["RANGES", "check_range"]

# Attribute -> its least and greatest value.
RANGES: Mapping[str, tuple[int, int]] = {
    "strides": (1, 1024),
    "dilations": (1, 1024),
    "paddings": (0, 1024),
    "groups": (1, 65536),
    "deformable_groups": (1, 1024),
    "im2col_step": (1, 1024),
    "pooled_height": (1, 1024),
    "pooled_width": (1, 1024),
    "sampling_ratio": (-1, 64),
    "num": (0, 4096),
    "pre_nms_topN": (1, 10**6),
    "post_nms_topN": (1, 10**6),
    "pre_nms_top_n": (1, 10**6),
    "post_nms_top_n": (1, 10**6),
    "min_level": (1, 32),
    "max_level": (1, 32),
    "refer_level": (1, 32),
    "refer_scale": (1, 10**6),
    "kernel_size": (1, 65536),
    "upscale_factor": (1, 1024),
    "out_d": (-1, 65536),
    "out_h": (-1, 65536),
    "out_w": (-1, 65536),
    "perm": (-9, 9),
    "begin_norm_axis": (0, 9),
    "axis": (-9, 9),
    "axes": (-9, 9),
    "start_axis": (-9, 9),
    "stop_axis": (-9, 9),
    "decrease_axis": (-9, 9),
    "infer_flags": (-1, 1),
    "col": (0, 1000),
}


def check_range(operator: str, attribute: str, values: Sequence[int]) -> None:
    """Refuse values of an attribute that no exported graph has.

    Raises:
        GraphError: The message names the operator and the attribute.
    """
    low, high = RANGES.get(attribute, (-(2**63), 2**63))
    if not all(low <= value <= high for value in values):
        raise GraphError(f"the operator '{operator}' has {attribute} = {clip(list(values))}, expected {low} to {high}")
