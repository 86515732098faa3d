"""``fetch``: what recipes and zoo names need, listed and downloaded, from a server on this machine."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest

from ppdet_res2net.cli.main import main
from ppdet_res2net.zoo.addresses import cached_path
from ppdet_res2net.zoo.formats import save_weights_file
from tests.helpers.servers import serve_folder, serving


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("RES2NET_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("RES2NET_OFFLINE", raising=False)
    monkeypatch.delenv("RES2NET_MIRROR", raising=False)
    return tmp_path / "home"


@pytest.fixture
def publisher(tmp_path):
    """A server with one file of weights, models/trunk.pdparams; its ``file`` and ``sha256`` are known."""
    file = tmp_path / "publisher" / "models" / "trunk.pdparams"
    file.parent.mkdir(parents=True)
    save_weights_file(file, {"w": np.arange(300_000, dtype=np.float32)})
    server = serve_folder(file.parents[1])
    server.file, server.sha256 = file, hashlib.sha256(file.read_bytes()).hexdigest()
    with serving(server):
        yield server


@pytest.fixture
def recipe(tmp_path, publisher):
    path = tmp_path / "mine.yml"
    path.write_text(
        f"_BASE_: [demo_mask_rcnn]\npretrain_weights: {publisher.url}/models/trunk.pdparams\n"
        f"weights: {tmp_path}/run/best_model\n"
    )
    return path


def test_list_says_what_where_and_how_large_and_downloads_nothing(recipe, publisher, capsys, tmp_path):
    assert main(["fetch", str(recipe), "--list"]) == 0
    target = cached_path(f"{publisher.url}/models/trunk.pdparams")
    size = publisher.file.stat().st_size / 2**20
    assert capsys.readouterr().out == (
        f"pretrain_weights of mine: {publisher.url}/models/trunk.pdparams\n"
        f"  size: {size:.1f} MiB\n"
        "  SHA-256: none is published; it is computed when the file is here\n"
        "  state: to be downloaded\n"
        f"  belongs at: {target}\n"
        f"weights of mine: {tmp_path}/run/best_model\n"
        "  a local file, which is not there yet: training writes it\n"
    )
    assert publisher.seen == [("HEAD", "/models/trunk.pdparams")] and not target.exists()


def test_what_is_fetched_for_another_machine_is_its_mirror(recipe, publisher, capsys, tmp_path, monkeypatch):
    assert main(["fetch", "-c", str(recipe), "--to", str(tmp_path / "stick")]) == 0
    out = capsys.readouterr().out
    url = f"{publisher.url}/models/trunk.pdparams"
    copy = tmp_path / "stick" / f"127.0.0.1_{publisher.server_port}" / "models" / "trunk.pdparams"
    assert copy.read_bytes() == publisher.file.read_bytes()
    assert f"  SHA-256: {publisher.sha256}\n  state: here\n  file: {cached_path(url)}\n  copy: {copy}\n" in out
    assert out.endswith(f"Bring '{tmp_path}/stick' to the other machine, and set RES2NET_MIRROR to it there.\n")
    assert [path for path in (tmp_path / "stick").rglob("*") if path.is_file()] == [copy]

    monkeypatch.setenv("RES2NET_HOME", str(tmp_path / "other_machine"))
    monkeypatch.setenv("RES2NET_OFFLINE", "1")
    assert main(["fetch", str(recipe), "--list"]) == 0
    assert f"belongs at: {cached_path(url)}" in (listed := capsys.readouterr().out) and "RES2NET_OFFLINE" in listed
    monkeypatch.setenv("RES2NET_MIRROR", str(tmp_path / "stick"))
    assert main(["fetch", str(recipe), "--list"]) == 0
    assert f"SHA-256: {publisher.sha256}\n  state: in the mirror\n" in capsys.readouterr().out
    assert main(["fetch", str(recipe)]) == 0
    assert cached_path(url).read_bytes() == publisher.file.read_bytes()
    assert publisher.seen.count(("GET", "/models/trunk.pdparams")) == 1


def test_json(recipe, publisher, capsys, tmp_path):
    assert main(["fetch", str(recipe), "--list", "--json"]) == 0
    trunk, weights = json.loads(capsys.readouterr().out)
    assert trunk["recipe"] == "mine" and trunk["key"] == "pretrain_weights" and trunk["state"] == "to be downloaded"
    assert trunk["size_bytes"] == publisher.file.stat().st_size
    assert weights["path"] == f"{tmp_path}/run/best_model" and weights["state"] == "missing" and weights["urls"] == []


def test_sizes_and_checksums_of_published_models_without_internet(capsys, monkeypatch):
    monkeypatch.setenv("RES2NET_OFFLINE", "1")
    assert main(["fetch", "mindcv/res2net50", "timm/res2net50d", "--list"]) == 0
    out = capsys.readouterr().out
    assert "mindcv/res2net50\n  address: https://download.mindspore.cn/" in out
    assert (
        "  size: about 98 MiB by its parameters (RES2NET_OFFLINE forbids to ask)\n  SHA-256: f42cf71b... (from its"
        in out
    )
    assert out.count("  address: ") == 3


def test_a_server_that_does_not_have_it(publisher, capsys):
    address = f"{publisher.url}/models/none.pdparams"
    assert main(["fetch", address, "--list"]) == 0
    assert "size: unknown (the server answered 404 Not Found)" in capsys.readouterr().out
    assert main(["fetch", address]) == 1
    assert "the server answered 404 Not Found. Without internet, there are three ways" in capsys.readouterr().err


def test_a_recipe_that_starts_from_random_weights_needs_nothing(capsys):
    assert main(["fetch", "demo_mask_rcnn", "-o", "weights=null"]) == 0
    assert capsys.readouterr().out == "No weights are needed.\n"


def test_a_file_to_start_from_that_is_not_there_is_an_error(capsys, tmp_path):
    words = ["fetch", "demo_mask_rcnn", "-o", f"pretrain_weights={tmp_path}/mine.pdparams"]
    assert main([*words, "--list"]) == 0
    assert f"{tmp_path}/mine.pdparams\n  a local file, which is not there\n" in capsys.readouterr().out
    assert main(words) == 1
    assert f"neither {tmp_path}/mine.pdparams nor" in capsys.readouterr().err


def test_a_local_file_is_here(publisher, capsys):
    assert main(["fetch", "demo_mask_rcnn", "-o", f"pretrain_weights={publisher.file}", "--to", "unused"]) == 0
    assert f"  SHA-256: {publisher.sha256}\n  state: here\n  file: {publisher.file}\n" in (
        out := capsys.readouterr().out
    )
    assert "copy:" not in out and "Bring" not in out


def test_passwords_are_not_printed(publisher, capsys):
    address = f"{publisher.url}/models/trunk.pdparams?token=geheim".replace("//", "//me:secret@")
    assert main(["fetch", address, "--list", "--json"]) == 0
    assert main(["fetch", address]) == 0
    captured = capsys.readouterr()
    assert "secret" not in captured.out + captured.err and "geheim" not in captured.out + captured.err


def test_models_without_published_weights(capsys):
    assert main(["fetch", "mindcv/res2net152", "--list"]) == 1
    assert "there are no published weights of mindcv/res2net152" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "pass a recipe, a zoo name or a url"),
        (["x", "--list", "--to", "y"], "--list downloads nothing, so there is"),
    ],
)
def test_wrong_usage(words, text, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["fetch", *words])
    assert stopped.value.code == 2 and text in capsys.readouterr().err


def test_a_folder_that_cannot_be_written(publisher, capsys, tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert main(["fetch", f"{publisher.url}/models/trunk.pdparams", "--to", str(tmp_path / "file")]) == 1
    assert "cannot be written: " in (error := capsys.readouterr().err) and "Choose another folder with --to." in error
