"""Repositories on a hub, from a server on this machine that answers as Hugging Face's does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("huggingface_hub")

from res2net_runtime.errors import HubError
from res2net_runtime.hub import HubAddress, address_of_page, choose_file, is_hub_address, open_repository, parse_address
from tests.helpers.fake_hub import FakeRepo, using_hub

FILES = {"README.md": b"card", "model.safetensors": b"weights", "export/infer_cfg.yml": b"schema"}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    with using_hub(tmp_path / "cache", monkeypatch) as server:
        server.repos["ann/nuts"] = FakeRepo(dict(FILES), revisions=("main", "v1", "refs/pr/2", "feature/x"))
        yield server


def error_of(address: str, *names: str) -> str:
    with pytest.raises(HubError) as caught:
        repository = open_repository(parse_address(address))
        repository.bring(names or ["model.safetensors"])
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("hf://ann/nuts", ("ann/nuts", None, "")),
        ("HF://ann/nuts/", ("ann/nuts", None, "")),
        ("hf://models/ann/nuts", ("ann/nuts", None, "")),
        ("hf://ann/nuts@v1.0", ("ann/nuts", "v1.0", "")),
        ("hf://ann/nuts/a/b c.pth", ("ann/nuts", None, "a/b c.pth")),
        ("hf://ann/nuts@refs/pr/2/x.pth", ("ann/nuts", "refs/pr/2", "x.pth")),
        ("hf://ann/nuts@feature%2Fx/x.pth", ("ann/nuts", "feature/x", "x.pth")),
        ("hf://ann/nuts/x@y.pth", ("ann/nuts", None, "x@y.pth")),
    ],
)
def test_addresses_are_read_and_written(text, parts):
    address = parse_address(text)
    assert (address.repo, address.revision, address.path) == parts
    assert parse_address(str(address)) == address
    assert address.name == "nuts"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hf://nuts", "is not an address on Hugging Face's hub. Expected hf://OWNER/REPO[@REVISION][/FILE]."),
        ("hf://", "is not an address on Hugging Face's hub"),
        ("hf://ann/nuts@", "is not an address on Hugging Face's hub"),
        ("hf://../nuts", "is not an address on Hugging Face's hub"),
        ("hf://datasets/ann/nuts", "is not in a repository of models, but of datasets"),
        ("hf://ann/nuts/../../x", "leads out of the repository"),
        ("hf://ann/nuts/a\\..\\x", "leads out of the repository"),
        ("hf://ann/nuts//etc/x", "leads out of the repository"),
        ("hf://ann/nuts/C:x", "leads out of the repository"),
    ],
)
def test_wrong_addresses_are_refused(text, message):
    assert is_hub_address(text)
    with pytest.raises(HubError) as caught:
        parse_address(text)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("https://huggingface.co/ann/nuts", "hf://ann/nuts"),
        ("huggingface.co/ann/nuts/", "hf://ann/nuts"),
        ("https:/huggingface.co/ann/nuts", "hf://ann/nuts"),  # after Path
        ("https://hf.co/ann/nuts?library=x#files", "hf://ann/nuts"),
        ("https://huggingface.co/ann/nuts/tree/main", "hf://ann/nuts"),
        ("https://huggingface.co/ann/nuts/tree/v1", "hf://ann/nuts@v1"),
        ("https://huggingface.co/ann/nuts/blob/main/a/b.pth", "hf://ann/nuts/a/b.pth"),
        ("https://huggingface.co/ann/nuts/resolve/main/b.pth", None),
        ("https://huggingface.co/datasets/ann", None),
        ("https://example.com/ann/nuts", None),
    ],
)
def test_pages_are_recognised(url, address):
    page = address_of_page(url)
    assert (page and str(page)) == address


def test_files_are_downloaded_once_and_found_offline(hub, monkeypatch, caplog):
    caplog.set_level("INFO")
    repository = open_repository(HubAddress("ann/nuts"))
    assert repository.names == ("README.md", "export/infer_cfg.yml", "model.safetensors")
    assert repository.find_sizes(["model.safetensors"]) == {"model.safetensors": 7}
    assert hub.downloads() == []
    folder = repository.bring(["model.safetensors"])
    assert (folder / "model.safetensors").read_bytes() == b"weights"
    assert folder == repository.cache_folder
    assert "downloading model.safetensors of hf://ann/nuts (0.0 MiB) to" in caplog.text
    assert open_repository(HubAddress("ann/nuts")).bring(["model.safetensors"]) == folder
    assert hub.downloads() == ["model.safetensors"]

    monkeypatch.setenv("RES2NET_OFFLINE", "1")
    hub.seen.clear()
    repository = open_repository(HubAddress("ann/nuts"))
    assert repository.names == ("model.safetensors",)
    assert repository.bring(["model.safetensors"]) == folder
    assert hub.seen == []
    assert error_of("hf://ann/nuts@v1").endswith(
        "RES2NET_OFFLINE forbids to ask the hub. Unset it, or bring huggingface_hub's cache along."
    )


@pytest.mark.parametrize("revision", ["v1", "refs/pr/2", "feature/x"])
def test_revisions(hub, revision):
    folder = open_repository(HubAddress("ann/nuts", revision)).bring(["model.safetensors"])
    assert (folder / "model.safetensors").read_bytes() == b"weights"


def test_the_cache_is_used_if_the_hub_cannot_be_reached(hub, caplog):
    open_repository(HubAddress("ann/nuts")).bring(["model.safetensors"])
    hub.status = 503
    assert open_repository(HubAddress("ann/nuts")).names == ("model.safetensors",)
    assert f"hub: {hub.url} answered 503 to hf://ann/nuts. The files in the cache are used" in caplog.text
    message = error_of("hf://ann/other")
    assert "hf://ann/other is not in the cache" in message and "answered 503" in message


def test_no_server(hub, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    message = error_of("hf://ann/nuts")
    assert "http://127.0.0.1:9 does not deliver hf://ann/nuts (ConnectError:" in message
    assert "Check the network." in message


def test_what_the_hub_refuses(hub, monkeypatch):
    assert error_of("hf://ann/no").startswith(
        f"hub: there is no repository ann/no of models at {hub.url}, or it is private. Check its name; for a private one, log "
        "in with 'hf auth login', or set HF_TOKEN."
    )
    assert error_of("hf://ann/nuts@v9") == (
        "hub: ann/nuts has no revision 'v9'. Pass one of its branches, tags or commits."
    )
    assert error_of("hf://ann/nuts", "x.pth") == "hub: there is no file hf://ann/nuts/x.pth. Correct its name."
    hub.repos["ann/nuts"].is_gated = True
    assert error_of("hf://ann/nuts") == (
        f"hub: ann/nuts is gated: its owner decides who may read it. Ask for access at {hub.url}/ann/nuts, and log in with 'hf "
        "auth login', or set HF_TOKEN."
    )
    hub.status = 403
    assert error_of("hf://ann/nuts").startswith("hub: the hub refuses to show hf://ann/nuts (403): the token")
    hub.status = 410
    assert error_of("hf://ann/nuts") == f"hub: {hub.url} answered 410 to hf://ann/nuts. Check the address."


def test_private_repositories_need_the_token(hub, monkeypatch):
    hub.repos["ann/nuts"].token = "hf_secret"
    assert "or it is private" in error_of("hf://ann/nuts")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert open_repository(HubAddress("ann/nuts")).bring(["model.safetensors"])


def test_large_files_are_refused_before_they_are_downloaded(hub, monkeypatch):
    monkeypatch.setenv("RES2NET_MAX_DOWNLOAD_GIB", "1e-9")
    assert "hf://ann/nuts (model.safetensors) has more than 9.31e-10 GiB, the most that is downloaded" in error_of(
        "hf://ann/nuts"
    )
    assert hub.downloads() == []


@pytest.mark.parametrize("name", ["../escaped", "/escaped", "a/../../escaped", "C:\\escaped", "a\x1b"])
def test_names_that_leave_the_cache_are_refused(hub, tmp_path, name):
    hub.repos["ann/nuts"].files[name] = b"x"
    message = error_of("hf://ann/nuts", name)
    assert "is not that of a hub: it names the file" in message and "Check HF_ENDPOINT." in message
    assert not list(tmp_path.rglob("*escaped*"))


def test_tags_that_leave_the_cache_are_refused(hub, tmp_path):
    hub.repos["ann/nuts"].etag = "../../../escaped"
    assert "is not that of a hub: ETag '../../../escaped'" in error_of("hf://ann/nuts")
    assert not list(tmp_path.rglob("*escaped*"))


def test_a_file_is_chosen_or_the_candidates_are_listed(hub):
    repository = open_repository(HubAddress("ann/nuts"))
    assert choose_file(repository, ["a", "b"], "file", "b") == "b"
    assert choose_file(repository, ["a"], "file", "b") == "a"
    with pytest.raises(HubError) as caught:
        choose_file(repository, ["a", "b"], "file of weights", "c")
    assert str(caught.value) == (
        "hub: hf://ann/nuts has several files that may be the file of weights: a, b. Name one of them, for instance "
        "hf://ann/nuts/a."
    )
    with pytest.raises(HubError) as caught:
        choose_file(repository, [], "file of weights", "c")
    assert str(caught.value) == (
        "hub: hf://ann/nuts has no file of weights. It has README.md, export/infer_cfg.yml, model.safetensors."
    )


def test_the_package_is_named_if_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    message = error_of("hf://ann/nuts")
    assert "need the package huggingface_hub" in message
    assert message.endswith("Install it, as the extra 'hub' of ppdet-res2net does: pip install huggingface_hub")


def test_the_environment_of_the_library_holds(hub, tmp_path):
    """In a process of its own: the library reads the environment when it is imported."""
    code = (
        "from res2net_runtime.hub import *; "
        "print(open_repository(parse_address('hf://ann/nuts')).bring(['model.safetensors']))"
    )
    paths = [str(Path(__file__).parents[2] / "deploy" / "python"), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path / "home"),
        "HF_TOKEN": "hf_secret",
    }
    hub.repos["ann/nuts"].token = "hf_secret"
    for offline in ("", "1"):
        result = subprocess.run(
            [sys.executable, "-c", code],
            env={**environment, "HF_HUB_OFFLINE": offline},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert result.returncode == 0, result.stderr
        assert Path(result.stdout.strip(), "model.safetensors").read_bytes() == b"weights"
        hub.status = 500
