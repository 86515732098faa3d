"""The trunk: an image in, the feature maps C2 to C5 out."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral

import paddle
from paddle import nn

from ppdet_res2net.errors import ConfigError
from ppdet_res2net.modeling.blocks import Bottle2neck, make_stem
from ppdet_res2net.modeling.dialect import Dialect, get_dialect
from ppdet_res2net.modeling.dla import DLA_CHANNELS, DLA_LEVELS, DLATree, make_dla_stem
from ppdet_res2net.modeling.norm import NormOptions

__all__ = [
    "STAGE_CHANNELS",
    "STAGE_DEPTHS",
    "STAGE_STRIDES",
    "Res2Net",
    "Res2NetStage",
    "check_block_options",
    "stage_depths",
]

STAGE_DEPTHS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3), 200: (3, 12, 48, 3)}
STAGE_CHANNELS = (256, 512, 1024, 2048)
STAGE_STRIDES = (4, 8, 16, 32)
VARIANTS = ("a", "b", "c", "d")


class Res2NetStage(nn.Layer):
    """One stage of the trunk: ``count`` blocks. The first one changes the channels and, from C3 on, the size."""

    def __init__(
        self,
        in_channels: int,
        stage: int,
        count: int,
        width: int,
        scales: int,
        variant: str,
        dialect: Dialect,
        groups: int = 1,
        norm: NormOptions = NormOptions(),
        lr_mult: float = 1.0,
        deformable: bool = False,
    ) -> None:
        super().__init__()
        blocks = []
        for i in range(count):
            stride = 2 if i == 0 and stage > 0 else 1
            blocks.append(
                (
                    str(i),
                    Bottle2neck(
                        in_channels if i == 0 else STAGE_CHANNELS[stage],
                        STAGE_CHANNELS[stage],
                        width=width * 2**stage,
                        scales=scales,
                        stride=stride,
                        is_first=i == 0,
                        is_stage_block=i == 0 and (stage > 0 or dialect.first_block_is_stage_block),
                        variant=variant,
                        dialect=dialect,
                        groups=groups,
                        norm=norm,
                        lr_mult=lr_mult,
                        deformable=deformable,
                    ),
                )
            )
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        x = self.blocks(x)
        return x


class Res2Net(nn.Layer):
    """Res2Net or Res2NeXt (``groups`` > 1) trunk.

    Source: https://arxiv.org/abs/1904.01169. Parameter names are PaddleDetection's.

    Args:
        depth: 50, 101, 152, 200, or the number of blocks of each stage, e.g. ``[3, 4, 6, 3]``. ``dla60`` builds the stages as
            trees (:mod:`ppdet_res2net.modeling.dla`); its images have sides that are multiples of 32.
        width: Channels of one split in the first stage; doubles from stage to stage.
        scales: Number of splits.
        variant: Like ResNet's: ``a`` strides in the 1x1 convolution, ``b`` in the 3x3 ones, ``c`` is b with the deep
            stem, ``d`` is c with an average-pooled shortcut.
        dialect: ``official`` (the authors, timm, mmpretrain, MindCV), ``paddle`` (PaddleClas), ``ppdet``
            (PaddleDetection's detectors) or ``mmdet`` (mmdetection's); see ``modeling/dialect.py``. It must be that of the
            weights.
        lr_mult_list: Factor on the learning rate of each of the four stages.
        groups: Groups of the 3x3 convolutions.
        norm_type: ``bn``, ``sync_bn`` or ``gn``.
        norm_decay: L2 decay of the normalisation's scale and offset.
        freeze_norm: Keep normalisation as loaded. Only sensible with pretrained weights.
        freeze_at: Index of the last stage that is not trained; the stem and the stages before it are not trained either.
            -1 trains everything.
        return_idx: Indices of the stages whose outputs are returned; 0 stands for C2 (stride 4).
        dcn_v2_stages: Indices of the stages with deformable 3x3 convolutions; -1 for none.
        num_stages: Number of stages to build, 1 to 4.

    Raises:
        ConfigError: An argument is out of range; the message names it.
    """

    def __init__(
        self,
        depth: int | str | Sequence[int] = 50,
        width: int = 26,
        scales: int = 4,
        variant: str = "b",
        dialect: str = "paddle",
        lr_mult_list: Sequence[float] = (1.0, 1.0, 1.0, 1.0),
        groups: int = 1,
        norm_type: str = "bn",
        norm_decay: float = 0.0,
        freeze_norm: bool = False,
        freeze_at: int = -1,
        return_idx: int | Sequence[int] = (0, 1, 2, 3),
        dcn_v2_stages: int | Sequence[int] = (-1,),
        num_stages: int = 4,
    ) -> None:
        super().__init__()
        _check_number("num_stages", num_stages, 1, 4)
        self.depth = depth
        self.is_dla = depth in tuple(DLA_LEVELS)
        self.stage_depths = DLA_LEVELS[str(depth)][:num_stages] if self.is_dla else stage_depths(depth, num_stages)
        check_block_options(width, scales, variant, groups)
        if not isinstance(lr_mult_list, (list, tuple)) or len(lr_mult_list) != 4:
            raise ConfigError(f"Res2Net: lr_mult_list is {lr_mult_list!r}; it needs 4 factors, one per stage.")
        _check_number("freeze_at", freeze_at, -1, num_stages - 1)
        self.return_idx = _stage_indices("return_idx", return_idx, 0, num_stages)
        self.dcn_v2_stages = _stage_indices("dcn_v2_stages", dcn_v2_stages, -1, num_stages)
        norm = NormOptions(norm_type, norm_decay, freeze_norm)
        if self.is_dla:
            _check_dla(depth, variant, dialect, self.dcn_v2_stages)

        self.width, self.scales, self.groups, self.variant = width, scales, groups, variant
        self.dialect = get_dialect(dialect)
        self.freeze_norm = freeze_norm
        self.freeze_at = freeze_at
        self.stage_channels = DLA_CHANNELS if self.is_dla else STAGE_CHANNELS
        self.res1 = make_dla_stem(norm) if self.is_dla else make_stem(variant, norm)
        self.maxpool = None if self.is_dla else nn.MaxPool2D(kernel_size=3, stride=2, padding=1)
        self.stages: list[Res2NetStage | DLATree] = []
        for i in range(num_stages):
            stage = (self._make_tree if self.is_dla else self._make_stage)(i, norm, lr_mult_list[i])
            self.stages.append(stage)
            self.add_sublayer(f"res{i + 2}", stage)
        frozen = [self.res1, *self.stages[: freeze_at + 1]] if freeze_at >= 0 else []
        for layer in frozen:
            for parameter in layer.parameters():
                parameter.trainable = False
                parameter.stop_gradient = True

    def _make_stage(self, stage: int, norm: NormOptions, lr_mult: float) -> Res2NetStage:
        return Res2NetStage(
            in_channels=64 if stage == 0 else STAGE_CHANNELS[stage - 1],
            stage=stage,
            count=self.stage_depths[stage],
            width=self.width,
            scales=self.scales,
            variant="b" if self.dialect.blocks_ignore_variant else self.variant,
            dialect=self.dialect,
            groups=self.groups,
            norm=norm,
            lr_mult=lr_mult,
            deformable=stage in self.dcn_v2_stages,
        )

    def _make_tree(self, stage: int, norm: NormOptions, lr_mult: float) -> DLATree:
        return DLATree(
            in_channels=32 if stage == 0 else DLA_CHANNELS[stage - 1],
            out_channels=DLA_CHANNELS[stage],
            levels=self.stage_depths[stage],
            width=self.width * 2**stage,
            scales=self.scales,
            stride=2,
            passes_input=stage > 0,
            groups=self.groups,
            norm=norm,
            lr_mult=lr_mult,
        )

    @property
    def out_channels(self) -> list[int]:
        """Channels of each returned feature map."""
        return [self.stage_channels[i] for i in self.return_idx]

    @property
    def out_strides(self) -> list[int]:
        """Stride in image pixels of each returned feature map."""
        return [STAGE_STRIDES[i] for i in self.return_idx]

    def forward(self, inputs: paddle.Tensor | dict[str, paddle.Tensor]) -> list[paddle.Tensor]:
        """Map normalised images (N, 3, H, W), or ppdet's ``{"image": ...}``, to the list of feature maps."""
        x = inputs["image"] if isinstance(inputs, dict) else inputs
        x = self.res1(x)
        if self.maxpool is not None:
            x = self.maxpool(x)  # (N, 64, H/4, W/4)
        else:
            _check_size(x)
        features = []
        for i, stage in enumerate(self.stages):
            x = stage(x)  # (N, stage_channels[i], H / STAGE_STRIDES[i], W / STAGE_STRIDES[i])
            if i in self.return_idx:
                features.append(x)
        return features


def stage_depths(depth: object, num_stages: int = 4) -> tuple[int, ...]:
    """Return the number of blocks of each stage.

    Raises:
        ConfigError: ``depth`` is neither a published depth nor a list of at least ``num_stages`` positive numbers.
    """
    if isinstance(depth, Integral) and not isinstance(depth, bool):
        if depth in STAGE_DEPTHS:
            return STAGE_DEPTHS[int(depth)][:num_stages]
    elif isinstance(depth, (list, tuple)) and len(depth) >= num_stages:
        if all(isinstance(n, Integral) and int(n) > 0 for n in depth):
            return tuple(int(n) for n in depth[:num_stages])
    raise ConfigError(
        f"Res2Net: depth is {depth!r}; choose one of {', '.join(map(str, (*STAGE_DEPTHS, *DLA_LEVELS)))}, or give the number "
        f"of blocks of each of the {num_stages} stages, e.g. [3, 4, 6, 3]."
    )


def check_block_options(width: int, scales: int, variant: str, groups: int) -> None:
    """Refuse arguments that no block can be built from.

    Raises:
        ConfigError: An argument is out of range; the message names it.
    """
    _check_number("width", width, 1)
    _check_number("scales", scales, 2)
    _check_number("groups", groups, 1)
    if width % groups:
        raise ConfigError(
            f"Res2Net: width {width} cannot be divided into {groups} groups; choose a width that is a multiple "
            f"of groups, e.g. {max(1, round(width / groups)) * groups}."
        )
    if variant not in VARIANTS:
        raise ConfigError(f"Res2Net: variant is {variant!r}; choose one of {', '.join(VARIANTS)}.")


def _check_dla(depth: object, variant: str, dialect: str, dcn_v2_stages: Sequence[int]) -> None:
    for name, value, only in (
        ("variant", variant, "b"),
        ("dialect", dialect, "official"),
        ("dcn_v2_stages", list(dcn_v2_stages), [-1]),
    ):
        if value != only:
            raise ConfigError(f"Res2Net: depth is {depth}, which exists with {name}: {only} only; got {value!r}.")


def _check_size(stem: paddle.Tensor) -> None:
    """Check the size of the stem's output: a tree adds what it pools to what it convolves, and the two round differently."""
    height, width = stem.shape[2:]
    if any(side > 0 and side % 16 for side in (height, width)):  # -1: not known while a graph is traced
        raise ConfigError(
            f"Res2Net: depth dla60 takes images whose sides are multiples of 32, got about {2 * height}x{2 * width} (height x "
            "width). Pad or resize them."
        )


def _stage_indices(name: str, value: int | Sequence[int], smallest: int, num_stages: int) -> tuple[int, ...]:
    indices = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    if not indices or not all(isinstance(i, Integral) and smallest <= int(i) < num_stages for i in indices):
        raise ConfigError(
            f"Res2Net: {name} is {value!r}; it takes stage indices from {smallest} to {num_stages - 1} "
            f"(num_stages is {num_stages})."
        )
    return tuple(int(i) for i in indices)


def _check_number(name: str, value: int, smallest: int, largest: int | None = None) -> None:
    is_whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not is_whole or value < smallest or (largest is not None and value > largest):
        limits = f"from {smallest} to {largest}" if largest is not None else f"of {smallest} or more"
        raise ConfigError(f"Res2Net: {name} is {value!r}; it must be a whole number {limits}.")
