"""RES2NET_MIRROR: files from a folder or a server, verified as those of their publisher are."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import os

import numpy as np
import pytest

from ppdet_res2net import get_model_spec
from ppdet_res2net.errors import WeightsError
from ppdet_res2net.zoo import hub
from ppdet_res2net.zoo.formats import save_weights_file
from ppdet_res2net.zoo.mirror import mirrored_places
from tests.helpers.servers import serve_folder, serving

NOBODY = "http://127.0.0.1:9"  # refuses every connection
PATH = "127.0.0.1_9/models"


@pytest.fixture(scope="module")
def content(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("content") / "x.safetensors"
    save_weights_file(path, {"w": np.arange(5000, dtype=np.float32)})
    return path.read_bytes()


@pytest.fixture
def name(content) -> str:
    return f"x-{hashlib.sha256(content).hexdigest()[:8]}.pth"


@pytest.fixture(autouse=True)
def mirror(tmp_path, monkeypatch):
    """An empty folder that is the mirror."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    monkeypatch.setenv("RES2NET_MIRROR", str(folder))
    monkeypatch.setenv("RES2NET_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("RES2NET_OFFLINE", raising=False)
    return folder


@pytest.fixture
def server(mirror, monkeypatch):
    """The mirror's folder, served; the server is now the mirror."""
    server = serve_folder(mirror)
    monkeypatch.setenv("RES2NET_MIRROR", f"{server.url}/")
    with serving(server):
        yield server


def put(path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def kept(tmp_path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "home").rglob("*") if path.suffix not in (".lock", ".verified"))


@pytest.mark.parametrize("place", [f"{PATH}/", "models/", ""])
def test_a_folder_may_keep_host_and_path_or_names_only(mirror, name, content, place, capfd):
    put(mirror / f"{place}{name}", content)
    url = f"{NOBODY}/models/{name}"
    path = hub.download_weights(url)
    assert path == hub.cached_path(url) and path.read_bytes() == content
    assert capfd.readouterr().err.startswith(f"Copying {mirror / place / name} (0.0 MiB) to {path.parent}")


@pytest.mark.parametrize("place", [f"{PATH}/", "models/", ""])
def test_a_server_may_keep_host_and_path_or_names_only(server, mirror, name, content, place):
    put(mirror / f"{place}{name}", content)
    assert hub.download_weights(f"{NOBODY}/models/{name}").read_bytes() == content
    assert server.seen[-1] == ("GET", f"/{place}{name}")


def test_a_cached_file_is_taken_without_asking_the_mirror(server, mirror, name, content):
    put(mirror / name, content)
    url = f"{NOBODY}/models/{name}"
    hub.download_weights(url)
    asked = len(server.seen)
    hub.download_weights(url)
    assert len(server.seen) == asked


def test_a_wrong_file_in_the_mirror_is_an_error(mirror, content, tmp_path):
    put(mirror / "x-00000000.pth", content)
    with pytest.raises(WeightsError) as caught:
        hub.download_weights(f"{NOBODY}/models/x-00000000.pth")
    message = str(caught.value)
    assert f"{mirror}/x-00000000.pth, the mirror's file of {NOBODY}/models/x-00000000.pth, has the wrong" in message
    assert message.endswith("expected 00000000... (from its name). Put a sound one there, or unset RES2NET_MIRROR.")
    assert not any(path.endswith(".pth") for path in kept(tmp_path))


@pytest.mark.parametrize("bad, text", [(b"", "is empty"), (b"<!DOCTYPE html><title>Log in</title>", "is a web page")])
def test_a_mirror_is_no_more_trusted_than_a_server(server, mirror, name, bad, text):
    put(mirror / name, bad)
    with pytest.raises(WeightsError, match=text):
        hub.download_weights(f"{NOBODY}/models/{name}")


@pytest.mark.parametrize("is_served", [False, True])
def test_the_size_is_limited(mirror, name, content, monkeypatch, is_served):
    put(mirror / name, content)
    monkeypatch.setenv("RES2NET_MAX_DOWNLOAD_GIB", "1e-6")
    server = serve_folder(mirror)
    if is_served:
        monkeypatch.setenv("RES2NET_MIRROR", server.url)
    with serving(server), pytest.raises(WeightsError, match="has more than 9.99e-07 GiB, the most that is downloaded."):
        hub.download_weights(f"{NOBODY}/models/{name}")


def test_what_the_mirror_does_not_have_is_downloaded_and_said(server, mirror, tmp_path, name, content, caplog):
    put(tmp_path / "publisher" / "models" / name, content)
    publisher = serve_folder(tmp_path / "publisher")
    caplog.set_level(logging.WARNING)
    with serving(publisher):
        assert hub.download_weights(f"{publisher.url}/models/{name}").read_bytes() == content
    (record,) = caplog.records
    message = record.getMessage()
    assert message.startswith(f"the mirror does not deliver {publisher.url}/models/{name} ({server.url}/127.0.0.1_")
    assert "the server answered 404" in message


def test_a_mirror_that_cannot_be_reached_is_asked_once(monkeypatch, caplog):
    monkeypatch.setenv("RES2NET_MIRROR", "http://me:geheim@127.0.0.1:9/base")
    with pytest.raises(WeightsError, match="Connection refused"):
        hub.download_weights(f"{NOBODY}/models/x.pth")
    (record,) = caplog.records
    assert record.getMessage().count("Connection refused") == 1 and "geheim" not in record.getMessage()


def test_without_internet_the_message_names_three_ways(tmp_path):
    url = f"{NOBODY}/models/x.pth"
    with pytest.raises(WeightsError) as caught:
        hub.download_weights(url)
    assert str(caught.value).endswith(
        f"Connection refused. Without internet, there are three ways: run 'ppdet-res2net fetch {url} --to DIR' on another "
        "machine, bring DIR here and set RES2NET_MIRROR=DIR; set RES2NET_MIRROR to the address of a server that has the "
        f"file; or use a file that you have: pass its path in the place of the name, or put it at {hub.cached_path(url)}."
    )


def test_a_model_is_looked_for_under_all_its_addresses_before_any_is_downloaded(mirror, name, content):
    put(mirror / name, content)
    urls = (f"{NOBODY}/models/model.safetensors", f"{NOBODY}/releases/{name}")
    spec = dataclasses.replace(get_model_spec("timm/res2net50d"), urls=urls)
    assert hub.download_model(spec) == hub.cached_path(urls[1])


def test_names_that_several_models_have_are_not_enough(mirror, content):
    """Every model of timm on Hugging Face is called model.safetensors."""
    put(mirror / "model.safetensors", content)
    spec = get_model_spec("timm/res2net50d")
    assert mirrored_places(spec.urls[0]) == []
    put(mirror / "timm/res2net50d.in1k/resolve/main/model.safetensors", content)  # as a mirror of that server has it
    assert mirrored_places(spec.urls[0]) == [mirror / "timm/res2net50d.in1k/resolve/main/model.safetensors"]


def test_offline_takes_from_a_folder_and_asks_no_server(mirror, server, name, content, monkeypatch):
    put(mirror / name, content)
    monkeypatch.setenv("RES2NET_OFFLINE", "1")
    with pytest.raises(WeightsError, match="RES2NET_OFFLINE forbids downloads. Unset RES2NET_OFFLINE to allow them."):
        hub.download_weights(f"{NOBODY}/models/{name}")
    assert server.seen == []
    monkeypatch.setenv("RES2NET_MIRROR", str(mirror))
    assert hub.download_weights(f"{NOBODY}/models/{name}").read_bytes() == content


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("no/such/folder", "RES2NET_MIRROR is 'no/such/folder', and there is no such folder. Correct or unset it."),
        ("s3://bucket/x", "RES2NET_MIRROR is 's3://bucket/x'; expected a folder, or an address with http or https."),
        ("ftp://me:geheim@host/x", "RES2NET_MIRROR is 'ftp://host/x'; expected a folder"),
        ("http://", "RES2NET_MIRROR is 'http://'; expected a folder"),
        ("http://me:geheim@[::1", "RES2NET_MIRROR is 'http://...'; expected a folder"),
    ],
)
def test_what_is_no_mirror_is_an_error(monkeypatch, value, text):
    monkeypatch.setenv("RES2NET_MIRROR", value)
    with pytest.raises(WeightsError) as caught:
        hub.download_weights(f"{NOBODY}/models/x.pth")
    assert text in str(caught.value)


def test_an_empty_value_is_no_mirror(monkeypatch):
    monkeypatch.setenv("RES2NET_MIRROR", " ")
    assert mirrored_places(f"{NOBODY}/models/x.pth") == []


def test_tokens_of_the_mirror_stay_in_its_addresses(monkeypatch):
    monkeypatch.setenv("RES2NET_MIRROR", "https://me:pw@host/base/?token=t")
    assert mirrored_places("http://other/a b/x.pth")[0] == "https://me:pw@host/base/other/a_b/x.pth?token=t"


@pytest.mark.parametrize("url", ["http://host/../../etc/x.pth", "http://host/%2e%2e/%2e%2e/etc/x.pth"])
def test_no_address_leads_out_of_the_mirror(mirror, monkeypatch, url):
    put(mirror.parent / "etc" / "x.pth", b"")
    put(mirror.parent / "x.pth", b"")
    assert mirrored_places(url) == []


def test_pipes_are_no_files(mirror, name):
    os.mkfifo(mirror / name)
    assert mirrored_places(f"{NOBODY}/models/{name}") == []


def test_the_unfinished_copy_is_not_written_through_a_link(mirror, name, content, tmp_path):
    put(mirror / name, content)
    (tmp_path / "precious").write_text("mine")
    target = hub.cached_path(f"{NOBODY}/models/{name}")
    target.parent.mkdir(parents=True)
    target.with_name(f"{name}.part").symlink_to(tmp_path / "precious")
    assert hub.download_weights(f"{NOBODY}/models/{name}") == target
    assert (tmp_path / "precious").read_text() == "mine" and not target.is_symlink()
