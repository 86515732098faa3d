"""``train --find_lr``: the range test, what it suggests, and that it keeps nothing."""

from __future__ import annotations

import json
import os
import signal

import numpy as np
import paddle
import pytest

from ppdet_res2net.errors import TrainingError
from ppdet_res2net.training import rate_finder, trainer
from ppdet_res2net.training.rate_finder import HIGHEST_RATE, LOWEST_RATE, RateCurve, find_learning_rate
from res2net_runtime.console import Ended
from tests.helpers.toy_task import ToyTask, toy_config
from tests.helpers.training_runs import messages

RATES = np.geomspace(1e-6, 1e-1, 51)  # ten to a decade


def _curve(losses) -> RateCurve:
    return RateCurve(list(RATES), list(losses), has_diverged=False)


def test_the_steepest_rate_and_a_tenth_of_the_best():
    # The loss falls from 3 to 1 around a rate of 1e-4, and rises from 1e-2 on.
    decades = np.log10(RATES)
    losses = 2 - np.tanh(3 * (decades + 4)) + np.where(decades > -2, 5 * (decades + 2), 0)
    curve = _curve(losses)
    assert curve.steepest_rate == pytest.approx(1e-4, rel=0.3)
    assert curve.tenth_of_lowest == pytest.approx(1e-3, rel=0.4)
    assert curve.suggestion == float(f"{curve.tenth_of_lowest:.1e}")


def test_noise_moves_the_suggestion_by_a_decade_at_most():
    decades = np.log10(RATES)
    losses = 2 - np.tanh(3 * (decades + 4)) + np.where(decades > -2, 5 * (decades + 2), 0)
    for seed in range(20):
        noisy = _curve(losses + np.random.RandomState(seed).randn(len(losses)) * 0.15)
        assert 2e-5 < noisy.suggestion < 2e-3  # the loss is low from 2e-4 to 1e-2


@pytest.mark.parametrize("losses", [np.linspace(1, 9, 51), np.full(51, 2.0), np.linspace(2, 1.99, 51), [1.0, 0.1], []])
def test_no_suggestion_without_a_clear_fall(losses):
    assert _curve(losses).suggestion is None


def test_a_toy(tmp_path, caplog):
    caplog.set_level("INFO")
    paddle.set_device("cpu")
    curve = find_learning_rate(toy_config(tmp_path), ToyTask, steps=60)
    assert curve.rates[0] == pytest.approx(LOWEST_RATE) and np.all(np.diff(np.log(curve.rates)) > 0)
    assert curve.has_diverged and curve.rates[-1] < HIGHEST_RATE
    said = messages(caplog)
    assert "learning-rate range test of toy on cpu: 60 steps of 4 images, from 1e-06 to 10" in said
    assert f"stopped after {len(curve.rates)} steps, as the loss diverged: the loss is lowest at " in said
    assert f"for 4 images per step: -o LearningRate.base_lr={curve.suggestion:g}" in said

    files = {file.name for file in (tmp_path / "toy").iterdir()}
    assert files == {"lr_finder.json", "lr_finder.png"}  # no weights
    written = json.loads((tmp_path / "toy" / "lr_finder.json").read_text())
    assert written["lr"] == list(curve.rates) and written["loss"] == list(curve.losses)
    assert (written["suggestion"], written["images_per_step"]) == (curve.suggestion, 4)
    again = find_learning_rate(toy_config(tmp_path), ToyTask, steps=60)
    assert again.losses == curve.losses


def test_accumulated_batches_are_one_step(tmp_path):
    curve = find_learning_rate(toy_config(tmp_path, accumulate_steps=2), ToyTask, steps=12)
    assert len(curve.losses) > 2  # more than an epoch of two steps


def test_a_loss_that_never_falls_is_an_error(tmp_path):
    with pytest.raises(
        TrainingError, match=r"No learning rate lowered the loss by more than 5%.*\(--max_steps 8 takes more\)"
    ):
        find_learning_rate(toy_config(tmp_path, toy={"bad_images": range(16)}), ToyTask, steps=4)
    assert json.loads((tmp_path / "toy" / "lr_finder.json").read_text())["suggestion"] is None


def _terminate(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGTERM)


def test_sigterm_ends_the_test(tmp_path, monkeypatch):
    monkeypatch.setattr(rate_finder, "_sweep", _terminate)
    with pytest.raises(Ended):
        find_learning_rate(toy_config(tmp_path), ToyTask, steps=5)
    assert not (tmp_path / "toy").exists()


def test_sigterm_ends_the_choice_of_a_batch_size(tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "fit_batch_size", _terminate)
    with pytest.raises(Ended):
        trainer.run_training(toy_config(tmp_path), ToyTask, trainer.TrainOptions(memory_share=0.5))
