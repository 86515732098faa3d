"""Files and folders that appear completely or not at all, and folders for results."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from res2net_runtime import Res2NetError
from res2net_runtime.files import make_output_folder, replacing


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
