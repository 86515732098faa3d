"""Runs the images of many requests through one network: a bounded queue, decoding in other threads, and batches of one size.

An image has a place in the queue from the moment it is accepted until its result is there, its time has passed, or its client
has gone. Only the next few images are decoded, because the network's inputs are much larger than encoded images.
"""

from __future__ import annotations

import functools
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from res2net_runtime.errors import Res2NetError
from res2net_runtime.preprocess import ImageSource
from res2net_runtime.serve.errors import DeadlineError, QueueFullError, RequestError
from res2net_runtime.session import ImageSession, Prepared

__all__ = ["Batcher", "BatchObserver", "Job", "Outcome", "Times"]

logger = logging.getLogger(__name__)

_BATCHES_AHEAD = 4
_SHARE_OF_NEWEST = 0.2  # in the running mean of the time per image
_MOST_RETRY_S = 60


class BatchObserver(Protocol):
    """Is told what a batcher does."""

    def batch(self, size: int, seconds: float) -> None:
        """The network has run."""

    def waiting(self, count: int) -> None:
        """The number of places in use has changed."""


@dataclass
class Times:
    """Where the time of one image went, in seconds.

    Attributes:
        queue: Waiting for a thread that decodes, for others of its size, and for the network.
        decode: Decoding and preparing.
        network: The network's run of its batch.
    """

    queue: float = 0.0
    decode: float = 0.0
    network: float = 0.0


@dataclass(frozen=True, eq=False)
class Outcome:
    """What the network found in an image.

    Attributes:
        result: A :class:`~res2net_runtime.Detections` or :class:`~res2net_runtime.classification.Classification`.
        image: The decoded image, uint8 (H, W, 3) RGB, if it was asked for and the model keeps it; else None.
        times: Where the time went.
    """

    result: Any
    image: np.ndarray | None
    times: Times


@dataclass(eq=False)
class Job:
    """One image on its way. ``future`` gives an :class:`Outcome`, or an error."""

    source: ImageSource | None
    timeout_ms: float
    keeps_image: bool
    future: Future[Outcome] = field(default_factory=Future)
    accepted_s: float = field(default_factory=time.monotonic)
    ready_s: float = 0.0
    times: Times = field(default_factory=Times)
    prepared: Prepared | None = None
    is_claimed: bool = False  # somebody will finish it; it can no longer be cancelled

    @property
    def is_late(self) -> bool:
        """Whether its client no longer waits for it."""
        return time.monotonic() - self.accepted_s > self.timeout_ms / 1000


class Batcher:
    """The queue of one network, and the thread that runs it.

    Args:
        session: The network. The batcher closes it.
        pool: Threads that decode.
        observer: Is told about batches.
        batch_size: Images that run together.
        max_wait_s: How long an image waits for others of its size.
        max_queue: Number of places.
    """

    def __init__(
        self,
        session: ImageSession[Any, Any, Any],
        pool: Executor,
        observer: BatchObserver,
        *,
        batch_size: int,
        max_wait_s: float,
        max_queue: int,
    ) -> None:
        self._session, self._pool, self._observer = session, pool, observer
        self._batch_size, self._max_wait_s, self._max_queue = batch_size, max_wait_s, max_queue
        self._most_ahead = max(_BATCHES_AHEAD * batch_size, _BATCHES_AHEAD)
        self._changed = threading.Condition(threading.RLock())  # futures call back while it is held
        self._places = 0
        self._encoded: deque[Job] = deque()
        self._decoding = 0
        self._ready: list[Job] = []
        self._is_closing = False
        self._seconds_per_image = 0.0
        self._thread = threading.Thread(target=self._run_until_closed, name="res2net-network", daemon=True)
        self._thread.start()

    def check_place(self, count: int = 1) -> None:
        """Check that there are places for some images.

        Raises:
            QueueFullError: There are not.
            RequestError: There never will be: they are more than the queue holds.
        """
        if count > self._max_queue:
            raise RequestError(
                413,
                f"The request has {count} images, and the queue holds {self._max_queue}. Send fewer at once.",
                "too_many_images",
            )
        if self._places + count > self._max_queue:
            wait_s = min(_MOST_RETRY_S, max(1, math.ceil(self._places * self._seconds_per_image)))
            raise QueueFullError(f"The queue is full: {self._places} of {self._max_queue} images wait.", wait_s)

    def submit(self, sources: Sequence[ImageSource], timeout_ms: float, keeps_images: bool = False) -> list[Job]:
        """Accept the images of a request, all or none.

        Args:
            sources: The images.
            timeout_ms: How long the client waits for the network to start on them.
            keeps_images: Whether outcomes have the decoded image.

        Raises:
            QueueFullError: There are not enough places.
        """
        with self._changed:
            self.check_place(len(sources))
            jobs = [Job(source, timeout_ms, keeps_images) for source in sources]
            self._places += len(jobs)
            for job in jobs:
                job.future.add_done_callback(functools.partial(self._release, job))
            self._encoded.extend(jobs)
            self._observer.waiting(self._places)
            self._start_decoding()
        return jobs

    def expire(self, job: Job) -> bool:
        """Fail an image whose time has passed, unless the network has started; returns whether it was failed."""
        return self._fail(job, DeadlineError(job.timeout_ms))

    def close(self) -> None:
        """Finish all accepted images, and free the network. No image may be submitted afterwards."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        self._thread.join()
        self._session.close()

    def _release(self, job: Job, future: Future[Outcome]) -> None:
        """Give a place back. Called once for each job, whatever became of it."""
        with self._changed:
            job.source = job.prepared = None
            if job in self._encoded:
                self._encoded.remove(job)
            if job in self._ready:
                self._ready.remove(job)
            self._places -= 1
            self._observer.waiting(self._places)
            self._start_decoding()
            self._changed.notify_all()

    def _claim(self, job: Job) -> bool:
        """Whether the caller may finish a job: nobody else does, and it has not been cancelled."""
        with self._changed:
            if job.is_claimed or not job.future.set_running_or_notify_cancel():
                return False
            job.is_claimed = True
            return True

    def _fail(self, job: Job, error: Exception) -> bool:
        if not self._claim(job):
            return False
        job.future.set_exception(error)
        return True

    def _start_decoding(self) -> None:
        """Let the pool decode the next images, but not many more than the network takes next."""
        while self._encoded and self._decoding + len(self._ready) < self._most_ahead:
            self._decoding += 1
            self._pool.submit(self._decode, self._encoded.popleft())

    def _decode(self, job: Job) -> None:
        prepared, source = None, job.source
        try:
            if job.is_late:
                self.expire(job)
            if not job.future.done() and source is not None:
                started_s = time.monotonic()
                prepared = self._session.prepare(source)
                job.times.decode = time.monotonic() - started_s
        except Res2NetError as error:
            self._fail(job, error)
        except Exception as error:
            logger.exception("an image could not be prepared")
            self._fail(job, error)
        finally:
            with self._changed:
                self._decoding -= 1
                if prepared is not None and not job.future.done():
                    job.source, job.prepared, job.ready_s = None, prepared, time.monotonic()
                    self._ready.append(job)
                self._start_decoding()
                self._changed.notify_all()

    def _run_until_closed(self) -> None:
        while True:
            batch = self._wait_for_batch()
            if batch is None:
                return
            self._run(batch)

    def _wait_for_batch(self) -> list[Job] | None:
        """Return the next images to run, which nobody can cancel any more; None at the end."""
        with self._changed:
            while True:
                for job in [job for job in self._ready if job.is_late]:
                    self.expire(job)
                if not self._ready:
                    if self._is_closing and not self._places:
                        return None
                    self._changed.wait()
                    continue
                left_s = self._ready[0].ready_s + self._max_wait_s - time.monotonic()
                chosen = self._choose(left_s <= 0 or self._is_closing)
                if not chosen:
                    self._changed.wait(left_s)
                    continue
                batch = [job for job in chosen if self._claim(job)]
                self._ready = [job for job in self._ready if job not in chosen]
                self._start_decoding()
                if batch:
                    return batch

    def _choose(self, is_time: bool) -> list[Job]:
        """Return the images of the oldest one's size if its time has come, else those of a size that fills a batch."""
        groups: dict[Any, list[Job]] = {}
        for job in self._ready:
            if job.prepared is not None:
                groups.setdefault(job.prepared.shapes, []).append(job)
        for group in groups.values():
            if is_time or len(group) >= self._batch_size:
                return group[: self._batch_size]
        return []

    def _run(self, batch: list[Job]) -> None:
        started_s = time.monotonic()
        prepared = [job.prepared for job in batch if job.prepared is not None]
        try:
            results = self._session.run_prepared(prepared)
        except Exception as error:
            if not isinstance(error, Res2NetError):
                logger.exception("the network failed")
            for job in batch:
                job.future.set_exception(error)
            return
        network_s = time.monotonic() - started_s
        self._observer.batch(len(batch), network_s)
        newest_s = network_s / len(batch)
        self._seconds_per_image += (newest_s - self._seconds_per_image) * (
            _SHARE_OF_NEWEST if self._seconds_per_image else 1
        )
        for job, one, result in zip(batch, prepared, results):
            job.times.queue = started_s - job.accepted_s - job.times.decode
            job.times.network = network_s
            job.future.set_result(Outcome(result, one.image if job.keeps_image else None, job.times))
