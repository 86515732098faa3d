"""What Paddle's recomputation says at every step."""

from __future__ import annotations

import logging

__all__ = ["silence_recompute_warning"]

_PADDLE_LOGGER = "paddle.distributed.fleet.utils.log_util"


def silence_recompute_warning() -> None:
    """Drop one warning of ``paddle.distributed.fleet.utils.recompute``: "NO need to recompute this block in backward".

    It comes at each step for each block whose input needs no gradient, as the first one after frozen stages. The block's
    own weights do need them, and recomputation does save their memory. Versions: Paddle 2.6.2 and 3.3.1
    (python/paddle/distributed/fleet/recompute/recompute.py, ``check_recompute_necessary``). Calling it again does nothing.
    """
    logging.getLogger(_PADDLE_LOGGER).addFilter(_is_to_the_point)


def _is_to_the_point(record: logging.LogRecord) -> bool:
    return "NO need to recompute" not in record.getMessage()
