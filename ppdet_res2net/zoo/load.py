"""Load weights into models: strictly, all or nothing, with a report.

The dialect of the weights is compared with the model's. Every tensor of the file and of the model must have a counterpart;
:data:`ppdet_res2net.zoo.report.RULES` lists the differences that are permitted.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping

import numpy as np
import paddle
from paddle import nn

from ppdet_res2net import modeling
from ppdet_res2net.commands import program
from ppdet_res2net.errors import ConfigError, WeightsError
from ppdet_res2net.modeling.dialect import DIALECTS, Dialect
from ppdet_res2net.zoo.catalog import find_recipe_of_kind
from ppdet_res2net.zoo.formats import load_weights_file, save_weights_file
from ppdet_res2net.zoo.report import RULES, LoadReport, Misshapen, Rule, describe_contents, find_kind
from ppdet_res2net.zoo.weights import Weights, read_weights

__all__ = [
    "LoadReport",
    "check_dialect",
    "check_fit",
    "load_weights",
    "load_into",
    "load_pretrained",
    "load_weights_file",
    "save_weights_file",
    "trunk_metadata",
]

_ALWAYS = ("batch counters are not used", "projections that DLA never uses")
_FOR_TRUNKS = (
    "the classifier's layer is not used by a trunk",
    "a detector's other parts are not used by a trunk",
)
_DEFORMABLE = "deformable convolutions learn their offsets"


def load_pretrained(model: nn.Layer, weights: Weights | str | os.PathLike[str]) -> LoadReport:
    """Load weights to start from.

    A trunk takes the trunk of any file, a checkpoint or a detector of another framework too. A classifier needs the file of
    a classifier. A detector takes all of a detector's file, and the trunk of any other file. Last layers for a different
    number of classes keep their initial values.

    Args:
        model: A :class:`Res2Net`, a :class:`Res2NetClassifier`, or a ppdet R-CNN with our trunk as
            ``backbone``.
        weights: A zoo name, a url, or a path; or what :func:`read_weights` returned.

    Raises:
        ConfigError: The zoo has no model of that name.
        WeightsError: The weights cannot be found, downloaded or read, or do not fit. The model is unchanged.
    """
    loaded = weights if isinstance(weights, Weights) else read_weights(weights)
    check_dialect(loaded, model)
    state, rules = _what_to_start_from(model, loaded)
    report = _checked(state, loaded.tensors, rules, loaded.source, loaded.note, _recipe_for(loaded, model))
    _assign(state, loaded.tensors, report)
    return report


def load_weights(model: nn.Layer, weights: Weights | str | os.PathLike[str]) -> LoadReport:
    """Load the weights of a whole model, for evaluation, prediction, export or resuming. Every tensor must fit.

    Args:
        model: A detector, a classifier, or whatever else is trained here.
        weights: A zoo name, a url, or a path (``.pdparams`` may be left off); or what :func:`read_weights` returned.

    Raises:
        ConfigError: The zoo has no model of that name.
        WeightsError: The weights cannot be found, downloaded or read, or do not fit. The model is unchanged.
    """
    loaded = weights if isinstance(weights, Weights) else read_weights(weights)
    check_dialect(loaded, model)
    state = _state_of(model)
    report = _checked(state, loaded.tensors, (), loaded.source, loaded.note, _recipe_for(loaded, model))
    _assign(state, loaded.tensors, report)
    return report


def load_into(
    layer: nn.Layer,
    tensors: Mapping[str, np.ndarray],
    *,
    rules: Iterable[str] = (),
    source: str = "the weights",
    note: str = "",
) -> LoadReport:
    """Set every parameter and buffer of ``layer``, or none.

    Args:
        layer: The model. A bare trunk takes the tensors whose names begin with ``backbone.``.
        tensors: Arrays by our names.
        rules: Names of the :data:`RULES` that permit differences. Batch counters may always differ.
        source: Where the tensors come from, for messages.
        note: What they are of a larger file, for the report.

    Returns:
        What matched, and what each rule left out.

    Raises:
        WeightsError: There is a difference that no rule permits. The message names at most five tensors of each kind,
            and says what file and model seem to be. The layer is unchanged.
    """
    state = _state_of(layer)
    report = _checked(state, tensors, rules, source, note)
    _assign(state, tensors, report)
    return report


def check_fit(model: nn.Layer, weights: Weights) -> LoadReport:
    """Check that a model of this kind could start from these weights. Nothing is changed.

    Raises:
        WeightsError: As for :func:`load_into`.
    """
    state, rules = _what_to_start_from(model, weights)
    return _checked(state, weights.tensors, rules, weights.source, weights.note)


def _what_to_start_from(model: nn.Layer, weights: Weights) -> tuple[dict[str, paddle.Tensor], tuple[str, ...]]:
    """Return the part of a model that these weights are for, and the rules for what may differ."""
    if isinstance(model, modeling.Res2NetClassifier):
        return _state_of(model), ("the classifier has a different number of classes",)
    trunk = _trunk_of(model)
    if model is not trunk and weights.is_detector:
        return _state_of(model), ("the detector has a different number of classes",)
    state = _state_of(trunk)
    rules: tuple[str, ...] = _FOR_TRUNKS
    if len(trunk.stages) < 4:
        last_stage = getattr(getattr(model, "bbox_head", None), "head", None)
        if last_stage is not None and hasattr(
            last_stage, "res5"
        ):  # an R-CNN without FPN: the last stage is the box head
            state.update({f"backbone.{name}": tensor for name, tensor in last_stage.state_dict().items()})
        rules += ("the model has fewer stages",)
    if any(stage >= 0 for stage in trunk.dcn_v2_stages):
        rules += (_DEFORMABLE,)
    return state, rules


def _checked(
    state: Mapping[str, paddle.Tensor],
    tensors: Mapping[str, np.ndarray],
    rules: Iterable[str],
    source: str,
    note: str = "",
    advice: str = "",
) -> LoadReport:
    report = compare(state, tensors, [RULES[name] for name in (*_ALWAYS, *rules)], source)
    report = dataclasses.replace(report, note=note)
    if not report.fits:
        raise WeightsError(f"weights: the file does not fit the model. {report}\n{_explain(state, tensors, advice)}")
    return report


def _assign(state: Mapping[str, paddle.Tensor], tensors: Mapping[str, np.ndarray], report: LoadReport) -> None:
    for name in report.matched:
        state[name].set_value(tensors[name].astype(_numpy_dtype(state[name]), copy=False))


def _state_of(layer: nn.Layer) -> dict[str, paddle.Tensor]:
    """Return parameters and buffers by our names; those of a bare trunk get the prefix ``backbone.``."""
    prefix = "backbone." if isinstance(layer, modeling.Res2Net) else ""
    return {f"{prefix}{name}": tensor for name, tensor in layer.state_dict().items()}


def compare(
    state: Mapping[str, paddle.Tensor], tensors: Mapping[str, np.ndarray], rules: Iterable[Rule], source: str
) -> LoadReport:
    """Compare the names and shapes of a model's tensors with those of weights."""
    rules = list(rules)
    allowed: dict[str, list[str]] = {}

    def is_allowed(kind: str, name: str) -> bool:
        rule = next((r for r in rules if r.kind == kind and r.pattern.fullmatch(name)), None)
        if rule is not None:
            allowed.setdefault(rule.name, []).append(name)
        return rule is not None

    matched, missing, misshapen = [], [], []
    for name, parameter in state.items():
        expected = tuple(parameter.shape)
        if name not in tensors:
            if not is_allowed("missing", name):
                missing.append(name)
        elif tensors[name].shape == expected:
            matched.append(name)
        elif not (_differs_in_one_axis(tensors[name].shape, expected) and is_allowed("misshapen", name)):
            misshapen.append(Misshapen(name, tensors[name].shape, expected))
    unexpected = [name for name in tensors if name not in state and not is_allowed("unexpected", name)]
    return LoadReport(
        source,
        tuple(matched),
        tuple(missing),
        tuple(unexpected),
        tuple(misshapen),
        {rule: tuple(names) for rule, names in allowed.items()},
    )


def trunk_metadata(model: nn.Layer) -> dict[str, str]:
    """Return the metadata that our weight files carry, for :func:`save_weights_file`: the dialect."""
    return {"dialect": _trunk_of(model).dialect.name}


def _trunk_of(model: nn.Layer) -> modeling.Res2Net:
    trunk = model if isinstance(model, modeling.Res2Net) else getattr(model, "backbone", None)
    if not isinstance(trunk, modeling.Res2Net):
        raise ConfigError(
            f"weights: {type(model).__name__} has no Res2Net trunk of this package (its backbone is "
            f"{type(trunk).__name__}); call register_modules() before creating the model."
        )
    return trunk


def check_dialect(weights: Weights, model: nn.Layer, remedy: str = "") -> None:
    """Refuse weights of a different dialect: they would load without an error, and give wrong numbers.

    Args:
        weights: The weights.
        model: The model that they are for.
        remedy: What the message proposes; by default, a recipe or another dialect for the model.

    Raises:
        WeightsError: The weights and the model have different dialects.
    """
    trunk = _trunk_of(model)
    dialects = weights.dialects
    has_plain_shortcut = "backbone.res3.blocks.0.branch1.conv.weight" in weights.tensors
    reason = weights.reason
    if trunk.variant == "d" and has_plain_shortcut and "backbone.res1.conv1_1.conv.weight" in weights.tensors:
        dialects = tuple(d for d in dialects if DIALECTS[d].blocks_ignore_variant)
        reason = reason or "they have the deep stem, but no pooled shortcuts"
    if not dialects or any(_compute_the_same(DIALECTS[d], trunk.dialect, trunk.variant) for d in dialects):
        return
    if not remedy and dialects == ("mmdet",):  # its recipes differ in more than the dialect
        remedy = _recipe_for(weights, model)
    remedy = (
        remedy or f"Pass '-o Res2Net.dialect={dialects[0]}' on a command line, or dialect={dialects[0]!r} in Python."
    )
    raise WeightsError(
        f"weights: {weights.source} has the {' or '.join(dialects)} dialect ({reason}), but the model has "
        f"the {trunk.dialect.name} dialect. The shapes are equal, but the results would be wrong. {remedy}"
    )


def _recipe_for(weights: Weights, model: nn.Layer) -> str:
    """Return which recipe to use for the weights of a whole detector; "" if this is unknown, or the model is only a trunk.

    The shapes do not show all differences between the recipes of several publishers.
    """
    if not weights.is_detector or model is _trunk_of(model):
        return ""
    if weights.spec is not None and weights.spec.own_recipe:
        return f"Use its recipe, '-c {weights.spec.own_recipe}', which differs in other settings, too."
    kind = find_kind(weights.tensors)
    recipe = find_recipe_of_kind("mmdet", kind) if weights.dialects == ("mmdet",) else ""
    return (
        f"Use the recipe that they were trained with; of mmdetection's {kind}, it is '-c {recipe}'." if recipe else ""
    )


def _compute_the_same(one: Dialect, other: Dialect, variant: str) -> bool:
    """Whether two dialects are the same network for this variant. Variants b and c have plain blocks in every dialect."""
    if variant in ("b", "c"):
        one, other = (dataclasses.replace(d, name="", blocks_ignore_variant=True) for d in (one, other))
    return one == other


def _explain(state: Mapping[str, paddle.Tensor], tensors: Mapping[str, np.ndarray], advice: str) -> str:
    model = describe_contents({name: tuple(parameter.shape) for name, parameter in state.items()})
    file = describe_contents({name: array.shape for name, array in tensors.items()})
    text = f"The file seems to be {file}; the model is {model}. Nothing was loaded. "
    if "bbox_head" in " ".join(state) and not any(name.startswith("bbox_head.") for name in tensors):
        return text + "Evaluation, prediction and export need the weights of a whole detector; train one first."
    if advice and find_kind(tensors) != find_kind(state):
        return text + advice
    return text + f"Choose weights of the same architecture ('{program('models')}'), or change the model to fit them."


def _differs_in_one_axis(got: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    return len(got) == len(expected) and sum(a != b for a, b in zip(got, expected)) == 1


def _numpy_dtype(parameter: paddle.Tensor) -> np.dtype:
    return np.dtype(str(parameter.dtype).rpartition(".")[2])
