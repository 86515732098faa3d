"""A resumed run with other settings says what has changed, and uses the new settings from its first step."""

from __future__ import annotations

import pytest
from paddle.optimizer import lr

from ppdet_res2net.errors import ConfigError
from ppdet_res2net.ppdet_modules.tagged import Tagged
from ppdet_res2net.training.changes import advance_schedule, list_changes
from tests.helpers.toy_task import toy_config, train_toy
from tests.helpers.training_runs import (
    assert_equal_tensors,
    losses_by_step,
    messages,
    read_metrics,
    read_tensors,
)


def _rates(base_lr=0.0001, schedulers=None) -> dict:
    return {"LearningRate": {**toy_config("x")["LearningRate"], "base_lr": base_lr, **(schedulers or {})}}


CHANGES = {
    "base_lr": (_rates(0.00002), "LearningRate.base_lr: 0.0001 -> 2e-05"),
    "milestones": (
        _rates(schedulers={"schedulers": [{"name": "PiecewiseDecay", "milestones": [1], "use_warmup": False}]}),
        "LearningRate.schedulers.0.milestones.0: 9 -> 1",
    ),
    "cosine": (
        _rates(schedulers={"schedulers": [{"name": "CosineDecay", "max_epochs": 3, "use_warmup": False}]}),
        "LearningRate.schedulers.0.name: PiecewiseDecay -> CosineDecay",
    ),
    "base_batch_size": ({"base_batch_size": 16}, "base_batch_size: not set -> 16"),
    "momentum": (
        {"OptimizerBuilder": {"optimizer": {"type": "Momentum", "momentum": 0.5}, "regularizer": None}},
        "OptimizerBuilder.optimizer.momentum: 0.9 -> 0.5",
    ),
    "decay": (
        {
            "OptimizerBuilder": {
                "optimizer": {"type": "Momentum", "momentum": 0.9},
                "regularizer": {"type": "L2", "factor": 0.1},
            }
        },
        "OptimizerBuilder.regularizer.factor: not set -> 0.1",
    ),
    "epoch": ({"epoch": 3}, "epoch: 2 -> 3"),
    "data": ({"TrainDataset": {"dataset_dir": "elsewhere"}}, "TrainDataset.dataset_dir: not set -> elsewhere"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_is_named(tmp_path, caplog, what):
    settings, line = CHANGES[what]
    train_toy(tmp_path, {"max_steps": 6})
    train_toy(tmp_path, {"resume": "auto", "max_steps": 7}, **settings)
    assert "settings have changed since step 6; the new ones apply from here on:" in messages(caplog)
    assert f"  {line}" in messages(caplog).splitlines()


@pytest.mark.parametrize("what", ["base_lr", "milestones", "cosine", "base_batch_size"])
def test_the_new_rate_counts_from_the_first_step(tmp_path, what):
    settings, _ = CHANGES[what]
    expected = [record["lr"] for record in read_metrics(train_toy(tmp_path / "new", **settings).run_dir)]
    train_toy(tmp_path / "old", {"max_steps": 5})
    resumed = train_toy(tmp_path / "old", {"resume": "auto"}, **settings)
    rates = [record["lr"] for record in read_metrics(resumed.run_dir)]
    assert rates[5:] == expected[5:] and rates[5] != 0.0001


@pytest.mark.parametrize("what", ["momentum", "decay"])
def test_the_new_optimizer_settings_count_from_the_first_step(tmp_path, what):
    """Only the loss after the first resumed step can tell."""
    settings, _ = CHANGES[what]
    for name in ("same", "changed"):
        train_toy(tmp_path / name, {"max_steps": 5})
    same = train_toy(tmp_path / "same", {"resume": "auto"})
    changed = train_toy(tmp_path / "changed", {"resume": "auto"}, **settings)
    before, after = losses_by_step(same.run_dir), losses_by_step(changed.run_dir)
    assert before[6] == after[6] and before[7] != after[7]


def test_what_has_not_changed_is_not_mentioned_and_the_run_is_that_without_a_stop(tmp_path, caplog):
    cosine = CHANGES["cosine"][0]
    train_toy(tmp_path / "a", {"max_steps": 3}, **cosine)
    resumed = train_toy(tmp_path / "a", {"resume": "auto"}, **cosine)
    assert "settings have changed" not in messages(caplog)
    whole = train_toy(tmp_path / "b", **cosine)
    assert_equal_tensors(*(read_tensors(run.run_dir / "model_final.pdparams") for run in (resumed, whole)))
    assert [r["lr"] for r in read_metrics(resumed.run_dir)] == [r["lr"] for r in read_metrics(whole.run_dir)]


def test_what_cannot_be_changed_is_refused_by_name(tmp_path):
    average = {"use_ema": True, "ema_black_list": []}
    train_toy(tmp_path / "plain", {"max_steps": 2})
    train_toy(tmp_path / "average", {"max_steps": 2}, **average)
    adam = {"OptimizerBuilder": {"optimizer": {"type": "AdamW"}, "regularizer": None}}
    cases = [
        (
            "plain",
            adam,
            "its optimizer is Momentum, the configuration asks for AdamW.*optimizer.type=Momentum, or start",
        ),
        ("plain", {"seed": 3}, "its run has seed 0, the configuration 3. Pass -o seed=0"),
        ("plain", average, "use_ema was false in its run. Pass -o use_ema=false"),
        ("average", {**average, "ema_black_list": ["head"]}, "its moving average covers .* ema_black_list and"),
    ]
    for name, settings, message in cases:
        with pytest.raises(ConfigError, match=f"Cannot resume from '.*model_final': {message}"):
            train_toy(tmp_path / name, {"resume": "auto"}, **settings)


def _network(**changes) -> dict:
    return {
        "architecture": "MaskRCNN",
        "Res2Net": {"depth": 50, "dialect": "paddle", "freeze_at": 0, **changes.pop("Res2Net", {})},
        "RPNHead": {
            "anchor_generator": {"anchor_sizes": [[32], [64]], **changes.pop("anchors", {})},
            "train_proposal": {"post_nms_top_n": changes.pop("proposals", 1000)},
        },
        **changes,
    }


@pytest.mark.parametrize(
    "changes, line",
    [
        ({"architecture": "FasterRCNN"}, "architecture: MaskRCNN -> FasterRCNN"),
        ({"Res2Net": {"dialect": "official"}}, "Res2Net.dialect: paddle -> official"),
        ({"Res2Net": {"width": 14}}, "Res2Net.width: not set -> 14"),
        ({"anchors": {"anchor_sizes": [[32], [48]]}}, "RPNHead.anchor_generator.anchor_sizes.1.0: 64 -> 48"),
        ({"norm_type": "gn"}, "norm_type: bn -> gn"),
    ],
)
def test_another_network_is_refused(tmp_path, changes, line):
    """Weights of the same shapes would load, and mean something else."""
    train_toy(tmp_path, {"max_steps": 2}, **_network())
    with pytest.raises(ConfigError) as error:
        train_toy(tmp_path, {"resume": "auto"}, **_network(**changes))
    message = str(error.value)
    assert message.startswith("Cannot resume from '") and "the network is not that of its run" in message
    assert message.splitlines()[1] == f"  {line}"
    assert message.splitlines()[-1].startswith(
        "Restore these settings, or start from its weights with -o pretrain_weights="
    )


def test_how_a_part_is_trained_may_change(tmp_path, caplog):
    train_toy(tmp_path, {"max_steps": 2}, **_network(), norm_type="bn")
    changed = _network(Res2Net={"freeze_at": 1}, proposals=500)
    assert train_toy(tmp_path, {"resume": "auto", "max_steps": 3}, **changed, norm_type="sync_bn").steps == 3
    said = messages(caplog).splitlines()
    assert "  Res2Net.freeze_at: 0 -> 1" in said and "  norm_type: bn -> sync_bn" in said
    assert "  RPNHead.train_proposal.post_nms_top_n: 1000 -> 500" in said


def test_changes_are_found_in_any_part_and_bounded():
    before = {"a": Tagged("One", {"x": [1, 2]}), "same": 1, "gone": {"deep": None}}
    assert list_changes(before, {"a": Tagged("Two", {"x": [1]}), "same": 1}) == [
        "a.name: One -> Two",
        "a.x.1: 2 -> not set",
        "gone.deep: None -> not set",
    ]
    many = list_changes({}, {f"key{i}": "long " * 50 for i in range(20)})
    assert len(many) == 13 and many[-1] == "and 8 more"
    assert max(map(len, many)) < 100 and many[0].endswith("...")
    assert list_changes({"a": 1}, {"a": 1}) == []


@pytest.mark.parametrize(
    "make",
    [
        lambda: lr.PiecewiseDecay([2, 5], [0.3, 0.2, 0.1]),
        lambda: lr.CosineAnnealingDecay(0.1, T_max=9),
        lambda: lr.LinearWarmup(lr.CosineAnnealingDecay(0.1, T_max=9), 3, 0.0, 0.1),
    ],
)
def test_a_schedule_is_advanced_exactly(make):
    stepped = make()
    for steps in range(8):
        advanced = make()
        advance_schedule(advanced, steps)
        assert (advanced.get_lr(), advanced.last_lr, advanced.last_epoch) == (stepped.get_lr(), stepped.last_lr, steps)
        stepped.step()
