"""Run shards on a cluster, with Ray, the extra ``ray``."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import res2net_runtime
from res2net_runtime.batch.dispatch import Dispatcher
from res2net_runtime.batch.work import Message, ShardTask, Worker, WorkSettings
from res2net_runtime.console import configure_logging
from res2net_runtime.errors import Res2NetError
from res2net_runtime.texts import printable

__all__ = ["check_ray", "run_ray"]

logger = logging.getLogger(__name__)

_LOOKING_S = 1.0
_COUNTING_S = 10.0  # between looks at how large the cluster is
_HIGHEST_PORT = 65_535
_ANSWERING_S = 10.0
_WAITING_S = 60.0  # until the log says that the cluster is full
_MOST_FAILED_STARTS = 3


def check_ray() -> None:
    """Refuse ``--address`` where Ray is missing.

    Raises:
        Res2NetError: It is missing.
    """
    if importlib.util.find_spec("ray") is None:
        raise Res2NetError(
            "--address needs Ray, which the extra 'ray' installs: pip install 'deploy/python[ray]' in a checkout, or "
            "pip install ray. On one machine, --processes works without it."
        )


def run_ray(settings: WorkSettings, dispatcher: Dispatcher, count: int | None, address: str) -> None:
    """Run all shards on a cluster. The results come back to this process; only images and the model are read there.

    Args:
        settings: For the workers. Paths must be the same on all machines.
        dispatcher: Has the shards.
        count: Number of processes; None for as many as fit, also when machines come and go.
        address: Of the cluster, as ``ray.init`` takes it.

    Raises:
        Res2NetError: The cluster cannot be reached, no process can load the model, or all images would fail.
    """
    with _connected(address):
        _Cluster(settings, dispatcher, count).run()


@contextlib.contextmanager
def _connected(address: str) -> Iterator[None]:
    import ray

    # Ray ships the package, so that every machine runs the version of this one.
    package = Path(res2net_runtime.__file__).parent
    _check_address(address)
    try:
        ray.init(address=address, runtime_env={"py_modules": [str(package)]}, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        raise _no_cluster(address, str(error).strip().partition("\n")[0].rstrip(".")) from error
    try:
        yield
    finally:
        ray.shutdown()


def _check_address(address: str) -> None:
    """Refuse at once what Ray would try for minutes.

    Raises:
        Res2NetError: Nothing answers at the address, or it is one for Ray's clients.
    """
    if address.startswith("ray://"):
        raise Res2NetError(
            f"'{printable(address)}' is an address for clients outside the cluster. Run the command on a machine of the "
            "cluster, with --address auto."
        )
    host, colon, port = address.rpartition(":")
    if not colon:  # auto, local, or the name of a session
        return
    if not port.isascii() or not port.isdigit() or int(port) > _HIGHEST_PORT:
        raise _no_cluster(address, "expected auto or HOST:PORT")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _ANSWERING_S).close()
    except OSError as error:
        raise _no_cluster(address, error.strerror or str(error)) from error


def _no_cluster(address: str, reason: str) -> Res2NetError:
    return Res2NetError(
        f"There is no Ray cluster at '{printable(address)}': {reason}. Start one with 'ray start --head', or leave out "
        "--address."
    )


class RemoteWorker:
    """A worker in a process of the cluster."""

    def __init__(self) -> None:
        self._worker: Worker | None = None

    def load(self, settings: WorkSettings) -> str | None:
        """Load the model; returns what is wrong, for the user, or None."""
        configure_logging("%(levelname)s: %(message)s", level=logging.WARNING)
        try:
            self._worker = Worker(settings)
        except (Res2NetError, MemoryError) as error:
            return f"On host '{printable(os.uname().nodename)}': {error or 'not enough memory'}"
        return None

    def run(self, task: ShardTask) -> Iterator[Message | str]:
        """Run a shard, as :meth:`Worker.run` does; a text at the end says why no image can be run."""
        assert self._worker is not None
        try:
            yield from self._worker.run(task)
        except (Res2NetError, MemoryError) as error:
            yield f"On host '{printable(os.uname().nodename)}': {error or 'not enough memory'}"


@dataclass(eq=False)
class _Remote:
    """A worker as it is seen from here. ``waiting`` is what it will answer next: about loading the model, or about its task."""

    actor: Any
    waiting: Any
    is_ready: bool = False
    task: ShardTask | None = None


class _Cluster:
    def __init__(self, settings: WorkSettings, dispatcher: Dispatcher, count: int | None) -> None:
        import ray

        self._ray = ray
        self._dispatcher = dispatcher
        self._wanted = count
        is_gpu = str(settings.session["device"]).lower().startswith("gpu")
        self._needs = {"num_cpus": settings.session["cpu_threads"], "num_gpus": int(is_gpu)}
        # A copy of ours goes with each task otherwise.
        self._settings = ray.put(settings)
        self._class = ray.remote(max_restarts=0, max_task_retries=0, **self._needs)(RemoteWorker)
        self._remotes: list[_Remote] = []
        self._failed_starts = 0
        self._target, self._next_count_s = 0, 0.0
        self._last_ready_s = time.monotonic()

    def run(self) -> None:
        try:
            while not self._dispatcher.is_done:
                self._start_and_stop()
                self._give_work()
                self._listen()
        finally:
            for remote in self._remotes:
                self._ray.kill(remote.actor)

    def _start_and_stop(self) -> None:
        """Have as many workers as are wanted. Those that the cluster has no place for wait for it."""
        now_s = time.monotonic()
        if now_s >= self._next_count_s:
            self._next_count_s = now_s + _COUNTING_S
            self._target = self._wanted or self._count_places()
            self._tell_if_full(now_s)
        target = min(self._target, self._dispatcher.count_left)
        while len(self._remotes) < target:
            actor = self._class.remote()
            self._remotes.append(_Remote(actor, actor.load.remote(self._settings)))
        for remote in [one for one in self._remotes if not one.is_ready][: max(0, len(self._remotes) - target)]:
            self._remotes.remove(remote)
            self._ray.kill(remote.actor)

    def _count_places(self) -> int:
        resources = self._ray.cluster_resources()
        places = [
            int(resources.get(name, 0) // needed)
            for name, needed in (("CPU", self._needs["num_cpus"]), ("GPU", self._needs["num_gpus"]))
            if needed
        ]
        return max(1, min(places))

    def _tell_if_full(self, now_s: float) -> None:
        if any(one.is_ready for one in self._remotes):
            self._last_ready_s = now_s
        elif now_s - self._last_ready_s > _WAITING_S:
            self._last_ready_s = now_s
            logger.warning(
                "no process has started yet: each needs %(num_cpus)s CPUs and %(num_gpus)s GPUs of one machine of the cluster, "
                "and 'ray status' shows what is free",
                self._needs,
            )

    def _give_work(self) -> None:
        for remote in self._remotes:
            if remote.is_ready and remote.task is None and self._dispatcher.has_waiting:
                remote.task = self._dispatcher.take()
                # Without the limit, a message before an image that ends the process could be lost with it.
                streaming = remote.actor.run.options(num_returns="streaming", _generator_backpressure_num_objects=1)
                remote.waiting = streaming.remote(remote.task)

    def _listen(self) -> None:
        busy = {one.waiting: one for one in self._remotes if one.waiting is not None}
        if not busy:
            time.sleep(_LOOKING_S)
            return
        ready, _ = self._ray.wait(list(busy), timeout=_LOOKING_S, fetch_local=False)
        for waiting in ready:
            remote = busy[waiting]
            try:
                answer = self._ray.get(next(waiting) if remote.is_ready else waiting)
            except (self._ray.exceptions.RayTaskError, StopIteration):  # a defect of this project
                raise
            except self._ray.exceptions.RayError as error:  # the process or its machine is gone
                self._lose(remote, error)
                continue
            self._take(remote, answer)

    def _lose(self, remote: _Remote, error: Exception) -> None:
        self._remotes.remove(remote)
        with contextlib.suppress(self._ray.exceptions.RayError):
            self._ray.kill(remote.actor)
        reason = f"a worker was lost ({type(error).__name__})"
        if remote.task is not None:
            self._dispatcher.lose(remote.task, reason)
            return
        logger.warning("%s; another one starts", reason)
        self._failed_starts = 0 if remote.is_ready else self._failed_starts + 1
        if self._failed_starts == _MOST_FAILED_STARTS:
            detail = " ".join(str(error).split())
            raise Res2NetError(f"No process of the cluster can load the model; the last answer was: {detail}")

    def _take(self, remote: _Remote, answer: Any) -> None:
        if isinstance(answer, str):
            raise Res2NetError(answer)
        if remote.task is None:  # the model is loaded
            remote.is_ready, remote.waiting, self._failed_starts = True, None, 0
        elif self._dispatcher.receive(remote.task, answer):
            remote.task = remote.waiting = None
