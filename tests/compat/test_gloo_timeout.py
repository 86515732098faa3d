"""Processes wait for each other before they exchange values; ``tests/training/test_processes.py`` runs real ones."""

from __future__ import annotations

import itertools

import pytest
from paddle import distributed
from paddle.base import core

from ppdet_res2net.compat import gloo_timeout
from ppdet_res2net.errors import TrainingError


class Store:
    """A store in which another process arrives at each meeting after some looks."""

    def __init__(self, looks: float) -> None:
        self.looks, self.left, self.arrivals = looks, looks, 0

    def add(self, key: str, value: int) -> int:
        self.left -= value == 0
        if self.left <= 0:
            self.arrivals, self.left = self.arrivals + 1, self.looks
        self.arrivals += value
        return self.arrivals


@pytest.fixture
def use_store(monkeypatch):
    def use(store: Store, backend: str = "GLOO") -> Store:
        monkeypatch.setattr(core, "create_or_get_global_tcp_store", lambda: store)
        monkeypatch.setattr(distributed, "get_backend", lambda: backend)
        monkeypatch.setattr(gloo_timeout, "_numbers", itertools.count(1))
        return store

    return use


def test_a_meeting_ends_when_the_other_process_has_come(use_store):
    store = use_store(Store(looks=3))
    for number in (1, 2, 3):
        gloo_timeout.meet(2)
        assert store.arrivals == 2 * number


def test_a_process_that_does_not_come_is_told(use_store, monkeypatch):
    use_store(Store(looks=float("inf")))
    monkeypatch.setattr(gloo_timeout, "_TIME_LIMIT_S", 0.0)
    with pytest.raises(TrainingError, match=r"waited 0 minutes for the other 1\. See their logs .* again with -r auto"):
        gloo_timeout.meet(2)


def test_on_gpus_nobody_waits(use_store):
    store = use_store(Store(looks=1), backend="NCCL")
    gloo_timeout.meet(2)
    assert store.arrivals == 0
