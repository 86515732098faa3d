"""The four dialects of Res2Net: equal parameter shapes, different numbers.

Weights of one dialect load into a model of another without an error, and give wrong results. Therefore the dialect is a
named property of each model. Everything that differs is defined here.
"""

from __future__ import annotations

import dataclasses

from ppdet_res2net.errors import ConfigError, did_you_mean

__all__ = ["DIALECTS", "Dialect", "get_dialect"]


@dataclasses.dataclass(frozen=True)
class Dialect:
    """What distinguishes one published family of Res2Net implementations from the others.

    Attributes:
        name: ``official``, ``paddle``, ``ppdet`` or ``mmdet``.
        first_block_is_stage_block: The first block of the first stage (stride 1) treats its splits independently, as
            the first block of every other stage does; otherwise it is an ordinary block.
        pools_at_stride_1: A stage block average-pools its last split even where its 3x3 convolutions have stride 1, as in
            the first stage; otherwise the split passes unchanged there.
        pool_counts_padding: The 3x3 average pool of a stage block always divides by 9; otherwise by the number of
            pixels that lie inside the feature map.
        blocks_ignore_variant: Only the stem depends on the variant; the blocks are always those of variant b. So variant d
            has no average pool in its shortcuts, and variant a strides in the 3x3 convolutions.
    """

    name: str
    first_block_is_stage_block: bool
    pools_at_stride_1: bool
    pool_counts_padding: bool
    blocks_ignore_variant: bool


DIALECTS = {
    dialect.name: dialect
    for dialect in (
        # The authors' code, timm, mmpretrain, MindCV.
        Dialect("official", True, True, True, False),
        # PaddleClas, and the ImageNet weights that PaddleDetection's recipes start from.
        Dialect("paddle", False, True, False, False),
        # PaddleDetection, which never passes the variant on to its blocks.
        Dialect("ppdet", False, True, False, True),
        # mmdetection. Its trunk always has the deep stem and pooled shortcuts of variant d.
        Dialect("mmdet", True, False, True, False),
    )
}


def get_dialect(name: str) -> Dialect:
    """Return the dialect called ``name``.

    Raises:
        ConfigError: There is no such dialect.
    """
    if not isinstance(name, str) or name not in DIALECTS:
        raise ConfigError(
            f"Res2Net: unknown dialect {name!r}; choose one of {', '.join(DIALECTS)}.{did_you_mean(name, DIALECTS)}"
        )
    return DIALECTS[name]
