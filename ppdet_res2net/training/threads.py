"""How many threads compute on a CPU.

Paddle's math library (MKL) sums in a different order with a different number of threads, so the last bits of a matrix
product depend on it. Training therefore sets the number itself, and does not use the one that the process happens to have.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from paddle.base import core

from ppdet_res2net.compat.omp_threads import find_omp_threads
from ppdet_res2net.errors import ConfigError
from res2net_runtime.backends.cpu import available_cores, check_threads

__all__ = ["choose_threads", "set_threads"]


def choose_threads(config: Mapping) -> int:
    """Return the number of threads that a configuration asks for.

    That is ``cpu_threads`` if it is set, else the environment variable ``OMP_NUM_THREADS`` if the user has set it, else one
    thread per core that this process may use. Processes that Paddle's launcher has started on one machine share its cores.

    Raises:
        ConfigError: The number is beyond any use on this machine.
    """
    for name, asked in (("cpu_threads", config.get("cpu_threads")), ("OMP_NUM_THREADS", find_omp_threads())):
        if asked:
            try:
                return check_threads(asked, name)
            except ValueError as error:
                raise ConfigError(str(error)) from None
    processes = int(os.environ.get("PADDLE_LOCAL_SIZE") or 1)  # Paddle's launcher sets it
    return max(1, available_cores() // processes)


def set_threads(count: int) -> None:
    """Let the whole process compute with this many threads in Paddle, until another number is set.

    Paddle has no public function for this. The one used here sets the number of MKL, which holds for the whole process, and
    that of OpenMP, which each thread has for itself (seen in Paddle 2.6.2 and 3.3.1).
    """
    core.set_num_threads(count)
