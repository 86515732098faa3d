"""The trunk with global average pooling and a linear layer: Res2Net as an image classifier."""

from __future__ import annotations

from typing import Any

import paddle
from paddle import nn

from ppdet_res2net.errors import ConfigError
from ppdet_res2net.modeling.res2net import Res2Net

__all__ = ["Res2NetClassifier"]


class Res2NetClassifier(nn.Layer):
    """Res2Net classifier.

    Args:
        num_classes: Number of outputs.
        **backbone_options: Arguments of :class:`Res2Net`; the trunk always has four stages and returns the last.
    """

    def __init__(self, num_classes: int = 1000, **backbone_options: Any) -> None:
        super().__init__()
        if not isinstance(num_classes, int) or num_classes < 1:
            raise ConfigError(f"Res2NetClassifier: num_classes is {num_classes!r}; it must be 1 or more.")
        self.num_classes = num_classes
        self.backbone = Res2Net(**{**backbone_options, "num_stages": 4, "return_idx": (3,)})
        self.fc = nn.Linear(self.backbone.out_channels[-1], num_classes)

    def forward(self, inputs: paddle.Tensor | dict[str, paddle.Tensor]) -> paddle.Tensor:
        """Map normalised images (N, 3, H, W) to logits (N, num_classes)."""
        features = self.backbone(inputs)[-1]  # (N, C, H/32, W/32)
        logits: paddle.Tensor = self.fc(features.mean(axis=[2, 3]))
        return logits
