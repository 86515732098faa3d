"""What a resumed run does with settings that differ from those of its checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from paddle.optimizer.lr import LRScheduler, PiecewiseDecay

from ppdet_res2net.config.modules import roles_of
from ppdet_res2net.ppdet_modules.tagged import Tagged

__all__ = ["advance_schedule", "list_changes", "list_changes_of_network"]

_MOST_CHANGES = 12
_LONGEST_VALUE = 60
_ABSENT = object()

_PARTS_OF_NETWORK = ("architecture", "backbone", "neck", "rpn_head", "bbox_head", "mask_head", "head")
# Arguments of these parts that say how they are trained. All others say what the weights mean.
_TRAINING_ONLY = {
    *("freeze_at", "freeze_norm", "allow_frozen_random_norm", "norm_decay", "lr_mult", "lr_mult_list", "norm_momentum"),
    *("rpn_target_assign", "train_proposal", "test_proposal", "bbox_assigner", "mask_assigner"),
    *("loss_rpn_bbox", "bbox_loss", "bbox_post_process", "mask_post_process"),
}


def list_changes_of_network(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the changed settings that give the weights another meaning, in the form of :func:`list_changes`."""
    return list_changes(_network(before), _network(now))


def _network(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that say what the weights mean."""
    names = [name for role in _PARTS_OF_NETWORK for name in roles_of(role)]
    sections: dict[str, Any] = {name: settings[name] for name in names if isinstance(settings.get(name), Mapping)}
    sections[""] = {"architecture": settings.get("architecture"), "norm_type": settings.get("norm_type", "bn")}
    return {
        f"{name}.{key}".lstrip("."): "bn" if key == "norm_type" and value == "sync_bn" else value
        for name, section in sections.items()
        for key, value in section.items()
        if key not in _TRAINING_ONLY
    }


def list_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the settings that differ between two configurations, as text such as ``epoch: 12 -> 24``.

    There are at most twelve, and a last one that counts the others; long values are cut.
    """
    old, new = dict(_flatten(before, ())), dict(_flatten(now, ()))
    changes = [
        f"{place}: {_shorten(old.get(place, _ABSENT))} -> {_shorten(new.get(place, _ABSENT))}"
        for place in dict.fromkeys([*old, *new])
        if old.get(place, _ABSENT) != new.get(place, _ABSENT)
    ]
    left_out = len(changes) - _MOST_CHANGES
    return changes[:_MOST_CHANGES] + ([f"and {left_out} more"] if left_out > 0 else [])


def advance_schedule(schedule: LRScheduler, steps: int) -> None:
    """Move a new schedule to where it is after ``steps`` steps, as if it had been in use from the start.

    The rate then follows from the settings of this run. The state in a checkpoint also holds the next rate, which the
    settings of the checkpoint's run gave.
    """
    if isinstance(schedule, PiecewiseDecay):
        schedule.step(steps)  # its rate depends on this number alone; stepping through a long list takes minutes
        return
    for _ in range(steps):  # others compute a rate from the one before it
        schedule.step()


def _flatten(value: Any, place: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """Yield every single value with its place, such as ``TrainReader.batch_size``."""
    if isinstance(value, Tagged):
        value = {"name": value.name, **value.kwargs}
    if isinstance(value, list):
        value = dict(enumerate(value))
    if isinstance(value, Mapping) and (value or not place):
        for key, part in value.items():
            yield from _flatten(part, (*place, str(key)))
    else:
        yield ".".join(place), value


def _shorten(value: Any) -> str:
    if value is _ABSENT:
        return "not set"
    text = str(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 3]}..."
