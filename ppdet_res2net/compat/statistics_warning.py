"""The warning of Paddle's batch normalization in training."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator

from ppdet_res2net.compat.defect import Defect
from ppdet_res2net.compat.probing import read_source

__all__ = ["DEFECT", "drop_statistics_warning"]

_MESSAGE = "When training, we now always track global mean and variance"


@contextlib.contextmanager
def drop_statistics_warning() -> Iterator[None]:
    """While active, drop "When training, we now always track global mean and variance", which is what everybody expects."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=_MESSAGE)
        yield


def _is_present() -> bool:
    return _MESSAGE in read_source("paddle", "nn/layer/norm.py")


DEFECT = Defect(
    name="statistics_warning",
    what="batch normalization warns in training that it does what it should",
    versions={"paddle": ">=2.6"},
    reference="_BatchNormBase.forward in paddle/nn/layer/norm.py, 2.6.2 and 3.3.1",
    applied="while a model is trained",
    is_present=_is_present,
)
