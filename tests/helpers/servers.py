"""A server on this machine, which stands in for a publisher's."""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections.abc import Iterator

__all__ = ["serving"]


@contextlib.contextmanager
def serving(server: http.server.HTTPServer) -> Iterator[None]:
    """Run a server in a separate thread; it is closed at the end."""
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
