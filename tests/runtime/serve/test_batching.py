"""The queue of a network: places, batches of one size, deadlines, and images that nobody waits for any more."""

from __future__ import annotations

import threading
import time
from concurrent.futures import CancelledError, ThreadPoolExecutor

import numpy as np
import pytest

from res2net_runtime.errors import BackendError, ImageError
from res2net_runtime.serve.batching import Batcher
from res2net_runtime.serve.errors import DeadlineError, QueueFullError, RequestError
from res2net_runtime.session import Prepared


class Observer:
    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.places = 0

    def batch(self, size: int, seconds: float) -> None:
        self.sizes.append(size)

    def waiting(self, count: int) -> None:
        self.places = count


class Network:
    """Answers each image with itself. An image is a number; its hundreds are its size. It runs when it may."""

    def __init__(self) -> None:
        self.may_run, self.may_prepare = threading.Event(), threading.Event()
        self.may_run.set()
        self.may_prepare.set()
        self.prepared: list[int] = []
        self.error: Exception | None = None
        self.is_running = threading.Event()
        self.is_closed = False

    def prepare(self, source: int) -> Prepared:
        assert self.may_prepare.wait(10)
        self.prepared.append(source)
        if source < 0:
            raise ImageError("no image")
        return Prepared({"image": np.full(source // 100 + 1, source)}, image=np.array(source))

    def run_prepared(self, prepared: list[Prepared]) -> list[int]:
        self.is_running.set()
        assert self.may_run.wait(10)
        if self.error is not None:
            raise self.error
        assert len({one.shapes for one in prepared}) == 1
        return [int(one.inputs["image"][0]) for one in prepared]

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def network():
    return Network()


@pytest.fixture
def observer():
    return Observer()


@pytest.fixture
def make_batcher(network, observer):
    batchers = []
    with ThreadPoolExecutor(2) as pool:

        def make(batch_size: int = 1, max_wait_s: float = 0.0, max_queue: int = 100) -> Batcher:
            batcher = Batcher(
                network, pool, observer, batch_size=batch_size, max_wait_s=max_wait_s, max_queue=max_queue
            )
            batchers.append(batcher)
            return batcher

        yield make
        network.may_run.set()
        network.may_prepare.set()
        for batcher in batchers:
            batcher.close()


def results(jobs) -> list[int]:
    return [job.future.result(10).result for job in jobs]


def occupy(batcher: Batcher, network: Network) -> list:
    """Let the network start on an image and stay there until it may run."""
    network.may_run.clear()
    network.is_running.clear()
    jobs = batcher.submit([7], 10_000)
    assert network.is_running.wait(10)
    return jobs


def test_each_image_gets_its_own_result(make_batcher, observer):
    batcher = make_batcher(batch_size=4, max_wait_s=0.01)
    for first in range(0, 400, 50):
        assert results(batcher.submit(range(first, first + 50), 10_000)) == list(range(first, first + 50))
    assert observer.places == 0


def test_images_of_one_size_share_a_batch_in_time(make_batcher, observer):
    batcher = make_batcher(batch_size=4, max_wait_s=5)
    started_s = time.monotonic()
    assert results(batcher.submit([1, 101, 2, 102, 3, 103, 4, 104], 10_000)) == [1, 101, 2, 102, 3, 103, 4, 104]
    assert time.monotonic() - started_s < 5  # full batches do not wait
    assert observer.sizes == [4, 4]


def test_an_incomplete_batch_runs_after_the_wait(make_batcher, observer):
    batcher = make_batcher(batch_size=4, max_wait_s=0.05)
    assert results(batcher.submit([1, 2], 10_000)) == [1, 2]
    assert observer.sizes == [2]


def test_a_full_queue_refuses_at_once_and_says_when_to_come_back(make_batcher, network):
    batcher = make_batcher(max_queue=3)
    jobs = occupy(batcher, network) + batcher.submit([1, 2], 10_000)
    with pytest.raises(QueueFullError) as refused:
        batcher.submit([3], 10_000)
    assert refused.value.status == 503 and int(refused.value.headers["Retry-After"]) >= 1
    assert str(refused.value).startswith("The queue is full: 3 of 3 images wait. Try again in ")
    network.may_run.set()
    assert results(jobs) == [7, 1, 2]
    assert results(batcher.submit([3], 10_000)) == [3]


def test_a_request_larger_than_the_queue_is_told_so(make_batcher):
    with pytest.raises(
        RequestError, match="The request has 4 images, and the queue holds 3. Send fewer at once."
    ) as refused:
        make_batcher(max_queue=3).submit([1, 2, 3, 4], 10_000)
    assert refused.value.status == 413


def test_images_whose_time_has_passed_are_neither_decoded_nor_run(make_batcher, network):
    batcher = make_batcher()
    occupying = occupy(batcher, network)
    late = batcher.submit(range(20), 1)
    time.sleep(0.05)
    network.may_run.set()
    assert results(occupying) == [7]
    for job in late:
        with pytest.raises(DeadlineError, match="The image waited for 1 ms, which is all that timeout_ms allows"):
            job.future.result(10)
    assert len(network.prepared) <= 5  # of 21: those that were decoded ahead


def test_what_runs_does_not_expire_and_what_waits_does(make_batcher, network):
    batcher = make_batcher()
    (running,) = occupy(batcher, network)
    (waiting,) = batcher.submit([1], 10_000)
    assert not batcher.expire(running) and batcher.expire(waiting)
    network.may_run.set()
    assert results([running]) == [7]


def test_a_cancelled_image_frees_its_place_and_is_not_run(make_batcher, network, observer):
    batcher = make_batcher(max_queue=2)
    occupying = occupy(batcher, network)
    for number in range(50):  # clients that come and go
        (job,) = batcher.submit([number], 10_000)
        assert job.future.cancel()
        assert job.source is None and job.prepared is None
    assert observer.places == 1
    network.may_run.set()
    assert results(occupying) == [7]
    with pytest.raises(CancelledError):
        job.future.result(10)
    batcher.close()
    assert observer.sizes == [1]


def test_few_images_are_decoded_ahead(make_batcher, network):
    batcher = make_batcher()
    jobs = occupy(batcher, network) + batcher.submit(range(50), 10_000)
    time.sleep(0.1)
    assert len(network.prepared) == 5  # the one that runs, and four
    network.may_run.set()
    assert results(jobs) == [7, *range(50)]


def test_errors_reach_those_who_wait_and_the_queue_goes_on(make_batcher, network):
    batcher = make_batcher()
    bad, good = batcher.submit([-1, 5], 10_000)
    with pytest.raises(ImageError, match="no image"):
        bad.future.result(10)
    assert results([good]) == [5]
    for error in (BackendError("it fails"), RuntimeError("a defect")):
        network.error = error
        with pytest.raises(type(error)):
            batcher.submit([1], 10_000)[0].future.result(10)
    network.error = None
    assert results(batcher.submit([6], 10_000)) == [6]


def test_closing_finishes_what_is_accepted(make_batcher, network):
    batcher = make_batcher(batch_size=8, max_wait_s=60)
    jobs = batcher.submit([1, 2, 101], 10_000)
    batcher.close()  # does not wait for a minute
    assert results(jobs) == [1, 2, 101] and network.is_closed
