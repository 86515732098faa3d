"""Measure a server: requests per second and latencies, against the bare predictor; memory; twice the load that it can take.

    python -m benchmarks.serving --model_dir MODEL --image PHOTO [--clients 1,4,16,64] [--seconds 10] [--overload_s 60]
        [--memory_requests 10000] [--torch_python TORCH_ENV/bin/python --torch_weights output/benchmark/weights.safetensors]

``--torch_python`` compares with the endpoint that people write around torchvision (``torchvision_server.py``);
MODEL is then ``output/benchmark/model``, which ``python -m benchmarks.inference`` makes from the same weights.

The load runs on the same machine, and so does whatever else runs there: compare the figures of one run with each other.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Sequence
from itertools import repeat
from pathlib import Path

from benchmarks.harness import ContenderError, call, machine_line, run_main
from benchmarks.serving.load import Load, closed_loop, open_loop, request_bytes
from benchmarks.serving.server import Server, start
from ppdet_res2net.errors import Res2NetError

WARM_UP_REQUESTS = 8
CLIENTS_AT_SATURATION = 4


def bare_images_per_s(model_dir: str, image: str, backend: str, threads: int, batch_size: int, seconds: float) -> float:
    """Return how many images per second a loop over ``Predictor.predict_iter`` takes. Runs in a process of its own."""
    from res2net_runtime import Predictor

    data = Path(image).read_bytes()
    with Predictor(model_dir, backend=backend, cpu_threads=threads, batch_size=batch_size) as predictor:
        predictions = predictor.predict_iter(repeat(data))
        for _ in range(WARM_UP_REQUESTS):
            next(predictions)
        count, started_s = 0, time.perf_counter()
        while time.perf_counter() - started_s < seconds:
            next(predictions)
            count += 1
        return count / (time.perf_counter() - started_s)


def measure(server: Server, address: str, data: bytes, clients: int, seconds: float) -> Load:
    """Return the load of some clients for some seconds, after a few requests that do not count."""
    request = request_bytes(server.url + address, data)
    asyncio.run(
        closed_loop(server.url, [request], clients, lambda load: sum(load.statuses.values()) >= WARM_UP_REQUESTS)
    )
    until_s = time.perf_counter() + seconds
    return asyncio.run(closed_loop(server.url, [request], clients, lambda load: time.perf_counter() >= until_s, 0.01))


def row(name: str, load: Load) -> str:
    """Return a line of the table."""
    others = {status: count for status, count in load.statuses.items() if status != 200}
    figures = "".join(f"{load.percentile_ms(share):9.1f}" for share in (0.5, 0.95, 0.99))
    return f"{name:34}{load.per_second:8.2f}{figures}   {dict(sorted(others.items())) or ''}"


def show_memory(server: Server, address: str, data: bytes, count: int) -> None:
    """Print the server's memory while it answers requests."""
    request = request_bytes(server.url + address, data)
    figures = []
    for _ in range(10):
        asyncio.run(closed_loop(server.url, [request], 4, lambda load: sum(load.statuses.values()) >= count / 10))
        figures.append(server.memory_mb)
    shown = ", ".join(f"{figure:.0f}" for figure in figures)
    growth = 100 * (figures[-1] / figures[0] - 1)
    print(f"memory after each tenth of {count} requests: {shown} MB; last against first {growth:+.1f} %", flush=True)


def show_overload(server: Server, address: str, data: bytes, capacity: float, seconds: float) -> None:
    """Print what happens at twice the load that the server can take, for the first and the second half of the time."""
    request = request_bytes(server.url + address, data)
    for half in ("first", "second"):
        load = asyncio.run(open_loop(server.url, request, 2 * capacity, seconds / 2))
        print(f"{row(f'{2 * capacity:.1f} requests/s, {half} half', load)}   {server.memory_mb:.0f} MB", flush=True)


def parse_args() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_dir", required=True, help="an exported detector")
    parser.add_argument("--image", required=True, help="the photo that is sent")
    parser.add_argument("--backend", default="openvino")
    parser.add_argument("--threads", type=int, default=2, help="of the network")
    parser.add_argument("--batch_size", type=int, default=1)
    parser.add_argument("--max_queue", type=int, default=64)
    parser.add_argument("--masks", default="none", choices=["none", "rle", "polygons", "png"])
    parser.add_argument("--clients", default="1,4,16,64", help="clients at once; several numbers")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="how often server and predictor are compared")
    parser.add_argument(
        "--overload_s", type=float, default=0.0, help="how long it gets twice the load that it can take"
    )
    parser.add_argument("--memory_requests", type=int, default=0)
    parser.add_argument("--torch_python", help="Python with torch, torchvision, timm, fastapi and uvicorn")
    parser.add_argument(
        "--torch_weights", default="output/benchmark/weights.safetensors", help="(default: %(default)s)"
    )
    return parser.parse_args()


def main() -> int:
    """Measure and print; returns 0."""
    args = parse_args()
    print(machine_line(args.threads), flush=True)
    data = Path(args.image).read_bytes()
    words = (
        *("-m", "res2net_runtime.serve", "--model_dir", f"model={args.model_dir}", "--port", 0),
        *("--backend", args.backend, "--cpu_threads", args.threads, "--batch_size", args.batch_size),
        *("--max_queue", args.max_queue),
    )
    address = f"/v1/models/model:predict?masks={args.masks}"
    print(f"{'':34}{'images/s':>8}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}   other statuses")
    with tempfile.TemporaryDirectory() as folder:
        with start(Path(folder), words, args.threads) as server:
            if args.torch_python:
                compare_with_torchvision(args, server, address, data, Path(folder))
            compare(args, server, address, data)
            for clients in map(int, args.clients.split(",")):
                print(row(f"{clients} clients", measure(server, address, data, clients, args.seconds)), flush=True)
            if args.memory_requests:
                show_memory(server, address, data, args.memory_requests)
            if args.overload_s:
                capacity = measure(server, address, data, CLIENTS_AT_SATURATION, args.seconds).per_second
                show_overload(server, address, data, capacity, args.overload_s)
            if server.stop() != 0:
                raise Res2NetError(f"The server ended with an error: {server.log.read_text()[-500:]}")
    return 0


def compare(args: argparse.Namespace, server: Server, address: str, data: bytes) -> None:
    """Print the server's images per second beside those of the bare predictor, in turn."""
    arguments = {
        "model_dir": str(Path(args.model_dir).absolute()),
        "image": str(Path(args.image).absolute()),
        "backend": args.backend,
        "threads": args.threads,
        "batch_size": args.batch_size,
        "seconds": args.seconds,
    }
    ratios: list[float] = []
    for _ in range(args.rounds):
        try:
            bare = call("benchmarks.serving.__main__:bare_images_per_s", arguments, threads=args.threads)
        except ContenderError as error:
            raise Res2NetError(str(error)) from error
        load = measure(server, address, data, CLIENTS_AT_SATURATION * args.batch_size, args.seconds)
        ratios.append(load.per_second / bare)
        print(
            f"{'bare predictor':34}{bare:8.2f}\n{row('server at saturation', load)}   ratio {ratios[-1]:.3f}",
            flush=True,
        )
    print(f"ratios: {', '.join(f'{ratio:.3f}' for ratio in ratios)}; median {_median(ratios):.3f}", flush=True)


def compare_with_torchvision(args: argparse.Namespace, server: Server, address: str, data: bytes, folder: Path) -> None:
    """Print the images per second of the plain endpoint around torchvision, eager and compiled, in turn with ours."""
    for form in ([], ["--compiled"]):
        module = "benchmarks.serving.torchvision_server"
        words = ("-m", module, "--weights", Path(args.torch_weights).absolute(), "--threads", args.threads, *form)
        with start(folder, words, args.threads, args.torch_python) as other:
            ratios: list[float] = []
            for _ in range(args.rounds):
                ours = measure(server, address, data, CLIENTS_AT_SATURATION, args.seconds)
                theirs = measure(other, "/predict", data, CLIENTS_AT_SATURATION, args.seconds)
                ratios.append(ours.per_second / theirs.per_second)
                name = " ".join(["torchvision and FastAPI", *("compiled" for _ in form)])
                print(f"{row('server', ours)}\n{row(name, theirs)}   ratio {ratios[-1]:.2f}", flush=True)
        print(f"ratios: {', '.join(f'{ratio:.2f}' for ratio in ratios)}; median {_median(ratios):.2f}", flush=True)


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


if __name__ == "__main__":
    run_main(main)
