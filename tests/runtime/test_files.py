"""Files and folders that appear completely or not at all, and folders for results."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from res2net_runtime import ImageError, Res2NetError
from res2net_runtime.files import IMAGE_SUFFIXES, find_images, make_output_folder, read_image_bytes, replacing


def test_a_file_is_replaced_when_it_is_complete(tmp_path):
    path = tmp_path / "new" / "file.txt"
    for text in ("first", "second"):
        with replacing(path) as unfinished:
            unfinished.write_text(text)
            assert unfinished.suffix == ".txt" and unfinished.parent == path.parent
            assert path.exists() == (text == "second")
        assert path.read_text() == text
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_leaves_what_was_there(tmp_path, error):
    path = tmp_path / "file"
    path.write_text("before")
    with pytest.raises(error), replacing(path) as unfinished:
        unfinished.write_text("half")
        raise error
    with pytest.raises(error), replacing(tmp_path / "folder") as unfinished:
        unfinished.mkdir()
        (unfinished / "inside").write_text("half")
        raise error
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


def test_a_folder_takes_the_place_of_an_empty_one_only(tmp_path):
    path = tmp_path / "folder"
    path.mkdir()
    with replacing(path) as unfinished:
        unfinished.mkdir()
        (unfinished / "inside").touch()
    with pytest.raises(OSError), replacing(path) as unfinished:
        unfinished.mkdir()
    assert list(tmp_path.iterdir()) == [path] and list(path.iterdir()) == [path / "inside"]


def test_writers_of_the_same_file_do_not_share_the_unfinished_one(tmp_path):
    path = tmp_path / "file"
    with replacing(path) as one, replacing(path) as other:
        one.write_text("one")
        other.write_text("other")
    assert path.read_text() == "one" and list(tmp_path.iterdir()) == [path]


def test_a_name_can_be_chosen_for_what_a_killed_process_leaves(tmp_path):
    path, part = tmp_path / "file", tmp_path / "file.part"
    with replacing(path, part) as unfinished:
        assert unfinished == part
        part.write_text("content")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
@pytest.mark.parametrize(("umask", "mode"), [("022", 0o644), ("077", 0o600), ("002", 0o664)])
def test_permissions_follow_the_umask(tmp_path, umask, mode):
    code = (
        "import os, sys; from res2net_runtime.files import replacing\n"
        "os.umask(int(sys.argv[2], 8))\n"
        "with replacing(sys.argv[1]) as unfinished: unfinished.write_text('')"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "file"), umask], check=True)
    assert (tmp_path / "file").stat().st_mode & 0o777 == mode


def test_a_folder_for_results_is_made_with_its_parents(tmp_path):
    folder = make_output_folder(tmp_path / "a" / "b", [tmp_path / "image.jpg"])
    assert folder.is_dir() and make_output_folder(str(folder)) == folder


def test_a_folder_for_results_that_is_refused(tmp_path):
    class OwnError(Res2NetError):
        pass

    file = tmp_path / "file"
    file.touch()
    with pytest.raises(Res2NetError, match=r"The folder '.*inside' cannot be created: .*Pass another --output_dir\.$"):
        make_output_folder(file / "inside")
    with pytest.raises(OwnError, match=r"^--cam '.*' holds the images themselves; pass another folder\.$"):
        make_output_folder(tmp_path, [Path(os.path.relpath(tmp_path / "image.jpg"))], "--cam", OwnError)


def test_images_are_found_by_their_endings(tmp_path):
    kept = [f"{index}{suffix}" for index, suffix in enumerate(IMAGE_SUFFIXES)] + ["A.JPG", "b.TiFf", "c d#?%.png"]
    for name in [*kept, ".hidden.png", "._a.jpg", "notes.txt", "a.heic", "png"]:
        (tmp_path / name).touch()
    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    assert find_images(tmp_path) == sorted(tmp_path / name for name in kept)


def test_subfolders_are_read_only_when_asked(tmp_path):
    for name in ("b.png", "sub/a.png", "sub/deep/c.png", ".hidden/d.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "sub" / "circle").symlink_to(tmp_path)
    assert find_images(tmp_path) == [tmp_path / "b.png"]
    assert [file.relative_to(tmp_path).as_posix() for file in find_images(tmp_path, recursive=True)] == [
        "b.png",
        "sub/a.png",
        "sub/deep/c.png",
    ]


def test_a_folder_without_images_says_what_it_holds(tmp_path):
    (tmp_path / "IMG_1.HEIC").touch()
    (tmp_path / "sub").mkdir()
    with pytest.raises(
        ImageError, match=r"holds no image .* other endings: \.heic\. Images in subfolders are found with"
    ):
        find_images(tmp_path)
    with pytest.raises(
        ImageError, match=r"There is no image folder 'https://host/x'.*It is a url: download the images"
    ):
        find_images("https://me:secret@host/x")


def test_only_regular_files_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    for path, message in [
        (tmp_path / "pipe.png", "it is a named pipe, not a file"),
        (tmp_path, "it is a folder, not a file"),
        ("/dev/zero", "it is a device, not a file"),
        ("a\0b", r"Cannot read image 'a\\x00b': no file can have this name"),
        ("\ud800.png", r"Cannot read image '\\ud800.png': no file can have this name"),
        ("x" * 300, "File name too long"),
        ("https://me:secret@host/x.png?key=1", r"'https://host/x.png\?...=...': it is a url. Download the image"),
    ]:
        with pytest.raises(ImageError, match=message):
            read_image_bytes(path)


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    with open(tmp_path / "huge.png", "wb") as file:
        file.truncate(2**31)  # a sparse file: it takes no space
    with pytest.raises(ImageError, match="the file has 2147483648 bytes, and an image at most 2147483647"):
        read_image_bytes(tmp_path / "huge.png")


def test_a_name_that_is_not_utf8_is_read(tmp_path):
    path = os.path.join(os.fsencode(tmp_path), b"\xd6\xd0.png")
    with open(path, "wb") as file:
        file.write(b"content")
    (found,) = find_images(tmp_path)
    assert read_image_bytes(found) == b"content"


@pytest.mark.parametrize("folder", ["s3://bucket/results", Path("s3://bucket/results"), "hf://ann/nuts"])
def test_results_are_not_written_into_a_folder_named_like_a_bucket(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Res2NetError, match="is an address, and results are written into folders of this machine only"):
        make_output_folder(folder)
    assert not any(tmp_path.iterdir())
