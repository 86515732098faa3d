"""Folders, lists, shares of the images, and images that are done."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from res2net_runtime.errors import ImageError
from res2net_runtime.image_lists import (
    Shard,
    leave_out_done,
    name_images,
    parse_shard,
    read_image_list,
    select_images,
)
from res2net_runtime.pictures import picture_names


@pytest.fixture
def photos(tmp_path):
    for name in ("b.png", "sub/a.jpg", "sub/deep/c.bmp", "out/b.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_names_keep_the_subfolder_and_ids_are_unique(photos):
    images = select_images(directory=str(photos), recursive=True, output_dir=photos / "out")
    assert [(image.name, image.image_id) for image in images] == [("b.png", 0), ("sub/a.jpg", 1), ("sub/deep/c.bmp", 2)]
    assert picture_names([image.name for image in images]) == ["b.png", "sub/a.jpg", "sub/deep/c.png"]


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_shares_are_disjoint_and_complete(photos, count):
    whole = select_images(directory=str(photos), recursive=True)
    shares = [
        select_images(directory=str(photos), recursive=True, shard=Shard(index, count)) for index in range(1, count + 1)
    ]
    together = [image for share in shares for image in share]
    assert sorted(together, key=lambda image: image.image_id) == whole
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "1/0", "a/b", "-1/4", "1/4/2", "1.0/4", ""])
def test_wrong_shares(text):
    with pytest.raises(argparse.ArgumentTypeError, match="expected i/n with i from 1 to n, for instance 1/4"):
        parse_shard(text)


@pytest.mark.parametrize(
    "content",
    [
        b"sub/a.jpg\nb.png\n",
        b"\xef\xbb\xbfsub/a.jpg\r\n\r\nb.png",
        "sub/a.jpg\nb.png\n".encode("utf-16"),
    ],
)
def test_lists_of_other_tools(photos, content):
    (photos / "list.txt").write_bytes(content)
    images = select_images(list_file=str(photos / "list.txt"))
    assert [(image.path, image.name) for image in images] == [
        (photos / "sub" / "a.jpg", "sub/a.jpg"),
        (photos / "b.png", "b.png"),
    ]


def test_paths_of_a_list_are_as_they_are(tmp_path):
    (tmp_path / "list.txt").write_bytes(b"# 1.png\n\xd6\xd0.png\n -x 'y'.png\n")
    assert [name.encode("utf-8", "surrogateescape") for name in read_image_list(tmp_path / "list.txt")] == [
        b"# 1.png",
        b"\xd6\xd0.png",
        b" -x 'y'.png",
    ]


def test_a_list_begins_from_another_folder(photos, tmp_path_factory):
    other = tmp_path_factory.mktemp("lists") / "list.txt"
    other.write_text(f"a.jpg\n{photos}/b.png\n")
    images = select_images(list_file=str(other), list_root=str(photos / "sub"))
    assert [image.path for image in images] == [photos / "sub" / "a.jpg", photos / "b.png"]
    assert [image.name for image in images] == ["a.jpg", "b.png"]  # never a path that leads out of the results' folder


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "The list '.*list.txt' is empty. It needs one path per line"),
        ("a.jpg\nhttps://me:secret@host/x.jpg\n", "Line 2 of '.*' is a url, 'https://host/x.jpg'. Download the images"),
        ("a.jpg\na.jpg\n", "Several images are called 'a.jpg'.* if --list_root is a folder that holds them all"),
        ("a\0b.jpg\n", "is not a text file in UTF-8, or in UTF-16 with a byte order mark"),
    ],
)
def test_wrong_lists(tmp_path, content, message):
    (tmp_path / "list.txt").write_text(content)
    with pytest.raises(ImageError, match=message):
        select_images(list_file=str(tmp_path / "list.txt"))


@pytest.mark.parametrize(
    ("line", "advice"),
    [
        ("sub/a.jpg 3", "Leave only the paths, one per line, without labels"),
        ("sub/a.jpg\tcat", "Leave only the paths"),
        ("sub/a.jpg,1,2", "Leave only the paths"),
        ("'sub/a.jpg'", "Remove the quotes"),
        (" sub/a.jpg ", "Remove the spaces around the paths"),
        (r"sub\a.jpg", "Write the paths with slashes"),
    ],
)
def test_lines_that_are_more_than_a_path(photos, line, advice):
    (photos / "list.txt").write_text(f"path,label\nb.png\n{line}\n")
    with pytest.raises(ImageError, match=f"which does not exist, but 'sub/a.jpg' does. {advice}"):
        select_images(list_file=str(photos / "list.txt"))


def test_a_list_of_the_current_folder(photos, tmp_path_factory, monkeypatch):
    file = tmp_path_factory.mktemp("lists") / "list.txt"
    file.write_text("sub/a.jpg\n")
    monkeypatch.chdir(photos)
    with pytest.raises(ImageError, match="in the current folder. If all paths begin there, add --list_root"):
        select_images(list_file=str(file))
    assert [image.name for image in select_images(list_file=str(file), list_root=".")] == ["sub/a.jpg"]


def test_a_url_is_not_mangled():
    with pytest.raises(ImageError, match="'https://host/x.jpg' is a url. Download the image first"):
        select_images("https://me:secret@host/x.jpg")


def test_what_is_done_is_left_out_and_ids_stay_unique():
    before = name_images([Path("b.png"), Path("c.png"), Path("d.png")])
    done = {image.name: image.image_id for image in before[:2]}
    assert leave_out_done(before, done) == before[2:]
    now = name_images([Path("a.png"), Path("b.png"), Path("c.png"), Path("d.png")])  # one more, at the beginning
    left = leave_out_done(now, done)
    assert [image.name for image in left] == ["a.png", "d.png"]
    assert len({*done.values(), *(image.image_id for image in left)}) == 4
