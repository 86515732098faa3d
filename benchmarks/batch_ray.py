"""Does a batch on a cluster lose nothing? Two nodes of Ray on this host; workers, a node and the command itself are killed.

    python -m benchmarks.batch_ray --model_dir MODEL --images SOURCE [--list_root DIR] [--shard_size 5]

needs Linux, ``unshare`` and ``ip``, and a Python with Ray. It prints what was killed, and the time of each run. The exit code
is 1 if a file with results differs in one byte from that of a single process. Choose images that take a minute or more.

Ray takes orders from everybody who reaches its ports, and does not listen at 127.0.0.1 alone even if told so. So all of this
runs in a network namespace of its own, which has no other network.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.harness import ROOT, run_main

PORT = 6390
INSIDE = "BATCH_RAY_INSIDE"
ADDRESS = f"127.0.0.1:{PORT}"


class Trial:
    """Runs of the command over the same images, into folders of their own."""

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        self._folder = folder
        root = ["--list_root", args.list_root] if args.list_root else []
        self._words = [
            *("--model_dir", args.model_dir, "--images", args.images, *root, "--backend", args.backend),
            *("--shard_size", str(args.shard_size), "--cpu_threads", "1"),
        ]
        self._environment = {**os.environ, "PYTHONPATH": str(ROOT / "deploy" / "python"), "OMP_NUM_THREADS": "1"}
        self.problems: list[str] = []

    def start(self, name: str, *words: str) -> subprocess.Popen[bytes]:
        """Start the command."""
        words = ("-m", "res2net_runtime.batch", *self._words, "--output", str(self._folder / name), *words)
        return subprocess.Popen([sys.executable, *words], env=self._environment)

    def finish(self, name: str, process: subprocess.Popen[bytes], began_s: float) -> None:
        """Wait for the command, and compare its results with those of ``alone``."""
        code = process.wait()
        seconds = time.monotonic() - began_s
        files = {path.name: path.read_bytes() for path in (self._folder / name / "results").iterdir()}
        alone = {path.name: path.read_bytes() for path in (self._folder / "alone" / "results").iterdir()}
        failures = [(self._folder / one / "failures.jsonl").read_bytes() for one in (name, "alone")]
        is_equal = files == alone and failures[0] == failures[1]
        lines = sum(content.count(b"\n") for content in files.values())
        print(
            f"{name}: exit code {code}, {seconds:.1f} s, {len(files)} shards, {lines} images, equal: {is_equal}",
            flush=True,
        )
        if not is_equal:
            self.problems.append(name)

    def wait_for_shards(self, name: str, count: int, process: subprocess.Popen[bytes]) -> None:
        """Wait until so many shards are finished.

        Raises:
            RuntimeError: The command has ended before.
        """
        journal = self._folder / name / "shards.jsonl"
        while not journal.exists() or journal.read_bytes().count(b"\n") < count:
            if process.poll() is not None:
                raise RuntimeError(f"'{name}' ended before {count} shards were finished; pass more images")
            time.sleep(0.02)


@contextlib.contextmanager
def ray_node(*words: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start a node with one CPU; all its processes end with the block."""
    command = [str(Path(sys.executable).with_name("ray")), "start", *words, "--num-cpus=1", "--block"]
    command += ["--object-store-memory=100000000", "--disable-usage-stats"]
    # Without the package, which the command must ship.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        kill_all([*descendants(process.pid), process.pid])
        process.wait()


def descendants(pid: int) -> list[int]:
    """Return the processes that a process has started, and theirs."""
    with contextlib.suppress(FileNotFoundError):
        children = [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return [one for child in children for one in (child, *descendants(child))]
    return []


def kill_all(pids: list[int]) -> None:
    """Kill processes, of which some may have ended."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def workers_of(node: subprocess.Popen[bytes]) -> list[int]:
    """Return the processes of a node that have a model."""
    found = []
    for pid in descendants(node.pid):
        with contextlib.suppress(FileNotFoundError):
            if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::RemoteWorker"):
                found.append(pid)
    return found


def wait_until(is_so: Callable[[], bool], what: str, timeout_s: float = 120) -> None:
    """Wait for something that must come."""
    until_s = time.monotonic() + timeout_s
    while not is_so():
        if time.monotonic() > until_s:
            raise RuntimeError(f"{what} did not come within {timeout_s:g} s")
        time.sleep(0.1)


def node_count() -> int:
    """Return the number of living nodes; 0 before the cluster answers."""
    code = f"import ray; ray.init('{ADDRESS}', logging_level='ERROR'); print(sum(one['Alive'] for one in ray.nodes()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return int(done.stdout.split()[-1]) if done.returncode == 0 else 0


def run_inside(args: argparse.Namespace) -> int:
    """Run all trials; there is no network but the loopback."""
    with tempfile.TemporaryDirectory(prefix="batch-ray-", dir=args.folder) as text:
        folder = Path(text)
        trial = Trial(args, folder)
        began_s = time.monotonic()
        trial.finish("alone", trial.start("alone"), began_s)
        # Names of sockets must be short.
        session = tempfile.mkdtemp(prefix="r", dir=args.folder)
        try:
            with ray_node("--head", f"--port={PORT}", "--include-dashboard=false", f"--temp-dir={session}") as head:
                wait_until(lambda: node_count() == 1, "the first node")
                on_cluster = ("--address", ADDRESS)
                with ray_node(f"--address={ADDRESS}") as node:
                    wait_until(lambda: node_count() == 2, "the second node")

                    began_s = time.monotonic()
                    trial.finish("cluster", trial.start("cluster", *on_cluster), began_s)

                    began_s = time.monotonic()
                    process = trial.start("killed", *on_cluster)
                    trial.wait_for_shards("killed", 3, process)
                    (pid,) = workers_of(head)
                    kill_all([pid])
                    print(f"killed: worker {pid} of the first node was killed", flush=True)
                    trial.wait_for_shards("killed", 8, process)
                    wait_until(lambda: bool(workers_of(node)), "a worker on the second node")
                    pids = [*descendants(node.pid), node.pid]
                    kill_all(pids)
                    print(f"killed: the second node was killed ({len(pids)} processes)", flush=True)
                    trial.finish("killed", process, began_s)

                began_s = time.monotonic()
                process = trial.start("resumed", *on_cluster)
                trial.wait_for_shards("resumed", 3, process)
                kill_all([process.pid])
                process.wait()
                print("resumed: the command was killed, and is started again", flush=True)
                trial.finish("resumed", trial.start("resumed", *on_cluster), began_s)
        finally:
            shutil.rmtree(session, ignore_errors=True)
    for name in trial.problems:
        print(f"Wrong: the results of '{name}' differ from those of one process.", flush=True)
    return 1 if trial.problems else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_dir", required=True, metavar="DIR", help="an exported folder")
    parser.add_argument("--images", required=True, metavar="SOURCE", help="as for the command")
    parser.add_argument("--list_root", metavar="DIR", help="as for the command")
    parser.add_argument("--backend", default="auto", help="the engine (default: %(default)s)")
    parser.add_argument("--shard_size", type=int, default=5, metavar="N", help="images (default: %(default)s)")
    parser.add_argument(
        "--folder", default=tempfile.gettempdir(), metavar="DIR", help="for results, removed at the end"
    )
    args = parser.parse_args()
    if os.environ.get(INSIDE):
        return run_inside(args)
    script = 'ip link set lo up && exec "$@"'
    command = [
        "unshare",
        "--map-root-user",
        "--net",
        "sh",
        "-c",
        script,
        "sh",
        sys.executable,
        "-m",
        "benchmarks.batch_ray",
    ]
    return subprocess.run([*command, *sys.argv[1:]], env={**os.environ, INSIDE: "1"}, cwd=ROOT).returncode


if __name__ == "__main__":
    run_main(main)
