"""Gradient checkpointing: saves memory, costs computation."""

from __future__ import annotations

import functools

from paddle import nn
from paddle.distributed.fleet.utils import recompute

from ppdet_res2net.compat.recompute_log import silence_recompute_warning
from ppdet_res2net.errors import ConfigError
from ppdet_res2net.modeling.blocks import Bottle2neck

__all__ = ["recompute_blocks"]


def recompute_blocks(model: nn.Layer) -> None:
    """Let each block of the trunk keep only its input, and compute everything else again in the backward pass.

    Args:
        model: A model with our trunk; changed in place.

    Raises:
        ConfigError: Batch normalization is trained. Computing it twice would count every batch twice in its statistics.
    """
    blocks = [layer for layer in model.sublayers() if isinstance(layer, Bottle2neck)]
    for block in blocks:
        for layer in block.sublayers():
            if isinstance(layer, (nn.BatchNorm2D, nn.SyncBatchNorm)) and not layer._use_global_stats:
                raise ConfigError(
                    "recompute_backbone is set, but the backbone's batch normalization is trained: its statistics would "
                    "count every batch twice. Pass -o Res2Net.freeze_norm=true, or recompute_backbone=false."
                )
    silence_recompute_warning()
    for block in blocks:
        if any(not parameter.stop_gradient for parameter in block.parameters()):
            block.forward = _saving_memory(block, block.forward)  # type: ignore[method-assign]


def _saving_memory(block: nn.Layer, forward):
    @functools.wraps(forward)
    def recomputing(x):
        if not block.training:
            return forward(x)
        # Not the reentrant form: it gives no gradients if the input needs none, as after frozen stages.
        return recompute(forward, x, use_reentrant=False, preserve_rng_state=False)

    return recomputing
