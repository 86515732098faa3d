"""Downloads, from a server on this machine that misbehaves on request."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import http.server
import multiprocessing
import re
import socket
import threading
import time
import types
import urllib.parse
from collections import Counter

import numpy as np
import pytest
import requests

from ppdet_res2net import get_model_spec
from ppdet_res2net.errors import WeightsError
from ppdet_res2net.zoo import hub, transfers
from ppdet_res2net.zoo.formats import load_weights_file, save_weights_file
from tests.helpers.servers import serving


class Server(http.server.ThreadingHTTPServer):
    """Serves ``files`` by path; ``requests`` counts."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.requests: Counter = Counter()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{path}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        kind, _, name = self.path.lstrip("/").partition("?")[0].partition("/")
        self.server.requests[self.path] += 1
        content = self.server.files.get(name)
        if content is None:
            return self.send_error(404)
        attempt = self.server.requests[self.path]
        if kind == "busy" or kind == "busy-once" and attempt == 1:
            return self.send_error(503)
        if kind == "redirect":
            self.send_response(302)
            self.send_header("Location", f"/plain/{name}")
            return self.end_headers()
        if kind == "to":
            self.send_response(302)
            self.send_header("Location", urllib.parse.unquote(self.path.partition("?")[2]))
            self.send_header("Content-Length", "0")
            return self.end_headers()
        self.send_response(int(kind) if kind.isdecimal() else 200, "geheim \x1b]0;" if kind == "401" else None)
        if kind in ("compressed", "uncompressed"):
            self.send_header("Content-Encoding", "gzip" if kind == "compressed" else "Identity")
        if kind != "no-length":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if kind == "slow":
            with contextlib.suppress(OSError):
                for byte in content[:40]:
                    time.sleep(0.05)
                    self.wfile.write(bytes([byte]))
            return
        broken = kind == "broken" or kind == "broken-once" and attempt == 1 or kind == "no-length"
        self.wfile.write(content[: len(content) // 2] if broken else content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def content(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("content") / "x.safetensors"
    save_weights_file(path, {"w": np.arange(5000, dtype=np.float32)})
    return path.read_bytes()


@pytest.fixture
def server(content):
    server = Server()
    digest = hashlib.sha256(content).hexdigest()
    server.files = {
        "x.pth": content,
        f"good-{digest[:8]}.pth": content,
        "bad-00000000.pth": content,
        "empty.pth": b"",
        "page.pth": b"<!DOCTYPE html><title>Log in</title>",
    }
    server.good = f"good-{digest[:8]}.pth"
    with serving(server):
        yield server


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("RES2NET_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("RES2NET_OFFLINE", raising=False)
    return tmp_path / "home"


def kept(home) -> list[str]:
    """Return the names of all files in the cache except locks and notes."""
    return sorted(p.name for p in home.rglob("*") if p.is_file() and p.suffix not in (".lock", ".verified"))


def error_of(url: str) -> str:
    with pytest.raises(WeightsError) as caught:
        hub.download_weights(url)
    return str(caught.value)


def test_download_once(server, home, content, capfd):
    url = server.url(f"plain/{server.good}")
    path = hub.download_weights(url)
    assert path == home / f"127.0.0.1_{server.server_port}" / "plain" / server.good
    assert path.read_bytes() == content
    assert hub.download_weights(url) == path
    assert server.requests[f"/plain/{server.good}"] == 1
    assert kept(home) == [server.good]
    assert capfd.readouterr().err.startswith(f"Downloading {url} (0.0 MiB) to {path.parent}")


@pytest.mark.parametrize(
    "path, text",
    [
        ("plain/empty.pth", "is empty (0 bytes)."),
        ("plain/page.pth", "is a web page, not weights"),
        ("plain/bad-00000000.pth", "has the wrong checksum: SHA-256 "),
        ("no-length/x.pth", "is cut off or damaged"),
        ("plain/none.pth", "the server answered 404 Not Found. Without internet, there are three ways: run "),
        ("busy/x.pth", "the server answered 503 Service Unavailable."),
        ("broken/x.pth", "cannot download http"),
    ],
)
def test_failures_leave_nothing_in_the_cache(server, home, path, text):
    message = error_of(server.url(path))
    assert text in message and server.url(path) in message
    assert kept(home) == []


def test_checksum_message_names_both(server, content):
    message = error_of(server.url("plain/bad-00000000.pth"))
    assert f"SHA-256 {hashlib.sha256(content).hexdigest()[:8]}..., expected 00000000... (from its name)" in message


@pytest.mark.parametrize("kind", ["busy-once", "broken-once"])
def test_starts_again(server, content, kind):
    assert hub.download_weights(server.url(f"{kind}/x.pth")).read_bytes() == content
    assert server.requests[f"/{kind}/x.pth"] == 2


def test_nobody_listens(home):
    message = error_of("http://127.0.0.1:9/x/y.pth")
    assert "Connection refused" in message and str(home / "127.0.0.1_9" / "x" / "y.pth") in message


def test_offline(server, home, monkeypatch, content):
    monkeypatch.setenv("RES2NET_OFFLINE", "1")
    url = server.url("plain/x.pth")
    message = error_of(url)
    target = hub.cached_path(url)
    assert "RES2NET_OFFLINE forbids downloads. Unset RES2NET_OFFLINE to allow them. Without internet, there" in message
    assert f"pass its path in the place of the name, or put it at {target}." in message
    assert not server.requests
    target.parent.mkdir(parents=True)
    target.write_bytes(content)
    assert hub.download_weights(url) == target


def test_too_little_room(server, monkeypatch, home):
    usage = transfers.shutil.disk_usage(home.parent)
    monkeypatch.setattr(transfers.shutil, "disk_usage", lambda _: type(usage)(usage.total, usage.total, 10))
    assert "has only 0.0 MiB left. Make room, or set RES2NET_HOME" in error_of(server.url("plain/x.pth"))
    assert kept(home) == []


def test_queries_do_not_collide(server):
    one, other = (hub.cached_path(server.url(f"plain/x.pth?v={v}")) for v in (1, 2))
    assert one != other and one.name == other.name == "x.pth"


@pytest.mark.parametrize("url", ["ftp://host/x.pth", "http://host", "file:///etc/x.pth"])
def test_addresses(url):
    assert f"{url!r} is not the address of a file; expected http(s)://host/path/file." in error_of(url)


def test_paths_stay_in_the_cache(home):
    assert home in hub.cached_path("http://host/a/../../../etc/%2e%2e/x.pth").resolve().parents


def test_default_folder_is_the_platforms(monkeypatch):
    import platformdirs

    monkeypatch.delenv("RES2NET_HOME")
    assert str(hub.cache_folder()) == platformdirs.user_cache_dir("ppdet_res2net")


def test_a_folder_that_cannot_be_made(monkeypatch, tmp_path, server):
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("RES2NET_HOME", str(tmp_path / "file"))
    assert "Set RES2NET_HOME to a folder that you can write to." in error_of(server.url("plain/x.pth"))


def test_models_try_their_addresses_in_turn(server, home):
    spec = dataclasses.replace(
        get_model_spec("timm/res2net50d"),
        urls=(server.url("plain/none.pth"), server.url(f"plain/{server.good}")),
    )
    path = hub.download_model(spec)
    assert path.name == server.good
    assert hub.download_model(spec) == path  # the second address is found in the cache without asking the first
    assert server.requests["/plain/none.pth"] == 1
    broken = dataclasses.replace(spec, urls=(server.url("plain/none.pth"), server.url("plain/empty.pth")))
    with pytest.raises(WeightsError, match=r"(?s)404 Not Found.*is empty"):
        hub.download_model(broken)


def test_models_without_weights():
    with pytest.raises(WeightsError, match="there are no published weights of mindcv/res2net152"):
        hub.download_model(get_model_spec("mindcv/res2net152"))


def test_concurrent_processes_download_once(server, content):
    url = server.url(f"plain/{server.good}")
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        paths = pool.map(hub.download_weights, [url] * 3)
    assert len(set(paths)) == 1 and paths[0].read_bytes() == content
    assert server.requests[f"/plain/{server.good}"] == 1
    assert load_weights_file(paths[0])["w"].size == 5000


def test_a_cached_file_that_has_changed_is_verified_again(server, home, content):
    url = server.url(f"plain/{server.good}")
    path = hub.download_weights(url)
    path.write_bytes(content[:-4] + b"\0\0\0\0")
    assert f"{path}, the cached file of {url}, has the wrong checksum" in (message := error_of(url))
    assert "Delete it; then it is downloaded again." in message
    path.write_bytes(content)
    assert hub.download_weights(url) == path
    assert server.requests[f"/plain/{server.good}"] == 1


@pytest.mark.parametrize(
    "spelling",
    [
        "bad%2D00000000.pth",
        "bad-00000000%2epth",
        "bad-00000000.pth/",
        "bad-00000000.pth?x#y",
        "bad-00000000.pth;x",
        "bad-00000000.pth%20",
        "bad-00000000.pth%2F%2E",
        "bad-00000000.pth/%2e",
        "bad-00000000.pth/x/%2E%2E",
    ],
)
def test_other_spellings_of_an_address_keep_its_checksum(server, home, monkeypatch, spelling):
    content = server.files["x.pth"]
    monkeypatch.setattr(server, "files", types.SimpleNamespace(get=lambda name: content))  # under any name
    assert "has the wrong checksum: SHA-256 " in error_of(server.url(f"plain/{spelling}"))
    assert kept(home) == []


def test_checksums_before_double_endings_and_in_capitals(server, content):
    digest = hashlib.sha256(content).hexdigest()
    server.files |= {"bad-00000000.pth.tar": content, f"good-{digest[:8].upper()}.pth": content}
    assert "has the wrong checksum" in error_of(server.url("plain/bad-00000000.pth.tar"))
    assert hub.download_weights(server.url(f"plain/good-{digest[:8].upper()}.pth"))


def test_passwords_and_tokens_are_not_printed(server, capfd):
    address = server.url("plain/x.pth?token=geheim").replace("//", "//me:secret@")
    hub.download_weights(address)
    printed = capfd.readouterr().err + error_of(address.replace("plain/x", "busy/x"))
    assert "secret" not in printed and "geheim" not in printed


def test_redirects(server, content):
    assert hub.download_weights(server.url("redirect/x.pth")).read_bytes() == content
    response = requests.Response()
    response.url, response.status_code = "https://host/x.pth", 302
    for target, is_refused in (("http://host/x.pth", True), ("https://other/x.pth", False), ("/y.pth", False)):
        response.headers["Location"] = target
        if is_refused:
            with pytest.raises(
                WeightsError, match="https://host/x.pth redirects from https to http. Nothing was downloaded."
            ):
                transfers._Session().get_redirect_target(response)
        else:
            assert transfers._Session().get_redirect_target(response) == target


@pytest.mark.parametrize("kind", ["plain", "no-length"])
def test_size_is_limited(server, home, monkeypatch, kind):
    monkeypatch.setenv("RES2NET_MAX_DOWNLOAD_GIB", "1e-6")
    assert "has more than 9.99e-07 GiB, the most that is downloaded." in error_of(server.url(f"{kind}/x.pth"))
    assert kept(home) == []
    monkeypatch.setenv("RES2NET_MAX_DOWNLOAD_GIB", "much")
    assert "RES2NET_MAX_DOWNLOAD_GIB is 'much'; expected a number" in error_of(server.url(f"{kind}/x.pth"))


def test_compressed_answers_are_refused(server, home):
    assert "is sent compressed, although it must not be" in error_of(server.url("compressed/x.pth"))
    assert kept(home) == []


def test_a_link_in_the_place_of_the_unfinished_file_is_not_followed(server, home, tmp_path, content):
    target = hub.cached_path(server.url("plain/x.pth"))
    target.parent.mkdir(parents=True)
    (tmp_path / "precious").write_text("mine")
    target.with_name("x.pth.part").symlink_to(tmp_path / "precious")
    assert hub.download_weights(server.url("plain/x.pth")).read_bytes() == content
    assert (tmp_path / "precious").read_text() == "mine" and not target.is_symlink()


@pytest.mark.parametrize("status", [204, 206, 300, 401])
def test_other_answers_than_200_bring_no_file(server, home, status):
    message = error_of(server.url(f"{status}/x.pth"))
    assert f": the server answered {status} {http.HTTPStatus(status).phrase}. Without internet, there are" in message
    assert kept(home) == []


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("file:///etc/passwd", "redirects from http to file. Nothing was downloaded."),
        ("ftp://me:geheim@127.0.0.1/x", "redirects from http to ftp. Nothing was downloaded."),
        ("data:,x", "redirects from http to data. Nothing was downloaded."),
        (
            "http://127.0.0.1:99999/x",
            "its address is not valid, or the server sends a redirect or a length that is not",
        ),
        ("http://[::1", "its address is not valid, or the server sends a redirect or a length that is not"),
        ("http://\x9b/", "its address is not valid, or the server sends a redirect or a length that is not"),
    ],
)
def test_redirects_that_lead_nowhere(server, home, target, text):
    server.files["x.pth"] = b"x"
    message = error_of(server.url(f"to/x.pth?{urllib.parse.quote(target)}"))
    assert text in message and "geheim" not in message
    assert kept(home) == []


def test_redirects_in_a_circle(server, monkeypatch):
    monkeypatch.setattr(Handler, "do_GET", _redirect_to_itself)
    assert "the server redirects more than 30 times. Without internet, there are" in error_of(server.url("plain/x.pth"))


def _redirect_to_itself(handler) -> None:
    handler.send_response(302)
    handler.send_header("Location", handler.path)
    handler.end_headers()


def test_a_server_that_sends_next_to_nothing_is_left(server, home, monkeypatch):
    monkeypatch.setattr(transfers, "_TIMEOUTS_S", (5, 0.5))
    assert re.search(r"has sent \d+ bytes in \d+ s, less than 1 KiB/s. Download", error_of(server.url("slow/x.pth")))
    assert kept(home) == []


@pytest.mark.parametrize(
    "start, more",
    [(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), (b"HTTP/1.1 200 OK\r\nX-Letters: ", b"x")],
    ids=["one 100 Continue after the other", "a header letter by letter"],
)
def test_a_server_that_never_completes_its_headers_is_left(home, monkeypatch, start, more):
    monkeypatch.setattr(transfers, "_TIMEOUTS_S", (5, 1))
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                connection.sendall(start)
                while True:
                    connection.sendall(more)
                    time.sleep(0.01)

        thread = threading.Thread(target=answer)
        thread.start()
        message = error_of(f"http://127.0.0.1:{listener.getsockname()[1]}/x.pth")
        thread.join()
    assert "the server has not completed the head of its answer within 1 s" in message
    assert kept(home) == []


def test_identity_in_any_letters_is_no_compression(server, content):
    assert hub.download_weights(server.url("uncompressed/x.pth")).read_bytes() == content


@pytest.mark.parametrize("path", ["401/x.pth", "busy/x.pth", "broken/x.pth", "to/x.pth?http%3A%2F%2F%5B%3A%3A1"])
def test_passwords_and_tokens_are_in_no_exception(server, path):
    address = server.url(path).replace("//", "//me:secret@") + ("&" if "?" in path else "?") + "token=geheim"
    with pytest.raises(WeightsError) as caught:
        hub.download_weights(address)
    error = caught.value
    while error is not None:
        assert "secret" not in str(error) and "geheim" not in str(error)
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize("ending", ["lock", "verified"])
def test_links_in_the_place_of_the_caches_own_files_are_not_followed(server, tmp_path, ending):
    target = hub.cached_path(server.url("plain/x.pth"))
    target.parent.mkdir(parents=True)
    (tmp_path / "precious").write_text("mine")
    target.with_name(f"x.pth.{ending}").symlink_to(tmp_path / "precious")
    hub.download_weights(server.url("plain/x.pth"))
    assert (tmp_path / "precious").read_text() == "mine"


@pytest.mark.parametrize(("ending", "text"), [("part", "cannot write "), ("lock", "cannot lock ")])
def test_folders_in_the_place_of_the_caches_own_files(server, ending, text):
    target = hub.cached_path(server.url("plain/x.pth"))
    target.with_name(f"x.pth.{ending}").mkdir(parents=True)
    assert f"{text}{target}.{ending}: Is a directory" in error_of(server.url("plain/x.pth"))


def test_very_long_names_keep_their_checksum(server, home):
    name = f"{'n' * 180}-{'0' * 64}.pth"
    server.files[name] = server.files["x.pth"]
    assert "has the wrong checksum: SHA-256 " in error_of(server.url(f"plain/{name}"))
    assert len(hub.cached_path(server.url(f"plain/{name}")).name) < 200


@pytest.mark.parametrize("address", ["http://[::1", "http://me:pass/word@host/x.pth", "http://me:pass?word@host/x.pth"])
def test_passwords_of_addresses_that_are_none_are_not_printed(address):
    assert "word" not in (message := error_of(address)) and "pass" not in message.partition("or pass its path")[0]
