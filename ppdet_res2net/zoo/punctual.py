"""Connections on which a server has limited time for the head of its answer."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from typing import TYPE_CHECKING, Any

import urllib3
from requests.adapters import HTTPAdapter

__all__ = ["LateAnswer", "PunctualAdapter"]


class LateAnswer(Exception):
    """The head of an answer was not complete in time."""


class PunctualAdapter(HTTPAdapter):
    """Ends an exchange whose status line and headers are not complete in time.

    The time limits of requests are for single reads. A server that sends "100 Continue" again and again, or a header letter by
    letter, never exceeds them.

    Args:
        limit_s: Time for the whole head of an answer, in seconds.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Create the pools of direct connections."""
        super().init_poolmanager(*args, **options)
        self._make_punctual(self.poolmanager)

    def proxy_manager_for(self, proxy: Any, **options: Any) -> Any:
        """Return the pools of connections through a proxy."""
        manager = super().proxy_manager_for(proxy, **options)
        self._make_punctual(manager)
        return manager

    def _make_punctual(self, manager: urllib3.PoolManager) -> None:
        limit_s = self._limit_s

        class Http(_Punctual, urllib3.connection.HTTPConnection):
            head_s = limit_s

        class Https(_Punctual, urllib3.connection.HTTPSConnection):
            head_s = limit_s

        class HttpPool(urllib3.HTTPConnectionPool):
            ConnectionCls = Http

        class HttpsPool(urllib3.HTTPSConnectionPool):
            ConnectionCls = Https

        manager.pool_classes_by_scheme = {"http": HttpPool, "https": HttpsPool}


if TYPE_CHECKING:
    _Base = urllib3.connection.HTTPConnection
else:
    _Base = object


class _Punctual(_Base):
    head_s: float

    def getresponse(self) -> Any:
        late = threading.Event()

        def hang_up(connection: socket.socket) -> None:
            late.set()
            with contextlib.suppress(OSError):  # it is closed already
                connection.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(self.head_s, hang_up, [self.sock])
        timer.daemon = True
        timer.start()
        try:
            response = super().getresponse()
        except (OSError, ValueError, http.client.HTTPException):
            if not late.is_set():
                raise
        finally:
            timer.cancel()
        if late.is_set():  # without an exception, too: the end of the connection counts as the end of the headers
            raise LateAnswer(f"the server has not completed the head of its answer within {self.head_s:g} s")
        return response
