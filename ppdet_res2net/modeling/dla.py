"""Deep layer aggregation (DLA) of Res2Net blocks: the stages are trees, whose roots join the outputs of all their blocks.

Source: Yu et al., "Deep Layer Aggregation", https://arxiv.org/abs/1707.06484, with the blocks of "Res2Net",
https://arxiv.org/abs/1904.01169. The published networks are timm's ``dla60_res2net`` and ``dla60_res2next``.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import paddle
from paddle import nn

from ppdet_res2net.modeling.blocks import Bottle2neck, ConvNorm
from ppdet_res2net.modeling.dialect import get_dialect
from ppdet_res2net.modeling.norm import NormOptions

__all__ = ["DLA_CHANNELS", "DLA_LEVELS", "DLATree", "make_dla_stem"]

# By depth: how often the tree of each stage branches. A tree of n levels has 2^n blocks.
DLA_LEVELS = {"dla60": (1, 2, 3, 1)}
DLA_CHANNELS = (128, 256, 512, 1024)
_STEM_CHANNELS = (16, 16, 32)


def make_dla_stem(norm: NormOptions = NormOptions()) -> nn.Sequential:
    """Return the stem, (N, 3, H, W) -> (N, 32, H/2, W/2). No pool follows it."""
    first, second, third = _STEM_CHANNELS
    return nn.Sequential(
        ("conv1_1", ConvNorm(3, first, 7, relu=True, norm=norm)),
        ("conv1_2", ConvNorm(first, second, 3, relu=True, norm=norm)),
        ("conv1_3", ConvNorm(second, third, 3, stride=2, relu=True, norm=norm)),
    )


class DLATree(nn.Layer):
    """A tree of blocks. With one level, two blocks and their root; otherwise, two trees of a level less.

    The first block of a tree with stride 2 is a stage block, all others are ordinary ones.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        levels: 1 or more.
        width: Channels of one split.
        scales: Number of splits.
        stride: Of the first block; 1 or 2.
        passes_input: Whether the root also takes the input, pooled to the output's size.
        joined_channels: Channels of what the trees before this one leave to its root.
        groups: Groups of the 3x3 convolutions.
        norm: Normalisation.
        lr_mult: Factor of the learning rate.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        levels: int,
        width: int,
        scales: int,
        stride: int = 1,
        passes_input: bool = False,
        joined_channels: int = 0,
        groups: int = 1,
        norm: NormOptions = NormOptions(),
        lr_mult: float = 1.0,
    ) -> None:
        super().__init__()
        self.stride, self.levels, self.passes_input = stride, levels, passes_input
        if passes_input:
            joined_channels += in_channels
        self.pool = nn.MaxPool2D(kernel_size=2, stride=2) if stride == 2 else None
        self.project: ConvNorm | None = None
        self.tree1: Bottle2neck | DLATree
        self.tree2: Bottle2neck | DLATree
        if levels > 1:
            tree = functools.partial(
                DLATree, levels=levels - 1, width=width, scales=scales, groups=groups, norm=norm, lr_mult=lr_mult
            )
            self.tree1 = tree(in_channels, out_channels, stride=stride)
            self.tree2 = tree(out_channels, out_channels, joined_channels=joined_channels + out_channels)
            return
        block = functools.partial(
            Bottle2neck, width=width, scales=scales, is_first=False, variant="b", dialect=get_dialect("official"),
            groups=groups, norm=norm, lr_mult=lr_mult,
        )  # fmt: skip
        self.tree1 = block(in_channels, out_channels, stride=stride, is_stage_block=stride == 2)
        self.tree2 = block(out_channels, out_channels, stride=1, is_stage_block=False)
        if in_channels != out_channels:
            self.project = ConvNorm(in_channels, out_channels, 1, norm=norm, lr_mult=lr_mult)
        self.root = ConvNorm(2 * out_channels + joined_channels, out_channels, 1, relu=True, norm=norm, lr_mult=lr_mult)

    def forward(self, x: paddle.Tensor, joined: Sequence[paddle.Tensor] = ()) -> paddle.Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H / stride, W / stride).

        Args:
            x: The input.
            joined: Outputs of earlier trees, of the output's size, which the root takes too.
        """
        pooled = x if self.pool is None else self.pool(x)
        if self.passes_input:
            joined = [*joined, pooled]
        if self.levels > 1:
            first = self.tree1(x)
            joined_later: paddle.Tensor = self.tree2(first, [*joined, first])
            return joined_later
        first = self.tree1(x, pooled if self.project is None else self.project(pooled))
        output: paddle.Tensor = self.root(paddle.concat([self.tree2(first), first, *joined], axis=1))
        return output
