"""Permissions of what the package writes, and checksums."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys

import pytest

from ppdet_res2net.errors import DatasetError
from ppdet_res2net.files import file_sha256, images_below, new_folder
from res2net_runtime.owners import this_machine


def test_checksum_of_a_file(tmp_path):
    content = os.urandom((1 << 22) + 5)
    (tmp_path / "file").write_bytes(content)
    (tmp_path / "empty").touch()
    assert file_sha256(tmp_path / "file") == hashlib.sha256(content).hexdigest()
    assert file_sha256(tmp_path / "empty") == hashlib.sha256(b"").hexdigest()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
def test_written_files_follow_the_umask(tmp_path):
    code = (
        "import os, sys; from pathlib import Path; import numpy as np\n"
        "from ppdet_res2net.config.yaml_io import save_config\n"
        "from ppdet_res2net.data.annotations import write_annotations\n"
        "from ppdet_res2net.datasets.demo import make_demo_data\n"
        "from ppdet_res2net.zoo.formats import save_weights_file\n"
        "os.umask(0o027); folder = Path(sys.argv[1])\n"
        "save_config({'epoch': 1}, folder / 'config.yml')\n"
        "write_annotations({'images': []}, folder / 'annotations.json')\n"
        "for name in ('w.pdparams', 'w.safetensors'): save_weights_file(folder / name, {'w': np.zeros(1)})\n"
        "make_demo_data(folder / 'demo', train_images=1, val_images=1, image_size_px=64)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    files = ("config.yml", "annotations.json", "w.pdparams", "w.safetensors")
    assert modes == {**dict.fromkeys(files, 0o640), "demo": 0o750}


def test_images_below_a_folder(tmp_path):
    for name in ("b.png", "a/c.JPG", "a/notes.txt", ".hidden.png", ".cache/d.png", "a/e.gif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert images_below(tmp_path) == [str(tmp_path / name) for name in ("b.png", "a/c.JPG", "a/e.gif")]
    assert images_below(tmp_path / "gone") == []


@pytest.mark.parametrize("is_there", [False, True])
def test_a_new_folder_is_filled_completely_or_not_at_all(tmp_path, is_there):
    path = tmp_path / "folder"
    if is_there:
        path.mkdir()
        left = path / f".folder.unfinished-999999999-{this_machine()}-x"  # by a process that was killed
        left.mkdir()
        before = path.stat()
    with pytest.raises(
        DatasetError, match=r"'.*folder' cannot be written: No space left on device. Free some space, or pass"
    ):
        with new_folder(path, "--out", DatasetError) as unfinished:
            (unfinished / "a").touch()
            raise OSError(errno.ENOSPC, "No space left on device")
    assert list(tmp_path.rglob("*")) == ([path] if is_there else [])
    with new_folder(path, "--out", DatasetError) as unfinished:
        (unfinished / "class").mkdir()
        (unfinished / "class" / "a").touch()
        assert not (path / "class").exists()
    assert sorted(path.rglob("*")) == [path / "class", path / "class" / "a"]
    if is_there:  # a mounted disk cannot be replaced
        assert os.path.samestat(before, path.stat())
    with pytest.raises(DatasetError, match="is not empty. Pass another --out, or remove what is in it"):
        with new_folder(path, "--out", DatasetError):
            raise AssertionError
