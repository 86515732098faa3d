"""Checks of the arguments of a class against each other; the kinds check each on its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ppdet_res2net.ppdet_modules.tagged import Tagged

__all__ = ["RULES"]

DECAYS, WARMUPS = ("PiecewiseDecay", "CosineDecay"), ("LinearWarmup", "ExpWarmup")


def _check_trunk(arguments: Mapping) -> str | None:
    num_stages = arguments.get("num_stages", 4)
    for name in ("freeze_at", "return_idx", "dcn_v2_stages"):
        value = arguments.get(name, -1)
        if max(value if isinstance(value, list) else [value]) >= num_stages:
            return f"{name} is {value}, but num_stages is {num_stages}; the first stage is 0."
    depth = arguments.get("depth", 50)
    if isinstance(depth, list) and len(depth) < num_stages:
        return f"depth has {len(depth)} entries; expected {num_stages}, because num_stages is {num_stages}."
    return _check_groups(arguments)


def _check_groups(arguments: Mapping) -> str | None:
    width, groups = arguments.get("width", 26), arguments.get("groups", 1)
    return f"width is {width}, which cannot be divided into {groups} groups." if width % groups else None


def _check_anchors(arguments: Mapping) -> str | None:
    strides = arguments.get("strides", [16.0])
    for name in ("anchor_sizes", "aspect_ratios"):
        values = arguments.get(name) or [0]
        per_level = [isinstance(value, list) for value in values]
        if any(per_level) and not all(per_level):
            return f"{name} mixes numbers and lists; give numbers for all levels, or one list for each level."
        if all(per_level) and len(values) not in (1, len(strides)):
            return f"{name} has {len(values)} lists, but strides has {len(strides)} entries; give one list for each stride."
    return None


def _check_overlaps(arguments: Mapping) -> str | None:
    if arguments.get("negative_overlap", 0.3) > arguments.get("positive_overlap", 0.7):
        return "negative_overlap is above positive_overlap, so an anchor could be both."
    return None


def _check_levels(arguments: Mapping) -> str | None:
    if arguments.get("start_level", 0) > arguments.get("end_level", 3):
        return "end_level is below start_level."
    return None


def _name_of(module: object) -> object:
    return module.get("name") if isinstance(module, Mapping) else module


def _check_box_head(arguments: Mapping) -> str | None:
    loss = _name_of(arguments.get("bbox_loss"))
    if loss in ("IouLoss", "DIouLoss"):
        why = (
            "takes boxes in a form that no R-CNN has"
            if loss == "IouLoss"
            else "multiplies with booleans, which Paddle refuses"
        )
        return f"bbox_loss is {loss}, which {why}. Choose GIoULoss, SIoULoss, SmoothL1Loss, or null."
    if arguments.get("use_cot") and not arguments.get("cot_classes"):
        return "use_cot needs cot_classes, the number of classes of the weights that training starts from."
    return None


def _check_rpn_head(arguments: Mapping) -> str | None:
    loss = _name_of(arguments.get("loss_rpn_bbox"))
    if loss not in (None, "SmoothL1Loss"):
        return f"loss_rpn_bbox is {loss}, but it is given offsets of boxes, not boxes. Choose SmoothL1Loss, or null."
    return None


def _check_schedulers(arguments: Mapping) -> str | None:
    if "schedulers" not in arguments:
        return None
    parts = [Tagged.from_value(scheduler) for scheduler in arguments["schedulers"]]
    first, *others = [part for part in parts if part is not None]  # each names its class, or the rule is not called
    if first.name not in DECAYS:
        return f"the first of schedulers is {first.name}; expected {' or '.join(DECAYS)}, then the warm-up."
    if others and others[0].name not in WARMUPS:
        return f"the second of schedulers is {others[0].name}; expected {' or '.join(WARMUPS)}."
    if not others and first.kwargs.get("use_warmup", True):
        return (
            f"schedulers has no warm-up after {first.name}. Add one, such as '!LinearWarmup {{steps: 500}}', or set "
            f"use_warmup: false in {first.name}."
        )
    return None


def _check_milestones(arguments: Mapping) -> str | None:
    milestones = arguments.get("milestones", [8, 11])
    if "gamma" not in arguments and "values" not in arguments and len(milestones) > 2:
        return f"milestones has {len(milestones)} entries, so gamma is needed: one number, or as many."
    for name, expected in (("gamma", len(milestones)), ("values", len(milestones) + 1)):
        given = arguments.get(name)
        if isinstance(given, list) and len(given) != expected:
            return f"{name} has {len(given)} entries; expected {expected}, because milestones has {len(milestones)}."
    return None


def _check_resize(arguments: Mapping) -> str | None:
    if arguments.get("round_size") and not arguments.get("keep_ratio", True):
        return "round_size has no effect if keep_ratio is false: the size is target_size then. Remove round_size."
    return None


def _check_random_sizes(arguments: Mapping) -> str | None:
    sizes, is_range = arguments["target_size"], arguments.get("random_range", False)
    if not isinstance(sizes, list) and (is_range or arguments.get("random_size", True)):
        return f"target_size is {sizes}; expected a list of sizes to choose from, or random_size: false."
    if is_range and len(sizes) != 2:
        return f"target_size has {len(sizes)} entries; expected the smallest and the largest, for random_range."
    return _check_resize(arguments)


def _check_mixing(arguments: Mapping) -> str | None:
    if not arguments.get("mixup_alpha", 0) and not arguments.get("cutmix_alpha", 0):
        return "mixup_alpha and cutmix_alpha are both 0; set one of them, or remove MixImages."
    return None


# By the name of the class: a function that returns what is wrong with the arguments, or None.
RULES: dict[str, Callable[[Mapping], str | None]] = {
    "Res2Net": _check_trunk,
    "Res2NetC5": _check_groups,
    "AnchorGenerator": _check_anchors,
    "RPNTargetAssign": _check_overlaps,
    "RoIAlign": _check_levels,
    "BBoxHead": _check_box_head,
    "CascadeHead": _check_box_head,
    "RPNHead": _check_rpn_head,
    "LearningRate": _check_schedulers,
    "PiecewiseDecay": _check_milestones,
    "Resize": _check_resize,
    "RandomResize": _check_random_sizes,
    "BatchRandomResize": _check_random_sizes,
    "MixImages": _check_mixing,
}
