"""The classifier as ppdet's YAML describes it: an architecture whose backbone is the section ``Res2Net``."""

from __future__ import annotations

from paddle import nn

from ppdet_res2net import modeling
from ppdet_res2net.errors import ConfigError
from ppdet_res2net.modeling.res2net import STAGE_STRIDES

__all__ = ["Res2NetClassifier"]


class Res2NetClassifier(modeling.Res2NetClassifier):
    """Res2Net classifier for YAML (``architecture: Res2NetClassifier``).

    Args:
        backbone: The trunk, as for a detector; it must have all four stages and return the last.
        num_classes: Number of outputs; training takes it from the data.

    Raises:
        ConfigError: The trunk lacks its last stage, or ``num_classes`` is wrong.
    """

    __category__ = "architecture"
    __inject__ = ["backbone"]
    __shared__ = ["num_classes"]

    def __init__(
        self,
        backbone: modeling.Res2Net = "Res2Net",  # type: ignore[assignment]  # ppdet replaces the name by the module
        num_classes: int = 1000,
    ) -> None:
        nn.Layer.__init__(self)
        last = len(STAGE_STRIDES) - 1
        if last not in backbone.return_idx:
            raise ConfigError(
                f"Res2NetClassifier: the backbone has {len(backbone.stages)} stages and returns those of index "
                f"{list(backbone.return_idx)}; a classifier needs the last. Set Res2Net.num_stages: 4 and "
                f"Res2Net.return_idx: [{last}]."
            )
        if not isinstance(num_classes, int) or num_classes < 1:
            raise ConfigError(f"num_classes is {num_classes!r}; it must be 1 or more.")
        self.num_classes = num_classes
        self.backbone = backbone
        self.fc = nn.Linear(backbone.out_channels[-1], num_classes)
