"""Training computes with its own number of threads, regardless of the process's number."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import paddle
import pytest

from ppdet_res2net.compat import omp_threads
from ppdet_res2net.training import threads as threads_module
from ppdet_res2net.training.threads import choose_threads, set_threads
from tests.helpers.toy_task import ToyTask, train_toy
from tests.helpers.training_runs import assert_equal_tensors, read_tensors

ROOT = Path(__file__).resolve().parents[2]
# A matrix product whose long sum MKL splits among its threads.
LONG_SUM = 100_000


@pytest.fixture
def threads_are_put_back():
    yield
    set_threads(choose_threads({}))


@pytest.fixture
def sensitive_toy(monkeypatch):
    """Make the toy's loss depend on a sum whose last bits depend on the number of threads."""
    losses = ToyTask.losses

    def sensitive_losses(self, model, batch):
        terms = losses(self, model, batch)
        weight = model.head.weight.mean(axis=1).tile([LONG_SUM // 256 + 1])[:LONG_SUM]
        total = paddle.matmul(
            weight.tile([8]).reshape([8, -1]), paddle.sin(paddle.arange(8.0 * LONG_SUM)).reshape([-1, 8])
        )
        terms["loss"] = terms["loss"] + total.square().mean()
        return terms

    monkeypatch.setattr(ToyTask, "losses", sensitive_losses)


def _product(threads: int) -> bytes:
    """A matrix product like that of the toy, computed with some threads."""
    set_threads(threads)
    factor = paddle.cos(paddle.arange(8.0 * LONG_SUM)).reshape([8, -1])
    return paddle.matmul(factor, paddle.sin(paddle.arange(8.0 * LONG_SUM)).reshape([-1, 8])).numpy().tobytes()


def _weights(folder: Path, **settings):
    return read_tensors(train_toy(folder, {"max_steps": 2}, **settings).run_dir / "model_final.pdparams")


@pytest.mark.parametrize("count", [1, 2])
def test_the_threads_of_the_process_do_not_matter(tmp_path, monkeypatch, threads_are_put_back, sensitive_toy, count):
    found = []
    for before in (1, 2):
        set_threads(before)
        found.append(_weights(tmp_path / str(before), cpu_threads=count))
    assert_equal_tensors(*found)


def test_the_test_above_would_notice_other_threads(tmp_path, threads_are_put_back, sensitive_toy):
    if _product(1) == _product(2):
        pytest.skip(
            "here a matrix product has the same bits with one and two threads: one core, an old CPU, or MKL_CBWR"
        )
    one, two = (_weights(tmp_path / str(count), cpu_threads=count) for count in (1, 2))
    assert any(one[name].tobytes() != two[name].tobytes() for name in one)


def test_threads_that_change_between_two_steps_do_not_matter(
    tmp_path, monkeypatch, threads_are_put_back, sensitive_toy
):
    expected = _weights(tmp_path / "a", cpu_threads=1)
    describe = ToyTask.describe

    def describe_and_disturb(self, batch):
        set_threads(2)
        return describe(self, batch)

    monkeypatch.setattr(ToyTask, "describe", describe_and_disturb)
    assert_equal_tensors(_weights(tmp_path / "b", cpu_threads=1), expected)


def test_the_number_is_that_of_the_configuration_then_of_the_environment_then_of_the_cores(monkeypatch, tmp_path):
    monkeypatch.setattr(threads_module, "available_cores", lambda: 7)
    monkeypatch.setattr(omp_threads, "_FIRST_ENVIRONMENT", tmp_path / "environ")
    (tmp_path / "environ").write_bytes(b"PATH=/bin\0LANG=C\0")
    monkeypatch.delenv("PADDLE_LOCAL_SIZE", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert choose_threads({"cpu_threads": 5}) == 5
    assert choose_threads({"cpu_threads": None}) == choose_threads({}) == 3
    for nothing in ("", "0", "many"):
        monkeypatch.setenv("OMP_NUM_THREADS", nothing)
        assert choose_threads({}) == 7
    monkeypatch.setenv("PADDLE_LOCAL_SIZE", "2")
    assert choose_threads({}) == 3
    monkeypatch.setenv("PADDLE_LOCAL_SIZE", "8")
    assert choose_threads({}) == 1


def test_a_one_in_the_environment_counts_only_if_it_is_not_paddles(monkeypatch, tmp_path):
    monkeypatch.setattr(threads_module, "available_cores", lambda: 7)
    monkeypatch.setattr(omp_threads, "_FIRST_ENVIRONMENT", tmp_path / "environ")
    monkeypatch.delenv("PADDLE_LOCAL_SIZE", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert choose_threads({}) == 1  # no such file, as on a Mac
    (tmp_path / "environ").write_bytes(b"PATH=/bin\0OMP_NUM_THREADS=1\0")
    assert choose_threads({}) == 1
    (tmp_path / "environ").write_bytes(b"PATH=/bin\0NO_OMP_NUM_THREADS=1\0")
    assert choose_threads({}) == 7


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
@pytest.mark.parametrize("asked", [None, "1", "2"])
def test_paddles_own_entry_in_the_environment_is_recognised(asked):
    code = (
        "import os, paddle\n"
        "from ppdet_res2net.training.threads import available_cores, choose_threads\n"
        "print('found', os.environ['OMP_NUM_THREADS'], choose_threads({}), available_cores())\n"
    )
    environment = {
        name: value for name, value in os.environ.items() if name not in ("OMP_NUM_THREADS", "PADDLE_LOCAL_SIZE")
    }
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "deploy" / "python")])
    if asked:
        environment["OMP_NUM_THREADS"] = asked
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    in_environment, chosen, cores = done.stdout.partition("found ")[2].split()
    assert in_environment == (asked or "1")  # import paddle has written it
    assert chosen == (asked or cores)
