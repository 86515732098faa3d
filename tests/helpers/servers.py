"""A server on this machine, which plays a publisher's."""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections.abc import Iterator

__all__ = ["serving"]


@contextlib.contextmanager
def serving(server: http.server.HTTPServer) -> Iterator[None]:
    """Let a server answer from a thread of its own; it is closed at the end."""
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
