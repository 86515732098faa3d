"""Sends requests to a server over many connections at once, with as little work of its own as possible.

The load shares the machine with the server, so it speaks just enough HTTP itself: a client library would take as much
time for a request as the server does.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import numpy as np

__all__ = ["LOST", "REFUSED", "Load", "closed_loop", "exchange", "open_loop", "request_bytes"]

# In place of a status: the connection ended without an answer; there was none, as nobody listens.
LOST, REFUSED = 0, -1


@dataclass
class Load:
    """What came of a series of requests.

    Attributes:
        seconds: How long it took.
        statuses: How often each status came, :data:`LOST` and :data:`REFUSED` included.
        latencies_ms: Of each request with status 200.
        bodies: Of requests whose status is not expected, the beginning.
    """

    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    latencies_ms: list[float] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    @property
    def per_second(self) -> float:
        """Requests with status 200 per second."""
        return self.statuses[200] / self.seconds

    def percentile_ms(self, share: float) -> float:
        """Return the latency within which a share of the accepted requests was answered."""
        return float(np.percentile(self.latencies_ms, 100 * share)) if self.latencies_ms else float("nan")

    def note(self, status: int, body: bytes, started_s: float) -> None:
        """Count one answer."""
        self.statuses[status] += 1
        if status == 200:
            self.latencies_ms.append(1000 * (time.perf_counter() - started_s))
        elif status != 503 and len(self.bodies) < 5:
            self.bodies.append(body[:300])


def request_bytes(url: str, data: bytes, content_type: str = "image/jpeg", method: str = "POST") -> bytes:
    """Return a request as it goes over the connection."""
    parts = urlsplit(url)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    head = f"{method} {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: {content_type}\r\n"
    return f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data


class _Connection:
    """A connection that is opened again whenever the server has closed it."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname, parts.port)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, request: bytes) -> tuple[int, bytes]:
        """Send a request; returns the status and the body, or :data:`LOST` or :data:`REFUSED`."""
        if self._streams is not None and self._streams[0].at_eof():  # closed by the server while it was idle
            self.close()
        try:
            self._streams = self._streams or await asyncio.open_connection(*self._address)
        except OSError:
            return REFUSED, b""
        reader, writer = self._streams
        try:
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
            body = await reader.readexactly(length)
        except (OSError, asyncio.IncompleteReadError, ValueError):
            self.close()
            return LOST, b""
        if b"connection: close" in head:
            self.close()
        return int(head.split(b" ", 2)[1]), body

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def exchange(url: str, request: bytes) -> tuple[int, bytes]:
    """Send one request over a connection of its own; returns the status and the body."""
    connection = _Connection(url)
    try:
        return await connection.send(request)
    finally:
        connection.close()


async def closed_loop(
    url: str, requests: Sequence[bytes], clients: int, is_over: Callable[[Load], bool], pause_s: float = 0.0
) -> Load:
    """Let a number of clients send one request after the other, each as soon as it has its answer.

    Args:
        url: Address of the server.
        requests: Requests, which are taken in turn.
        clients: Number of clients.
        is_over: Whether to stop.
        pause_s: How long a client waits after it was refused.
    """
    load = Load()

    async def client(number: int) -> None:
        connection = _Connection(url)
        count = number
        while not is_over(load):
            started_s = time.perf_counter()
            status, body = await connection.send(requests[count % len(requests)])
            load.note(status, body, started_s)
            count += clients
            if status != 200 and pause_s:
                await asyncio.sleep(pause_s)
        connection.close()

    began_s = time.perf_counter()
    await asyncio.gather(*(client(number) for number in range(clients)))
    load.seconds = time.perf_counter() - began_s
    return load


async def open_loop(url: str, request: bytes, per_second: float, seconds: float) -> Load:
    """Send requests at a fixed rate, whatever the server does."""
    load = Load()
    idle: list[_Connection] = []
    tasks: set[asyncio.Task[None]] = set()

    async def one() -> None:
        connection = idle.pop() if idle else _Connection(url)
        started_s = time.perf_counter()
        status, body = await connection.send(request)
        load.note(status, body, started_s)
        idle.append(connection)

    began_s = time.perf_counter()
    sent = 0
    while (now_s := time.perf_counter() - began_s) < seconds:
        while sent < now_s * per_second:
            task = asyncio.create_task(one())
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            sent += 1
        await asyncio.sleep(0.005)
    if tasks:
        await asyncio.wait(tasks)
    load.seconds = time.perf_counter() - began_s
    for connection in idle:
        connection.close()
    return load
