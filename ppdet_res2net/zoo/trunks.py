"""Finds the trunk in the weights of a larger model: a detector, a segmentation model, a Lightning module, a pair of networks.

Pure functions of names, but for one: two names of the same tensors are no two trunks.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping

import numpy as np

from ppdet_res2net.errors import WeightsError
from ppdet_res2net.zoo.keymaps import Layout, find_layouts
from ppdet_res2net.zoo.mmdet_names import is_whole_detector
from res2net_runtime.texts import printable

__all__ = ["TrunkChoice", "choose_trunk", "computes_like_mmdetection"]

_NAMED_AT_MOST = 6
_AVERAGED = re.compile(r"(^|[._])(ema|swa|avg|averaged)\d*([._]|$)")
# A classifier's last layer, beside the trunk or beside what wraps the trunk
_CLASSIFIER = re.compile(r"(head\.fc|fc|classifier|out)\.(weight|bias)")
# Parts that stand beside the stages of a trunk without a prefix. Anything else there belongs to a changed trunk.
_PARTS = re.compile(
    r"(neck|fpn|rpn|roi|decode|decoder|aux|auxiliary|seg|segmentation|proj|projector|predictor|criterion|loss|metric|classifier"
    r"|n_averaged|steps|ema_)|\w*_(head|loss|metric|acc|accuracy)s?$|head"
)
# A classifier of mmpretrain, beside its trunk
_MMPRETRAIN = re.compile(r"head\.fc\.(weight|bias)")


@dataclasses.dataclass(frozen=True)
class TrunkChoice:
    """Which tensors of a file are used.

    Attributes:
        layout: How they are named; None if there is no trunk, and then all tensors are used.
        prefix: What stands before the trunk's own names.
        names: The tensors that are used, in the file's order.
        note: What was taken and left out, for reports; "" if that is everything.
        is_one_of_copies: Whether the file has averaged weights beside the plain ones, or only averaged ones.
    """

    layout: Layout | None
    prefix: str
    names: tuple[str, ...]
    note: str
    is_one_of_copies: bool


def choose_trunk(
    tensors: Mapping[str, np.ndarray], prefix: str | None = None, copy: str | None = None, note: str = ""
) -> TrunkChoice:
    """Choose the trunk and what belongs to it.

    Args:
        tensors: All tensors of the file.
        prefix: The trunk to take if there are several.
        copy: ``averaged`` or ``plain``, if there are two copies of one trunk; by default the averaged one.
        note: Which weights of the file these are.

    Raises:
        WeightsError: There are several trunks, or none with that prefix. The message has no subject.
    """
    found = {place: layout for layout, place in find_layouts(tensors)}
    if prefix is not None:
        place, why = _with_prefix(found, prefix), ""
    elif not found:
        return TrunkChoice(None, "", tuple(tensors), f"taken: {note}" if note else "", bool(note))
    else:
        place, why = _only(found, tensors, copy)
    layout = found[place]
    is_detector = _has_detector(layout, place, tensors)
    names = tuple(name for name in tensors if _belongs(name, place, is_detector))
    used = set(names)
    left_out = Counter(_part(name, place) for name in tensors if name not in used)
    return TrunkChoice(layout, place, names, _describe(place, why or note, left_out), bool(why or note))


def _with_prefix(found: Mapping[str, Layout], prefix: str) -> str:
    for place in (prefix, f"{prefix}."):
        if place in found:
            return place
    raise WeightsError(f"has no trunk under '{printable(prefix)}'; it has {_list(found) or 'none'}.")


def _only(found: Mapping[str, Layout], tensors: Mapping[str, np.ndarray], copy: str | None) -> tuple[str, str]:
    """Return the only trunk, or the averaged or plain one of two copies; and why."""
    places = list(found)
    for place in places[1:]:
        if _are_equal(tensors, places[0], place):
            found = {other: layout for other, layout in found.items() if other != place}
    places = list(found)
    if len(places) == 1:
        return places[0], ""
    averaged = [place for place in places if _AVERAGED.search(place)]
    plain = [place for place in places if place not in averaged]
    if len(averaged) == len(plain) == 1:
        if copy == "plain":
            return plain[0], f"its plain weights, not the averaged ones under '{averaged[0]}'"
        why = "the program that wrote them evaluates with these"
        return averaged[0], f"its averaged weights ({why}), not those under '{plain[0] or 'no prefix'}'"
    raise WeightsError(
        f"has {len(places)} trunks, under {_list(places)}. Choose one with 'ppdet-res2net convert-weights --prefix', or "
        "read_weights(path, prefix=...) in Python."
    )


def _are_equal(tensors: Mapping[str, np.ndarray], one: str, other: str) -> bool:
    short = {name[len(one) :] for name in tensors if name.startswith(one)}
    pairs = [(one + name, other + name) for name in short if other + name in tensors]
    return len(pairs) > 100 and all(np.array_equal(tensors[a], tensors[b]) for a, b in pairs)


def _wrapper(place: str) -> str:
    """Return what wraps the model that the trunk is the ``backbone`` of."""
    return place[: -len("backbone.")] if place.endswith("backbone.") else place


def _has_detector(layout: Layout, place: str, names: Collection[str]) -> bool:
    """Whether there is a whole detector around the trunk whose heads are computed here: then a detector takes all of it."""
    wrapper = _wrapper(place)
    if layout.is_ours:  # PaddleDetection's, or ours
        return any(name.startswith(f"{wrapper}rpn_head.") for name in names)
    if layout.name == "torch" and place.endswith("backbone."):
        return is_whole_detector([name[len(wrapper) :] for name in names if name.startswith(wrapper)])
    return False


def _belongs(name: str, place: str, is_detector: bool) -> bool:
    wrapper = _wrapper(place)
    if not name.startswith(wrapper):
        return False
    if _CLASSIFIER.fullmatch(name[len(wrapper) :]):
        return True
    if is_detector:
        return True
    if not name.startswith(place):
        return False
    return place.endswith("backbone.") or not _PARTS.match(name[len(place) :].partition(".")[0])


def _part(name: str, place: str) -> str:
    if name.startswith("ema_"):
        return "ema_*"  # mmcv's copies from before averaging, in one flat name each
    for start in (place, _wrapper(place)):
        if start and name.startswith(start):
            return start + name[len(start) :].partition(".")[0]
    common = _common_start(name, place)
    return common + name[len(common) :].partition(".")[0]


def _common_start(name: str, place: str) -> str:
    """Return the modules that both names begin with, such as ``model.``."""
    steps = []
    for one, other in zip(name.split("."), place.split(".")):
        if one != other:
            break
        steps.append(f"{one}.")
    return "".join(steps)


def _describe(place: str, note: str, left_out: Counter[str]) -> str:
    if not note and not left_out and place in ("", "backbone.", "module.", "_orig_mod.", "module._orig_mod."):
        return ""
    text = f"taken: the trunk under '{printable(place)}'" if place else "taken: the trunk"
    if note:
        text += f", {note}"
    if left_out:
        named = [f"{printable(part)[:60]} ({count})" for part, count in left_out.most_common(_NAMED_AT_MOST)]
        more = len(left_out) - len(named)
        text += f"; not used, with the number of tensors: {', '.join(named)}" + (f" and {more} more" if more else "")
    return text


def _list(places: Iterable[str]) -> str:
    named = [f"'{printable(place)[:60]}'" if place else "no prefix" for place in places]
    more = len(named) - _NAMED_AT_MOST
    return ", ".join(named[:_NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")


def computes_like_mmdetection(layout: Layout, place: str, names: Collection[str]) -> str:
    """Return by what a trunk is known as one of mmdetection's own code, as the rest of a sentence; "" if it is not.

    mmdetection's trunk always has a deep stem, which it calls ``stem.N``. The authors' forks of mmdetection and mmsegmentation
    call it ``conv1.N`` and compute as their own code does. So does mmpretrain's trunk, whose deep stem is called ``stem.N``
    too, but its files have a classifier.

    Args:
        layout: Of the trunk.
        place: The trunk's prefix.
        names: All names of the file.
    """
    if layout.name != "torch" or f"{place}stem.0.weight" not in names:
        return ""
    wrapper = _wrapper(place)
    if any(_MMPRETRAIN.fullmatch(name[len(wrapper) :]) for name in names if name.startswith(wrapper)):
        return ""
    return "they have a stem called 'stem.0', as mmdetection's, and no classifier of mmpretrain"
