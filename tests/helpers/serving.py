"""A server with the toy detector, in this process or in one of its own, and images to send."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from starlette.testclient import TestClient

from res2net_runtime.serve import ServeSettings, create_app
from tests.helpers.runtime_toys import save_toy_classifier

__all__ = ["KEY", "ServerProcess", "encoded", "save_toy_classifier", "serving_app", "start_server"]

ROOT = Path(__file__).resolve().parents[2]
KEY = "0123456789abcdef-key"


def encoded(image: np.ndarray, suffix: str = ".jpg") -> bytes:
    """Return an RGB image as a file has it."""
    done, data = cv2.imencode(suffix, image[..., ::-1] if image.ndim == 3 else image)
    assert done
    return data.tobytes()


@contextlib.contextmanager
def serving_app(models: dict[str, Path], **settings) -> Iterator[TestClient]:
    """Yield a client of a server in this process, on one thread, with ONNX Runtime."""
    settings = {"engine": {"cpu_threads": 1, "backend": "onnxruntime"}, **settings}
    with TestClient(create_app(ServeSettings(models=models, **settings))) as client:
        yield client


class ServerProcess:
    """A server in a process of its own.

    Attributes:
        url: Its address.
        process: The process.
        lines: What it has written to standard error so far.
    """

    def __init__(self, *words: object) -> None:
        path = os.pathsep.join([str(ROOT / "deploy" / "python"), str(ROOT)])
        self.process = subprocess.Popen(
            [sys.executable, "-m", "res2net_runtime.serve", "--port", "0", *map(str, words)],
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []
        for line in self.process.stderr:
            self.lines.append(line)
            found = re.search(r"Serving .* at (http://\S+) ", line)
            if found:
                self.url = found[1]
                break
        else:
            raise AssertionError(f"the server did not start: {self.lines}")
        self._reader = threading.Thread(target=lambda: self.lines.extend(self.process.stderr))
        self._reader.start()
        self._output: list[str] = []
        self._output_reader = threading.Thread(target=lambda: self._output.extend(self.process.stdout))
        self._output_reader.start()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal; returns the exit code."""
        self.process.send_signal(number)
        code = self.process.wait(60)
        self._reader.join()
        self._output_reader.join()
        return code

    @property
    def output(self) -> str:
        """What it has written to standard output; complete after :meth:`stop`."""
        return "".join(self._output)


@contextlib.contextmanager
def start_server(*words: object) -> Iterator[ServerProcess]:
    """Start ``python -m res2net_runtime.serve`` at a free port; it is killed at the end if it still runs."""
    server = ServerProcess(*words)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.stop(signal.SIGKILL)
