"""Try what must not harm a server: kills, signals and exchanged models under load, slow clients, hostile bodies.

    python -m benchmarks.serving.faults --model_dir MODEL --image PHOTO [--seconds 10] [--bodies 1000] [--seed 0]

The exit code is 1 if a request was lost that should not have been, or if the server answered one with status 500.
Under a kill, only the connections of the killed process may end without an answer.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import os
import random
import re
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.harness import run_main
from benchmarks.serving.load import LOST, REFUSED, Load, closed_loop, exchange, request_bytes
from benchmarks.serving.server import Server, start

CLIENTS = 8
KEY = "a-key-for-this-benchmark"
FORM = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n%s\r\n--x--\r\n'


@contextmanager
def under_load(server: Server, address: str, data: bytes) -> Iterator[Load]:
    """Let clients send requests while the block runs; what came of them is there afterwards."""
    request = with_key(server.url + address, data)
    must_end = threading.Event()
    result = Load()

    def run() -> None:
        load = asyncio.run(closed_loop(server.url, [request], CLIENTS, lambda _: must_end.is_set(), 0.05))
        result.__dict__.update(load.__dict__)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield result
    finally:
        must_end.set()
        thread.join()


def with_key(url: str, data: bytes, kind: str = "image/jpeg", method: str = "POST") -> bytes:
    """Return a request that shows the key."""
    return request_bytes(url, data, kind, method).replace(b"\r\n", f"\r\nX-API-Key: {KEY}\r\n".encode(), 1)


class Faults:
    """The trials. Each returns what it saw, and notes in ``problems`` what should not have happened."""

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        self._folder, self._args = folder, args
        self._model = folder / "model"
        shutil.copytree(args.model_dir, self._model)
        self._data = Path(args.image).read_bytes()
        keys = folder / "keys"
        keys.touch(0o600)
        keys.write_text(KEY)
        self._words = (
            *("-m", "res2net_runtime.serve", "--model_dir", f"model={self._model}", "--port", 0),
            *("--backend", args.backend, "--api_key_file", keys, "--body_timeout_s", 2, "--max_mb", 2),
        )
        self.problems: list[str] = []

    def check(self, is_right: bool, problem: str) -> None:
        """Note a problem."""
        if not is_right:
            self.problems.append(problem)

    @contextmanager
    def server(self, *words: object) -> Iterator[Server]:
        """Start a server, and check that it ends well."""
        with start(self._folder, (*self._words, *words), 1) as server:
            yield server
            if server.process.poll() is None:
                self.check(server.stop() == 0, f"the server ended with {server.process.returncode}")
            self.check("Traceback" not in server.log.read_text(), f"a traceback: {server.log.read_text()[-1500:]}")

    def sigterm(self) -> str:
        """SIGTERM under load: everything that was sent over an accepted connection is answered."""
        with self.server() as server:
            with under_load(server, "/v1/models/model:predict", self._data) as load:
                time.sleep(self._args.seconds)
                self.check(server.stop() == 0, "SIGTERM: the exit code is not 0")
        self.check(set(load.statuses) <= {200, 503, REFUSED}, f"SIGTERM: {dict(load.statuses)} {load.bodies}")
        return f"{load.statuses[200]} answered, {load.statuses[LOST]} lost, then refused"

    def reload(self) -> str:
        """Exchange the model again and again under load: no request is lost."""
        reloads = Counter[int]()
        with self.server() as server:
            with under_load(server, "/v1/models/model:predict", self._data) as load:
                until_s = time.monotonic() + self._args.seconds
                request = with_key(f"{server.url}/v1/models/model:reload", b"")
                while time.monotonic() < until_s:
                    os.utime(self._model / "infer_cfg.yml")
                    reloads[asyncio.run(exchange(server.url, request))[0]] += 1
        self.check(set(reloads) == {200}, f"reload: the reloads had the statuses {dict(reloads)}")
        self.check(set(load.statuses) <= {200, 503}, f"reload: statuses {dict(load.statuses)} {load.bodies}")
        return f"{reloads[200]} reloads, {dict(load.statuses)}"

    def kill(self) -> str:
        """Kill workers under load: at most what the killed one had in hand is lost, and the service goes on."""
        killed = 0
        with self.server("--workers", 2) as server:
            with under_load(server, "/v1/models/model:predict", self._data) as load:
                until_s = time.monotonic() + self._args.seconds
                while time.monotonic() < until_s or not killed:
                    workers = server.workers()
                    if len(workers) == 2:
                        os.kill(workers[killed % 2], signal.SIGKILL)
                        killed += 1
                    time.sleep(self._args.seconds / 3)
            after = asyncio.run(self._ask(server, self._data))
            self.check(after == 200, f"kill: afterwards, the status is {after}")
        lost = load.statuses[LOST]
        self.check(
            lost <= killed * CLIENTS, f"kill: {lost} requests were lost by {killed} kills with {CLIENTS} clients"
        )
        self.check(set(load.statuses) <= {200, 503, LOST}, f"kill: statuses {dict(load.statuses)} {load.bodies}")
        return f"{killed} kills, {load.statuses[200]} answered, {lost} lost with the killed processes"

    def clients(self) -> str:
        """Slow clients and clients that go away, while others go on."""
        with self.server() as server:
            host, port = server.url.removeprefix("http://").split(":")
            with under_load(server, "/v1/models/model:predict", self._data) as load:
                request = with_key(f"{server.url}/v1/models/model:predict", self._data)
                count, until_s = 0, time.monotonic() + self._args.seconds
                slow: list[socket.socket] = []
                while time.monotonic() < until_s:
                    connection = socket.create_connection((host, int(port)))
                    connection.sendall(request[: random.choice((3, 80, 300, len(request) - 1, len(request)))])
                    if count % 3:
                        connection.close()
                    elif len(slow) < 100:
                        slow.append(connection)
                    count += 1
                    time.sleep(0.01)
            for connection in slow:
                connection.close()
            time.sleep(1)
            places = asyncio.run(self._figure(server, "res2net_queue_images"))
            self.check(places == "0.0", f"clients: {places} places are in use at the end")
        self.check(set(load.statuses) <= {200, 503}, f"clients: statuses {dict(load.statuses)} {load.bodies}")
        return f"{count} such clients; the others: {dict(load.statuses)}"

    def bodies(self) -> str:
        """Hostile bodies: damaged images, forms and requests of the Open Inference Protocol."""
        generator = random.Random(self._args.seed)
        statuses = Counter[int]()
        with self.server() as server:

            async def send_all() -> None:
                for number in range(self._args.bodies):
                    address, kind, body = make_body(generator, self._data)
                    status, answer = await exchange(server.url, with_key(server.url + address, body, kind))
                    statuses[status] += 1
                    if status >= 500 or status == LOST:
                        self.problems.append(f"body {number} ({address}, {kind}): status {status} {answer[:300]!r}")

            asyncio.run(send_all())
            self.check(asyncio.run(self._ask(server, self._data)) == 200, "bodies: the server no longer answers")
        return str(dict(sorted(statuses.items())))

    async def _ask(self, server: Server, data: bytes) -> int:
        return (await exchange(server.url, with_key(f"{server.url}/v1/models/model:predict", data)))[0]

    async def _figure(self, server: Server, name: str) -> str:
        _, text = await exchange(server.url, with_key(f"{server.url}/metrics", b"", method="GET"))
        found = re.search(rf"^{name}\{{.*\}} (\S+)$", text.decode(), re.M)
        return found[1] if found else "no"


def make_body(generator: random.Random, data: bytes) -> tuple[str, str, bytes]:
    """Return address, content type and a body that is wrong in some way."""
    image = damage(generator, data)
    kind = generator.randrange(4)
    if kind == 0:
        return "/v1/models/model:predict?masks=png&include=picture", "image/jpeg", image
    if kind == 1:
        return (
            "/v1/models/model:predict?masks=polygons",
            "multipart/form-data; boundary=x",
            damage(generator, FORM % image),
        )
    text = b'{"inputs":[{"name":"image","shape":[1],"datatype":"BYTES","data":["%s"]}],"outputs":[{"name":"rles"}]}'
    if kind == 2:
        return "/v2/models/model/infer", "application/json", damage(generator, text % base64.b64encode(image))
    words = (b"null", b"[]", b"{}", b"-1", b"1e999", b'"x"', b"NaN", b"[[[[1]]]]", b"99999999999999999999")
    body = text % b"AAAA"
    for _ in range(generator.randint(1, 3)):
        value = generator.choice([found.span() for found in re.finditer(rb'"[^"]*"|\[1\]|\d+', body)])
        body = body[: value[0]] + generator.choice(words) + body[value[1] :]
    return "/v2/models/model/infer", "application/json", body


def damage(generator: random.Random, data: bytes) -> bytes:
    """Return bytes with a few changes: bits, gaps, repetitions, an early end; most often near the start."""
    changed = bytearray(data)
    changes: tuple[Callable[[int], None], ...] = (
        lambda at: changed.__setitem__(at, generator.randrange(256)),
        lambda at: changed.__setitem__(
            slice(at, at + 4), generator.choice((b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff"))
        ),
        lambda at: changed.__delitem__(slice(at, at + generator.randrange(1, 64))),
        lambda at: changed.__setitem__(slice(at, at), changed[at : at + generator.randrange(1, 64)]),
        lambda at: changed.__delitem__(slice(max(1, at), None)),
    )
    for _ in range(generator.randint(1, 6)):
        if not changed:
            break
        end = len(changed) if generator.random() < 0.3 else min(700, len(changed))
        generator.choices(changes, (8, 3, 3, 3, 1))[0](generator.randrange(end))
    return bytes(changed)


def main() -> int:
    """Run all trials; returns 0 if nothing was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_dir", required=True, help="an exported detector, preferably a small one")
    parser.add_argument("--image", required=True, help="the photo that is sent")
    parser.add_argument("--backend", default="openvino")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each trial under load")
    parser.add_argument("--bodies", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", choices=["sigterm", "reload", "kill", "clients", "bodies"])
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        faults = Faults(args, Path(folder))
        for name in args.only or ("sigterm", "reload", "kill", "clients", "bodies"):
            print(f"{name:8} {getattr(faults, name)()}", flush=True)
    for problem in faults.problems:
        print(f"PROBLEM: {problem}")
    return 1 if faults.problems else 0


if __name__ == "__main__":
    run_main(main)
