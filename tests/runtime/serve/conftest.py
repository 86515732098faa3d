"""Skips the tests of the server where its packages are missing, and makes the models that they serve."""

from __future__ import annotations

import shutil

import pytest

for _package in ("fastapi", "uvicorn", "prometheus_client", "httpx", "onnx", "onnxruntime"):
    pytest.importorskip(_package, reason=f"{_package} is not installed (extras serve, client and onnx)")

from tests.helpers.runtime_toys import toy_model_dir  # noqa: E402
from tests.helpers.serving import serving_app  # noqa: E402


@pytest.fixture(scope="session")
def toy_dir(tmp_path_factory):
    """The toy detector in ONNX's format; it must not be changed."""
    return toy_model_dir(tmp_path_factory, "onnx")


@pytest.fixture(scope="module")
def client(toy_dir):
    """A server with the toy detector and the defaults."""
    with serving_app({"toy": toy_dir}, max_pixels=1_000_000) as client:
        yield client


@pytest.fixture
def copied_dir(toy_dir, tmp_path):
    """A copy of the toy's folder."""
    return shutil.copytree(toy_dir, tmp_path / "copy")
