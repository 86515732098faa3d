"""CIFAR-10 and CIFAR-100 by name, and archives by url: downloaded when asked, continued, and verified."""

from __future__ import annotations

import hashlib
import re

import pytest

from ppdet_res2net.data.classification import archives
from ppdet_res2net.data.classification.archives import ARCHIVES, Archive, locate_data
from ppdet_res2net.data.classification.layout import find_held_out, open_dataset, recognise
from ppdet_res2net.errors import DatasetError
from ppdet_res2net.zoo.hub import cached_path
from tests.helpers.cifar import CLASSES, serve_in_parts, write_cifar10
from tests.helpers.servers import serve_folder, serving


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("RES2NET_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("RES2NET_MIRROR", raising=False)
    monkeypatch.delenv("RES2NET_OFFLINE", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


@pytest.fixture(scope="module")
def content(tmp_path_factory) -> bytes:
    return write_cifar10(tmp_path_factory.mktemp("cifar") / "cifar-10-python.tar.gz").read_bytes()


def publish(monkeypatch, url: str, content: bytes) -> None:
    archive = Archive("CIFAR-10", url, len(content), hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(archives, "ARCHIVES", {**ARCHIVES, "cifar10": archive})


def test_a_name_is_downloaded_when_asked_and_only_once(content, monkeypatch, capfd):
    with serving(server := serve_in_parts(content, breaks=0)):
        publish(monkeypatch, server.url, content)
        with pytest.raises(DatasetError) as error:
            locate_data("cifar10")
        target = cached_path(server.url)
        assert str(error.value) == (
            f"CIFAR-10 is not here. Add --download to fetch it once (0 MiB from {server.url}), or put that archive at "
            f"{target}, or pass its path: --data DIR/cifar-10-python.tar.gz."
        )
        assert server.ranges == []
        assert locate_data("CIFAR-10", download=True) == target
    assert locate_data("cifar10") == locate_data("cifar_10", download=True) == target
    assert server.ranges == [None]
    dataset = open_dataset(target, "train")
    assert len(dataset) == 50 and dataset.class_names == CLASSES
    assert find_held_out(target) == "test" and len(open_dataset(target, "test")) == 10


def test_the_addresses_are_the_publishers():
    for name, archive in ARCHIVES.items():
        assert archive.url == f"https://www.cs.toronto.edu/~kriz/cifar-{name.removeprefix('cifar')}-python.tar.gz"
        assert re.fullmatch("[0-9a-f]{64}", archive.sha256) and 160e6 < archive.size_bytes < 180e6


def test_a_broken_transfer_continues_where_it_broke(content, monkeypatch):
    with serving(server := serve_in_parts(content, breaks=2)):
        publish(monkeypatch, server.url, content)
        target = locate_data("cifar10", download=True)
    half = len(content) // 2
    assert server.ranges == [None, f"bytes={half}-", f"bytes={half + (len(content) - half) // 2}-"]
    assert target.read_bytes() == content


def test_another_call_continues_too(content, monkeypatch):
    with serving(server := serve_in_parts(content, breaks=3)):
        publish(monkeypatch, server.url, content)
        with pytest.raises(DatasetError, match=f"cannot download {server.url}: .* To bring it by hand, put it at "):
            locate_data("cifar10", download=True)
        part = cached_path(server.url).with_name("cifar-10-python.tar.gz.part")
        size = part.stat().st_size
        assert 0 < size < len(content)
        assert locate_data("cifar10", download=True).read_bytes() == content
    assert server.ranges[-1] == f"bytes={size}-" and not part.exists()


def test_a_server_that_sends_no_parts_sends_everything_again(content, monkeypatch):
    with serving(server := serve_in_parts(content, breaks=1, knows_parts=False)):
        publish(monkeypatch, server.url, content)
        assert locate_data("cifar10", download=True).read_bytes() == content


@pytest.mark.parametrize("surplus", [b"", b"more"])
def test_what_an_earlier_call_left_may_be_all_or_too_much(content, monkeypatch, surplus):
    with serving(server := serve_in_parts(content, breaks=0)):
        publish(monkeypatch, server.url, content)
        part = cached_path(server.url).with_name("cifar-10-python.tar.gz.part")
        part.parent.mkdir(parents=True)
        part.write_bytes(content + surplus)
        assert locate_data("cifar10", download=True).read_bytes() == content


def test_a_wrong_beginning_is_found_by_the_checksum_and_deleted(content, monkeypatch):
    with serving(server := serve_in_parts(content, breaks=0)):
        publish(monkeypatch, server.url, content)
        part = cached_path(server.url).with_name("cifar-10-python.tar.gz.part")
        part.parent.mkdir(parents=True)
        part.write_bytes(bytes(100))
        with pytest.raises(DatasetError, match="has the wrong checksum: SHA-256 .* try again, or use another source"):
            locate_data("cifar10", download=True)
        assert not part.exists()
        assert locate_data("cifar10", download=True).read_bytes() == content


def test_a_link_in_the_place_of_the_unfinished_file_is_not_followed(content, monkeypatch, tmp_path):
    (tmp_path / "precious").write_bytes(b"precious")
    with serving(server := serve_in_parts(content, breaks=0)):
        publish(monkeypatch, server.url, content)
        part = cached_path(server.url).with_name("cifar-10-python.tar.gz.part")
        part.parent.mkdir(parents=True)
        part.symlink_to(tmp_path / "precious")
        assert locate_data("cifar10", download=True).read_bytes() == content
    assert (tmp_path / "precious").read_bytes() == b"precious"


@pytest.mark.parametrize("kind", ["folder", "server"])
def test_a_mirror_is_asked_first(content, monkeypatch, tmp_path, kind):
    folder = tmp_path / "mirror"
    folder.mkdir()
    (folder / "cifar-10-python.tar.gz").write_bytes(content)
    url = "http://127.0.0.1:9/a/cifar-10-python.tar.gz"  # nobody listens there
    publish(monkeypatch, url, content)
    with serving(server := serve_folder(folder)):
        monkeypatch.setenv("RES2NET_MIRROR", server.url if kind == "server" else str(folder))
        assert locate_data("cifar10", download=True).read_bytes() == content


def test_a_mirror_with_another_archive_is_refused(content, monkeypatch, tmp_path):
    (tmp_path / "cifar-100-python.tar.gz").write_bytes(content)
    monkeypatch.setenv("RES2NET_MIRROR", str(tmp_path))
    with pytest.raises(DatasetError) as error:
        locate_data("cifar100", download=True)
    for text in (
        "the mirror's file of https://www.cs.toronto.edu/",
        "has the wrong checksum",
        "pass its path or url as",
    ):
        assert text in str(error.value)
    assert not cached_path(ARCHIVES["cifar100"].url).exists()


def test_an_archive_that_was_put_there_by_hand_is_verified(content, monkeypatch):
    url = "https://example.org/cifar-10-python.tar.gz"
    publish(monkeypatch, url, content)
    cached_path(url).parent.mkdir(parents=True)
    cached_path(url).write_bytes(content[:-1])
    with pytest.raises(DatasetError, match="the cached file of https://example.org/.*has the wrong checksum"):
        locate_data("cifar10")
    cached_path(url).write_bytes(content)
    assert locate_data("cifar10") == cached_path(url)


def test_offline(monkeypatch):
    monkeypatch.setenv("RES2NET_OFFLINE", "1")
    with pytest.raises(
        DatasetError, match="RES2NET_OFFLINE forbids downloads.*copy it to a folder, and set RES2NET_MIRROR"
    ):
        locate_data("cifar10", download=True)


def test_an_archive_by_url(content):
    digest = hashlib.sha256(content).hexdigest()
    with serving(server := serve_in_parts(content, breaks=0)):
        with pytest.raises(DatasetError, match="is not in the cache. Add --download to fetch it once"):
            locate_data(server.url)
        with pytest.raises(DatasetError, match="has the wrong checksum"):
            locate_data(f"{server.url}#sha256={'0' * 64}", download=True)
        path = locate_data(f"{server.url}#sha256={digest}", download=True)
        assert locate_data(server.url) == path and len(open_dataset(path)) == 10
    with pytest.raises(DatasetError, match="--data ends with '#md5=1'; expected #sha256= and 64 hexadecimal digits"):
        locate_data(f"{server.url}#md5=1", download=True)


def test_a_url_with_something_else_is_refused(content):
    with serving(server := serve_in_parts(b"<html>not found</html>", breaks=0)):
        with pytest.raises(DatasetError, match="is no archive in CIFAR's format: The archive .* cannot be read"):
            locate_data(server.url, download=True)
        assert not cached_path(server.url).exists()


def test_a_path_comes_before_a_name(tmp_path):
    assert str(locate_data("some/folder")) == "some/folder"
    (tmp_path / "cifar10").mkdir()
    assert str(locate_data("cifar10")) == "cifar10"
    with pytest.raises(DatasetError, match="--download fetches cifar10 and cifar100, and urls of archives in CIFAR's"):
        locate_data("imagenet", download=True)


@pytest.mark.parametrize("held_out", ["val", "validation", "valid", "test"])
def test_names_of_the_held_out_images(tmp_path, held_out):
    (tmp_path / "train/cat").mkdir(parents=True)
    assert find_held_out(tmp_path) is None
    (tmp_path / held_out / "cat").mkdir(parents=True)
    assert find_held_out(tmp_path) == held_out
    kind, settings = recognise(tmp_path, held_out)
    assert kind.__name__ == "ClassFolderDataSet" and settings == {"dataset_dir": str(tmp_path), "image_dir": held_out}
