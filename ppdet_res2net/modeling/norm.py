"""Normalisation layers and the options they share."""

from __future__ import annotations

import dataclasses

import paddle
from paddle import ParamAttr, nn
from paddle.regularizer import L2Decay

from ppdet_res2net.errors import ConfigError, did_you_mean

__all__ = ["NORM_TYPES", "NormOptions", "make_norm"]

NORM_TYPES = ("bn", "sync_bn", "gn")

# Wu and He, "Group Normalization", https://arxiv.org/abs/1803.08494: 32 groups.
_MAX_GROUPS = 32


@dataclasses.dataclass(frozen=True)
class NormOptions:
    """How features are normalised.

    Attributes:
        type: ``bn``, ``sync_bn`` (statistics over all GPUs of a distributed run; otherwise the same as bn) or ``gn``.
        decay: L2 decay of scale and offset.
        frozen: Scale, offset and statistics stay as loaded; BN uses the running statistics even in training.
    """

    type: str = "bn"
    decay: float = 0.0
    frozen: bool = False

    def __post_init__(self) -> None:
        if self.type not in NORM_TYPES:
            raise ConfigError(
                f"Res2Net: norm_type is {self.type!r}; choose one of {', '.join(NORM_TYPES)}."
                f"{did_you_mean(self.type, NORM_TYPES)}"
            )


def make_norm(channels: int, options: NormOptions, lr_mult: float = 1.0) -> nn.Layer:
    """Return the normalisation layer for (N, channels, H, W)."""

    def attribute() -> ParamAttr:
        return ParamAttr(
            learning_rate=0.0 if options.frozen else lr_mult,
            regularizer=L2Decay(options.decay),
            trainable=not options.frozen,
        )

    norm: nn.Layer
    if options.type == "gn":
        groups = next(g for g in range(min(_MAX_GROUPS, channels), 0, -1) if channels % g == 0)
        norm = nn.GroupNorm(groups, channels, weight_attr=attribute(), bias_attr=attribute())
    elif options.type == "sync_bn" and not options.frozen and _runs_on_many_gpus():
        norm = nn.SyncBatchNorm(channels, weight_attr=attribute(), bias_attr=attribute())
    else:
        norm = nn.BatchNorm2D(
            channels,
            weight_attr=attribute(),
            bias_attr=attribute(),
            use_global_stats=True if options.frozen else None,
        )
    if options.frozen:
        for parameter in norm.parameters():
            parameter.stop_gradient = True
    return norm


def _runs_on_many_gpus() -> bool:
    """Return whether there is anything to synchronise. Paddle has SyncBatchNorm for GPUs only."""
    return paddle.distributed.get_world_size() > 1 and paddle.device.get_device().startswith("gpu")
