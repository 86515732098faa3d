"""Weights of any source, under our names: fetch a file, take the trunk or the whole model, and tell its dialect."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ppdet_res2net.commands import program
from ppdet_res2net.errors import WeightsError
from ppdet_res2net.modeling.dialect import DIALECTS, get_dialect
from ppdet_res2net.zoo.catalog import find_model, find_published, get_model_spec, is_model_name
from ppdet_res2net.zoo.formats import WeightsFile, read_weights_file, resolve_weights_path
from ppdet_res2net.zoo.hub import download_model, download_weights
from ppdet_res2net.zoo.hub_weights import find_hub_weights
from ppdet_res2net.zoo.keymaps import Layout, map_names
from ppdet_res2net.zoo.model_spec import ModelSpec
from ppdet_res2net.zoo.trunks import TrunkChoice, choose_trunk, computes_like_mmdetection
from res2net_runtime.hub import is_hub_address
from res2net_runtime.texts import clip

__all__ = ["Weights", "read_weights", "to_our_names"]


@dataclasses.dataclass(frozen=True)
class Weights:
    """Tensors under our names, and what is known about where they come from.

    Attributes:
        source: Where the weights come from, for messages: the path, with the zoo name before it if there is one.
        tensors: Arrays by our names: ``backbone.*``, ``fc.*`` and a detector's parts.
        dialects: The dialects that the weights can have. There is one if the tensors' names, the metadata or the file's
            name tell which.
        reason: Why ``dialects`` is known, as the rest of a sentence; "" if nothing is known.
        spec: The published model, recognised by zoo name, url, file name or metadata; None for other weights.
        note: What was taken of a larger file, and what was left out; "" if everything is here.
    """

    source: str
    tensors: dict[str, np.ndarray]
    dialects: tuple[str, ...]
    reason: str
    spec: ModelSpec | None = None
    note: str = ""

    @property
    def is_detector(self) -> bool:
        """Whether these are the weights of a whole detector, not only of a trunk or a classifier."""
        return any(name.startswith("rpn_head.") for name in self.tensors)

    @property
    def num_classes(self) -> int | None:
        """Number of classes that a detector finds, without the background; None if there is no box head."""
        for name in ("bbox_head.bbox_score.bias", "bbox_head.bbox_score_stage0.bias"):
            if name in self.tensors:
                return len(self.tensors[name]) - 1
        return None


def read_weights(
    weights: str | os.PathLike[str],
    *,
    prefix: str | None = None,
    copy: str | None = None,
    dialect: str | None = None,
) -> Weights:
    """Fetch and read weights. Of a larger model, the trunk is taken; :attr:`Weights.note` says what was left out.

    Args:
        weights: A zoo name, a url, an address on a hub (``hf://OWNER/REPO``), or a path to any supported format.
        prefix: What stands before the names of the trunk to take, if the file has several (``student.backbone.``).
        copy: ``averaged`` or ``plain``, if the file has both; by default the averaged weights, with which the programs that
            write them evaluate.
        dialect: The dialect of the code that trained the trunk, if you know better than the names tell.

    Raises:
        ConfigError: The zoo has no model of that name, or there is no such dialect.
        HubError: A hub does not deliver the weights.
        WeightsError: The weights cannot be found, downloaded or read; or the file has several trunks, or one that no dialect of
            this package computes.
    """
    if dialect is not None:
        get_dialect(dialect)
    text = os.fspath(weights)
    if is_hub_address(text):
        found = find_hub_weights(text)
        spec, path = find_published(found.url), found.bring()
    elif "://" in text:
        spec, path = find_published(text), download_weights(text)
    elif is_model_name(text) and not Path(text).exists():
        spec = get_model_spec(text)
        path = download_model(spec)
    else:
        path = resolve_weights_path(text)
        spec = find_published(path.name)
    file = read_weights_file(path, copy=copy)
    try:
        choice = choose_trunk(file.tensors, prefix, copy, file.note)
    except WeightsError as error:
        raise WeightsError(f"weights: {file.path} {error}") from error
    if copy == "averaged" and not choice.is_one_of_copies:
        raise WeightsError(
            f"weights: {file.path} has no averaged weights. Do not ask for them, and the plain ones are taken."
        )
    return _with_our_names(file, choice, spec, dialect, f"{spec.name} ({file.path})" if spec else str(file.path))


def to_our_names(tensors: Mapping[str, np.ndarray], pools_shortcuts: bool = False) -> dict[str, np.ndarray]:
    """Return the tensors of a source with our names and our order of axes. See :func:`map_names`.

    Raises:
        WeightsError: Two tensors of the source map to the same tensor of ours.
    """
    ours: dict[str, np.ndarray] = {}
    for name, target in map_names(tensors, pools_shortcuts).items():
        if target.name in ours:
            raise WeightsError(f"weights: two tensors of the file map to {target.name}; one of them is {name}.")
        tensor = tensors[name]
        if target.is_transposed:  # the last layer of DLA is a 1x1 convolution, (out, in, 1, 1)
            tensor = np.ascontiguousarray(tensor.reshape(tensor.shape[:2]).T if tensor.ndim == 4 else tensor.T)
        ours[target.name] = tensor
    return ours


def _with_our_names(
    file: WeightsFile, choice: TrunkChoice, spec: ModelSpec | None, said: str | None, source: str
) -> Weights:
    dialect = file.metadata.get("dialect")
    if dialect is not None and dialect not in DIALECTS:
        raise WeightsError(
            f"weights: {file.path} names an unknown dialect '{clip(dialect)}'; expected one of {', '.join(DIALECTS)}."
        )
    dialects: tuple[str, ...]
    layout = choice.layout
    if said:
        dialects, reason = (said,), "you said so"
    elif dialect:
        dialects, reason = (dialect,), "the file says so"
    elif spec:
        dialects, reason = (spec.dialect,), f"they are published as {spec.name}"
    else:
        dialects, reason = tuple(DIALECTS), ""
    pools_shortcuts = spec is not None and spec.variant == "d" and not DIALECTS[spec.dialect].blocks_ignore_variant
    tensors = to_our_names({name: file.tensors[name] for name in choice.names}, pools_shortcuts)
    if layout is not None and (not reason or not layout.dialects):
        dialects, reason = _dialects_by_names(file, choice, layout)
        if not reason and "backbone.res3.blocks.0.branch1.conv.conv.weight" in tensors:
            dialects = tuple(d for d in dialects if not DIALECTS[d].blocks_ignore_variant)
            reason = "their shortcuts are pooled"
    # A converted file says which model it was made of.
    return Weights(source, tensors, dialects, reason, spec or find_model(file.metadata.get("model", "")), choice.note)


def _dialects_by_names(file: WeightsFile, choice: TrunkChoice, layout: Layout) -> tuple[tuple[str, ...], str]:
    """Return the dialects that a trunk with these names can have; and why, or "" if the names do not tell."""
    if not layout.dialects:
        raise WeightsError(
            f"weights: {file.path} has a trunk of {layout.who}, which no dialect of this package computes: its stride is in "
            "the 1x1 convolutions, and it never pools the last split. The results would be wrong. Use "
            f"weights of another source ('{program('models')}')."
        )
    sign = computes_like_mmdetection(layout, choice.prefix, file.tensors)
    if sign:
        remedy = "if other code trained them, say so with 'ppdet-res2net convert-weights --dialect official'"
        return ("mmdet",), f"{sign}; {remedy}"
    return layout.dialects, f"their names are those of {layout.who}" if not layout.is_ours else ""
