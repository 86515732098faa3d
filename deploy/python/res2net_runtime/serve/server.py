"""Runs the application in this process: the socket, signals, and the end without lost requests."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
import time
from collections.abc import Callable, Generator
from types import FrameType
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from res2net_runtime.console import PrintableFormatter
from res2net_runtime.errors import Res2NetError
from res2net_runtime.serve.app import create_app
from res2net_runtime.serve.middleware import ACCESS_LOGGER
from res2net_runtime.serve.settings import ServeSettings

__all__ = ["configure_server_logging", "open_socket", "run_server"]

logger = logging.getLogger(__name__)

_BACKLOG = 2048
_KEEP_ALIVE_S = 15
_LINGER_S = 1.0
_POLLING_S = 0.02
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def open_socket(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Raises:
        Res2NetError: The address is not of this machine, or in use.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICSERV
        )[0]
        opened = socket.socket(family, socket.SOCK_STREAM)
        try:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.bind(address)
            opened.listen(_BACKLOG)
        except OSError:
            opened.close()
            raise
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise Res2NetError(
            f"Cannot listen at '{host}', port {port}: {reason}. Choose another --port, or a --host of this machine."
        ) from error
    opened.setblocking(False)
    opened.set_inheritable(True)
    return opened


def configure_server_logging() -> None:
    """Send messages to standard error, and the access log, which is JSON, to standard output."""
    messages = logging.StreamHandler(sys.stderr)
    messages.setFormatter(PrintableFormatter("%(asctime)s %(levelname)s: %(message)s", "%Y-%m-%d %H:%M:%S"))
    logging.basicConfig(handlers=[messages], level=logging.INFO)
    # uvicorn tells at INFO what it does at the start and the end, which is said here already.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    access = logging.getLogger(ACCESS_LOGGER)
    access.propagate = False
    access.addHandler(logging.StreamHandler(sys.stdout))
    access.setLevel(logging.INFO)


def run_server(settings: ServeSettings, listening: socket.socket, tell_ready: Callable[[], None]) -> None:
    """Answer requests until SIGTERM or Ctrl-C, and finish those that are in flight.

    Args:
        settings: How the server behaves.
        listening: The socket; it is closed at the end.
        tell_ready: Called when the models are loaded.

    Raises:
        Res2NetError: A model cannot be loaded.
    """
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        loop="asyncio",
        http=_protocol_class(settings.body_timeout_s, settings.max_connections, app.state.refuse_connection),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, round(settings.grace_s)),
        backlog=_BACKLOG,
    )
    service = app.state.service
    try:
        service.store.load_all()  # before uvicorn starts, which would only say that its start has failed
        _Server(config, tell_ready).run(sockets=[listening])
    finally:
        service.close()
        listening.close()


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, tell_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._tell_ready = tell_ready

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """As uvicorn's, but a signal that has been obeyed does not end the process afterwards."""
        before = {number: signal.signal(number, self.handle_exit) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End; the second signal ends at once."""
        if self.should_exit:
            self.force_exit = True
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Load the models, then accept connections."""
        await super().startup(sockets)
        if self.started:
            self._tell_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more connections, and answer what comes in over the open ones for a moment.

        A client that keeps its connection may be sending a request just now. uvicorn would close the connection; here
        the answer says that it will be closed.
        """
        for server in self.servers:
            server.close()
        self.server_state.default_headers = [*self.server_state.default_headers, (b"connection", b"close")]
        until_s = time.monotonic() + _LINGER_S
        while self.server_state.connections and time.monotonic() < until_s and not self.force_exit:
            await asyncio.sleep(_POLLING_S)
        await super().shutdown(sockets)


def _protocol_class(header_timeout_s: float, max_connections: int, refuse: ASGIApp) -> type[H11Protocol]:
    """Return uvicorn's protocol with a limit for the time of a request's headers, and one for connections.

    uvicorn's own limit answers without a sentence, and also refuses requests over the connections that were there before.

    Args:
        header_timeout_s: How long a client may take to send the headers of a request.
        max_connections: Connections at once.
        refuse: Answers instead of the application over further connections.
    """

    class Protocol(H11Protocol):
        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if len(self.connections) > max_connections:
                self.app = refuse
            self._timer = self.loop.call_later(header_timeout_s, self._close_if_waiting)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self._timer is None and self._waits_for_headers():
                self._timer = self.loop.call_later(header_timeout_s, self._close_if_waiting)

        def connection_lost(self, exc: Exception | None) -> None:
            if self._timer is not None:
                self._timer.cancel()
            super().connection_lost(exc)

        def _waits_for_headers(self) -> bool:
            return self.cycle is None or self.cycle.response_complete

        def _close_if_waiting(self) -> None:
            self._timer = None
            if self._waits_for_headers() and self.timeout_keep_alive_task is None:
                self.transport.close()

    return Protocol
