"""On a cluster: what is refused before Ray is asked, and, where Ray is installed, the results of a run."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from res2net_runtime.batch import cli
from res2net_runtime.batch.run_ray import _check_address
from res2net_runtime.errors import Res2NetError

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def closed_port():
    with socket.socket() as bound:  # without listen()
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def test_addresses_without_a_cluster_are_refused_at_once(closed_port):
    with pytest.raises(
        Res2NetError, match=f"no Ray cluster at '127.0.0.1:{closed_port}': Connection refused. Start one"
    ):
        _check_address(f"127.0.0.1:{closed_port}")
    with pytest.raises(Res2NetError, match="at 'host:one': expected auto or HOST:PORT. Start one"):
        _check_address("host:one")
    with pytest.raises(
        Res2NetError, match="for clients outside the cluster. Run the command on a machine of the cluster"
    ):
        _check_address("ray://host:10001")
    _check_address("auto")


def test_a_cluster_gives_the_results_of_one_process(model_dir, photos, tmp_path):
    """benchmarks/batch_ray.py does more: two nodes, and kills."""
    pytest.importorskip("ray", reason="ray is not installed: it is too large for the tests' environment")
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        pytest.skip("Ray listens on every network, and there is no unshare and ip to leave it without one")
    words = ["--model_dir", model_dir, "--images", photos, "--backend", "onnxruntime", "--shard_size", 2]
    words = [*map(str, words), "--cpu_threads", "1"]
    assert cli.main([*words, "--output", str(tmp_path / "alone")]) == 1
    command = [sys.executable, "-m", "res2net_runtime.batch", *words, "--output", str(tmp_path / "out")]
    done = subprocess.run(
        ["unshare", "--map-root-user", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *command]
        + ["--address", "local", "--processes", "2"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "deploy" / "python"), "RAY_USAGE_STATS_ENABLED": "0"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 1, done.stderr
    for name in ("results/000000.jsonl", "results/000003.jsonl", "failures.jsonl"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()
