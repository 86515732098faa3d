"""A line that Paddle's C++ code prints while a network is traced."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from ppdet_res2net.compat.defect import Defect

__all__ = ["DEFECT", "drop_out_warning"]

_MESSAGE = b"not support input out tensor for now"


def drop_out_warning() -> None:
    """Keep "Paddle static graph(PIR) not support input out tensor for now" off the console of this process.

    Paddle's own Python functions pass ``out=None`` to operators, and C++ code takes it for a tensor. The line is written once
    per process, straight to the file of stderr. So an operator is traced here, and the line that comes of it is not passed on.
    """
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as caught:
        os.dup2(caught.fileno(), 2)
        try:
            _trace_an_operator()
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            caught.seek(0)
            for line in caught:
                if _MESSAGE not in line:
                    os.write(2, line)


def _trace_an_operator() -> None:
    import paddle

    was_dynamic = paddle.in_dynamic_mode()
    paddle.enable_static()
    try:
        with paddle.static.program_guard(paddle.static.Program()):
            number = paddle.full([1], 1.0)
            paddle.equal(number, number)
    finally:
        if was_dynamic:
            paddle.disable_static()


def _is_present() -> bool:
    code = f"from {__name__} import _trace_an_operator; _trace_an_operator()"
    package = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(package), *(path for path in sys.path if path)])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True)
    return _MESSAGE in done.stderr


DEFECT = Defect(
    name="out_warning",
    what="tracing prints that PIR does not support an output tensor, although none is given",
    versions={"paddle": ">=3.3"},
    reference="paddle/fluid/pybind/eager_utils.cc of 3.3.1, reached from functions such as paddle.equal (out=None)",
    applied="while a model is exported for Paddle",
    is_present=_is_present,
)
