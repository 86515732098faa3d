"""Which models exist, and how published weights are loaded into ours.

``list_models`` and ``get_model_spec`` do not import Paddle.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ppdet_res2net.errors import ConfigError, WeightsError
from ppdet_res2net.zoo.catalog import get_model_spec, list_models
from ppdet_res2net.zoo.model_spec import InputSpec, ModelSpec

if TYPE_CHECKING:
    from ppdet_res2net.modeling import Res2Net, Res2NetClassifier

__all__ = ["InputSpec", "ModelSpec", "create_backbone", "create_classifier", "get_model_spec", "list_models"]


def create_backbone(name: str, weights: bool | str | os.PathLike[str] | None = None, **overrides: Any) -> Res2Net:
    """Create the trunk of a published model.

    Args:
        name: A name that :func:`list_models` returns. For a detector, you get its backbone.
        weights: None for random weights; True for the published ones, which are downloaded unless they are in the cache;
            or a zoo name, a url or a path.
        **overrides: Arguments of :class:`ppdet_res2net.modeling.Res2Net` that replace or add to the model's.

    Returns:
        A layer that maps normalised RGB images (N, 3, H, W), or ppdet's ``{"image": ...}``, to the list of
        feature maps.

    Raises:
        ConfigError: There is no such model, or an override is wrong.
        WeightsError: The weights cannot be found, downloaded or read, or do not fit.
    """
    from ppdet_res2net.modeling import Res2Net

    spec = get_model_spec(name)
    model = Res2Net(**{**spec.architecture, **overrides})
    _load(model, spec, weights)
    return model


def create_classifier(
    name: str, weights: bool | str | os.PathLike[str] | None = None, num_classes: int = 1000, **overrides: Any
) -> Res2NetClassifier:
    """Create a published classifier.

    Args:
        name: A name that :func:`list_models` returns.
        weights: As in :func:`create_backbone`.
        num_classes: Number of outputs. If it differs from the published one, the last layer keeps its initial values.
        **overrides: As in :func:`create_backbone`.

    Returns:
        A layer that maps normalised RGB images (N, 3, H, W) to logits (N, num_classes).

    Raises:
        ConfigError: There is no such model, or an override is wrong.
        WeightsError: The weights cannot be found, downloaded or read, or do not fit.
    """
    from ppdet_res2net.modeling import Res2NetClassifier

    spec = get_model_spec(name)
    if weights is True and spec.task != "classifier":
        raise ConfigError(
            f"create_classifier: {name} is published as a {spec.task}, without a classifier's last layer. "
            "Use create_backbone, or a model whose task is 'classifier'."
        )
    model = Res2NetClassifier(num_classes, **{**spec.architecture, **overrides})
    _load(model, spec, weights)
    return model


def _load(model: Res2Net | Res2NetClassifier, spec: ModelSpec, weights: bool | str | os.PathLike[str] | None) -> None:
    if weights is None or weights is False:
        return
    from ppdet_res2net.zoo.load import load_pretrained

    if weights is True:
        if not spec.urls:
            raise WeightsError(f"weights: there are no published weights of {spec.name}. {spec.note}")
        weights = spec.name
    load_pretrained(model, weights)
