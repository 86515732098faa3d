"""Fixtures of the tests of training."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def no_curves(monkeypatch):
    """Leave out the curves: drawing them takes longer than all steps of a toy."""
    monkeypatch.setattr("ppdet_res2net.training.run_log.plot_runs", lambda *args: None)
