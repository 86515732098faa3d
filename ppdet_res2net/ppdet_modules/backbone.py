"""The trunk as ppdet sees it: ``Res2Net`` and ``Res2NetC5`` with ppdet's argument names and defaults."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

import paddle
from paddle import nn

from ppdet_res2net import modeling
from ppdet_res2net.errors import ConfigError
from ppdet_res2net.modeling.dialect import get_dialect
from ppdet_res2net.modeling.norm import NormOptions
from ppdet_res2net.modeling.res2net import STAGE_CHANNELS, Res2NetStage, check_block_options, stage_depths

__all__ = ["Res2Net", "Res2NetC5"]


class Res2Net(modeling.Res2Net):
    """Res2Net trunk for ppdet's YAML; replaces the class of that name in paddledet.

    Args:
        model: A zoo name, e.g. ``timm/res2net50d``. It sets depth, width, scales, variant, groups and dialect; an
            argument that contradicts it is refused.
        allow_frozen_random_norm: Permit ``freeze_norm`` without pretrained weights. Activations then explode: for
            experiments only.
        depth, width, scales, variant, dialect, lr_mult_list, groups, norm_type, norm_decay, freeze_norm, freeze_at,
            return_idx, dcn_v2_stages, num_stages: As in :class:`ppdet_res2net.modeling.Res2Net`, with ppdet's defaults.
    """

    __shared__ = ["norm_type"]

    def __init__(
        self,
        depth: int | Sequence[int] = 50,
        width: int = 26,
        scales: int = 4,
        variant: str = "b",
        lr_mult_list: Sequence[float] = (1.0, 1.0, 1.0, 1.0),
        groups: int = 1,
        norm_type: str = "bn",
        norm_decay: float = 0.0,
        freeze_norm: bool = True,
        freeze_at: int = 0,
        return_idx: int | Sequence[int] = (0, 1, 2, 3),
        dcn_v2_stages: int | Sequence[int] = (-1,),
        num_stages: int = 4,
        dialect: str = "paddle",
        model: str | None = None,
        allow_frozen_random_norm: bool = False,
    ) -> None:
        architecture = {
            "depth": depth,
            "width": width,
            "scales": scales,
            "variant": variant,
            "groups": groups,
            "dialect": dialect,
        }
        super().__init__(
            **(_architecture_of(model, architecture) if model else architecture),
            lr_mult_list=lr_mult_list,
            norm_type=norm_type,
            norm_decay=norm_decay,
            freeze_norm=freeze_norm,
            freeze_at=freeze_at,
            return_idx=return_idx,
            dcn_v2_stages=dcn_v2_stages,
            num_stages=num_stages,
        )
        self.allow_frozen_random_norm = allow_frozen_random_norm

    @property
    def out_shape(self) -> list:
        """ppdet's ``ShapeSpec`` (channels, stride) of each returned feature map."""
        from ppdet.modeling.shape_spec import ShapeSpec

        return [ShapeSpec(channels=c, stride=s) for c, s in zip(self.out_channels, self.out_strides)]


def _architecture_of(model: str, given: dict) -> dict:
    """Return the architecture of the zoo's record. Arguments that are neither its values nor the defaults are refused."""
    from ppdet_res2net.zoo import get_model_spec

    published = {name: value for name, value in get_model_spec(model).architecture.items() if name in given}
    defaults = {name: parameter.default for name, parameter in inspect.signature(Res2Net.__init__).parameters.items()}
    for name, value in given.items():
        if name in published and value not in (defaults[name], published[name]):
            raise ConfigError(
                f"Res2Net: model {model} has {name} {published[name]!r}, but {name}: {value!r} is given as well. "
                f"Remove one of the two lines."
            )
    return {**given, **published}


class Res2NetC5(nn.Layer):
    """The last stage on its own, as the head of an R-CNN without FPN: (R, 1024, 14, 14) -> (R, 2048, 7, 7)."""

    def __init__(
        self,
        depth: int | Sequence[int] = 50,
        width: int = 26,
        scales: int = 4,
        variant: str = "b",
        dialect: str = "paddle",
        groups: int = 1,
        freeze_norm: bool = True,
    ) -> None:
        super().__init__()
        check_block_options(width, scales, variant, groups)
        self.res5 = Res2NetStage(
            STAGE_CHANNELS[2],
            stage=3,
            count=stage_depths(depth)[3],
            width=width,
            scales=scales,
            variant=variant,  # in every dialect: here paddledet passes it on, unlike in its trunk
            dialect=get_dialect(dialect),
            groups=groups,
            norm=NormOptions(frozen=freeze_norm),
        )

    @property
    def out_shape(self) -> list:
        """ppdet's ``ShapeSpec`` of the output."""
        from ppdet.modeling.shape_spec import ShapeSpec

        return [ShapeSpec(channels=STAGE_CHANNELS[3], stride=32)]

    def forward(self, roi_feat: paddle.Tensor, stage: int = 0) -> paddle.Tensor:
        return self.res5(roi_feat)
