"""The time that processes on CPUs wait for each other."""

from __future__ import annotations

import itertools
import time

from ppdet_res2net.compat.defect import Defect
from ppdet_res2net.errors import TrainingError

__all__ = ["DEFECT", "meet"]

_KEY = "ppdet_res2net/arrivals"
_TIME_LIMIT_S = 1800.0  # Paddle's for GPUs
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.001, 0.05
_numbers = itertools.count(1)


def meet(world_size: int) -> None:
    """Wait until all processes are here, before they exchange anything.

    Without it, gloo ends them all if one needs 30 seconds longer than another, for instance because it alone computes
    AP. They wait with Paddle's key-value store, through which they have found each other. Does nothing on GPUs.

    Args:
        world_size: Number of processes; each calls this equally often.

    Raises:
        TrainingError: The others have not come for half an hour.
    """
    from paddle import distributed
    from paddle.base import core

    if distributed.get_backend().lower() != "gloo":
        return
    # Nobody comes to a meeting before all have left the one before, so arrivals at all of them can be counted together.
    number, store = next(_numbers), core.create_or_get_global_tcp_store()
    store.add(_KEY, 1)
    until_s, pause_s = time.monotonic() + _TIME_LIMIT_S, _FIRST_PAUSE_S
    while store.add(_KEY, 0) < number * world_size:
        if time.monotonic() > until_s:
            raise TrainingError(
                f"This process has waited {_TIME_LIMIT_S / 60:.0f} minutes for the other {world_size - 1}. See their logs "
                "(workerlog.N of each machine), end all of them, and start them again with -r auto."
            )
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def _is_present() -> bool:
    from paddle.base import core

    return "timeout" not in (core.ProcessGroupGloo.create.__doc__ or "")


DEFECT = Defect(
    name="gloo_timeout",
    what="processes on CPUs end if one waits 30 seconds for another, and no setting changes this",
    versions={"paddle": ">=2.6"},
    reference="paddle.distributed.collective._new_process_group_impl passes a time limit to every backend but gloo",
    applied="whenever processes exchange values",
    is_present=_is_present,
)
