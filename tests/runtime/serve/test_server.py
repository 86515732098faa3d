"""What holds for all requests: keys, limits, figures, the log, exchanging models, clients that go away."""

from __future__ import annotations

import json
import logging
import shutil
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from res2net_runtime.errors import Res2NetError
from res2net_runtime.serve.errors import hide_paths
from res2net_runtime.serve.keys import load_keys
from res2net_runtime.serve.middleware import ACCESS_LOGGER
from res2net_runtime.serve.settings import name_models
from tests.helpers.runtime_toys import picture
from tests.helpers.serving import KEY, encoded, serving_app, start_server

URL = "/v1/models/toy:predict"
BRIGHT_JPEG = encoded(picture(50, 70))


@pytest.fixture(scope="module")
def locked(toy_dir):
    """A server with a key."""
    with serving_app({"toy": toy_dir}, keys=("another-key-of-clients", KEY)) as client:
        yield client


@pytest.mark.parametrize(
    "headers", [{"Authorization": f"Bearer {KEY}"}, {"X-API-Key": KEY}, {"authorization": f"bearer  {KEY}"}]
)
def test_a_key_opens(locked, headers):
    assert locked.post(URL, content=BRIGHT_JPEG, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers", [{}, {"X-API-Key": KEY[:-1]}, {"Authorization": f"Basic {KEY}"}, {"X-API-Key": "ключ".encode()}]
)
@pytest.mark.parametrize(
    ("method", "address"),
    [
        ("POST", URL),
        ("POST", "/v2/models/toy/infer"),
        ("GET", "/v1/models"),
        ("GET", "/metrics"),
        ("POST", "/v1/models/toy:reload"),
    ],
)
def test_without_a_key_nothing_opens(locked, headers, method, address):
    answer = locked.request(method, address, headers=headers)
    assert answer.status_code == 401 and answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.json()["error"].startswith("This needs a key. Send it as 'Authorization: Bearer KEY'")


def test_probes_need_no_key(locked):
    assert locked.get("/v2/health/live").json() == {"live": True}
    assert locked.get("/v2/health/ready").json() == {"ready": True}


@pytest.mark.parametrize(
    ("text", "mode", "message"),
    [
        ("0123456789abcdef\n", 0o644, "has the permissions 644, so other users can read or change it. Run: chmod 600 "),
        ("0123456789abcdef\n", 0o620, "has the permissions 620"),
        ("# none\n\n", 0o600, "holds no key. Write one key per line; openssl rand -hex 32 makes one."),
        ("short\n", 0o600, "has a key of 5 characters, expected at least 16 of ASCII without spaces"),
        ("two keys in one line\n", 0o600, "has a key of 20 characters, expected"),
    ],
)
def test_key_files_are_checked(tmp_path, text, mode, message):
    path = tmp_path / "keys"
    path.write_text(text)
    path.chmod(mode)
    with pytest.raises(Res2NetError) as refused:
        load_keys(path)
    assert message in str(refused.value)


def test_a_key_file_may_have_comments_and_belong_to_a_group(tmp_path):
    path = tmp_path / "keys"
    path.write_text(f"# of the camera\n{KEY}\r\n\n{KEY}\nsecond-key-abcdefgh\n")
    path.chmod(0o640)
    assert load_keys(path) == (KEY, "second-key-abcdefgh")
    with pytest.raises(Res2NetError, match="Cannot read the key file '/no/such': No such file or directory."):
        load_keys("/no/such")
    with pytest.raises(Res2NetError, match="is not a file|Is a directory"):
        load_keys(tmp_path)


def test_names_of_models(tmp_path):
    (tmp_path / "a=b").mkdir()
    assert list(name_models(["x=/a/b", "/c/d/", "/e=f/g"])) == ["x", "d", "g"]
    with pytest.raises(Res2NetError, match="cannot be called 'a=b'"):
        name_models([str(tmp_path / "a=b")])


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("The folder has no '/srv/models/a/model.onnx', which", "The folder has no 'model.onnx', which"),
        ("'/srv/a b/c/infer_cfg.yml' is wrong", "'infer_cfg.yml' is wrong"),
        (r"C:\models\a\x.yml is wrong", "x.yml is wrong"),
        ("'models/a/infer_cfg.yml' names 'x' and 'a/b'", "'infer_cfg.yml' names 'x' and 'b'"),
        ("cannot open /srv/models/a.onnx: damaged", "cannot open a.onnx: damaged"),
        ("1/2 of 3", "1/2 of 3"),
    ],
)
def test_messages_name_no_folder_of_the_server(message, shown):
    assert hide_paths(message) == shown


def test_a_reload_exchanges_the_model_under_load(copied_dir, toy_dir):
    headers = {"X-API-Key": KEY}
    with serving_app({"toy": copied_dir}, keys=(KEY,)) as client, ThreadPoolExecutor(4) as pool:
        must_end = threading.Event()

        def send() -> set[str]:
            versions = set()
            while not must_end.is_set():
                answer = client.post(URL, content=BRIGHT_JPEG, headers=headers)
                assert answer.status_code == 200
                assert len(answer.json()["predictions"][0]["detections"]) == 1
                versions.add(answer.json()["version"])
            return versions

        senders = [pool.submit(send) for _ in range(3)]
        time.sleep(0.2)
        config = (copied_dir / "infer_cfg.yml").read_text()
        (copied_dir / "infer_cfg.yml").write_text(config.replace("- dog", "- wolf"))
        answer = client.post("/v1/models/toy:reload", headers=headers).json()
        time.sleep(0.2)
        must_end.set()
        assert set.union(*(sender.result() for sender in senders)) == {answer["previous_version"], answer["version"]}
        found = client.post(URL, content=BRIGHT_JPEG, headers=headers).json()["predictions"][0]["detections"]
        assert found[0]["name"] == "wolf"

        shutil.rmtree(copied_dir)
        failed = client.post("/v1/models/toy:reload", headers=headers)
        assert failed.status_code == 409
        assert failed.json()["error"].startswith("The model 'toy' stays as it was: There is no model folder 'copy'.")
        assert client.post(URL, content=BRIGHT_JPEG, headers=headers).status_code == 200
        text = client.get("/metrics", headers=headers).text
        assert 'res2net_reloads_total{model="toy",result="done"} 1.0' in text


def test_reloading_needs_a_server_with_keys(client):
    answer = client.post("/v1/models/toy:reload")
    assert answer.status_code == 403
    assert answer.json()["error"] == "Reloading needs a key, and this server has none. Start it with --api_key_file."


def test_figures_and_the_log_tell_what_happened(toy_dir, caplog):
    with serving_app({"toy": toy_dir}, batch_size=2) as client, caplog.at_level(logging.INFO, ACCESS_LOGGER):
        client.post(URL, files=[("image", ("a.jpg", BRIGHT_JPEG))] * 3, headers={"X-Request-ID": "number-1"})
        client.post(URL, content=b"x", headers={"X-Request-ID": "two\twords"})
        text = client.get("/metrics").text
    parts = ("queue", "decode", "network", "postprocessing")
    for line in (
        'res2net_requests_total{method="POST",route="/v1/models/{name}:predict",status="200"} 1.0',
        'res2net_requests_total{method="POST",route="/v1/models/{name}:predict",status="400"} 1.0',
        'res2net_images_total{model="toy"} 3.0',
        'res2net_batch_size_sum{model="toy"} 3.0',
        'res2net_rejections_total{reason="bad_image"} 1.0',
        'res2net_queue_images{model="toy"} 0.0',
        *(f'res2net_part_seconds_count{{model="toy",part="{part}"}}' for part in parts),
    ):  # fmt: skip
        assert line in text
    first, second, _ = [json.loads(record.getMessage()) for record in caplog.records if record.name == ACCESS_LOGGER]
    assert (first["id"], first["status"], first["images"], first["model"]) == ("number-1", 200, 3, "toy")
    assert set(first["parts_ms"]) == set(parts)
    assert second["reason"] == "bad_image" and second["id"] != "two\twords"


def test_answers_repeat_the_number_of_the_request_and_are_not_kept(client):
    answer = client.post(URL, content=BRIGHT_JPEG, headers={"X-Request-ID": "abc"})
    assert answer.headers["X-Request-ID"] == "abc" and answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert not [name for name in answer.headers if name.startswith("access-control-")]
    options = {"Origin": "http://other", "Access-Control-Request-Method": "POST"}
    assert client.options(URL, headers=options).status_code == 405


def test_a_deadline_is_obeyed_while_others_run(toy_dir):
    # A batch of two never fills, so each image would wait for a minute.
    with serving_app({"toy": toy_dir}, batch_size=2, max_wait_ms=60_000) as client:
        answer = client.post(URL, content=BRIGHT_JPEG, params={"timeout_ms": 50})
        assert answer.status_code == 504
        assert "which is all that timeout_ms allows, and the network has not started on it." in answer.json()["error"]
        assert 'res2net_queue_images{model="toy"} 0.0' in client.get("/metrics").text


@pytest.fixture(scope="module")
def waiting_server(toy_dir):
    """A server in a process, whose images wait for long, with two places, and little patience with bodies."""
    words = ("--batch_size", 3, "--max_wait_ms", 60_000, "--max_queue", 2, "--max_mb", 0.1, "--body_timeout_s", 1)
    with start_server("--model_dir", f"toy={toy_dir}", "--backend", "onnxruntime", *words) as server:
        yield server


def open_request(server, length: int, body: bytes = b"", ends_headers: bool = True) -> socket.socket:
    host, port = server.url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=20)
    headers = f"POST {URL} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n" + "\r\n" * ends_headers
    connection.sendall(headers.encode() + body)
    return connection


def read_all(connection: socket.socket) -> bytes:
    """Return an answer, or what there is of it if the server closes the connection."""
    answer = b""
    with connection:
        while not (answer.endswith(b"}") and b"\r\n\r\n" in answer):
            part = connection.recv(65536)
            if not part:
                break
            answer += part
    return answer


def places(server) -> str:
    text = httpx.get(f"{server.url}/metrics").text
    return next(line for line in text.splitlines() if line.startswith("res2net_queue_images")).split()[1]


def wait_for_places(server, count: str) -> None:
    until_s = time.monotonic() + 20
    while places(server) != count:
        assert time.monotonic() < until_s, f"{places(server)} places are in use, expected {count}"
        time.sleep(0.02)


def test_a_client_that_goes_away_frees_its_place(waiting_server):
    clients = [open_request(waiting_server, len(BRIGHT_JPEG), BRIGHT_JPEG) for _ in range(2)]
    wait_for_places(waiting_server, "2.0")
    # The refusal comes although this client has not sent its body yet.
    answer = read_all(open_request(waiting_server, 90_000))
    assert answer.startswith(b"HTTP/1.1 503 ") and b"retry-after: " in answer.lower()
    assert b"The queue is full: 2 of 2 images wait." in answer
    for client in clients:
        client.close()
    wait_for_places(waiting_server, "0.0")


def test_a_slow_body_is_given_up(waiting_server):
    answer = read_all(open_request(waiting_server, 1000, b"x"))
    assert answer.startswith(b"HTTP/1.1 408 ") and b"The body did not arrive within 1 s." in answer


def test_slow_headers_are_given_up(waiting_server):
    assert read_all(open_request(waiting_server, 1, ends_headers=False)) == b""


def test_a_large_body_is_refused_by_its_length_and_by_its_bytes(waiting_server):
    answer = read_all(open_request(waiting_server, 10**12, b"x" * 1000))
    assert answer.startswith(b"HTTP/1.1 413 ") and b"more than the 100000 bytes" in answer


def test_a_body_that_is_cut_short_harms_nobody(waiting_server):
    open_request(waiting_server, 1000, b"x" * 10).close()
    wait_for_places(waiting_server, "0.0")


def test_errors_are_reported_to_clients_only(toy_dir):
    """asyncio complains about errors of futures that nobody takes."""
    with start_server("--model_dir", f"toy={toy_dir}", "--backend", "onnxruntime") as server:
        for _ in range(3):
            assert httpx.post(server.url + URL, content=b"no image").status_code == 400
        assert server.stop() == 0
    assert not [line for line in server.lines if "ERROR" in line]
