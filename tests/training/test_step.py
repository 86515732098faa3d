"""Training steps: accumulation, clipping, averaging, precision, recomputation, and losses that are not finite."""

from __future__ import annotations

import json
import logging
import math

import numpy as np
import paddle
import pytest

from ppdet_res2net.data.seeds import Purpose
from ppdet_res2net.errors import ConfigError, TrainingError
from ppdet_res2net.training.checkpoint import load_training_state
from ppdet_res2net.training.ema import WeightAverage
from ppdet_res2net.training.recompute import recompute_blocks
from ppdet_res2net.training.step import seed_everything
from tests.helpers.toy_task import ToyModel, train_toy
from tests.helpers.training_runs import (
    assert_equal_tensors,
    losses_by_step,
    messages,
    read_metrics,
    read_tensors,
)


def _final(result):
    return read_tensors(result.run_dir / "model_final.pdparams")


def _assert_close(one, other, tolerance=2e-6):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_allclose(one[name], other[name], rtol=0, atol=tolerance, err_msg=name)


def test_small_batches_accumulated_equal_one_large_batch(tmp_path):
    large = train_toy(tmp_path / "a", TrainReader={"batch_size": 8})
    small = train_toy(tmp_path / "b", TrainReader={"batch_size": 2}, accumulate_steps=4)
    assert large.steps == small.steps == 4
    _assert_close(_final(large), _final(small))
    for step, losses in losses_by_step(large.run_dir).items():
        assert losses == pytest.approx(losses_by_step(small.run_dir)[step], rel=1e-5)
    alone = train_toy(tmp_path / "c", TrainReader={"batch_size": 2}, epoch=1)
    assert alone.steps == 8


def test_an_epoch_that_the_accumulated_batches_do_not_divide(tmp_path):
    assert train_toy(tmp_path / "a", accumulate_steps=3, epoch=2).steps == 2  # the fourth batch is left out
    kept = train_toy(tmp_path / "b", accumulate_steps=3, epoch=1, TrainReader={"batch_size": 4, "drop_last": False})
    assert kept.steps == 2
    with pytest.raises(
        ConfigError, match="accumulate_steps is 9, but an epoch has 4 batches: no step would be complete"
    ):
        train_toy(tmp_path / "c", accumulate_steps=9)


def test_gradients_are_clipped_to_a_norm(tmp_path):
    sgd = {"optimizer": {"type": "SGD"}, "regularizer": None}
    seed_everything(0, Purpose.MODEL)
    before = {name: tensor.numpy() for name, tensor in ToyModel().state_dict().items()}
    for limit in (None, 0.5):
        result = train_toy(
            tmp_path / str(limit), {"max_steps": 1}, OptimizerBuilder={**sgd, "clip_grad_by_norm": limit}
        )
        after = _final(result)
        moved = math.sqrt(sum(float(((after[n] - before[n]) ** 2).sum()) for n in before))
        (record,) = read_metrics(result.run_dir)
        assert record["grad_norm"] > 0.5  # as computed, before clipping
        assert moved == pytest.approx(1e-4 * (limit or record["grad_norm"]), rel=1e-3)


def test_stages_learn_at_their_own_rate(tmp_path):
    sgd = {"optimizer": {"type": "SGD"}, "regularizer": None}
    seed_everything(0, Purpose.MODEL)
    before = {name: tensor.numpy() for name, tensor in ToyModel().state_dict().items()}
    steps = []
    for factor in (1.0, 0.25):
        trunk = {"lr_mult_list": [factor, 1.0, 1.0, 1.0]}
        after = _final(train_toy(tmp_path / str(factor), {"max_steps": 1}, OptimizerBuilder=sgd, toy={"trunk": trunk}))
        steps.append({name: after[name] - before[name] for name in before})
    conv, head = "backbone.res2.blocks.0.branch2a.conv.weight", "head.weight"
    np.testing.assert_allclose(steps[1][conv], 0.25 * steps[0][conv], rtol=0, atol=2e-7)
    np.testing.assert_array_equal(steps[1][head], steps[0][head])


@pytest.mark.parametrize("kind", ["normal", "threshold", "exponential"])
def test_the_average_is_the_weighted_mean_of_the_models_so_far(kind):
    paddle.seed(0)
    model = paddle.nn.Linear(3, 2)
    average = WeightAverage(model, {"ema_decay": 0.5, "ema_decay_type": kind, "ema_black_list": ["bias"]})
    seen, factors = [], []
    for step in range(5):
        model.weight.set_value(np.random.RandomState(step).rand(3, 2).astype("float32"))
        model.bias.set_value(np.full(2, step, "float32"))
        average.update()
        decay = {"normal": 0.5, "threshold": min(0.5, (1 + step) / (10 + step))}.get(
            kind, 0.5 * (1 - math.exp(-(step + 1) / 2000))
        )
        factors = [factor * decay for factor in factors] + [1 - decay]
        seen.append(model.weight.numpy())
    expected = sum(f * w for f, w in zip(factors, seen)) / sum(factors)
    weights = average.weights()
    np.testing.assert_allclose(weights["weight"], expected, rtol=1e-6)
    np.testing.assert_array_equal(weights["bias"], [4, 4])  # not averaged
    with average.applied():
        np.testing.assert_array_equal(model.weight.numpy(), weights["weight"])
    np.testing.assert_array_equal(model.weight.numpy(), seen[-1])


def test_the_average_agrees_with_paddledets_after_some_steps():
    from ppdet_res2net.compat import prepare_ppdet

    prepare_ppdet()
    from ppdet.optimizer.ema import ModelEMA

    model = paddle.nn.Linear(3, 2)
    ours, theirs = WeightAverage(model, {"ema_decay": 0.9}), ModelEMA(model, decay=0.9)
    for step in range(120):
        model.weight.set_value(np.random.RandomState(step).rand(3, 2).astype("float32"))
        ours.update()
        theirs.update(model)
    np.testing.assert_allclose(ours.weights()["weight"], theirs.apply()["weight"].numpy(), rtol=1e-5)


def test_a_run_saves_the_average_and_resumes_exactly(tmp_path):
    settings = {"use_ema": True, "ema_decay": 0.9, "cycle_epoch": 2, "epoch": 3}
    whole = train_toy(tmp_path / "a", **settings)
    cut = train_toy(tmp_path / "b", {"max_steps": 6}, **settings)
    resumed = train_toy(tmp_path / "b", {"resume": str(cut.run_dir / "model_final")}, **settings)
    assert_equal_tensors(_final(resumed), _final(whole))
    own = load_training_state(whole.run_dir / "model_final").tensors["weights"]
    assert np.abs(own["head.weight"] - _final(whole)["head.weight"]).max() > 1e-4
    plain = train_toy(tmp_path / "c", epoch=3)
    assert_equal_tensors(own, _final(plain))  # averaging does not change training
    with pytest.raises(ConfigError, match="use_ema was true in its run. Pass -o use_ema=true"):
        train_toy(tmp_path / "b", {"resume": str(resumed.run_dir / "0")}, epoch=3)


@pytest.mark.parametrize(
    "settings, text",
    [
        ({"ema_decay": 1.0}, "ema_decay is 1; it must be at least 0 and below 1"),
        ({"ema_decay_type": "linear"}, "ema_decay_type is 'linear'; choose one of normal, threshold, exponential"),
    ],
)
def test_settings_of_the_average_are_checked(tmp_path, settings, text):
    with pytest.raises(ConfigError, match=text):
        train_toy(tmp_path, use_ema=True, **settings)


def test_mixed_precision_on_a_cpu_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="on a CPU, where Paddle has none: it would change nothing. Leave out --amp"):
        train_toy(tmp_path, {"amp": True})
    with pytest.raises(ConfigError, match="pass -o amp=false"):
        train_toy(tmp_path, amp=True)


@pytest.mark.parametrize("frozen_stage", [-1, 0])
def test_recomputation_gives_the_same_gradients(frozen_stage, monkeypatch):
    heard: list = []
    paddles_logger = logging.getLogger("paddle.distributed.fleet.utils.log_util")
    monkeypatch.setattr(paddles_logger, "callHandlers", heard.append)

    def gradients(recompute):
        seed_everything(3, Purpose.MODEL)
        model = ToyModel(depth=[1, 2], num_stages=2, return_idx=[1], freeze_at=frozen_stage)
        model.head = paddle.nn.Linear(512, 2)
        if recompute:
            recompute_blocks(model)
        model.train()
        image = paddle.to_tensor(np.random.RandomState(0).rand(2, 3, 32, 32).astype("float32"))
        model(image).square().mean().backward()
        return {name: p.grad.numpy() for name, p in model.named_parameters() if p.grad is not None}

    plain = gradients(False)
    assert any("res3.blocks.1" in name for name in plain)
    assert_equal_tensors(plain, gradients(True))
    assert not heard  # Paddle's wrong warning at each step that nothing needs to be recomputed
    paddles_logger.warning("something else")
    assert len(heard) == 1


def test_recomputation_with_trained_statistics_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="recompute_backbone is set, but .* is trained.*freeze_norm=true"):
        train_toy(tmp_path, recompute_backbone=True, toy={"trunk": {"freeze_norm": False}})


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    with pytest.raises(TrainingError) as error:
        train_toy(tmp_path, toy={"bad_images": [7]}, snapshot_epoch=1)
    text = str(error.value)
    assert "not finite at step" in text and "loss_a nan, loss_b nan, loss nan (image ids" in text
    assert " 7" in text.partition("image ids")[2].partition(")")[0]
    assert "gradient norm nan; learning rate 0.0001. The checkpoints in" in text
    assert "ppdet-res2net check-dataset" in text


def test_steps_that_are_not_finite_can_be_left_out(tmp_path, caplog):
    trunk = {"freeze_norm": False}
    toy = {"bad_images": [7], "trunk": trunk}
    result = train_toy(tmp_path / "a", max_nonfinite_steps=2, toy=toy)
    assert result.steps == 8
    assert messages(caplog).count("This step was left out (") == 2
    skipped = [record["step"] for record in read_metrics(result.run_dir, "skipped")]
    assert len(skipped) == 2
    assert set(losses_by_step(result.run_dir)) == set(range(1, 9)) - set(skipped)
    final = _final(result)
    assert all(np.isfinite(array).all() for array in final.values())  # the statistics too
    assert load_training_state(result.run_dir / "model_final").values["position"]["skipped_steps"] == 2
    with pytest.raises(TrainingError, match="not finite at step .* Before it, max_nonfinite_steps=1 was used up"):
        train_toy(tmp_path / "b", max_nonfinite_steps=1, toy=toy)


class OneUnscalingPerUpdate:
    """Replaces Paddle's loss scaler, which does not exist on a CPU. It enforces a rule that a skipped step could break."""

    def __init__(self, enable, init_loss_scaling):
        self.is_enabled, self.is_unscaled = enable, False

    def is_enable(self):
        return self.is_enabled

    def scale(self, loss):
        return loss

    def unscale_(self, optimizer):
        assert not self.is_unscaled, "unscale_() has already been called on this optimizer since the last update()"
        self.is_unscaled = True

    def step(self, optimizer):
        optimizer.step()

    def update(self):
        self.is_unscaled = False

    def state_dict(self):
        return {}


def test_steps_are_left_out_in_mixed_precision_too(tmp_path, monkeypatch):
    monkeypatch.setattr("ppdet_res2net.training.step._amp_dtype", lambda *args: "float16")
    monkeypatch.setattr("paddle.amp.GradScaler", OneUnscalingPerUpdate)
    result = train_toy(tmp_path, {"amp": True}, max_nonfinite_steps=2, toy={"bad_images": [7]})
    assert result.steps == 8 and len(read_metrics(result.run_dir, "skipped")) == 2


def test_a_gradient_that_is_not_finite_stops_the_run_too(tmp_path, monkeypatch):
    from tests.helpers.toy_task import ToyTask

    def losses(self, model, batch):
        loss = (model(batch["image"]) * 0).sqrt().sum()  # the slope of a square root at 0
        return {"loss_a": loss, "loss": loss}

    monkeypatch.setattr(ToyTask, "losses", losses)
    with pytest.raises(TrainingError, match=r"not finite at step 1 .*loss 0 \(image ids .*gradient norm (nan|inf)"):
        train_toy(tmp_path)


def test_training_stops_early_when_the_score_no_longer_rises(tmp_path, caplog):
    caplog.set_level("INFO")
    scores = [0.1, 0.5, 0.4, 0.3, 0.9]
    result = train_toy(tmp_path, {"evaluate": True}, epoch=5, early_stop_patience=2, toy={"scores": scores})
    assert (result.steps, result.interrupted) == (16, False)
    assert "no better toy score in 2 evaluations: stopping early" in messages(caplog)
    assert json.loads((result.run_dir / "model_final.json").read_text())["step"] == 16
    assert json.loads((result.run_dir / "best_model.json").read_text())["step"] == 8
