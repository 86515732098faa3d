"""``--batch_size auto``: what is measured, what is chosen, and what the run records."""

from __future__ import annotations

import pytest

from ppdet_res2net.config import load_config
from ppdet_res2net.errors import ConfigError, DatasetError, TrainingError
from ppdet_res2net.training import batch_size
from ppdet_res2net.training.batch_size import choose_by_memory, fit_batch_size
from ppdet_res2net.training.memory_probe import MemoryProbe
from ppdet_res2net.training.probe_steps import Measured
from ppdet_res2net.training.processes import ALONE, Processes
from tests.helpers.toy_task import IMAGES, ToyTask, toy_config, train_toy
from tests.helpers.training_runs import assert_equal_tensors, messages, read_tensors

GIB = 2**30


def _choose(memory_gib, limit_gib, most=1000, **settings):
    """Choose with a function that returns the GiB of a batch size, or None; return the choice and the sizes measured."""
    asked = []

    def measure(size, time_limit_s):
        asked.append(size)
        needs = memory_gib(size)
        return None if needs is None else Measured(size, int(needs * GIB), 0.1, 1000)

    choice = choose_by_memory(measure, limit_gib * GIB, lambda one: (most, "enough"), **settings)
    return choice.batch_size, asked, choice.reason


@pytest.mark.parametrize(
    ("memory_gib", "limit_gib", "chosen", "asked", "reason"),
    [
        (lambda n: 1 + n, 12, 8, [1, 2, 8], "12 would take about 13.00 GiB"),
        (lambda n: 1 + n, 2.5, 1, [1, 2], "2 take 3.00 GiB"),
        (lambda n: 1 + n, 1.5, 0, [1], "1 take 2.00 GiB"),
        (lambda n: 1 + n / 4, 40, 128, [1, 2, 8, 32, 128], "192 would take about 49.00 GiB"),
        (lambda n: 1, 2, 1000, [1, 2, 8, 32, 128, 512, 1000], "enough"),
        # It grows faster than a line: the size between two measurements is on the line through them.
        (lambda n: n + n * n / 8, 12, 6, [1, 2, 8], "8 take 16.00 GiB"),
        # The system ends the process.
        (lambda n: n if n < 8 else None, 64, 2, [1, 2, 8], "8 took more time or memory than there is"),
        (lambda n: None, 64, 0, [1], "1 took more time or memory than there is"),
    ],
)
def test_the_largest_size_that_fits(memory_gib, limit_gib, chosen, asked, reason):
    assert _choose(memory_gib, limit_gib) == (chosen, asked, reason)


def test_no_more_than_is_sensible():
    assert _choose(lambda n: n, 100, most=1) == (1, [1], "enough")
    assert _choose(lambda n: n, 100, most=5) == (5, [1, 2, 5], "enough")


def test_measuring_ends_in_time(monkeypatch):
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(batch_size.time, "monotonic", lambda: next(clock))
    # A measurement takes 10 s, so that 8 images should take 40 s.
    assert _choose(lambda n: 1, 100, time_limit_s=70) == (2, [1, 2], "to measure 8 would take longer than 70 s in all")


@pytest.mark.parametrize(
    ("settings", "most", "reason"),
    [
        ({"epoch": 5}, 10, "with more than 10, a run of 5 epochs of 1000 images would have fewer than 500 steps"),
        ({"epoch": 5, "accumulate_steps": 2}, 5, "with more than 5, "),
        ({"epoch": 1}, 4, "with more than 4, "),  # those of the recipe
        ({"epoch": 9999}, 1000, "with more than 1000, "),
    ],
)
def test_a_run_keeps_enough_steps(tmp_path, settings, most, reason):
    found = batch_size._most_images(toy_config(tmp_path, **settings), Measured(1, 0, 0.1, 1000))
    assert found[0] == most and found[1].startswith(reason)


def test_a_toy_by_memory_equals_one_with_that_number(tmp_path, caplog):
    caplog.set_level("INFO")
    settings = {"epoch": 400}
    by_memory = train_toy(tmp_path / "auto", {"memory_share": 0.5, "max_steps": 2}, **settings).run_dir
    said = messages(caplog)
    most = 400 * IMAGES // 500
    assert (
        f"batch size {most} instead of 4: with more than {most}, a run of 400 epochs of {IMAGES} images would" in said
    )
    for phrase in ("steps may take ", "50% of the free memory", f"\n  {most:4d} images: ", " GiB, ", " images/s"):
        assert phrase in said
    assert f"learning rate 0.0001 x {most} / 4 = 0.0003: {most} images per step instead of 4" in said
    recorded = load_config(by_memory / "config.yml")
    assert (recorded["TrainReader"]["batch_size"], recorded["base_batch_size"]) == (most, 4)

    settings |= {"TrainReader": {"batch_size": most}, "base_batch_size": 4}
    by_number = train_toy(tmp_path / "number", {"max_steps": 2}, **settings).run_dir
    assert_equal_tensors(*(read_tensors(run_dir / "model_final.pdparams") for run_dir in (by_memory, by_number)))

    caplog.clear()  # a run that is continued keeps its batch size
    train_toy(tmp_path / "auto", {"memory_share": 0.5, "max_steps": 3, "resume": "auto"}, epoch=400)
    assert f"--batch_size auto: {most}, as in the run that is continued" in messages(caplog)


def test_errors_of_a_task_are_those_of_training(tmp_path):
    config = toy_config(tmp_path)
    with MemoryProbe(config, FailingTask, "cpu", False) as probe, pytest.raises(DatasetError, match="no images at all"):
        probe.measure(1, 60.0)


class FailingTask(ToyTask):
    """A task whose data cannot be read."""

    def __init__(self, config, processes):
        raise DatasetError("there are no images at all")


def test_what_cannot_be_measured(tmp_path, monkeypatch):
    config = toy_config(tmp_path)
    with pytest.raises(
        ConfigError, match=r"measures one process, but 2 train together.* pass the number .* --batch_size N"
    ):
        fit_batch_size(config, ToyTask, Processes(0, 2), "cpu", 0.5)
    monkeypatch.setattr(batch_size, "free_memory_bytes", lambda: None)
    with pytest.raises(ConfigError, match="how much memory is free, which this system does not say. Pass a number"):
        fit_batch_size(config, ToyTask, ALONE, "cpu", 0.5)


def test_not_even_one_image(tmp_path, monkeypatch):
    monkeypatch.setattr(batch_size, "free_memory_bytes", lambda: GIB)
    monkeypatch.setattr(batch_size, "MemoryProbe", FullProbe)
    with pytest.raises(
        TrainingError, match=r"not even one image per batch fits: 1 take 2.00 GiB. Make the images of Train"
    ):
        fit_batch_size(toy_config(tmp_path), ToyTask, ALONE, "cpu", 0.5)


class FullProbe:
    """Measures 2 GiB for everything."""

    def __init__(self, *_):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def measure(self, size, time_limit_s):
        return Measured(size, 2 * GIB, 0.1, 10)
