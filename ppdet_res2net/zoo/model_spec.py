"""What is known about a published model: one frozen record.

The figures are the publishers' own, with their source. ``tests/zoo/test_models.py`` checks parameters and
multiply-accumulates against the models. ``records.py`` holds the records, and ``catalog.py`` finds one.
"""

from __future__ import annotations

import dataclasses
from types import MappingProxyType
from urllib.parse import urlsplit

__all__ = ["SOURCES", "InputSpec", "ModelSpec"]

SOURCES = ("timm", "mmpretrain", "mindcv", "paddleclas", "ppdet", "mmdet")


@dataclasses.dataclass(frozen=True)
class InputSpec:
    """How images are prepared for the published figures.

    Attributes:
        size_px: Height and width of the network's input; for detectors, the limits of the short and the long side.
        crop_fraction: Side of the centre crop divided by the resized short side; None if nothing is cropped.
        interpolation: ``bilinear`` or ``bicubic``.
        mean: RGB, of images in [0, 1].
        std: RGB, of images in [0, 1].
    """

    size_px: tuple[int, int] = (224, 224)
    crop_fraction: float | None = 0.875
    interpolation: str = "bilinear"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """One published set of weights.

    Attributes:
        name: ``source/name as that source spells it``.
        depth, width, scales, variant, dialect, groups: As in :class:`ppdet_res2net.modeling.Res2Net`.
        task: ``classifier``, ``backbone`` (only the trunk is used) or ``detector`` (a whole Faster, Mask or Cascade R-CNN).
        num_classes: Classes of the published head. A detector's are COCO's (``coco_categories.py``).
        parameters: Trainable numbers of the published model, without running statistics: of the classifier with its head,
            of the trunk alone, or of the whole detector.
        macs: Multiply-accumulates of the convolutions and linear layers for one 224x224 image: of the classifier; for the
            other tasks, of the trunk alone.
        metrics: Published figures in percent: ``top1``, ``top5`` (ImageNet-1k), ``box_ap``, ``mask_ap`` (COCO
            val2017).
        metrics_source: Who published the figures, and where.
        urls: Where the weights are published, the preferred address first; empty if none were published.
        licence: The licence, as the publisher states it.
        input: How images are prepared.
        proved_against: The original implementation and its version. With the same weights, our outputs equal its outputs
            (``tests/zoo/test_parity.py``).
        recipe: The recipe that computes what the publisher's detector computes, if its name is not the model's.
        note: Anything else that a user should know.
    """

    name: str
    depth: int | str
    width: int
    scales: int
    variant: str
    dialect: str
    groups: int
    task: str
    num_classes: int
    parameters: int
    macs: int
    metrics: MappingProxyType[str, float]
    metrics_source: str
    urls: tuple[str, ...]
    licence: str
    proved_against: str
    input: InputSpec = InputSpec()
    recipe: str = ""
    note: str = ""

    @property
    def source(self) -> str:
        """The part of the name before the slash."""
        return self.name.partition("/")[0]

    @property
    def kind(self) -> str:
        """Which detector it is, for instance ``Cascade Mask R-CNN``; "" for the other tasks."""
        words = self.name.partition("/")[2].replace("-", "_").partition("_rcnn")[0].split("_")
        return f"{' '.join(words).title()} R-CNN" if self.task == "detector" else ""

    @property
    def own_recipe(self) -> str:
        """The recipe that computes what the publisher's detector computes; "" for the other tasks."""
        return self.recipe or self.name.partition("/")[2] if self.task == "detector" else ""

    @property
    def architecture(self) -> dict[str, object]:
        """The arguments of :class:`ppdet_res2net.modeling.Res2Net` that make this model."""
        names = ("depth", "width", "scales", "variant", "dialect", "groups")
        return {name: getattr(self, name) for name in names}

    @property
    def file_names(self) -> tuple[str, ...]:
        """Names of the published files by which the model is recognised; ``model.safetensors`` is not among them."""
        names = (urlsplit(url).path.rpartition("/")[2] for url in self.urls)
        return tuple(name for name in names if name != "model.safetensors")
