"""A predictor leaves the rest of its process as it was: threads, denormals, environment, random state, logging."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.runtime_toys import toy_model_dir

SCRIPT = Path(__file__).with_name("process_state_script.py")
RUNTIME_DIR = Path(__file__).parents[2] / "deploy" / "python"
FORMATS = {"paddle": "paddle", "onednn": "paddle", "onnxruntime": "onnx", "openvino": "openvino"}


def use_predictor(model_dir: Path, engine: str, import_paddle: str, omp_num_threads: str | None) -> str:
    pytest.importorskip("threadpoolctl")
    env = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    env["PYTHONPATH"] = str(RUNTIME_DIR)
    if omp_num_threads is not None:
        env["OMP_NUM_THREADS"] = omp_num_threads
    command = [sys.executable, str(SCRIPT), engine, str(model_dir), import_paddle]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


@pytest.mark.parametrize("engine", FORMATS)
def test_the_process_stays_as_it_was(tmp_path_factory, engine):
    # Two threads, because Paddle itself sets one after each run, which would look like a restored number.
    use_predictor(toy_model_dir(tmp_path_factory, FORMATS[engine]), engine, "before", "2")


def test_paddle_imported_by_the_predictor_leaves_the_process_as_it_was(tmp_path_factory):
    last_line = use_predictor(toy_model_dir(tmp_path_factory), "paddle", "by-predictor", None)
    assert last_line in ("threads of MKL: 1", "threads of MKL: None")  # as after a plain "import paddle"
