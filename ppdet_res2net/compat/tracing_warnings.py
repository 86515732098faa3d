"""Warnings that Paddle's own code triggers while it traces a network."""

from __future__ import annotations

import contextlib
import re
import tempfile
import warnings
from collections.abc import Iterator

from ppdet_res2net.compat.defect import Defect
from ppdet_res2net.compat.probing import export_function

__all__ = ["DEFECT", "drop_tracing_warnings"]

_MESSAGES = ("Tensor do not have 'place' interface", r"The Attr\(force_cpu\)")


@contextlib.contextmanager
def drop_tracing_warnings() -> Iterator[None]:
    """While active, drop the warnings about ``place`` and ``force_cpu``: nothing in the traced network causes them."""
    with warnings.catch_warnings():
        for message in _MESSAGES:
            warnings.filterwarnings("ignore", message=message)
        yield


def _is_present() -> bool:
    import numpy as np
    import paddle

    def function(x, identity):
        return x.matmul(identity) * paddle.ones_like(x) * paddle.arange(0, 4).cast("float32")

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        export_function(function, [np.ones((2, 4), np.float32)], folder)
    return any(re.match(message, str(warning.message)) for warning in caught for message in _MESSAGES)


DEFECT = Defect(
    name="tracing_warnings",
    what="tracing ones_like or arange warns about attributes that only Paddle's own code uses",
    versions={"paddle": ">=2.6"},
    reference="paddle/pir/math_op_patch.py of 3.3.1 (place); fill_constant of 2.6.2 (force_cpu)",
    applied="while a model is exported for Paddle",
    is_present=_is_present,
)
