"""Convert published weight files of any format to ours."""

from __future__ import annotations

import dataclasses
import os

import numpy as np

from ppdet_res2net.commands import program
from ppdet_res2net.errors import WeightsError
from ppdet_res2net.modeling import Res2Net, Res2NetClassifier
from ppdet_res2net.zoo import create_backbone, create_classifier
from ppdet_res2net.zoo.catalog import get_model_spec
from ppdet_res2net.zoo.formats import load_weights_file, save_weights_file
from ppdet_res2net.zoo.load import check_dialect, check_fit
from ppdet_res2net.zoo.model_spec import ModelSpec
from ppdet_res2net.zoo.report import LoadReport, find_kind
from ppdet_res2net.zoo.weights import Weights, read_weights

__all__ = ["ConvertedWeights", "check_round_trip", "convert_weights"]


@dataclasses.dataclass(frozen=True)
class ConvertedWeights:
    """The result of a conversion.

    Attributes:
        report: What matched between the file and the model.
        tensors: The tensors that were written, by our names.
        kept: Names of a detector's tensors outside the trunk, which are written unchanged.
    """

    report: LoadReport
    tensors: dict[str, np.ndarray]
    kept: tuple[str, ...]


def convert_weights(
    name: str,
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    prefix: str | None = None,
    copy: str | None = None,
    dialect: str | None = None,
) -> ConvertedWeights:
    """Read ``source``, check that it is the model ``name``, and write it to ``target`` with our names.

    Args:
        name: A zoo name.
        source: A url or a path, of any supported format.
        target: A path that ends in ``.pdparams`` or ``.safetensors``.
        prefix: As in :func:`ppdet_res2net.zoo.weights.read_weights`.
        copy: As there.
        dialect: As there.

    Raises:
        ConfigError: There is no such model.
        WeightsError: The source cannot be downloaded or read, or is a different model; or the target cannot be written.
    """
    spec = get_model_spec(name)
    weights = read_weights(source, prefix=prefix, copy=copy, dialect=dialect)
    model: Res2Net | Res2NetClassifier
    head = weights.tensors.get("fc.bias")
    if spec.task == "classifier" and head is not None:
        model = create_classifier(name, num_classes=len(head))
    else:  # the trunk of a larger model has no classifier
        model = create_backbone(name)
    check_dialect(
        weights, model, f"Pass the name of a model of that dialect instead of {name} ('{program('models')}')."
    )
    _check_kind(spec, weights)
    report = check_fit(model, weights)
    written = set(report.matched)
    kept: tuple[str, ...] = ()
    if spec.task == "detector":
        kept = tuple(n for n in weights.tensors if not n.startswith(("backbone.", "fc.")))
        if not kept:
            raise WeightsError(
                f"weights: {weights.source} has only a backbone, but {name} is a detector. Pass the file of a whole detector."
            )
        trunk_rule = "a detector's other parts are not used by a trunk"  # here they are kept
        report = dataclasses.replace(report, allowed={r: n for r, n in report.allowed.items() if r != trunk_rule})
    tensors = {n: array for n, array in weights.tensors.items() if n in written or n in kept}
    save_weights_file(target, tensors, {"model": spec.name, "dialect": spec.dialect})
    return ConvertedWeights(report, tensors, kept)


def _check_kind(spec: ModelSpec, weights: Weights) -> None:
    """Refuse a detector of another kind: under this name, it would be taken for what it is not."""
    kind = find_kind(weights.tensors)
    if spec.kind and kind and kind != spec.kind:
        same = f", such as {weights.spec.name}" if weights.spec is not None and weights.spec.kind == kind else ""
        raise WeightsError(
            f"weights: {weights.source} is a {kind}, but {spec.name} is a {spec.kind}. Pass the name of a {kind}{same}."
        )


def check_round_trip(target: str | os.PathLike[str], tensors: dict[str, np.ndarray]) -> None:
    """Read ``target`` again and compare every tensor bit by bit.

    Raises:
        WeightsError: A tensor differs, is missing or was added.
    """
    again = load_weights_file(target)
    wrong = [n for n in tensors if n not in again or again[n].tobytes() != tensors[n].tobytes()]
    wrong += [n for n in again if n not in tensors]
    if wrong:
        raise WeightsError(
            f"weights: {target} differs from the converted weights in {len(wrong)} of {len(tensors)} tensors, for example "
            f"{wrong[0]}. Convert again; if it happens again, write to another disk."
        )
