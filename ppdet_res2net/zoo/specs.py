"""Which models are published: one frozen record each.

Figures are the publishers' own, with their source. Parameters and multiply-accumulates are checked against
the models in ``tests/test_zoo_models.py``. Records are in ``records.py``; this file says what a record is and
finds one.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from types import MappingProxyType
from urllib.parse import urlsplit

from ppdet_res2net.errors import ConfigError, did_you_mean

__all__ = [
    "SOURCES",
    "InputSpec",
    "ModelSpec",
    "find_published",
    "get_model_spec",
    "is_model_name",
    "list_models",
]

SOURCES = ("timm", "mmpretrain", "mindcv", "paddleclas", "ppdet")


@dataclasses.dataclass(frozen=True)
class InputSpec:
    """How images are prepared for the published figures.

    Attributes:
        size_px: Height and width that the network sees; for detectors the limits of the short and the long
            side.
        crop_fraction: The centre crop's side divided by the resized short side; None where nothing is
            cropped.
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
        task: ``classifier``; ``backbone`` where only the trunk counts; ``detector`` for a whole Faster or
            Mask R-CNN.
        num_classes: Classes of the published head.
        parameters: Trainable numbers (running statistics not counted) of the published model: classifier with
            its head, trunk alone, or whole detector.
        macs: Multiply-accumulates of convolutions and linear layers at 224x224, one image: of the classifier,
            or of the trunk alone for the other tasks.
        metrics: Published figures in percent: ``top1``, ``top5`` (ImageNet-1k), ``box_ap``, ``mask_ap`` (COCO
            val2017).
        metrics_source: Who published them, and where.
        urls: Where the weights are published, the preferred address first; empty where nobody published any.
        licence: What the publisher says.
        input: How images are prepared.
        proved_against: The original implementation, with its version, whose outputs ours equal under the same
            weights (``tests/test_zoo_parity.py``).
        note: What else a user should know.
    """

    name: str
    depth: int
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
    note: str = ""

    @property
    def source(self) -> str:
        """The part of the name before the slash."""
        return self.name.partition("/")[0]

    @property
    def architecture(self) -> dict[str, object]:
        """The arguments of :class:`ppdet_res2net.modeling.Res2Net` that make this model."""
        names = ("depth", "width", "scales", "variant", "dialect", "groups")
        return {name: getattr(self, name) for name in names}

    @property
    def file_names(self) -> tuple[str, ...]:
        """Names of the published files that tell the model (a hub's ``model.safetensors`` does not)."""
        names = (urlsplit(url).path.rpartition("/")[2] for url in self.urls)
        return tuple(name for name in names if name != "model.safetensors")


@functools.cache
def _specs() -> MappingProxyType[str, ModelSpec]:
    from ppdet_res2net.zoo.records import RECORDS

    return MappingProxyType({spec.name: spec for spec in RECORDS})


def list_models(source: str | None = None) -> list[str]:
    """Return the names of all published models, or of those of one source.

    Args:
        source: ``timm``, ``mmpretrain``, ``mindcv``, ``paddleclas`` or ``ppdet``.

    Raises:
        ConfigError: There is no such source.
    """
    if source is not None and source not in SOURCES:
        raise ConfigError(
            f"list_models: unknown source {source!r}; choose one of "
            f"{', '.join(SOURCES)}.{did_you_mean(source, SOURCES)}"
        )
    return [name for name, spec in _specs().items() if source in (None, spec.source)]


def get_model_spec(name: str) -> ModelSpec:
    """Return the record of a published model.

    Raises:
        ConfigError: There is no model of that name.
    """
    spec = _specs().get(name)
    if spec is None:
        same_end = [full for full in _specs() if full.partition("/")[2] == name]
        hint = f" Did you mean '{same_end[0]}'?" if same_end else did_you_mean(name, _specs())
        raise ConfigError(f"unknown model {name!r}.{hint} 'ppdet-res2net models' lists all {len(_specs())}.")
    return spec


def is_model_name(text: str) -> bool:
    """Whether ``text`` has the form ``source/name`` of the zoo; the name may be misspelt."""
    return re.fullmatch(rf"({'|'.join(SOURCES)})/[\w.-]+", text) is not None


def find_published(location: str) -> ModelSpec | None:
    """Return the record that publishes the file at this url, or a file of this name; None for any other.

    Two sources may publish files of one name; those hold the same weights in the same dialect, and the first
    counts.
    """
    file_name = location.replace("\\", "/").rpartition("/")[2]
    return next(
        (spec for spec in _specs().values() if location in spec.urls or file_name in spec.file_names), None
    )
