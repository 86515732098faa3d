"""Which shard is run next, and what happens to one whose process or machine is lost."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Mapping

from res2net_runtime.batch.progress import ProgressDisplay
from res2net_runtime.batch.store import Store
from res2net_runtime.batch.work import Message, Progress, ShardTask
from res2net_runtime.errors import Res2NetError
from res2net_runtime.texts import printable

__all__ = ["Dispatcher"]

logger = logging.getLogger(__name__)

_LOSSES_WITHOUT_BLAME = 2  # for instance kill -9, or a machine that is taken away
_LOSSES_AT_ONE_IMAGE = 2
_MOST_LOSSES = 50  # of one shard


class Dispatcher:
    """Gives out shards and takes their results. All workers may be lost; each shard is finished once.

    A shard that has lost its process twice is run with care: image by image. An image at which the process is then lost twice
    is skipped and counts as failed, so that one image that crashes a library does not stop a batch.

    Args:
        store: Where results go.
        display: Where progress is shown.
    """

    def __init__(self, store: Store, display: ProgressDisplay) -> None:
        self._store, self._display = store, display
        self._waiting = deque(store.left)
        self._running: dict[int, int] = {}  # shard -> its images that are done
        self._done, self._failed = store.count("images"), store.count("failed")
        self._losses: Counter[int] = Counter()
        self._lost_at: dict[int, Counter[int]] = {}  # shard -> position -> losses
        self._skipped: dict[int, dict[int, str]] = {}

    @property
    def is_done(self) -> bool:
        """Whether all shards are finished."""
        return not self._waiting and not self._running

    @property
    def has_waiting(self) -> bool:
        """Whether a worker could do something."""
        return bool(self._waiting)

    @property
    def count_left(self) -> int:
        """Shards that are not finished: more workers than these have nothing to do."""
        return len(self._waiting) + len(self._running)

    def take(self) -> ShardTask:
        """Return the next shard; only if :attr:`has_waiting`."""
        index = self._waiting.popleft()
        self._running[index] = 0
        skipped: Mapping[int, str] = dict(self._skipped.get(index, {}))
        is_careful = self._losses[index] >= _LOSSES_WITHOUT_BLAME
        return ShardTask(index, self._store.plan.read_shard(index), skipped, is_careful)

    def receive(self, task: ShardTask, message: Message) -> bool:
        """Take what a worker says about a shard; returns whether the shard is finished.

        Raises:
            Res2NetError: The results cannot be written.
        """
        if isinstance(message, Progress):
            self._running[task.index] = message.done
            self._show()
            return False
        self._store.add(message)
        del self._running[task.index]
        self._done += message.done + len(message.failures)
        self._failed += len(message.failures)
        self._show()
        return True

    def lose(self, task: ShardTask, reason: str) -> None:
        """Put a shard back whose worker is gone.

        Args:
            task: The shard.
            reason: What has happened to the worker, as a sentence without a full stop.

        Raises:
            Res2NetError: It has happened too often to this shard.
        """
        position = self._running.pop(task.index)
        self._losses[task.index] += 1
        if self._losses[task.index] >= _MOST_LOSSES:
            raise Res2NetError(
                f"Shard {task.index} has lost its worker {_MOST_LOSSES} times; the last time, {reason}. Its images begin with "
                f"'{printable(task.images[0].name)}'. Look for the reason, for instance in the system's log (dmesg); the same "
                "command goes on."
            )
        logger.warning("%s; shard %d is run again", reason, task.index)
        self._waiting.appendleft(task.index)
        if not task.is_careful:
            return
        at = self._lost_at.setdefault(task.index, Counter())
        at[position] += 1
        if at[position] >= _LOSSES_AT_ONE_IMAGE:
            message = (
                f"Image '{printable(task.images[position].name)}' is skipped: each time that it was run, {reason}."
            )
            logger.error("%s", message)
            self._skipped.setdefault(task.index, {})[position] = message

    def _show(self) -> None:
        self._display.show(self._done + sum(self._running.values()), self._failed)
