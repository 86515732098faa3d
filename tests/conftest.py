"""Fixtures that several test files share, and a closing line that says how to repeat the order of the tests."""

import gc
import signal
import sys

import pytest

from tests.helpers.datasets import turned_jpeg  # noqa: F401
from tests.helpers.training_runs import demo_data, detecting, trained  # noqa: F401

# Importing every test makes a million objects and no garbage; a quarter of that time went into looking for some.
gc.disable()

# Background jobs and nohup ignore these, and every process that a test starts would inherit that.
for _number, _handler in ((signal.SIGHUP, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _handler)


@pytest.fixture(autouse=True)
def no_curves(monkeypatch):
    """Leave out the curves of runs: drawing them takes longer than all steps. Fixtures of several tests still draw them."""
    run_log = sys.modules.get("ppdet_res2net.training.run_log")  # most tests do not need it, and it imports Paddle
    if run_log is not None:
        monkeypatch.setattr(run_log, "plot_runs", lambda *args: None)


def pytest_collection_finish():
    """Collect garbage from now on, but not among what the imports have made."""
    gc.freeze()
    gc.enable()


def pytest_terminal_summary(terminalreporter, config):
    """Say at the end how to run the tests in the same order again; pytest-randomly says it at the start only."""
    seed = config.getoption("randomly_seed", None)
    if isinstance(seed, int):
        terminalreporter.write_line(f"Random order; again: make test ARGS=--randomly-seed={seed}")
