"""A server on this machine, which stands in for a publisher's."""

from __future__ import annotations

import contextlib
import http.server
import os
import threading
from collections.abc import Iterator

__all__ = ["serve_folder", "serving"]


@contextlib.contextmanager
def serving(server: http.server.HTTPServer) -> Iterator[None]:
    """Run a server in a separate thread; it is closed at the end."""
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def serve_folder(folder: str | os.PathLike[str]) -> http.server.ThreadingHTTPServer:
    """Return a server of the files in a folder. Its ``url`` is the address; ``seen`` has method and path of each request."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args, **options) -> None:
            super().__init__(*args, directory=os.fspath(folder), **options)

        def log_message(self, *_: object) -> None:
            seen.append((self.command, self.path))

    seen: list[tuple[str, str]] = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.seen = seen
    server.url = f"http://127.0.0.1:{server.server_port}"
    return server
