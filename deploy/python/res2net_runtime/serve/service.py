"""What the routes share: the models, the threads, and the way of images through both."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.requests import Request

from res2net_runtime.backends.cpu import available_cores
from res2net_runtime.errors import ImageError
from res2net_runtime.preprocess import ImageSource
from res2net_runtime.serve.batching import Job, Outcome
from res2net_runtime.serve.bodies import BodyAccount, BodyBudget, client_gone
from res2net_runtime.serve.errors import RequestError
from res2net_runtime.serve.keys import has_key
from res2net_runtime.serve.metrics import Metrics
from res2net_runtime.serve.models import LoadedModel, ModelStore
from res2net_runtime.serve.settings import ServeSettings

__all__ = ["Service", "note", "service_of"]

ResultT = TypeVar("ResultT")
_BODIES_AT_ONCE = 16  # as many of the largest ones fit into the memory for bodies
_NOTES = "res2net_runtime.notes"


@dataclass(frozen=True, eq=False)
class Service:
    """One server.

    Attributes:
        settings: How it behaves.
        metrics: Its figures.
        store: Its models.
        budget: Memory for bodies.
        decoders: Threads that decode images.
        finishers: Threads that make answers of results.
    """

    settings: ServeSettings
    metrics: Metrics
    store: ModelStore
    budget: BodyBudget
    decoders: ThreadPoolExecutor
    finishers: ThreadPoolExecutor

    @classmethod
    def create(cls, settings: ServeSettings) -> Service:
        """Return a server whose models are not loaded yet."""
        metrics = Metrics()
        decoders = ThreadPoolExecutor(max(2, available_cores()), thread_name_prefix="res2net-decode")
        finishers = ThreadPoolExecutor(max(2, available_cores()), thread_name_prefix="res2net-answer")
        return cls(
            settings,
            metrics,
            ModelStore(settings, metrics, decoders),
            BodyBudget(_BODIES_AT_ONCE * settings.max_bytes),
            decoders,
            finishers,
        )

    def close(self) -> None:
        """Finish what is accepted, and free everything."""
        self.store.close()
        self.decoders.shutdown(cancel_futures=True)
        self.finishers.shutdown(cancel_futures=True)

    def check_key(self, request: Request) -> None:
        """Check that a request shows a key, if the server has any.

        Raises:
            RequestError: It does not.
        """
        if self.settings.keys and not has_key(request.headers, self.settings.keys):
            raise RequestError(
                401,
                "This needs a key. Send it as 'Authorization: Bearer KEY' or as 'X-API-Key: KEY'.",
                "no_key",
                {"WWW-Authenticate": "Bearer"},
            )

    @contextmanager
    def accepting(self, request: Request, name: str) -> Iterator[BodyAccount]:
        """Check key, model and queue before the body of a request is read, and account for it while it is in the memory.

        Raises:
            RequestError: The request is refused.
        """
        self.check_key(request)
        model = self.store.get(name)
        note(request, model=name)
        model.batcher.check_place()
        with self.budget.account() as account:
            yield account

    async def run(
        self,
        request: Request,
        model: LoadedModel,
        sources: Sequence[ImageSource],
        timeout_ms: float,
        keeps_images: bool,
    ) -> list[Outcome | ImageError]:
        """Run images through a model.

        Returns:
            Of each image what was found, or why it cannot be read.

        Raises:
            RequestError: There is no place, the time has passed, or the client has gone.
            BackendError: The network fails.
        """
        jobs = model.batcher.submit(sources, timeout_ms, keeps_images)
        note(request, images=len(jobs))
        await _wait(request, model, jobs, timeout_ms)
        outcomes: list[Outcome | ImageError] = []
        for job in jobs:
            error = job.future.exception()
            if error is not None and not isinstance(error, ImageError):
                raise error
            outcomes.append(error if error is not None else job.future.result())
        for outcome in outcomes:
            if isinstance(outcome, Outcome):
                model.metrics.part("queue", outcome.times.queue)
                model.metrics.part("decode", outcome.times.decode)
        return outcomes

    async def work(self, make: Callable[[], ResultT]) -> ResultT:
        """Do something slow in another thread, so that neither the network nor other requests wait for it."""
        return await asyncio.get_running_loop().run_in_executor(self.finishers, make)

    async def finish(self, model: LoadedModel, make: Callable[[], ResultT], is_short: bool = False) -> ResultT:
        """Make an answer of results, as :meth:`work` does unless it is short, and take its time."""
        started_s = time.perf_counter()
        answer = make() if is_short else await self.work(make)
        model.metrics.part("postprocessing", time.perf_counter() - started_s)
        return answer


async def _wait(request: Request, model: LoadedModel, jobs: Sequence[Job], timeout_ms: float) -> None:
    """Wait until all images are done; if time runs out or the client goes away, those that have not started are given up."""
    waited: list[asyncio.Future[Any]] = [asyncio.wrap_future(job.future) for job in jobs]
    pending = set(waited)
    gone: asyncio.Future[Any] = asyncio.ensure_future(_wait_until_gone(request))
    deadline_s = time.monotonic() + timeout_ms / 1000
    may_expire = True
    try:
        while pending:
            left_s = max(0.0, deadline_s - time.monotonic()) if may_expire else None
            done, _ = await asyncio.wait({*pending, gone}, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
            if gone in done:
                gone.result()  # a failure is not a client that goes away
                raise client_gone()
            if not done:
                may_expire = False
                for job in jobs:
                    model.batcher.expire(job)
            pending -= done
    finally:
        gone.cancel()
        for future in waited:
            future.cancel()
            future.add_done_callback(_take_exception)


def _take_exception(future: asyncio.Future[Any]) -> None:
    """Look at an error, which the caller takes from the job; asyncio would report that nobody did."""
    if not future.cancelled():
        future.exception()


async def _wait_until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def note(request: Request, **facts: object) -> None:
    """Add facts about a request to its line in the access log."""
    request.scope.setdefault(_NOTES, {}).update(facts)


def service_of(request: Request) -> Service:
    """Return the server that a request has come to."""
    service: Service = request.app.state.service
    return service
