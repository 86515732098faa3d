"""Checks of the sections of box heads against each other. Those of a Cascade R-CNN have settings for all stages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

__all__ = ["find_cascade_mistakes"]

_LAYERS = ("CascadeTwoFCHead", "CascadeXConvNormHead")
_WEIGHTS = [[10.0, 10.0, 5.0, 5.0], [20.0, 20.0, 10.0, 10.0], [30.0, 30.0, 15.0, 15.0]]


def find_cascade_mistakes(config: Mapping) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the place of each setting that does not fit the others, and what is wrong."""
    architecture = config.get("architecture")
    box_head = _section(config, architecture).get("bbox_head") if isinstance(architecture, str) else None
    if box_head == "BBoxHead":
        weights = _section(config, box_head).get("bbox_weight", _WEIGHTS[0])
        yield from _check_last_weights(config, [weights], 1, "BBoxHead")
    if architecture != "CascadeRCNN" or box_head != "CascadeHead":
        return
    head = _section(config, "CascadeHead")
    stages = _number_of_stages(config, "CascadeHead", "num_cascade_stages")
    features = head.get("head")
    if isinstance(features, str) and features not in _LAYERS:
        yield (
            ("CascadeHead", "head"),
            f"CascadeHead.head is {features}, which has layers for one stage only. Choose {' or '.join(_LAYERS)}.",
        )
    if features in _LAYERS:
        layers = _number_of_stages(config, features, "num_cascade_stage")
        if layers != stages:
            yield (
                (features, "num_cascade_stage"),
                f"{features}.num_cascade_stage is {layers}, but CascadeHead.num_cascade_stages is {stages}. Make them equal.",
            )
    weights = head.get("bbox_weight", _WEIGHTS)
    lists = {
        ("CascadeHead", "bbox_weight"): weights,
        ("CascadeHead", "stage_loss_weights"): head.get("stage_loss_weights"),
        ("CascadeHead", "add_gt_as_proposals"): head.get("add_gt_as_proposals", [True, False, False]),
        ("BBoxAssigner", "cascade_iou"): _section(config, "BBoxAssigner").get("cascade_iou", [0.5, 0.6, 0.7]),
    }
    for place, values in lists.items():
        # ppdet takes the first entries of a list that is too long, except for the weights of the losses.
        is_short = isinstance(values, list) and len(values) < stages
        if is_short or place[1] == "stage_loss_weights" and isinstance(values, list) and len(values) != stages:
            yield (
                place,
                f"{'.'.join(place)} has {len(values)} entries, but there are {stages} stages; give one for each.",
            )
    yield from _check_last_weights(config, weights, stages, "CascadeHead")


def _check_last_weights(
    config: Mapping, weights: object, stages: int, head: str
) -> Iterator[tuple[tuple[str, ...], str]]:
    """Refuse boxes that are decoded with other weights than those with which the last stage learns them."""
    decode = _section(config, "BBoxPostProcess").get("decode")
    place: tuple[str, ...] = ("RCNNBox", "prior_box_var")
    settings = _section(config, "RCNNBox")
    if isinstance(decode, Mapping) and "prior_box_var" in decode:
        place, settings = ("BBoxPostProcess", "decode", "prior_box_var"), decode
    decoded = settings.get("prior_box_var", _WEIGHTS[0])
    if not isinstance(weights, list) or len(weights) < stages or not isinstance(decoded, list):
        return  # has a mistake of its own
    if isinstance(weights[stages - 1], list) and decoded != weights[stages - 1]:
        learner = "the last stage" if head == "CascadeHead" else "the head"
        yield (
            place,
            f"{'.'.join(place)} is {decoded}, but {learner} learns its boxes with {weights[stages - 1]} "
            f"({head}.bbox_weight), so all boxes would be wrong. Give both the same four numbers.",
        )


def _section(config: Mapping, name: str) -> Mapping:
    section = config.get(name)
    return section if isinstance(section, Mapping) else {}


def _number_of_stages(config: Mapping, module: str, setting: str) -> int:
    number = _section(config, module).get(setting, config.get(setting, 3))
    return number if isinstance(number, int) else 3
