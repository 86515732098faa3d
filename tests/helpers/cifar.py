"""Small archives in the format of CIFAR-10, and a server that breaks off and continues."""

from __future__ import annotations

import http.server
import io
import pickle
import re
import tarfile
from pathlib import Path

import numpy as np

__all__ = ["CLASSES", "serve_in_parts", "write_cifar10"]

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def write_cifar10(path: Path, images_per_file: int = 10) -> Path:
    """Write an archive of noise images, each with a bright square whose place tells the class."""
    random = np.random.RandomState(0)
    with tarfile.open(path, "w:gz") as archive:

        def add(name: str, content: dict) -> None:
            data = pickle.dumps(content, protocol=2)
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))

        add("batches.meta", {"label_names": list(CLASSES)})
        for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
            labels = [int(label) for label in random.permutation(images_per_file) % len(CLASSES)]
            planes = random.randint(0, 60, (images_per_file, 3, 32, 32)).astype(np.uint8)
            for image, label in zip(planes, labels):
                image[:, label // 5 * 16 :, label % 5 * 6 :][:, :16, :6] = 220
            add(name, {"data": planes.reshape(images_per_file, -1), "labels": labels})
    return path


def serve_in_parts(content: bytes, breaks: int, knows_parts: bool = True) -> http.server.ThreadingHTTPServer:
    """Return a server of one file that ends its first ``breaks`` answers in the middle of what it has announced.

    ``ranges`` of the server has the range of each request, or None; ``url`` is the file's address.
    """

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            server.ranges.append(wanted)
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and knows_parts else 0
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            rest = content[start:]
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            self.wfile.write(rest[: len(rest) // 2] if len(server.ranges) <= breaks else rest)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.ranges = []
    server.url = f"http://127.0.0.1:{server.server_port}/cifar-10-python.tar.gz"
    return server
