"""Lines that Paddle prints and nobody can act on are dropped, and no others."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import warnings

import pytest

paddle = pytest.importorskip("paddle")
if importlib.util.find_spec("ppdet") is None:
    pytest.skip("paddledet is not installed", allow_module_level=True)

from ppdet_res2net.compat import out_warning  # noqa: E402
from ppdet_res2net.compat.statistics_warning import drop_statistics_warning  # noqa: E402


def test_batch_normalization_is_trained_in_silence():
    norm, image = paddle.nn.BatchNorm2D(2), paddle.ones([1, 2, 3, 3])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        norm(image)
        with drop_statistics_warning():
            norm(image)
            warnings.warn("another one", stacklevel=1)
    said = [str(warning.message) for warning in caught]
    assert "always track global mean" in said[0] and said[1:] == ["another one"]


def test_the_line_about_output_tensors_is_dropped_and_others_are_not():
    """The line is written by C++ code, once per process."""
    code = (
        "import os, paddle\n"
        "from ppdet_res2net.compat import out_warning\n"
        "trace = out_warning._trace_an_operator\n"
        "def trace_and_print():\n"
        "    os.write(2, b'another line\\n')\n"
        "    trace()\n"
        "out_warning._trace_an_operator = trace_and_print\n"
        "out_warning.drop_out_warning()\n"
        "trace()\n"
        "assert paddle.in_dynamic_mode()\n"
        "os.write(2, b'the end\\n')\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    environment["OMP_NUM_THREADS"] = "1"  # Paddle warns of other numbers
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines() == ["another line", "the end"]


def test_stderr_is_given_back_after_an_error(monkeypatch, capfd):
    def fail():
        raise RuntimeError("a defect")

    monkeypatch.setattr(out_warning, "_trace_an_operator", fail)
    with pytest.raises(RuntimeError, match="a defect"):
        out_warning.drop_out_warning()
    os.write(2, b"still here\n")
    assert capfd.readouterr().err == "still here\n"
