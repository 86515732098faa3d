"""The server as a process: the command line, SIGTERM, several workers."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

import httpx
import pytest

from res2net_runtime import Predictor
from res2net_runtime.serve import cli
from tests.helpers.runtime_toys import picture
from tests.helpers.serving import KEY, ROOT, encoded, start_server

BRIGHT_JPEG = encoded(picture(50, 70))


def predict(url: str, **options) -> httpx.Response:
    return httpx.post(f"{url}/v1/models/toy:predict", content=BRIGHT_JPEG, **options)


def test_sigterm_finishes_what_is_in_flight(toy_dir):
    # Of one size and fewer than a batch, so each image waits half a second for others.
    words = ("--model_dir", f"toy={toy_dir}", "--backend", "onnxruntime", "--batch_size", 8, "--max_wait_ms", 500)
    answers: list[httpx.Response] = []
    with start_server(*words) as server:
        threads = [threading.Thread(target=lambda: answers.append(predict(server.url))) for _ in range(3)]
        for thread in threads:
            thread.start()
        while "res2net_queue_images" not in httpx.get(f"{server.url}/metrics").text:
            time.sleep(0.01)
        while 'res2net_queue_images{model="toy"} 3.0' not in httpx.get(f"{server.url}/metrics").text:
            assert not answers
        assert server.stop(signal.SIGTERM) == 0
        for thread in threads:
            thread.join()
    assert [answer.status_code for answer in answers] == [200] * 3
    assert server.lines[-1] == "Stopped.\n"
    expected = Predictor(toy_dir, backend="onnxruntime")(BRIGHT_JPEG)
    for answer in answers:
        assert answer.json()["predictions"][0]["detections"][0]["score"] == expected.scores[0].item()
    logged = [json.loads(line) for line in server.output.splitlines()]
    lines = [line for line in logged if line["method"] == "POST"]
    assert [(line["status"], line["model"], line["images"]) for line in lines] == [(200, "toy", 1)] * 3


def test_connections_beyond_the_limit_are_told_and_the_others_go_on(toy_dir):
    words = ("--model_dir", f"toy={toy_dir}", "--backend", "onnxruntime", "--max_connections", 2)
    with start_server(*words) as server, httpx.Client() as first, httpx.Client() as second:
        live = f"{server.url}/v2/health/live"
        assert [client.get(live).status_code for client in (first, second)] == [200, 200]
        refused = httpx.get(live)
        assert refused.status_code == 503 and refused.headers["Retry-After"] == "1"
        assert refused.json()["error"].startswith("The server has as many open connections as it may have")
        assert first.get(live).status_code == 200
        assert 'res2net_rejections_total{reason="connections"} 1.0' in first.get(f"{server.url}/metrics").text
        second.close()
        until_s = time.monotonic() + 30
        while httpx.get(live).status_code != 200:
            assert time.monotonic() < until_s


def test_workers_share_the_socket_follow_a_reload_and_are_replaced_if_killed(copied_dir, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text(KEY)
    keys.chmod(0o600)
    headers = {"X-API-Key": KEY}
    words = ("--model_dir", f"toy={copied_dir}", "--workers", 2, "--backend", "onnxruntime", "--api_key_file", keys)
    with start_server(*words) as server:
        config = (copied_dir / "infer_cfg.yml").read_text()
        (copied_dir / "infer_cfg.yml").write_text(config.replace("- dog", "- wolf"))
        reloaded = httpx.post(f"{server.url}/v1/models/toy:reload", headers=headers, timeout=60).json()
        assert reloaded["version"] != reloaded["previous_version"]
        until_s = time.monotonic() + 60
        while sum("is now version" in line for line in server.lines) < 2:  # each of the workers says so
            assert time.monotonic() < until_s
            time.sleep(0.05)

        workers = [int(found[1]) for line in server.lines if (found := re.search(r"worker (\d+) starts", line))]
        assert len(workers) == 2
        os.kill(workers[0], signal.SIGKILL)
        for _ in range(5):
            answer = predict(server.url, headers=headers, timeout=60)
            assert answer.json()["predictions"][0]["detections"][0]["name"] == "wolf"
        assert 'res2net_images_total{model="toy"} 5.0' in httpx.get(f"{server.url}/metrics", headers=headers).text
        while not any("another one starts" in line for line in server.lines):
            assert time.monotonic() < until_s + 60
            time.sleep(0.05)
        assert server.stop() == 0
    assert any(f"worker {workers[0]} ended (exit code -9)" in line for line in server.lines)


def run_server(*words: object) -> subprocess.CompletedProcess:
    path = os.pathsep.join([str(ROOT / "deploy" / "python"), str(ROOT)])
    return subprocess.run(
        [sys.executable, "-m", "res2net_runtime.serve", *map(str, words)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )


def test_a_model_that_cannot_be_loaded_ends_the_workers(copied_dir):
    (copied_dir / "model.onnx").write_bytes(b"damaged")
    done = run_server("--model_dir", copied_dir, "--workers", 2, "--backend", "onnxruntime", "--port", 0)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "could not start (exit code 1); its message is above." in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--model_dir", "/no/such"],
            "There is no model folder '/no/such'. Pass the folder that export_model.py wrote.",
        ),
        (["--model_dir", "my model"], "The model 'my model' cannot be called 'my model': a name has 1 to 100 letters"),
        (["--model_dir", "a/x", "--model_dir", "b/x"], "Two models are called 'x': 'a/x' and 'b/x'."),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_loaded(words, message, capsys):
    assert cli.main(words) == 1
    assert message in capsys.readouterr().err


def test_an_address_that_is_taken(toy_dir, capsys):
    with start_server("--model_dir", toy_dir, "--backend", "onnxruntime") as server:
        port = server.url.rpartition(":")[2]
        assert cli.main(["--model_dir", str(toy_dir), "--port", port]) == 1
    assert f"Cannot listen at '127.0.0.1', port {port}: Address already in use." in capsys.readouterr().err


def test_missing_packages_name_the_extra(monkeypatch, capsys):
    monkeypatch.setattr(cli, "_PACKAGES", ("fastapi", "no_such_package"))
    assert cli.main(["--model_dir", "x"]) == 1
    error = capsys.readouterr().err
    assert (
        "The server needs no-such-package, which the extra 'serve' installs: pip install 'deploy/python[serve]'"
        in error
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "the following arguments are required: --model_dir"),
        (
            ["--model_dir", "x", "--max_mb", "none"],
            "argument --max_mb: got 'none', expected a number from 0.001 to 1000",
        ),
        (["--model_dir", "x", "--run_mode", "paddle", "--precision", "fp32"], "--run_mode already says backend"),
    ],
)
def test_wrong_usage(words, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(words)
    assert stopped.value.code == 2 and message in capsys.readouterr().err
