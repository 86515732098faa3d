"""The parts of Res2Net: convolution with normalisation, the multi-scale bottleneck, the two stems.

Sublayer names follow PaddleDetection (``branch2a.conv.weight`` ...), so that its checkpoints load by name.
Source: Gao et al., "Res2Net: A New Multi-scale Backbone Architecture", https://arxiv.org/abs/1904.01169.
"""

from __future__ import annotations

import functools

import paddle
import paddle.nn.functional as F
from paddle import ParamAttr, nn
from paddle.nn.initializer import Constant
from paddle.vision.ops import DeformConv2D

from ppdet_res2net.modeling.dialect import Dialect
from ppdet_res2net.modeling.norm import NormOptions, make_norm

__all__ = ["Bottle2neck", "ConvNorm", "make_stem"]


def _relu_in_place(x: paddle.Tensor) -> paddle.Tensor:
    """In-place ReLU. Safe only if neither forward nor backward needs the input again."""
    return F.relu_(x) if paddle.in_dynamic_mode() else F.relu(x)


class ConvNorm(nn.Layer):
    """Convolution without bias, normalisation, optional ReLU. Padding keeps the size at stride 1."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        groups: int = 1,
        relu: bool = False,
        norm: NormOptions = NormOptions(),
        lr_mult: float = 1.0,
        deformable: bool = False,
    ) -> None:
        super().__init__()
        padding = (kernel_size - 1) // 2
        self.relu = relu
        self.deformable = deformable
        if deformable:
            # Deformable convolution v2: two offsets and one modulation per kernel tap. They start at zero, so that
            # training begins with an ordinary convolution, halved by the sigmoid.
            self.num_taps = kernel_size**2
            self.conv_offset = nn.Conv2D(
                in_channels,
                3 * self.num_taps,
                kernel_size,
                stride=stride,
                padding=padding,
                weight_attr=ParamAttr(initializer=Constant(0.0)),
                bias_attr=ParamAttr(initializer=Constant(0.0)),
            )
        conv_class = DeformConv2D if deformable else nn.Conv2D
        self.conv = conv_class(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=padding,
            groups=groups,
            weight_attr=ParamAttr(learning_rate=lr_mult),
            bias_attr=False,
        )
        self.norm = make_norm(out_channels, norm, lr_mult)
        # The gradient of batch normalisation needs its input only, so its output may be overwritten. That of other
        # layers may need the output.
        self.overwrites_norm = isinstance(self.norm, (nn.BatchNorm2D, nn.SyncBatchNorm))

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        if self.deformable:
            offset, modulation = paddle.split(self.conv_offset(x), [2 * self.num_taps, self.num_taps], axis=1)
            x = self.conv(x, offset, mask=F.sigmoid(modulation))
        else:
            x = self.conv(x)
        x = self.norm(x)
        if not self.relu:
            return x
        return _relu_in_place(x) if self.overwrites_norm else F.relu(x)


class Bottle2neck(nn.Layer):
    """The Res2Net bottleneck: one 1x1 convolution, ``scales - 1`` small 3x3 convolutions in a hierarchy, one 1x1.

    In an *ordinary* block each split is added to the output of the one before; the last split passes unchanged. In a
    *stage* block (the first of a stage) the splits are independent and the last one is 3x3 average-pooled, which some
    dialects leave out at stride 1.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        width: int,
        scales: int,
        stride: int,
        is_first: bool,
        is_stage_block: bool,
        variant: str,
        dialect: Dialect,
        groups: int = 1,
        norm: NormOptions = NormOptions(),
        lr_mult: float = 1.0,
        deformable: bool = False,
    ) -> None:
        super().__init__()
        conv_norm = functools.partial(ConvNorm, norm=norm, lr_mult=lr_mult)
        self.scales = scales
        self.is_stage_block = is_stage_block
        # Variant a strides in the first 1x1 convolution, the others in the 3x3 ones.
        self.split_stride = 1 if variant == "a" else stride
        self.has_projection = is_first
        self.branch1: nn.Sequential | ConvNorm
        if is_first:
            if variant == "d" and stride == 2:
                self.branch1 = nn.Sequential(
                    ("pool", nn.AvgPool2D(kernel_size=2, stride=2, padding=0, ceil_mode=True)),
                    ("conv", conv_norm(in_channels, out_channels, 1)),
                )
            else:
                self.branch1 = conv_norm(in_channels, out_channels, 1, stride=stride)
        self.branch2a = conv_norm(in_channels, width * scales, 1, stride=stride if variant == "a" else 1, relu=True)
        self.branch2b = nn.LayerList(
            [
                conv_norm(width, width, 3, stride=self.split_stride, groups=groups, relu=True, deformable=deformable)
                for _ in range(scales - 1)
            ]
        )
        self.branch2c = conv_norm(width * scales, out_channels, 1)
        self.pools_last_split = is_stage_block and (dialect.pools_at_stride_1 or self.split_stride > 1)
        if self.pools_last_split:
            self.pool = nn.AvgPool2D(
                kernel_size=3, stride=self.split_stride, padding=1, exclusive=not dialect.pool_counts_padding
            )

    def forward(self, x: paddle.Tensor, shortcut: paddle.Tensor | None = None) -> paddle.Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H / stride, W / stride).

        Args:
            x: The input.
            shortcut: What the result is added to, of the output's shape; by default, the input or its projection.
        """
        splits = paddle.split(self.branch2a(x), self.scales, axis=1)  # scales x (N, width, H, W)
        outputs: list[paddle.Tensor] = []
        for i, conv in enumerate(self.branch2b):
            is_independent = i == 0 or self.is_stage_block
            outputs.append(conv(splits[i] if is_independent else splits[i] + outputs[-1]))
        outputs.append(self.pool(splits[-1]) if self.pools_last_split else splits[-1])
        residual = self.branch2c(paddle.concat(outputs, axis=1))  # (N, out_channels, H / stride, W / stride)
        if shortcut is None:
            shortcut = self.branch1(x) if self.has_projection else x
        return _relu_in_place(residual + shortcut)


def make_stem(variant: str, norm: NormOptions = NormOptions()) -> nn.Sequential:
    """Return the stem, (N, 3, H, W) -> (N, 64, H/2, W/2): one 7x7 convolution (a, b) or three 3x3 ones (c, d)."""
    if variant in ("c", "d"):
        shapes = [("conv1_1", 3, 32, 3, 2), ("conv1_2", 32, 32, 3, 1), ("conv1_3", 32, 64, 3, 1)]
    else:
        shapes = [("conv1", 3, 64, 7, 2)]
    return nn.Sequential(
        *[(name, ConvNorm(ins, outs, k, stride=s, relu=True, norm=norm)) for name, ins, outs, k, s in shapes]
    )
