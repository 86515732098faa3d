"""Parts of a model that are frozen by name stay as they were loaded; the others are trained."""

from __future__ import annotations

import re

import pytest
from paddle import nn

from ppdet_res2net.errors import ConfigError
from ppdet_res2net.training.freezing import freeze_parts
from tests.helpers.toy_task import ToyModel, ToyTask, train_toy
from tests.helpers.training_runs import make_config, messages, read_tensors

TRAINED = {"freeze_norm": False}


@pytest.fixture
def freeze_toy(tmp_path, monkeypatch):
    """Train a toy with frozen parts; returns the names of its tensors that have changed."""

    def train(*names: str, resume: bool = False) -> set[str]:
        before: dict = {}

        def remember(self):
            before.update({name: tensor.numpy().copy() for name, tensor in self.model.state_dict().items()})

        monkeypatch.setattr(ToyTask, "load_pretrained", remember)
        settings = {"pretrain_weights": "anything", "toy": {"trunk": TRAINED}, "freeze": list(names) or None}
        run_dir = train_toy(tmp_path, {"max_steps": 3}, **settings).run_dir
        after = read_tensors(run_dir / "model_final.pdparams")
        return {name for name, array in before.items() if (array != after[name]).any()}

    return train


def test_nothing_is_frozen_by_default(freeze_toy):
    changed = freeze_toy()
    assert "head.weight" in changed and "backbone.res1.conv1.norm._mean" in changed


@pytest.mark.parametrize(
    "names, still",
    [
        (["backbone.res1"], r"backbone\.res1\."),
        (["backbone.res2.blocks.0", "head.bias"], r"backbone\.res2\.blocks\.0\.|head\.bias$"),
        (["*.norm"], r".*\.norm\."),
        (["backbone"], r"backbone\."),
    ],
)
def test_frozen_parts_and_their_statistics_stay(freeze_toy, names, still):
    every = {name for name, _ in ToyModel(**TRAINED).named_parameters()}
    changed = freeze_toy(*names)
    expected = {name for name in every if not re.match(still, name)}
    assert changed <= expected and len(expected - changed) <= len(expected) // 4  # a gradient may be 0
    assert "head.weight" in changed


def test_what_is_trained_is_said(freeze_toy, caplog):
    caplog.set_level("INFO")
    freeze_toy("backbone")
    assert re.search(r"freeze backbone: 0\.001 of 0\.\d+ million parameters are trained", messages(caplog))


@pytest.mark.parametrize(
    "name, message",
    [
        ("backbone.stage1", r"the model has no 'backbone.stage1'\..* 'backbone' has: backbone.res1, backbone.res2\."),
        ("bakbone", r"the model has no 'bakbone'\. Did you mean 'backbone'\? The model has: backbone, head\."),
        ("head.weigth", r"Did you mean 'head.weight'\? 'head' has: head.weight, head.bias\."),
        ("res*", r"the model has no 'res\*'"),
    ],
)
def test_a_part_that_does_not_exist_is_named(name, message):
    with pytest.raises(ConfigError, match=f"freeze: .*{message}"):
        freeze_parts(ToyModel(), [name])


def test_something_must_be_left_to_train():
    with pytest.raises(ConfigError, match=r"freeze is backbone, head: nothing is left to train"):
        freeze_parts(ToyModel(), ["backbone", "head"])


def test_synchronized_statistics_are_refused():
    model = nn.Sequential(nn.SyncBatchNorm(4), nn.Linear(4, 4))
    with pytest.raises(ConfigError, match=r"the statistics of 0 are synchronized between processes .*norm_type=bn"):
        freeze_parts(model, ["0"])


def test_random_weights_are_not_frozen(tmp_path):
    with pytest.raises(ConfigError, match="freeze needs pretrain_weights: the frozen parts would stay random"):
        train_toy(tmp_path, freeze=["backbone"])


def test_a_resumed_run_may_freeze_more_and_not_less(tmp_path, caplog):
    trained = {"toy": {"trunk": TRAINED}, "pretrain_weights": "anything"}
    run_dir = train_toy(tmp_path, {"max_steps": 3}, freeze=["backbone.res1"], **trained).run_dir
    with pytest.raises(
        ConfigError, match=r"its run did not train 3 of the parameters \(backbone.res1.conv1.conv.weight, \.\.\.\)"
    ):
        train_toy(tmp_path, {"resume": "auto", "max_steps": 5}, **trained)
    before = read_tensors(run_dir / "model_final.pdparams")
    train_toy(tmp_path, {"resume": "auto", "max_steps": 5}, freeze=["backbone.res1", "head"], **trained)
    after = read_tensors(run_dir / "model_final.pdparams")
    changed = {name for name in before if (before[name] != after[name]).any()}
    assert "head.weight" not in changed and "backbone.res2.blocks.0.branch1.conv.weight" in changed
    assert "freeze.1: not set -> head" in messages(caplog)


def test_parts_of_a_detector(demo_data, tmp_path, trained):
    from ppdet_res2net.detection.task import train

    weights = f"pretrain_weights={trained / 'model_final'}"
    config = make_config(demo_data, tmp_path, weights, "freeze=[backbone,neck,rpn_head]", "TrainDataset.sample_num=4")
    after = read_tensors(train(config, max_steps=1).run_dir / "model_final.pdparams")
    before = read_tensors(trained / "model_final.pdparams")
    changed = {name.split(".")[0] for name in before if (before[name] != after[name]).any()}
    assert changed == {"bbox_head", "mask_head"}
