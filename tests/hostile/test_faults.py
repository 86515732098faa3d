"""A machine that lacks something is told as that, and not as a fault of the model."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from benchmarks.harness import child_environment
from res2net_runtime import BackendError
from res2net_runtime.backends.native_errors import loading
from tests.helpers.runtime_toys import picture, toy_model_dir


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
            "No space left on device. Free some space, or set TMPDIR",
        ),
        (
            RuntimeError(f"open: {os.strerror(errno.EROFS)}"),
            "Read-only file system. Choose a folder that can be written",
        ),
        (RuntimeError(f"dlopen: {os.strerror(errno.EMFILE)}"), "Too many open files. Close files, or raise the limit"),
        (MemoryError(), "MemoryError. Free memory, or use a smaller model"),
        (RuntimeError("(InvalidArgument) no"), "no. Choose another backend, or export the model again"),
        (
            RuntimeError("\x1b[31mred" + "x" * 10_000),
            "cannot load 'model.onnx': .x1b.31mredx+.... Choose another backend",
        ),
    ],
)
def test_the_remedy_fits_the_fault(error, message):
    with pytest.raises(BackendError, match=message) as caught, loading("Engine", Path("model.onnx")):
        raise error
    assert len(str(caught.value)) < 600


SCRIPT = """
import resource, sys
limit, value, folder, images = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
import onnx, onnxruntime.quantization
from res2net_runtime.quantize import main
resource.setrlimit(getattr(resource, limit), (value, value))
sys.exit(main(["--model_dir", folder, "--image_dir", images]))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits as Linux sets them")
@pytest.mark.parametrize(
    ("limit", "value", "message"),
    [
        (
            "RLIMIT_FSIZE",
            200,
            "Quantising needs .* MB in '.*', which cannot be had: File too large. Raise the limit .*, or set TMPDIR",
        ),
        ("RLIMIT_NOFILE", 4, "open files"),
    ],
)
def test_quantising_without_space_or_files(tmp_path_factory, tmp_path, limit, value, message):
    pytest.importorskip("onnx")
    folder = shutil.copytree(toy_model_dir(tmp_path_factory, "onnx"), tmp_path / "model")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "a.png"), picture(50, 70))
    command = [sys.executable, "-c", SCRIPT, limit, str(value), str(folder), str(tmp_path / "images")]
    done = subprocess.run(command, capture_output=True, text=True, env=child_environment(1))
    assert done.returncode == 1, done.stderr
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("Error: "))
    assert re.search(message, line), line
    assert "export the model again" not in line and "Traceback" not in done.stderr
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
