"""The warning that Paddle's recomputation gives at every step."""

from __future__ import annotations

import logging

from ppdet_res2net.compat.defect import Defect

__all__ = ["DEFECT", "silence_recompute_warning"]

_PADDLE_LOGGER = "paddle.distributed.fleet.utils.log_util"
_MESSAGE = "NO need to recompute"


def silence_recompute_warning() -> None:
    """Drop Paddle's warning "NO need to recompute this block in backward". Calling this again does nothing.

    Paddle gives it at each step for each block whose input needs no gradient, such as the first one after frozen
    stages. The warning is wrong: the block's own weights need gradients, and recomputation saves memory for them.
    """
    logging.getLogger(_PADDLE_LOGGER).addFilter(_is_to_the_point)


def _is_to_the_point(record: logging.LogRecord) -> bool:
    return _MESSAGE not in record.getMessage()


def _is_present() -> bool:
    import paddle
    from paddle.distributed.fleet.utils import recompute

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    messages: list[str] = []
    logger, listener = logging.getLogger(_PADDLE_LOGGER), Listener()
    logger.addHandler(listener)
    try:
        block = paddle.nn.Linear(2, 2)
        recompute(block.forward, paddle.ones([1, 2]), use_reentrant=False, preserve_rng_state=False)
    finally:
        logger.removeHandler(listener)
    return any(_MESSAGE in message for message in messages)


DEFECT = Defect(
    name="recompute_log",
    what="recomputation warns at every step that a block after frozen stages need not be recomputed, which is wrong",
    versions={"paddle": ">=2.6"},
    reference="check_recompute_necessary in paddle/distributed/fleet/recompute/recompute.py, 2.6.2 and 3.3.1",
    applied="when a backbone is recomputed",
    is_present=_is_present,
)
